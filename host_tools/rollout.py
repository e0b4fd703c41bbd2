"""Makes boards the nodes of a cluster: flashed if need be, deployed, up; all at the same time."""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import attached, boards, cluster, deploying, downloads, flashing
from host_tools.attached import NOTHING, Asked, Silent
from host_tools.boards import APP, RAFT, Board
from host_tools.cluster import Cluster, Member
from host_tools.deploying import DeployError
from host_tools.flashing import FlashError
from host_tools.ports import PortError
from host_tools.repl import Repl, ReplError
from host_tools.reporting import Report
from host_tools.secret import Wifi
from host_tools.settings import FileError

BOOT_S = 30.0  # the first start after flashing makes a file system
JOIN_S = 20.0
LOOK_S = 0.3

# The hash of as many bytes of the application as the firmware file has of it
APPLICATION_HASH = """
def application_hash(label, size):
    from binascii import hexlify
    from esp32 import Partition
    from hashlib import sha256
    buf = memoryview(bytearray(4096))
    app = Partition.find(Partition.TYPE_APP, label=label)[0]
    sum = sha256()
    for block in range((size + 4095) // 4096):
        app.readblocks(block, buf)
        sum.update(buf[:min(4096, size - block * 4096)])
    print(repr(hexlify(sum.digest()).decode()))
"""
JOIN = """
import network
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.disconnect()
wlan.connect({ssid!r}, {password!r})
"""
ADDRESS = "print(repr(wlan.ifconfig()[0] if wlan.isconnected() else ''))"
LEAVE = "wlan.disconnect()\nwlan.active(False)"


class NotUp(Exception):
    """A node can't be brought up; one line that says what to do."""


TROUBLE = (PortError, ReplError, FlashError, DeployError, NotUp, FileError)


@dataclass
class Job:
    """A node on its way, and what has become of it. problem: empty if it is up.

    written, removed: files on the board. was_up: whether it was as it should be, and wasn't
    touched.
    """

    member: Member
    port: str = ""
    micropython: str = ""
    flashed: tuple[str, ...] = ()
    wiped: bool = False
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    was_up: bool = False
    problem: str = ""
    firmware_mark: str = field(default="", repr=False)
    host: str = ""


