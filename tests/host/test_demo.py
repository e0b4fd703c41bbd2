"""`raftctl demo`, as scripts and CI see it."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from host_tools import desk, secret
from host_tools.cli import main
from host_tools.cluster import Cluster, load, on_free_ports
from host_tools.demo import Demo, DemoError, Result, Write
from host_tools.desktop.habits import HABITS
from host_tools.firmware import FIRMWARE
from host_tools.replay import Replay
from host_tools.screens import Lines
from tests.clusters import INTERPRETERS, tells, write
from tests.host.terminals import on_terminal

PATIENCE_S = 120
COMMAND = [sys.executable, "-m", "host_tools.cli", "demo"]


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that have to do with the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_it_kills_the_leader_loses_nothing_and_leaves_nothing_behind(
    tmp_path: Path, interpreter: str
) -> None:
    command = [*COMMAND, "--seconds", "8", "--nodes", "3", "--interpreter", interpreter]

    done = subprocess.run(
        command, cwd=FIRMWARE.parent, capture_output=True, text=True, timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path), "FORCE_COLOR": ""},
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert re.search(r"killed node \d, the leader", done.stdout)
    elections = re.search(r"^elections: (\d+)$", done.stdout, re.MULTILINE)
    assert elections and int(elections[1]) >= 2
    assert re.search(r"^failover: +median \d+ ms, worst \d+ ms", done.stdout, re.MULTILINE)
    writes = re.search(r"^writes: +(\d+) acknowledged", done.stdout, re.MULTILINE)
    assert writes and int(writes[1]) > 10
    assert re.search(r"^lost: 0$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_on_a_terminal_it_shows_the_cluster_until_a_key_is_pressed(tmp_path: Path) -> None:
    env = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "", "TMPDIR": str(tmp_path)}
    with on_terminal([*COMMAND, "--nodes", "3"], env) as (shown, process):
        shown.until("3 nodes under cpython", "q quits", " leader ", "took a write")
        shown.type(b"q")
        shown.until("lost: 0")

        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    # given a demo that hears SIGINT: where these tests run in the background, it is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [*COMMAND, "--nodes", "3"], cwd=FIRMWARE.parent, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        signal.signal(signal.SIGINT, before)
        assert process.stdout
        told = ""
        for line in process.stdout:
            told += line
            if " leader " in line:
                break
        (secrets,) = tmp_path.glob(f"*/{secret.FILE}")
        (key,) = secret.load(secrets).keys
        configs = list(tmp_path.glob(f"*/state/*/{desk.CONFIG_FILE}"))
        assert configs and all(file.stat().st_mode & 0o777 == 0o600 for file in configs)

        process.send_signal(number)
        told += process.stdout.read()

        assert process.wait(PATIENCE_S) != 0
    assert not tells(told, key)
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ()),
        (["--habit", "flash", "--habit", "empty"], ("flash", "empty")),
        (["--habit", "nvs", "--habit", "all"], HABITS),
    ],
)
def test_its_nodes_have_the_habits_that_are_named(
    arguments: list[str], names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    performed = []

    def perform(cluster: Cluster, interpreter: str, seconds: float | None) -> Result:
        performed.append(load(cluster.path))
        return Result()

    monkeypatch.setattr("host_tools.commands.demo.perform", perform)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    done = CliRunner().invoke(main, ["demo", *arguments])

    assert done.exit_code == 0, done.output
    assert [cluster.habits for cluster in performed] == [names]


def test_without_micropython_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--interpreter", "micropython-vax"], cwd=FIRMWARE.parent,
        capture_output=True, text=True, timeout=PATIENCE_S,
        env={**os.environ, "PATH": str(tmp_path)},
    )  # fmt: skip

    assert done.returncode == 2
    assert "make micropython" in done.stderr and done.stdout == ""


def test_a_node_that_does_not_come_up_ends_it(tmp_path: Path) -> None:
    cluster = on_free_ports(tmp_path / "cluster.toml", 3)
    write(cluster)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "node-2").touch()  # where its folder should be

    with pytest.raises(DemoError, match="node 2 ended by itself with status 2"):
        Demo(cluster, desk.CPYTHON, 1, Lines()).run()

    assert processes_in(tmp_path) == []


def test_a_write_that_a_node_lacks_is_lost_and_one_applied_twice_is_doubled() -> None:
    writes = [Write(b"k", number, 0.0, 1) for number in (1, 2, 3)]
    result = Result()

    result.compare(writes, replayed({}, once=writes[0:1], twice=writes[1:2]))

    assert (result.lost, result.doubled, result.is_good) == (1, 1, False)


def test_of_writes_that_have_left_the_flash_the_snapshot_has_the_last_of_each_key() -> None:
    old = [Write(b"a", 1, 0.0, 1), Write(b"b", 2, 0.0, 1), Write(b"a", 3, 0.0, 1)]
    new = [Write(b"b", 4, 0.0, 1)]
    whole, lacking, again = Result(), Result(), Result()

    whole.compare(old + new, replayed({b"a": b"3", b"b": b"2"}, once=new))
    lacking.compare(old + new, replayed({b"a": b"1", b"b": b"2"}, once=new))
    again.compare(old + new, replayed({b"a": b"3", b"b": b"2"}, once=old[2:] + new))

    assert (whole.lost, whole.doubled) == (0, 0)
    assert (lacking.lost, lacking.doubled) == (1, 0)
    assert (again.lost, again.doubled) == (0, 1)


def replayed(
    before: dict[bytes, bytes], once: Sequence[Write] = (), twice: Sequence[Write] = ()
) -> Replay:
    applied = Counter([write.command for write in (*once, *twice, *twice)])
    return Replay(5 if before else 0, before, applied, {})
