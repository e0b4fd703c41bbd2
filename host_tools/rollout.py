"""Makes boards the nodes of a cluster: flashed if need be, deployed, up.

Boards without a running node, all at the same time. Nodes that run are restarted one after the
other, the leader last, so that the cluster goes on meanwhile.
"""

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
# The news of having left takes a moment, and would end an attempt that was begun meanwhile.
JOIN = """
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.config(reconnects=-1)
wlan.disconnect()
time.sleep(0.5)
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
    touched. has_vote: whether it has come up with one.
    """

    member: Member
    port: str = ""
    micropython: str = ""
    flashed: tuple[str, ...] = ()
    wiped: bool = False
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    was_up: bool = False
    has_vote: bool = False
    problem: str = ""
    host: str = ""
    asked: Asked | None = field(default=None, repr=False)
    image: Path | None = field(default=None, repr=False)
    firmware_mark: str = field(default="", repr=False)

    @property
    def is_done(self) -> bool:
        return self.was_up or self.problem != ""


class Rollout:
    """firmwares: to flash where MicroPython is missing, or another; what was downloaded, too.

    None: nothing is flashed. force: look at boards as well that say that they are as they should.
    at_once: restart nodes that run all at the same time.
    """

    def __init__(
        self,
        described: Cluster,
        wifi: Wifi,
        firmwares: Sequence[Path] | None,
        force: bool,
        at_once: bool,
        report: Report,
    ) -> None:
        self._cluster = described
        self._wifi = wifi
        self._firmwares = firmwares
        self._force = force
        self._at_once = at_once
        self._report_as = report

    def _report(self, node: int, step: str, share: float | None) -> None:
        self._report_as(f"node {node}", step, share)

    def run(self, nodes: Iterable[int], found: Sequence[Asked | Silent]) -> list[Job]:
        """Bring up these nodes on the boards that were found; one that fails stops no other."""
        asked = {board.mac: board for board in found if isinstance(board, Asked)}
        jobs = [Job(self._cluster.nodes[node]) for node in dict.fromkeys(nodes)]
        for job in jobs:
            job.asked = asked.get(job.member.mac)
        self._each(jobs, self._look)
        self._check_hosts(jobs, {job.member.id for job in jobs if not job.problem})
        rolling = [] if self._at_once else [job for job in jobs if _rolls(job)]
        at_once = [job for job in jobs if job not in rolling]
        voters = {board.node for board in asked.values() if board.has_vote and board.node}
        is_led = bool(rolling) and len(voters) >= self._cluster.majority
        self._each(at_once, self._prepare)
        self._learn(jobs)
        self._each(at_once, lambda job: self._deploy(job, is_led))
        voters |= {job.member.id for job in at_once if job.has_vote}
        for job in sorted(rolling, key=_is_leader):
            self._each([job], lambda job: self._replace(job, voters))
        return jobs

    def _each(self, jobs: list[Job], step: Callable[[Job], None]) -> None:
        def attempt(job: Job) -> None:
            try:
                step(job)
            except TROUBLE as e:
                job.problem = str(e)

        left = [job for job in jobs if not job.is_done]
        if left:
            with ThreadPoolExecutor(len(left)) as pool:
                list(pool.map(attempt, left))

    # What is to be done, without disturbing anybody

    def _look(self, job: Job) -> None:
        member, asked = job.member, job.asked
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
        if self._firmwares is not None:
            job.image = downloads.fitting(board, self._firmwares)
        if job.image:
            job.firmware_mark = _mark(flashing.application(job.image, board))
        job.was_up = not self._force and self._is_up(job, asked)

    def _is_up(self, job: Job, asked: Asked) -> bool:
        if not asked.takes_part:
            return False
        config = self._config(job.member)
        files, _, firmware = asked.deployed.partition(".")
        is_same = job.firmware_mark in ("", firmware)
        return is_same and files == deploying.mark(config, asked.micropython)

    # A node that takes part

    def _replace(self, job: Job, voters: set[int]) -> None:
        """Restart a node as it should be, and wait until it has a leader.

        voters: those that are known to run and to have a vote.
        """
        others = voters - {job.member.id}
        most = len(self._cluster.nodes)
        if len(others) < self._cluster.majority <= len(voters) and most > 2:
            raise NotUp(
                f"it was left as it is: without it {len(others)} of {most} nodes run and have a "
                f"vote, and {self._cluster.majority} are needed; bring up the others first, or go "
                "on with --at-once"
            )
        voters.discard(job.member.id)
        self._prepare(job)
        self._deploy(job, is_led=True)
        if job.has_vote:
            voters.add(job.member.id)

    # Until the board has MicroPython, and an address

    def _prepare(self, job: Job) -> None:
        assert job.asked
        if self._firmwares is not None:
            self._flash(job, job.asked)
        if not job.host:
            self._report(job.member.id, "asking for its address", None)
            job.host = self._address(job.port)

    def _flash(self, job: Job, asked: Asked) -> None:
        board = boards.load(job.member.board)
        has_all = False
        if asked.runs != NOTHING:
            self._report(job.member.id, "comparing MicroPython", None)
            with Repl(job.port) as repl:
                has_all = self._has_all(repl, board, job.image)
                if not has_all and job.image is None:
                    repl.restart()  # what has run may run on
        if has_all:
            return
        if job.image is None:
            raise NotUp(
                f"{job.port} has no MicroPython with a place for the raft log: get it with `make "
                f"firmware BOARD={board.name}`, or give its file with --firmware"
            )
        done = flashing.flash(
            job.port, job.image, board, False, flashing.BAUD,
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
            try:
                cluster.add_hosts(self._cluster.path, hosts)
            except OSError as e:
                for job in jobs:
                    job.problem = job.problem or f"{e.filename} can't be written: {e.strerror}"
                return
            self._cluster = cluster.load(self._cluster.path)
        for job in jobs:
            job.member = self._cluster.nodes[job.member.id]
        self._check_hosts(jobs, set())

    def _check_hosts(self, jobs: list[Job], coming: set[int]) -> None:
        """No node can do without the addresses of all; those that are coming will be known."""
        unknown = [m.id for m in self._cluster.nodes.values() if not m.host and m.id not in coming]
        for job in jobs:
            if unknown and not job.is_done:
                job.problem = (
                    f"it waits for the address of node {unknown[0]}: bring that board up as well"
                )

    def _deploy(self, job: Job, is_led: bool) -> None:
        done = deploying.deploy(
            job.port, self._config(job.member), job.member.mac, job.firmware_mark,
            lambda step, share: self._report(job.member.id, step, share),
            is_led,
        )  # fmt: skip
        job.written, job.removed, job.has_vote = done.written, done.removed, done.has_vote

    def _config(self, member: Member) -> dict[str, Any]:
        return deploying.config_of(self._cluster, member, boards.load(member.board), self._wifi)


def _rolls(job: Job) -> bool:
    """Whether it takes part in the cluster, which is to go on."""
    return job.asked is not None and job.asked.takes_part and job.member.host != ""


def _is_leader(job: Job) -> bool:
    return job.asked is not None and job.asked.runs == "leader"


def _mark(application: bytes) -> str:
    return hashlib.sha256(application).hexdigest()[:8]


def _booted(port: str) -> str:
    """The version of MicroPython, when it has started."""
    end = time.monotonic() + BOOT_S
    while True:
        try:
            with Repl(port, fresh=False) as repl:
                return attached.facts(repl).version
        except (PortError, ReplError) as e:
            if time.monotonic() > end:
                raise NotUp(
                    f"{port} was flashed, and MicroPython isn't heard there: a board with a USB "
                    "of its own may have another port now: `raftctl up` again"
                ) from e
            time.sleep(LOOK_S)