class Rollout:
    """firmwares: to flash where MicroPython is missing, or another; what was downloaded, too.

    None: nothing is flashed. force: look at boards as well that say that they are as they should.
    """

    def __init__(
        self,
        described: Cluster,
        wifi: Wifi,
        firmwares: Sequence[Path] | None,
        force: bool,
        report: Report,
    ) -> None:
        self._cluster = described
        self._wifi = wifi
        self._firmwares = firmwares
        self._force = force
        self._report_as = report

    def _report(self, node: int, step: str, share: float | None) -> None:
        self._report_as(f"node {node}", step, share)

    def run(self, nodes: Iterable[int], found: Sequence[Asked | Silent]) -> list[Job]:
        """Bring up these nodes on the boards that were found; one that fails stops no other."""
        asked = {board.mac: board for board in found if isinstance(board, Asked)}
        jobs = [Job(self._cluster.nodes[node]) for node in nodes]
        self._each(jobs, lambda job: self._prepare(job, asked.get(job.member.mac)))
        self._learn(jobs)
        self._each(jobs, self._deploy)
        return jobs

    def _each(self, jobs: list[Job], step: Callable[[Job], None]) -> None:
        def attempt(job: Job) -> None:
            try:
                step(job)
            except TROUBLE as e:
                job.problem = str(e)

        left = [job for job in jobs if not job.was_up and not job.problem]
        if left:
            with ThreadPoolExecutor(len(left)) as pool:
                list(pool.map(attempt, left))

    # Until the board has MicroPython, and an address

    def _prepare(self, job: Job, asked: Asked | None) -> None:
        member = job.member
        if not member.mac:
            raise NotUp(
                f"node {member.id} of {self._cluster.path} has no mac: give it that of its board "
                "(`raftctl boards`)"
            )
        if asked is None:
            raise NotUp(
                f"the board {member.mac} was not found: plug it in (`raftctl boards` lists what is "
                "there)"
            )
        board = boards.load(member.board)
        if asked.chip != board.chip:
            raise NotUp(
                f"{asked.port} has an {asked.chip}, and {board.name} has an {board.chip}: correct "
                f"`board` of node {member.id} in {self._cluster.path}"
            )
        job.port, job.micropython, job.host = asked.port, asked.micropython, member.host
        config = self._config(member, board)
        image = None
        if self._firmwares is not None:
            image = downloads.fitting(board, self._firmwares)
        if image:
            job.firmware_mark = _mark(flashing.application(image, board))
        if not self._force and self._is_up(asked, config, job):
            job.was_up = True
            return
        if self._firmwares is not None:
            self._flash(job, asked, board, image)
        elif asked.runs == NOTHING:
            raise NotUp(f"{asked.port} has no MicroPython: `raftctl up` flashes it")
        if not job.host:
            self._report(member.id, "asking for its address", None)
            job.host = self._address(job.port)

    def _is_up(self, asked: Asked, config: dict[str, Any], job: Job) -> bool:
        if not asked.is_running or asked.runs == attached.JOINING:
            return False
        files, _, firmware = asked.deployed.partition(".")
        is_same = job.firmware_mark in ("", firmware)
        return is_same and files == deploying.mark(config, asked.micropython)

    def _flash(self, job: Job, asked: Asked, board: Board, image: Path | None) -> None:
        if asked.runs != NOTHING:
            self._report(job.member.id, "comparing MicroPython", None)
            with Repl(job.port) as repl:
                if self._has_all(repl, board, image):
                    return
        if image is None:
            raise NotUp(
                f"{job.port} has no MicroPython with a place for the raft log: get it with `make "
                f"firmware BOARD={board.name}`, or give its file with --firmware"
            )
        done = flashing.flash(
            job.port, image, board, False, flashing.BAUD,
            lambda step, share: self._report(job.member.id, step, share), claim=True,
        )  # fmt: skip
        job.flashed, job.wiped = done.written, done.wiped
        self._report(job.member.id, "starting MicroPython", None)
        job.micropython = _booted(job.port)

    def _has_all(self, repl: Repl, board: Board, image: Path | None) -> bool:
        repl.run(deploying.LOOSEN)
        if board.partition(RAFT) not in attached.facts(repl).partitions:
            return False
        if image is None:
            return True
        data = flashing.application(image, board)
        label = next(p.name for p in board.partitions if p.type == APP)
        repl.run(APPLICATION_HASH)
        held = repl.value(f"application_hash({label!r}, {len(data)})")
        return bool(held == hashlib.sha256(data).hexdigest())

    def _address(self, port: str) -> str:
        """What the router gives the board."""
        with Repl(port) as repl:
            repl.run(JOIN.format(ssid=self._wifi.ssid, password=self._wifi.password))
            address = ""
            end = time.monotonic() + JOIN_S
            while not address and time.monotonic() < end:
                time.sleep(LOOK_S)
                address = repl.value(ADDRESS)
            repl.run(LEAVE)
        if not address:
            raise NotUp(
                f"{port} doesn't come onto the Wi-Fi {self._wifi.ssid!r}: see to its name and "
                "password in secrets.toml; an ESP32 knows 2.4 GHz alone"
            )
        return address

    # Then, that of all being known

    def _learn(self, jobs: list[Job]) -> None:
        """Write the new addresses into the cluster's file."""
        hosts = {job.member.id: job.host for job in jobs if job.host and not job.member.host}
        if hosts:
            cluster.add_hosts(self._cluster.path, hosts)
            self._cluster = cluster.load(self._cluster.path)
        unknown = [member.id for member in self._cluster.nodes.values() if not member.host]
        for job in jobs:
            job.member = self._cluster.nodes[job.member.id]
            if unknown and not job.problem:
                job.problem = (
                    f"it waits for the address of node {unknown[0]}: bring that board up as well"
                )

    def _deploy(self, job: Job) -> None:
        member = job.member
        done = deploying.deploy(
            job.port, self._config(member, boards.load(member.board)), member.mac,
            job.firmware_mark, lambda step, share: self._report(member.id, step, share),
        )  # fmt: skip
        job.written, job.removed = done.written, done.removed

    def _config(self, member: Member, board: Board) -> dict[str, Any]:
        """What its `config.json` holds (firmware/README.md)."""
        config = self._cluster.config(member.id) | {
            "board": board.config(),
            "wifi": {"ssid": self._wifi.ssid, "password": self._wifi.password},
        }
        return config | ({"app": self._cluster.app} if self._cluster.app else {})


def _mark(application: bytes) -> str:
    return hashlib.sha256(application).hexdigest()[:8]


def _booted(port: str) -> str:
    """The version of MicroPython, when it has started."""
    end = time.monotonic() + BOOT_S
    while True:
        try:
            with Repl(port, fresh=False) as repl:
                return attached.facts(repl).version
        except (PortError, ReplError):
            if time.monotonic() > end:
                raise
            time.sleep(LOOK_S)
