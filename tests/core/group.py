"""Nodes for tests: real cores over real logs and flash stores, and a wire worked by hand.

Portable. A `Member` is one node, driven as `node.py` drives it; a `Group` is a cluster of them,
whose datagrams lie in `wire` until the test delivers, loses, doubles or reorders them. The state
machine of a node is the list of all entries that it has applied, and a snapshot holds that list.
"""

import struct
from binascii import crc32

from raft.core import CANDIDATE, ELECTION_MS, HEARTBEAT_MS, LEADER, PRE_CANDIDATE, Core
from raft.log import RAM_BYTES, Log
from raft.members import founders
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    CONFIG,
    MAX_DATAGRAM,
    MAX_NUMBER,
    MAX_PIECE,
    PRE_VOTE_REPLY,
    SNAPSHOT,
    VOTE_REPLY,
    Codec,
    Message,
)
from raft.store import Compacted, Store
from tests.flash import SECTOR_BYTES, RamFlash
from tests.sealing import codec as codec_of
from tests.sealing import opened
from tests.store.model import read_snapshot

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLUSTER = "test"
SECTORS = 16
LOW_MS, HIGH_MS = ELECTION_MS
STEP_MS = 10  # how finely `Group.run` lets time go by
ENDLESS = 10_000  # more datagrams than nodes have to exchange without any time going by
GRANTED = 1  # index of a reply that grants a vote
EARLY = (APPEND, COMMIT, SNAPSHOT)  # what a leader may send before its own log is written

_codecs: dict[int, Codec] = {}


def highest(low: int, high: int) -> int:
    """The election timeout of nodes that are to stand only when the test says so."""
    return high


def entry(index: int, term: int) -> tuple[int, int, bytes]:
    """A command without a session; one index and one term make one entry, as in a real log."""
    return term, COMMAND, b"%d.%d" % (index, term)


def entries(first: int, *terms: int) -> list[tuple[int, int, bytes]]:
    """Commands of these terms, the first at index `first`."""
    return [entry(first + i, term) for i, term in enumerate(terms)]


def letter(kind: int, src: int, dst: int, term: int, index: int = 0, log_term: int = 0,
           commit: int = 0, ctx: int = 0,
           entries: "Sequence[tuple[int, int, bytes]]" = (),
           piece: "tuple[int, int, int, bytes] | None" = None) -> Message:  # fmt: skip
    """A message with these fields; piece: of a snapshot: offset, size, CRC-32, data."""
    m = Message()
    m.kind, m.src, m.dst, m.term, m.index = kind, src, dst, term, index
    m.log_term, m.commit, m.ctx = log_term, commit, ctx
    m.entries = entries  # type: ignore[assignment]
    if piece:
        m.offset, m.size, m.crc, m.data = piece
    return m


def frame(m: Message) -> bytes:
    """The datagram of a message, as its sender encodes it."""
    codec = _codec(m.src)
    return bytes(codec.frame(codec.encode(m)))


def message(datagram: bytes) -> Message:
    """The message of a datagram; it may be heard more than once, as if doubled on its way here."""
    return opened(datagram)


def carried(m: Message) -> list[tuple[int, int, bytes]]:
    """The entries of a message."""
    return list(m.entries)


def snapshot_of(applied: list[tuple[int, int, bytes]], size: int = 0, fill: int = 0,
                voters: "Sequence[int]" = (1, 2, 3)) -> bytes:  # fmt: skip
    """A snapshot after these entries, of `size` bytes at least; `fill`: what fills it up.

    voters: the founders, if none of the entries is a configuration.
    """
    index, members = 0, founders(voters).data
    for i, (_, kind, data) in enumerate(applied):
        if kind == CONFIG:
            index, members = i + 1, data
    data = struct.pack("<HI", 4 + len(members), index) + members
    data += b"".join([struct.pack("<IBH", t, kind, len(d)) + d for t, kind, d in applied])
    data += bytes(7)  # no entry has the term 0
    return data + bytes([fill]) * (size - len(data))


def restored(data: bytes) -> list[tuple[int, int, bytes]]:
    """The entries that a snapshot stands for."""
    applied: list[tuple[int, int, bytes]] = []
    at = 2 + struct.unpack_from("<H", data, 0)[0]
    while True:
        term, kind, size = struct.unpack_from("<IBH", data, at)
        if term == 0:
            return applied
        at += 7 + size
        applied.append((term, kind, data[at - size : at]))


