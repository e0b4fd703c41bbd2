"""A cluster of processes gets another key while clients write; what has the old one is shut out."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools import cluster, desk, keys, secret
from host_tools.cli import main
from host_tools.client import Client, NotCommitted
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON
from host_tools.options import NOT_COMMITTED, NOT_POSSIBLE
from host_tools.processes import Processes
from tests.clusters import free_cluster, tells, write
from tests.rolling import Writers, restart_in_turn, wait_until_level

NODES = 3
PATIENCE_S = 60.0
LOOK_S = 0.02
SHORT = ("--timeout", "0.5")  # where no answer can come


class Desk:
    """A cluster, and raftctl; all that either has said is in `said`."""

    def __init__(self, described: Cluster) -> None:
        self.cluster = described
        self.said: list[str] = []
        self.processes = Processes(described, CPYTHON, lambda node, line: self.said.append(line))

    @property
    def file(self) -> Path:
        return self.cluster.path

    @property
    def keys(self) -> tuple[str, ...]:
        return keys.of(self.file)

    def run(self, *arguments: str, file: Path | None = None) -> Result:
        result = CliRunner().invoke(main, [*arguments, "--cluster", str(file or self.file)])
        self.said.append(result.output)
        return result

    def done(self, *arguments: str, file: Path | None = None) -> str:
        result = self.run(*arguments, file=file)
        assert result.exit_code == 0, (result.output, self.said[-20:])
        return result.stdout

    def copied(self, name: str) -> Path:
        """A folder with the same files as this one's now; where its cluster.toml is."""
        folder = self.file.parent / name
        folder.mkdir()
        for file in (self.file, secret.path_beside(self.file)):
            shutil.copy2(file, folder / file.name)
        return folder / self.file.name

    def restart_in_turn(self) -> None:
        with Client(self.file, PATIENCE_S) as client:
            restart_in_turn(self.processes, client, list(self.cluster.nodes), self.processes.stop)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Three nodes that run, with a leader, and hide what they say."""
    folder = tmp_path_factory.mktemp("keys")
    described = replace(free_cluster(folder / "cluster.toml", NODES), secrecy=True)
    write(described)
    made = Desk(described)
    with made.processes:
        for node in made.cluster.nodes:
            made.processes.start(node)
        with Client(made.file, PATIENCE_S) as client:
            wait_until_level(client, list(made.cluster.nodes))
        yield made


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(LOOK_S)


def visible(process: "subprocess.Popen[str]") -> bytes:
    """What others see of a process, or may."""
    place = Path(f"/proc/{process.pid}")
    return (place / "cmdline").read_bytes() + (place / "environ").read_bytes()


def test_a_client_does_what_its_role_is_and_no_more(made: Desk) -> None:
    files = {}
    for role in ("read", "write", "admin"):
        made.done("credential", role, "--role", role)
        files[role] = made.file.parent / "credentials" / role / "cluster.toml"
    made.done("put", "lamp", "on")

    for file in files.values():
        assert made.done("get", "lamp", file=file) == "on\n"
        assert made.done("status", file=file).count("leader") >= 1
        made.done("members", file=file)
    refused = made.run("put", "lamp", "off", file=files["read"])
    assert (refused.exit_code, refused.stderr) == (
        NOT_POSSIBLE,
        "Error: the credential's role is read, and this needs write\n",
    )
    made.done("put", "lamp", "off", file=files["write"])
    for role in ("read", "write"):
        refused = made.run("transfer", file=files[role])
        assert refused.exit_code == NOT_POSSIBLE
        assert f"role is {role}, and this needs admin" in refused.stderr
    made.done("transfer", file=files["admin"])
    assert made.done("get", "lamp") == "off\n"


def test_another_key_costs_no_write_and_shuts_out_who_has_the_old_one(made: Desk) -> None:
    # given clients, a credential and a copy of all that opens the cluster now
    made.done("credential", "old", "--role", "admin")
    old_client = made.file.parent / "credentials" / "old" / "cluster.toml"
    made.done("put", "lamp", "on", file=old_client)
    thief = made.copied("thief")
    (old,) = made.keys

    # when it gets another key
    with Writers(made.cluster) as writers:
        made.done("key", "rotate")
        assert "is missing at nodes 1, 2 and 3" in made.run("key", "finish").stderr
        made.restart_in_turn()
        before = writers.count
        made.done("key", "finish")
        made.restart_in_turn()

    # then no write has failed, and all hold the new one alone
    assert writers.failures == []
    assert 0 < before < writers.count
    (new,) = made.keys
    assert new != old
    shown = json.loads(made.done("key", "show", "--json"))
    number = keys.number(new, made.cluster.name)
    assert shown == {"keys": [number], "nodes": {str(n): [number] for n in made.cluster.nodes}}

    # and whoever has the old one isn't heard
    for file in (thief, old_client):
        assert made.run("put", "lamp", "off", *SHORT, file=file).exit_code == NOT_COMMITTED
    with Client(made.file, PATIENCE_S) as client, Client(thief, 0.5) as stolen:
        assert client.get("lamp") == b"on"
        with pytest.raises(NotCommitted):
            stolen.members()

        # nor is a node
        leader = client.members().leader
        lost, heard = (node for node in made.cluster.nodes if node != leader)
        made.processes.stop(lost)
        with Processes(cluster.load(thief), CPYTHON, lambda node, line: None) as others:
            refused = client.statuses([heard])[heard]["udp"]["forged"]
            others.start(lost)
            until(lambda: stolen.statuses([lost]))
            until(lambda: stolen.statuses([lost])[lost]["role"] == "precandidate")
            client.put("lamp", b"still on")
            assert client.statuses([heard])[heard]["udp"]["forged"] > refused
            assert stolen.statuses([lost])[lost]["leader"] == 0

    # and nothing of it was seen by anybody
    assert made.said and not [line for line in made.said for key in (old, new) if tells(line, key)]
    running = made.processes._running.values()
    assert running and not any(key.encode() in visible(p) for p in running for key in (old, new))


def test_the_dead_that_come_back_after_a_recovery_are_not_heard(tmp_path: Path) -> None:
    # given a cluster whose nodes 2 and 3 run somewhere else
    made = Desk(free_cluster(tmp_path / "cluster.toml", NODES))
    elsewhere = cluster.load(made.copied("elsewhere"))
    others = Processes(elsewhere, CPYTHON, lambda node, line: made.said.append(line))
    with made.processes, others, Client(elsewhere.path, PATIENCE_S) as old:
        made.processes.start(1)
        others.start(2)
        others.start(3)
        wait_until_level(old, [1, 2, 3])
        made.done("put", "lamp", "on")

        # when these are taken for lost, and node 1 goes on without them
        others.kill(2)
        others.kill(3)
        until(lambda: old.statuses([1])[1]["leader"] == 0)
        said = made.done("recover", "--yes", "--timeout", "1")
        assert "The cluster has another key, which those left out don't have" in said
        assert "  restart node 1\n" in said
        made.processes.stop(1)
        made.processes.start(1)
        with Client(made.file, PATIENCE_S) as client:
            until(lambda: client.members().leader == 1)
            term = client.statuses([1])[1]["term"]

            # and they come back, and lead each other
            others.start(2)
            others.start(3)
            wait_until_level(old, [2, 3])
            old.put("lamp", b"off")

            # then node 1 has heard nothing of it
            status = client.statuses([1])[1]
            assert (status["term"], status["role"]) == (term, "leader")
            assert client.get("lamp") == b"on"


def test_a_node_whose_configuration_is_wrong_does_not_tell_its_keys(tmp_path: Path) -> None:
    described = free_cluster(tmp_path / "cluster.toml", 1)
    key = keys.made(described.name)
    for secrets in ([key, key], [key[:-1]], key):
        config = described.desk_config(1, ()) | {"keys": secrets}
        (tmp_path / desk.CONFIG_FILE).write_text(json.dumps(config))

        done = subprocess.run(
            [sys.executable, str(desk.RUN), str(tmp_path), "0", sys.executable],
            capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip

        assert "safe_mode" in done.stdout and "keys_must_be" in done.stdout
        assert not tells(done.stdout + done.stderr, key)
