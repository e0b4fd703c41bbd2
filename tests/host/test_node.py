"""`raftctl node`: a process that is a board, under each interpreter."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from host_tools import desk, micropython
from host_tools.client import Client
from host_tools.cluster import Cluster, flash_kb_needed, on_free_ports
from host_tools.events import Event, parse
from host_tools.firmware import FIRMWARE
from tests.clusters import ALL_INTERPRETERS, INTERPRETERS, KEYS, write

PROJECT = FIRMWARE.parent
PATIENCE_S = 60.0

each_interpreter = pytest.mark.parametrize("interpreter", INTERPRETERS)
# what host_tools/desktop/system.py hands to the C library has the size of a word
each_word_size = pytest.mark.parametrize("interpreter", ALL_INTERPRETERS)


class Process:
    """A process whose lines are gathered, by several in one list; it never outlives the test."""

    def __init__(
        self,
        command: list[str],
        cwd: Path = PROJECT,
        lines: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.lines = [] if lines is None else lines
        self._process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def press(self, key: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(key)
        self._process.stdin.flush()

    def events(self, what: str) -> list[Event]:
        parsed = [parse(line) for line in self.lines]
        return [event for event in parsed if event and event.what == what]

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.lines
            assert self._process.poll() is None, self.lines
            time.sleep(0.01)

    def ended(self) -> int | None:
        """Its exit status if it has ended."""
        return self._process.poll()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit status after that signal."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stdin and self._process.stdout
            self._process.stdin.close()
            self._process.stdout.close()


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process from a command; all are ended after the test."""
    started: list[Process] = []

    def start(command: list[str]) -> Process:
        started.append(Process(command))
        return started[-1]

    yield start
    for process in started:
        process.end(signal.SIGKILL)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    cluster = on_free_ports(tmp_path / "cluster.toml", 1)
    write(cluster)
    return cluster


def node_command(cluster: Cluster, *options: str) -> list[str]:
    command = [sys.executable, "-m", "host_tools.cli", "node", "--id", "1"]
    return [*command, "--cluster", str(cluster.path), *options]


@each_word_size
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_ctrl_c_end_it_cleanly(
    start: Start, cluster: Cluster, number: int, interpreter: str
) -> None:
    process = start(node_command(cluster, "--interpreter", interpreter))
    process.until(lambda: process.events("leader"))

    status = process.end(number)

    assert status == 0, process.lines
    assert parse(process.lines[-1]) == process.events("stopped")[0]


@each_interpreter
def test_the_process_that_was_started_is_the_node(
    start: Start, cluster: Cluster, interpreter: str
) -> None:
    process = start(node_command(cluster, "--interpreter", interpreter))
    process.until(lambda: process.events("leader"))
    with Client(cluster.path, PATIENCE_S) as client:
        client.put("k", b"v")

    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    again = start(node_command(cluster, "--interpreter", interpreter))

    with Client(cluster.path, PATIENCE_S) as client:
        assert client.get("k") == b"v"
    # no-op, session, put; and what the client may have sent again
    assert int(again.events("recovered")[0].facts["last"]) >= 3


@each_interpreter
def test_a_node_with_slow_flash_keeps_what_it_has_acknowledged(
    start: Start, cluster: Cluster, interpreter: str
) -> None:
    cluster.path.write_text(replace(cluster, habits=("flash",)).to_toml())
    process = start(node_command(cluster, "--interpreter", interpreter))
    with Client(cluster.path, PATIENCE_S) as client:
        for i in range(20):
            client.put("k", b"%d" % i)
    process.end(signal.SIGKILL)

    start(node_command(cluster, "--interpreter", interpreter))

    with Client(cluster.path, PATIENCE_S) as client:
        assert client.get("k") == b"19"
    config = json.loads((desk.state_folder(cluster, 1) / "config.json").read_text())
    assert config["desk"] == {"habits": ["flash"]}


@each_interpreter
def test_a_folder_is_one_nodes_alone_until_that_one_has_ended(
    start: Start, cluster: Cluster, interpreter: str
) -> None:
    command = node_command(cluster, "--interpreter", interpreter)
    first = start(command)
    first.until(lambda: first.events("leader"))

    second = start(command)

    assert second.wait() == 2
    assert len(second.lines) == 1 and "another node runs in" in second.lines[0]
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    third = start(command)
    third.until(lambda: third.events("leader"))


def test_a_port_in_use_is_told_with_its_key(start: Start, cluster: Cluster) -> None:
    first = start(node_command(cluster))
    first.until(lambda: first.events("leader"))

    second = start(node_command(cluster, "--state", str(cluster.path.parent / "other")))

    assert second.wait() == 2
    (line,) = second.lines
    assert "port" in line and "in use" in line and str(cluster.path) in line


