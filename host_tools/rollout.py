"""Makes boards the nodes of a cluster: flashed if need be, deployed, up.

Boards without a running node, all at the same time. Nodes that run are restarted one after the
other, the leader last, when another one has taken over from it, so that the cluster goes on.

Whether a node may found a cluster is not for the file alone to say: one that a running cluster
doesn't know waits until it is added, or else new boards could make a second cluster of their own.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from host_tools import (
    attached,
    boards,
    cluster,
    cluster_edits,
    deploying,
    downloads,
    flashing,
    running,
)
from host_tools.attached import NOTHING, Asked, Silent
from host_tools.boards import APP, RAFT, Board
from host_tools.cluster import Cluster, Member
from host_tools.deploying import DeployError
from host_tools.flashing import FlashError
from host_tools.membership import Membership
from host_tools.ports import PortError
from host_tools.repl import Repl, ReplError
from host_tools.reporting import Report
from host_tools.running import Voters
from host_tools.secret import Secrets
from host_tools.settings import FileError

BOOT_S = 30.0  # the first start after flashing makes a file system
LOOK_S = 0.3
HEARD_S = 5.0  # until a leader has heard a node that has come up

# The hash of as many bytes of the application as the firmware file has of it; some blocks at a
# time, for a board that is silent for long is taken for one that doesn't answer
APPLICATION_HASH = """
from binascii import hexlify
from esp32 import Partition
from hashlib import sha256
buf = memoryview(bytearray(4096))
app = Partition.find(Partition.TYPE_APP, label={label!r})[0]
sum = sha256()
def take(first, last):
    for block in range(first, last):
        app.readblocks(block, buf)
        sum.update(buf[:min(4096, {size} - block * 4096)])
"""
HASH_BLOCKS = 64
BLOCK_BYTES = 4096


class NotUp(Exception):
    """A node can't be brought up; one line that says what to do."""


TROUBLE = (PortError, ReplError, FlashError, DeployError, NotUp, FileError)


