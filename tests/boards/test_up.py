"""Boards become a cluster: raftctl, with the real esptool and mpremote, on virtual boards."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from host_tools import boards, keys, partition_table
from host_tools.boards import APP, RAFT
from host_tools.client import Client, ClusterError
from tests.boards.board import Board, several
from tests.boards.images import APP_OFFSET, firmware
from tests.clusters import free_cluster, tells

PROJECT = Path(__file__).resolve().parent.parent.parent
CHIP = "esp32c3"
KIND = boards.load(f"{CHIP}_generic")
PASSWORD = "correct horse"
PATIENCE_S = 180.0
FAIL_OVER_S = 10.0  # on a machine that has other things to do; `make bench` measures it


class Desk:
    """A desk with boards on it, seen by whoever uses raftctl there."""

    def __init__(self, folder: Path, boards: list[Board]) -> None:
        self.boards = boards
        self.file = folder / "cluster.toml"
        self.said: list[str] = []  # by raftctl
        self.firmware = folder / "firmware.bin"
        self.firmware.write_bytes(firmware(CHIP, KIND.firmware_offset))

    @property
    def ports(self) -> list[str]:
        return [word for board in self.boards for word in ("--port", str(board.port))]

    def run(self, command: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        words = [*command.split(), "--cluster", self.file, *arguments]
        return subprocess.run(
            [sys.executable, "-m", "host_tools.cli", *words],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=os.environ | {"RAFTCTL_WIFI_PASSWORD": PASSWORD},
        )

    def told(self, command: str, *arguments: str | Path) -> str:
        """What is printed by a command that succeeds."""
        done = self.run(command, *arguments)
        assert done.returncode == 0, (
            done.stdout,
            done.stderr,
            [b.text[-3000:] for b in self.boards],
        )
        self.said.append(done.stdout + done.stderr)
        return done.stdout

    def init(self) -> str:
        """As a person would, but for UDP ports that nobody else uses."""
        said = self.told("init", *self.ports, "--ssid", "home")
        nodes = free_cluster(self.file.with_name("free.toml"), len(self.boards)).nodes.values()
        free = iter([port for member in nodes for port in (member.port, member.client_port)])
        text = re.sub(r"port = \d+", lambda match: f"port = {next(free)}", self.file.read_text())
        self.file.write_text(text)
        return said

    def up(self) -> list[dict[str, Any]]:
        said = self.told("up", *self.ports, "--firmware", self.firmware, "--json")
        rows: list[dict[str, Any]] = json.loads(said)
        return rows


class Monitor:
    """`raftctl monitor --json`, for as long as the context lasts."""

    def __init__(self, boards: list[Board]) -> None:
        command = [sys.executable, "-m", "host_tools.cli", "monitor", "--json"]
        self._process = subprocess.Popen(
            [*command, *(str(board.port) for board in boards)],
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.items: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> "Monitor":
        self._reader.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout:
            for line in self._process.stdout:
                self.items.append(json.loads(line))

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.items[-40:]
            assert self._process.poll() is None, self.items[-5:]
            time.sleep(0.02)

    def leaders(self) -> set[int]:
        """Those that have led in the newest term that any node has told of."""
        items = [item for item in list(self.items) if "term" in item["facts"]]
        newest = max((item["facts"]["term"] for item in items), default=None)
        return {
            item["node"]
            for item in items
            if item["facts"]["term"] == newest
            and "leader" in (item["event"], item["facts"].get("role"))
        }

    def statuses(self) -> dict[int, tuple[str, int]]:
        """Role and leader of each node since it was started last, as far as it has said."""
        found: dict[int, tuple[str, int]] = {}
        for item in list(self.items):
            if item.get("event") == "boot":
                found.pop(item["node"], None)
            elif item.get("event") == "stat":
                found[item["node"]] = item["facts"]["role"], item["facts"]["leader"]
        return found

    def told(self, what: str) -> list[dict[str, Any]]:
        """The events of that name, and what has happened to ports."""
        items = list(self.items)
        return [i for i in items if what in (i.get("event"), i["facts"].get("state"))]


class Writer:
    """Writes again and again, for as long as the context lasts."""

    def __init__(self, file: Path) -> None:
        self.writes = 0
        self.problems: list[ClusterError] = []
        self._file = file
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_ending.set()
        self._thread.join()

    def _write(self) -> None:
        with Client(self._file) as client:
            while not self._is_ending.is_set():
                try:
                    client.put("count", b"%d" % self.writes)
                    self.writes += 1
                except ClusterError as e:
                    self.problems.append(e)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Three boards that are blank."""
    with several(tmp_path, 3, CHIP, blank=True) as boards:
        yield Desk(tmp_path, boards)