def test_a_new_nodes_flash_is_erased_and_as_large_as_the_file_says(
    start: Start, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.path.write_text(replace(cluster, flash_kb=128, state_kb=1).to_toml())
    state = tmp_path / "somewhere" / "else"

    process = start(node_command(cluster, "--state", str(state)))
    process.until(lambda: process.events("leader"))

    assert (state / "raft.flash").stat().st_size == 128 * 1024
    assert (state / "raft.flash").read_bytes().endswith(b"\xff" * 32768)


def test_a_flash_that_is_too_small_for_the_state_is_told_with_the_size_it_needs(
    start: Start, cluster: Cluster
) -> None:
    # given a flash from a time when the file said less
    cluster.path.write_text(replace(cluster, flash_kb=256, state_kb=24).to_toml())
    state = desk.state_folder(cluster, 1)
    state.mkdir(parents=True)
    (state / "raft.flash").write_bytes(b"\xff" * 64 * 1024)

    process = start(node_command(cluster))
    process.until(lambda: process.events("reset"))

    error = process.events("reset")[0].facts["error"]
    assert "state_kb" in error
    assert f"partition_of_{flash_kb_needed(24)}_KB,_this_one_has_64_KB" in error


@each_interpreter
def test_status_flash_counts_what_a_node_has_written(
    start: Start, cluster: Cluster, interpreter: str
) -> None:
    # given a node whose small flash has been filled more than once
    cluster.path.write_text(replace(cluster, flash_kb=88, state_kb=3).to_toml())
    process = start(node_command(cluster, "--interpreter", interpreter))
    process.until(lambda: process.events("leader"))
    with Client(cluster.path, PATIENCE_S) as client:
        writes = 0
        while client.statuses()[1]["flash"]["erases"] < 3:
            for _ in range(20):
                client.put("k", bytes(600))
                writes += 1

        # when
        status = client.statuses()[1]
    command = [sys.executable, "-m", "host_tools.cli", "status", "--flash"]
    command += ["--cluster", str(cluster.path)]
    table = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    done = subprocess.run([*command, "--json"], cwd=PROJECT, capture_output=True, check=True)

    # then
    found = json.loads(done.stdout)["nodes"]["1"]
    # no-op, session; and a copy of a command that the client had to send once more
    assert status["flash"]["entries"] == status["last"] >= writes + 2
    assert found["entries_per_erase"] == status["flash"]["entries"] / found["erases"]
    assert 3 <= found["erases"] <= writes
    assert found["bytes_programmed"] > 600 * writes
    assert (found["sectors"], found["left_out"]) == (22, 0)
    assert 0 < found["snapshot_index"] <= writes + 2
    assert 600 < found["snapshot_bytes"] < 1000
    assert found["years_left"] is None  # in its first minute
    assert "/22 " in table.stdout.splitlines()[1]


@each_word_size
def test_it_ends_when_nobody_reads_its_events(cluster: Cluster, interpreter: str) -> None:
    command = node_command(cluster, "--interpreter", interpreter)
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline()
        process.stdout.close()

        assert process.wait(PATIENCE_S) != 0
    finally:
        process.kill()
        process.wait()


def test_without_micropython_it_says_how_to_get_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(micropython, "TOOLS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(desk.DeskError, match="make micropython"):
        desk.become_node(cluster, 1, "micropython")


@each_interpreter
def test_with_wifi_it_joins_the_network_first(
    start: Start, cluster: Cluster, tmp_path: Path, interpreter: str
) -> None:
    # given a board's configuration
    wifi = {"ssid": "home", "password": "secret"}
    config = {**cluster.desk_config(1, KEYS), "state_kb": 1, "wifi": wifi}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "raft.flash").write_bytes(b"\xff" * 128 * 1024)
    command = desk.interpreter_command(interpreter)

    # when it starts with no other preparation
    process = start([*command, str(desk.RUN), str(tmp_path), "0", *command])

    # then
    process.until(lambda: process.events("leader"))
    assert process.end() == 0


WATCHED = """
from host_tools.desktop import system
system.kill_after(60_000)
system.kill_after(50)
while True:
    pass
"""


@each_word_size
def test_a_process_that_hangs_dies_when_its_time_is_up(interpreter: str) -> None:
    command = [*desk.interpreter_command(interpreter), "-c", WATCHED]

    done = subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=PATIENCE_S)

    assert done.returncode == -signal.SIGALRM, done.stderr


RESETS = 3
RESETTING_MAIN = f"""
import machine, os, socket
print("machine", machine.__file__)
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(socket.getaddrinfo("127.0.0.1", int(open("port").read()))[0][-1])
starts = open("starts").read() + "x"
with open("starts", "w") as f:
    f.write(starts)
if len(starts) <= {RESETS}:
    machine.reset()
print("files", " ".join(os.listdir("/proc/self/fd")))
"""


@each_word_size
def test_a_reset_starts_main_anew_in_the_same_process(
    start: Start, cluster: Cluster, tmp_path: Path, interpreter: str
) -> None:
    # given a project whose main.py binds a port, resets and leaves it to the reset to close it
    shutil.copytree(PROJECT / "host_tools" / "desktop", tmp_path / "host_tools" / "desktop")
    (tmp_path / "host_tools" / "__init__.py").touch()
    shutil.copytree(FIRMWARE / "raft", tmp_path / "firmware" / "raft")
    (tmp_path / "firmware" / "main.py").write_text(RESETTING_MAIN)
    (tmp_path / "port").write_text(str(cluster.nodes[1].port))
    (tmp_path / "starts").touch()
    command = desk.interpreter_command(interpreter)
    lock = os.open(tmp_path, os.O_RDONLY)
    run = str(tmp_path / "host_tools" / "desktop" / "run.py")

    # when
    done = subprocess.run(
        [*command, run, str(tmp_path), str(lock), *command],
        pass_fds=[lock], capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    os.close(lock)

    # then
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    stand_in = str(tmp_path / "host_tools" / "desktop" / "stand_ins" / "machine.py")
    assert lines[:-1] == [f"machine {stand_in}"] * (RESETS + 1)
    assert str(lock) in lines[-1].split()