def pieces(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """A snapshot as it crosses the wire: offset, size, CRC-32 and data of each piece."""
    crc = crc32(data) & MAX_NUMBER
    return [
        (at, len(data), crc, data[at : at + MAX_PIECE]) for at in range(0, len(data), MAX_PIECE)
    ]


def _codec(node: int) -> Codec:
    if node not in _codecs:
        _codecs[node] = codec_of(node, CLUSTER)
    return _codecs[node]


def offsets(sent: list[Message], dst: int = 3) -> list[int]:
    """Where the pieces begin that were sent to a node."""
    return [m.offset for m in sent if m.kind == SNAPSHOT and m.dst == dst]


class Member:
    """One node of a cluster with the given voters; with none it waits to be added.

    terms: of the entries that its log holds at the start; term, vote: its hard state then.
    options: of its core.
    out: datagrams it has sent. applied: entries. reads: (token, index) it may answer.
    """

    def __init__(self, node: int, voters: tuple[int, ...], terms: tuple[int, ...] = (),
                 term: int = 0, vote: int = 0, draw: "Callable[[int, int], int]" = highest,
                 ram_bytes: int = RAM_BYTES, sectors: int = SECTORS,
                 **options: "int | bool") -> None:  # fmt: skip
        self.node = node
        self._options = options
        self.voters = voters
        self.flash = RamFlash(sectors)
        self._draw = draw
        self._ram_bytes = ram_bytes
        if terms or term:
            Store(self.flash, node).append(True, term or terms[-1], vote, 1, entries(1, *terms))
        self.start()

    def start(self) -> None:
        """Power on: all that it knows is what its flash holds."""
        self.flash = self.flash.copy()
        self.store = Store(self.flash, self.node)
        self.log = Log(self.store, self._ram_bytes)
        self.core = Core(
            self.node, founders(self.voters), self.log, self.store.term, self.store.vote,
            self._draw, doubt=self.store.doubt, **self._options,
        )  # fmt: skip
        self.out: list[bytes] = []
        self.applied: list[tuple[int, int, bytes]] = []
        self.reads: list[tuple[object, int]] = []
        self._apply()

    def work(self) -> None:
        """Do what the core wants done, in the order that Ready names."""
        core = self.core
        while True:
            ready = core.ready()
            if ready is None:
                break
            assert all(m.kind in EARLY for m in ready.early)
            assert not any(m.kind in EARLY for m in ready.after)
            if not ready.save:
                self._send(ready.early)
            if ready.save or ready.entries or ready.chunks:
                self.store.write(ready)
            if ready.save:
                self._send(ready.early)
            self._send(ready.after)
            self.reads.extend(ready.reads)
            core.advance()
        self._apply()

    def _apply(self) -> None:
        core = self.core
        if len(self.applied) < core.log.snapshot().index:
            self.applied = restored(read_snapshot(self.store))
            assert len(self.applied) == core.log.snapshot().index
        while len(self.applied) < core.commit:
            entries = core.log.slice(len(self.applied) + 1, SECTOR_BYTES, 0)
            self.applied += entries[: core.commit - len(self.applied)]

    def compact(self, size: int = 0, fill: int = 0) -> None:
        """Write a snapshot of all that is applied, at one time. size, fill: see `snapshot_of`."""
        self._write_snapshot(len(self.applied), snapshot_of(self.applied, size, fill, self.voters))

    def forget(self) -> None:
        """Let the ring come round: what the snapshot stands for, which is all, is erased."""
        store = self.store
        assert store.snapshot.index == self.log.last
        index, data = store.snapshot.index, read_snapshot(store)
        floor = store.floor
        while store.oldest < floor:
            store.end = SECTOR_BYTES
            store.append(True, store.term, store.vote, 0, ())
            if store.used_sectors() > store.sectors // 2:
                self._write_snapshot(index, data)

    def _write_snapshot(self, index: int, data: bytes) -> None:
        store = self.store
        self.log.coming = None  # as `compaction.py` does
        store.end = SECTOR_BYTES  # a sector that it begins needs nothing of the ones before
        store.begin_snapshot(index, self.log.term(index))
        for _, _, _, piece in pieces(data):
            store.add_to_snapshot(piece)
        store.end_snapshot(True)
        assert store.snapshot.index == index and store.snapshot.size == len(data)

    def _send(self, letters: list[Message]) -> None:
        for m in letters:
            self.out.append(frame(m))
            assert len(self.out[-1]) <= MAX_DATAGRAM

    def take(self) -> list[Message]:
        """The messages it has sent since the last time."""
        sent = [message(datagram) for datagram in self.out]
        self.out.clear()
        return sent

    def tick(self, ms: int) -> list[Message]:
        """Let time go by; what it sends then."""
        self.core.tick(ms)
        self.work()
        return self.take()

    def hear(self, kind: int, src: int, term: int, index: int = 0, log_term: int = 0,
             commit: int = 0, ctx: int = 0,
             entries: "Sequence[tuple[int, int, bytes]]" = (),
             piece: "tuple[int, int, int, bytes] | None" = None) -> list[Message]:  # fmt: skip
        """Let it hear one message; what it sends then."""
        m = letter(kind, src, self.node, term, index, log_term, commit, ctx, entries, piece)
        self.core.step(message(frame(m)))
        self.work()
        return self.take()

    def stand(self) -> list[Message]:
        """Let its election timeout pass; what it sends then."""
        return self.tick(HIGH_MS)

    def lead(self) -> list[Message]:
        """Let it win an election with the votes it needs; what it sends then."""
        core = self.core
        sent = self.stand()
        for voter in core.members.voters:
            if core.role == PRE_CANDIDATE and voter != self.node:
                sent = self.hear(PRE_VOTE_REPLY, voter, core.term + 1, GRANTED)
        for voter in core.members.voters:
            if core.role == CANDIDATE and voter != self.node:
                sent = self.hear(VOTE_REPLY, voter, core.term, GRANTED)
        assert core.role == LEADER
        return sent

    def replicate(self) -> None:
        """Let all others acknowledge all that it has as a leader."""
        self.work()
        self.out.clear()
        for peer in self.core.members.voters:
            if peer != self.node:
                self.replicate_to(peer)

    def replicate_to(self, peer: int) -> None:
        """Let this one acknowledge all that it has as a leader."""
        self.hear(APPEND_REPLY, peer, self.core.term, index=self.log.last, ctx=1)

    def terms(self) -> list[int]:
        """The terms of all entries of its log."""
        return [term for term, _, _ in self.entries()]

    def entries(self) -> list[tuple[int, int, bytes]]:
        """All entries of its log; of those that have left it, what was applied."""
        found: list[tuple[int, int, bytes]] = []
        while len(found) < self.log.last:
            try:
                found += self.log.slice(len(found) + 1, SECTOR_BYTES, 0)
            except Compacted:
                found.append(self.applied[len(found)])
        return found

    def hard_state(self) -> tuple[int, int]:
        """(term, vote) that a power cut at this moment would leave."""
        store = Store(self.flash.copy(), self.node)
        return store.term, store.vote


def settled_leader(
    voters: tuple[int, ...] = (1, 2, 3), terms: tuple[int, ...] = (), sectors: int = SECTORS,
    **options: "int | bool",
) -> Member:  # fmt: skip
    """Node 1, which leads and has committed all that it has; its rounds so far are 1 and 2."""
    node = Member(1, voters, terms=terms, sectors=sectors, **options)  # type: ignore[arg-type]
    node.lead()
    node.replicate()
    return node


class Group:
    """A cluster of nodes 1..count. Each datagram sent lies in `wire` until it is delivered.

    cut: (src, dst) links that lose everything. down: nodes without power. After each step of a
    node the rules that hold in every state are checked: see `check`.
    """

    def __init__(self, count: int, draw: "Callable[[int, int], int]" = highest,
                 ram_bytes: int = RAM_BYTES, sectors: int = SECTORS) -> None:  # fmt: skip
        voters = tuple(range(1, count + 1))
        self.members = {
            n: Member(n, voters, draw=draw, ram_bytes=ram_bytes, sectors=sectors) for n in voters
        }
        self._begin()

    def _begin(self) -> None:
        self.wire: list[bytes] = []
        self.cut: set[tuple[int, int]] = set()
        self.down: set[int] = set()
        self.leaders: dict[int, int] = {}  # term -> the node that led it
        self.committed: list[tuple[int, int, bytes]] = []
        self.committed_in: list[int] = []  # the term in which each of them was committed
        self._commits = {n: 0 for n in self.members}

    @staticmethod
    def of(*members: Member) -> "Group":
        """A cluster of nodes that have a past already."""
        group = Group(0)
        group.members = {member.node: member for member in members}
        group._begin()
        return group

    # Nodes

    def up(self) -> list[Member]:
        return [self.members[n] for n in sorted(self.members) if n not in self.down]

    def leader(self) -> Member | None:
        """The leader of the newest term that has one."""
        leading = [m for m in self.up() if m.core.role == LEADER]
        return max(leading, key=lambda m: m.core.term) if leading else None

    def work(self, node: int) -> None:
        """Let one node do what its core wants done; its datagrams go onto the wire."""
        member = self.members[node]
        member.work()
        self.wire.extend(member.out)
        member.out.clear()
        self.check(member)

    def tick(self, node: int, ms: int = 0) -> None:
        self.members[node].core.tick(ms)
        self.work(node)

    def propose(self, node: int, data: bytes) -> int:
        """Propose a command at a leader; its index."""
        index = self.members[node].core.propose(COMMAND, data)
        self.work(node)
        return index

    def win(self, node: int) -> Member:
        """Let this node win an election: all have waited as long, and let it be the first.

        What it sends as a leader stays on the wire.
        """
        winner = self.members[node]
        for _ in range(3):  # once or twice only to learn of a higher term
            for member in self.up():
                member.core.pass_time(HIGH_MS)
            self.tick(node)
            while self.wire and winner.core.role != LEADER:
                self.deliver()
            if winner.core.role == LEADER:
                return winner
        raise AssertionError("node %d was not elected" % node)

    def elect(self, node: int) -> Member:
        """Let this node win an election, and what it sends as a leader arrive."""
        self.win(node)
        self.deliver_all()
        return self.members[node]

    def beat(self, node: int) -> None:
        """Let this leader send its heartbeats, and all datagrams arrive."""
        self.tick(node, HEARTBEAT_MS)
        self.deliver_all()

    def run(self, ms: int) -> None:
        """Let time go by on all nodes, with each datagram delivered within STEP_MS."""
        for _ in range(ms // STEP_MS):
            for member in self.up():
                self.tick(member.node, STEP_MS)
            self.deliver_all()

    def crash(self, node: int) -> None:
        self.down.add(node)

    def restart(self, node: int) -> Member:
        self.down.discard(node)
        self.members[node].start()
        self._commits[node] = 0
        return self.members[node]

    def pass_term(self, candidate: int) -> None:
        """All that are up have voted for a node in a new term, and hear no more of it."""
        for member in self.up():
            member.store.append(True, member.core.term + 1, candidate, 0, ())
            self.restart(member.node)

    # Datagrams

    def isolate(self, *nodes: int) -> None:
        """These nodes hear only each other, and the others don't hear them."""
        for a in nodes:
            for b in self.members:
                if b not in nodes:
                    self.cut.add((a, b))
                    self.cut.add((b, a))

    def heal(self) -> None:
        self.cut.clear()

    def deliver(self, i: int = 0, works: bool = True) -> None:
        """Deliver the datagram `wire[i]`, if its link and its receiver are alive.

        works: whether what it causes is done at once, or when the receiver works the next time.
        """
        datagram = self.wire.pop(i)
        src, dst = datagram[2], datagram[3]
        if (src, dst) not in self.cut and dst not in self.down:
            self.members[dst].core.step(message(datagram))
            if works:
                self.work(dst)

    def deliver_all(self) -> None:
        """Deliver, in order, until nothing is under way."""
        for _ in range(ENDLESS):
            if not self.wire:
                return
            self.deliver()
        raise AssertionError("they answer each other for ever")

    # What holds in every state

    def check(self, member: Member) -> None:
        """Figure 3's rules, as far as the last step of one node can have broken them."""
        core = member.core
        if core.role == LEADER:
            if core.term not in self.leaders:
                self.leaders[core.term] = member.node
                self.check_complete(member)
            assert self.leaders[core.term] == member.node, "term %d has two leaders" % core.term
        assert core.commit >= self._commits[member.node], "a commit index has fallen"
        assert core.commit <= core.log.last, "a commit index is beyond the log"
        for index in range(self._commits[member.node] + 1, core.commit + 1):
            applied = member.applied[index - 1]
            if index > len(self.committed):
                self.committed.append(applied)
                self.committed_in.append(core.term)
            assert self.committed[index - 1] == applied, "entry %d differs" % index
        self._commits[member.node] = core.commit

    def check_complete(self, leader: Member) -> None:
        """Leader Completeness: it holds all that was committed in earlier terms."""
        held = leader.entries()
        for i, term in enumerate(self.committed_in):
            if term < leader.core.term:
                assert held[i : i + 1] == self.committed[i : i + 1], (
                    "a leader without committed entry %d" % (i + 1)
                )


def far_behind(size: int = 0, count: int = 3) -> Group:
    """Node 1 leads; the last node is down, and what it lacks is only in the others' snapshots.

    These stand for the entries 1 to 11 and have `size` bytes at least; it has the first entry.
    """
    group = Group(count, ram_bytes=0)
    group.elect(1)
    group.beat(1)
    group.crash(count)
    for i in range(10):
        group.propose(1, b"command %d" % i)
        group.deliver_all()
    group.beat(1)
    for member in group.up():
        member.compact(size)
        member.forget()
    return group
