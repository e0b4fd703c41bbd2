"""`raftctl demo`, as scripts and CI see it."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from host_tools import desk, micropython
from host_tools.cluster import on_free_ports
from host_tools.demo import Demo, DemoError, Result, Write, applied_commands
from host_tools.desktop.flash import Flash
from host_tools.firmware import FIRMWARE, Store, messages, requests, sessions
from host_tools.screens import Lines

PATIENCE_S = 120
COMMAND = [sys.executable, "-m", "host_tools.cli", "demo"]
INTERPRETERS = [desk.CPYTHON, *(found.name for found in micropython.interpreters())]


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
        for line in process.stdout:
            if " leader " in line:
                break

        process.send_signal(number)
        process.stdout.read()

        assert process.wait(PATIENCE_S) != 0
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


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
    cluster.path.write_text(cluster.to_toml())
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "node-2").touch()  # where its folder should be

    with pytest.raises(DemoError, match="node 2 ended by itself with status 2"):
        Demo(cluster, desk.CPYTHON, 1, Lines()).run()

    assert processes_in(tmp_path) == []


def test_what_flash_holds_is_counted_as_it_is_applied(tmp_path: Path) -> None:
    # given a log in flash with a session, some commands, and a copy of one of them
    one, two, three = (bytes(requests.put(b"k", value)) for value in (b"1", b"2", b"3"))
    path = tmp_path / "raft.flash"
    path.write_bytes(b"\xff" * 65536)
    entries = [(1, messages.COMMAND, sessions.OPEN)]
    for number, command in ((1, one), (2, two), (2, two), (3, two), (4, three)):
        entries.append((1, messages.COMMAND, sessions.command(1, number, command)))
    with closing(Flash(str(path))) as flash:
        Store(flash, 1).append(True, 1, 1, 1, entries)

    applied = applied_commands(path, node=1, commit=5)

    assert applied == Counter({one: 1, two: 2})  # the last one was not committed


def test_a_write_that_a_node_lacks_is_lost_and_one_applied_twice_is_doubled() -> None:
    result = Result()
    writes = [Write(command, 0.0, 1) for command in (b"1", b"2", b"3")]

    result.compare(writes, Counter({b"1": 1, b"2": 2, b"4": 2}))

    assert (result.lost, result.doubled, result.is_good) == (1, 1, False)