def stays(board: Board) -> bytes:
    """All of a flash but what a node writes while it runs: its log, and who that belongs to."""
    flash = bytearray(board.flash.path.read_bytes())
    for partition in (KIND.partition(RAFT), KIND.partition("nvs")):
        flash[partition.offset : partition.end] = bytes(partition.size)
    return bytes(flash)


def holds_all(board: Board, file: bytes) -> bool:
    """Whether the flash has that firmware with the table of its kind, byte for byte."""
    table = partition_table.encode(KIND.partitions)
    application = file[APP_OFFSET - KIND.firmware_offset :]
    boot = file[: partition_table.OFFSET - KIND.firmware_offset]
    places = [(KIND.firmware_offset, boot), (partition_table.OFFSET, table)]
    places += [(p.offset, application) for p in KIND.partitions if p.type == APP]
    return all(board.flash.read(at, len(data)) == data for at, data in places)


def test_three_blank_boards_become_a_cluster_that_outlives_its_leader(desk: Desk) -> None:
    # given three boards as they come from the shop
    assert "3 esp32c3_generic" in desk.init()
    assert PASSWORD not in desk.file.read_text()

    # when they are brought up
    rows = desk.up()

    # then each has MicroPython, the firmware, and an address
    for row in rows:
        assert row["flashed"] == ["boot loader", "partition table", "application"], row
        assert row["address"] == "127.0.0.1" and "main.py" in row["written"]
    assert all(holds_all(board, desk.firmware.read_bytes()) for board in desk.boards)

    # when they are brought up once more, nothing is written
    desk.told("put", "lamp", "on")
    before = [stays(board) for board in desk.boards]
    assert all(row["was_up"] for row in desk.up())
    assert [stays(board) for board in desk.boards] == before

    # when they get another configuration, and another key, the cluster goes on
    desk.file.write_text(desk.file.read_text() + '\n[app]\nname = "leader_led"\npin = 4\n')
    assert "\n  raftctl deploy\n" in desk.told("key rotate")
    with Writer(desk.file) as writer:
        rows = json.loads(desk.told("deploy", *desk.ports, "--json"))
    assert [row["written"] for row in rows] == [["config.json"]] * 3
    assert writer.writes > 0 and not writer.problems
    secrets = keys.of(desk.file)
    assert "\n  raftctl deploy\n" in desk.told("key finish")

    with Monitor(desk.boards) as monitor:
        # and exactly one leads
        monitor.until(lambda: len(monitor.statuses()) == 3)
        (leader,) = monitor.leaders()

        # when its power fails
        desk.boards[leader - 1].unplug()
        monitor.until(lambda: monitor.leaders() - {leader})

        # then another one leads before long
        (second,) = monitor.leaders()
        lost, won = monitor.told("gone")[-1], monitor.told("leader")[-1]
        assert (at(won) - at(lost)).total_seconds() < FAIL_OVER_S
        assert desk.told("get", "lamp") == "on\n"

        # and when it is back, and its router has given it another address, the old one follows
        desk.boards[leader - 1].address = "127.0.0.2"
        desk.boards[leader - 1].plug_in()
        monitor.until(lambda: monitor.statuses().get(leader) == ("follower", second))
        assert monitor.leaders() == {second}
        others = {1, 2, 3} - {leader}
        monitor.until(lambda: {move["node"] for move in monitor.told("moved")} == others)
        assert all(
            move["facts"] == {"peer": leader, "ip": "127.0.0.2"} for move in monitor.told("moved")
        )
        assert desk.told("status").count("follower") == 2

    # and nothing of what is secret was told by anybody
    for told in [*desk.said, *(board.text for board in desk.boards), *map(str, monitor.items)]:
        assert PASSWORD not in told and not any(tells(told, key) for key in secrets)


def at(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(item["time"])