@dataclass
class Job:
    """A node on its way, and what has become of it. problem: empty if it is up.

    written, removed: files on the board. was_up: whether it was as it should be, and wasn't
    touched. has_vote: whether it has come up with one. is_stranger: the cluster doesn't know it, as
    far as it has told: it waits to be added. address: in its network, as it has told.
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
    is_stranger: bool = False
    problem: str = ""
    address: str = ""
    asked: Asked | None = field(default=None, repr=False)
    image: Path | None = field(default=None, repr=False)
    firmware_mark: str = field(default="", repr=False)

    @property
    def is_done(self) -> bool:
        return self.was_up or self.problem != ""


class Rollout:
    """secrets: with keys and Wi-Fi.

    firmwares: to flash where MicroPython is missing, or another; what was downloaded, too.

    None: nothing is flashed. force: look at boards as well that say that they are as they should.
    at_once: restart nodes that run all at the same time.
    """

    def __init__(
        self,
        described: Cluster,
        secrets: Secrets,
        firmwares: Sequence[Path] | None,
        force: bool,
        at_once: bool,
        report: Report,
    ) -> None:
        self._cluster = described
        self._secrets = secrets
        self._firmwares = firmwares
        self._force = force
        self._at_once = at_once
        self._report_as = report
        self._failed: set[int] = set()  # restarted, and not come up

    def _report(self, node: int, step: str, share: float | None) -> None:
        self._report_as(f"node {node}", step, share)

    def run(self, nodes: Iterable[int], found: Sequence[Asked | Silent]) -> list[Job]:
        """Bring up these nodes on the boards that were found; one that fails stops no other.

        Raises ClusterFileError.
        """
        asked = {board.mac: board for board in found if isinstance(board, Asked)}
        told = running.members(self._cluster.path)
        self._settle_founders(told, asked)
        jobs = [Job(self._cluster.nodes[node]) for node in dict.fromkeys(nodes)]
        for job in jobs:
            job.asked = asked.get(job.member.mac)
            job.is_stranger = job.member.id not in told.nodes if told else job.member.join
        self._each(jobs, self._look)
        rolling = [] if self._at_once else [job for job in jobs if _rolls(job)]
        at_once = [job for job in jobs if job not in rolling]
        seen = {board.node for board in asked.values() if board.has_vote and board.node}
        is_led = bool(rolling) and self._voters(seen).can_lead
        self._each(at_once, self._prepare)
        self._each(at_once, lambda job: self._deploy(job, is_led and not job.is_stranger))
        seen |= {job.member.id for job in at_once if job.has_vote}
        for job in sorted(rolling, key=lambda job: _is_leader(job, told)):
            self._each([job], lambda job: self._replace(job, seen))
        return jobs

    def _settle_founders(self, told: Membership | None, asked: Mapping[str, Asked]) -> None:
        """Write down who has founded the cluster: no other node ever shall."""
        founders = self._cluster.founders
        here = {node: asked.get(self._cluster.nodes[node].mac) for node in founders}
        if told:
            founders = [node for node in founders if node in told.nodes]
        elif any(board and board.term for board in here.values()):
            # It has been led, and nobody can say by whom: a board that was no node yet waits. If it
            # is a member, it won't have to wait long.
            founders = [i for i, board in here.items() if not board or board.node is not None]
        cluster_edits.set_founders(self._cluster.path, founders)
        self._cluster = cluster.load(self._cluster.path)

    def _voters(self, seen: set[int]) -> Voters:
        """What is known of them; seen: those that have told on their serial lines that they run."""
        told = running.members(self._cluster.path)
        if told is None or not told.leader:
            return Voters(seen, len(self._cluster.voters))
        known = running.voters(told)
        return replace(known, standing=known.standing - self._failed)

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
        job.port, job.micropython, job.address = asked.port, asked.micropython, asked.address
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

    def _replace(self, job: Job, seen: set[int]) -> None:
        """Restart a node as it should be, and wait until it has a leader.

        seen: voters that have told that they run.
        """
        node = job.member.id
        self._check_spare(node, seen)
        seen.discard(node)
        self._hand_over(node)
        self._failed.add(node)
        self._prepare(job)
        self._deploy(job, is_led=not job.is_stranger)
        self._failed.discard(node)
        if job.has_vote:
            seen.add(node)

    def _check_spare(self, node: int, seen: set[int]) -> None:
        """Whether the majority can do without it; who has just come up has yet to be heard."""
        end = time.monotonic() + HEARD_S
        while not (voters := self._voters(seen)).can_spare(node):
            if time.monotonic() > end:
                others = len(voters.standing - {node})
                raise NotUp(
                    f"it was left as it is: without it {others} of {voters.total} voters run, and "
                    f"{voters.needed} are needed; bring up the others first, or go on with "
                    "--at-once"
                )
            time.sleep(LOOK_S)

    def _hand_over(self, node: int) -> None:
        """Nobody has to miss a leader that goes: another one takes over, or else is elected."""
        told = running.members(self._cluster.path)
        if told and told.leader == node and len(told.voters) > 1:
            self._report(node, "handing over to another leader", None)
            running.hand_over(self._cluster.path)

    # Until the board has MicroPython

    def _prepare(self, job: Job) -> None:
        assert job.asked
        if self._firmwares is not None:
            self._flash(job, job.asked)

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
        repl.run(APPLICATION_HASH.format(label=label, size=len(data)))
        blocks = -(-len(data) // BLOCK_BYTES)
        for first in range(0, blocks, HASH_BLOCKS):
            repl.run(f"take({first}, {min(first + HASH_BLOCKS, blocks)})")
        held = repl.value("print(repr(hexlify(sum.digest()).decode()))")
        return bool(held == hashlib.sha256(data).hexdigest())

    def _deploy(self, job: Job, is_led: bool) -> None:
        done = deploying.deploy(
            job.port, self._config(job.member), job.member.mac, job.firmware_mark,
            lambda step, share: self._report(job.member.id, step, share),
            is_led,
        )  # fmt: skip
        job.written, job.removed, job.has_vote = done.written, done.removed, done.has_vote
        job.address = done.address

    def _config(self, member: Member) -> dict[str, Any]:
        kind = boards.load(member.board)
        return deploying.config_of(self._cluster, member, kind, self._secrets)


def _rolls(job: Job) -> bool:
    """Whether it takes part in the cluster, which is to go on."""
    return job.asked is not None and job.asked.takes_part


def _is_leader(job: Job, told: Membership | None) -> bool:
    if told and told.leader:
        return told.leader == job.member.id
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
