"""What a node does with its flash, and power cuts anywhere in it; portable.

A `Life` writes, votes, takes snapshots, gets them from a leader, erases and starts again, through
the real Store and Compaction. Before each program and each erase it can be asked: what if the
power fails here? `check` answers that for one power cut.
"""

import struct
from binascii import crc32

from raft import requests
from raft.compaction import Compaction
from raft.kv import KEY_RAM_BYTES, KeyValue
from raft.machines import Machines
from raft.members import Members, founders
from raft.messages import COMMAND, MAX_PIECE, NOOP
from raft.sector import NONE, record_bytes
from raft.sessions import CLOCK_BYTES, OPEN, Sessions, command, entry
from raft.store import Snapshot, Store
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, PowerCut, RamFlash
from tests.store.cuts import ERASE, Operation, WatchedFlash
from tests.store.model import NODE, Install, Model, Write, read_snapshot

SECTORS = 18
KEYS = 28
VALUE_BYTES = 24, 44
MACHINE_BYTES = KEYS * (KEY_RAM_BYTES + 5 + VALUE_BYTES[1])
SESSIONS = 6
MEMBERS = founders((1, 2, 3))
EAGER_AT = 2, 4  # sectors in use when a snapshot is begun: earlier than it would be due
BATCH = 12  # entries at most
UNCOMMITTED = 10  # entries at most
STUCK = 200  # quiet moments without room for a command


class Taken:
    """A snapshot as it must be found: of this state, after the last entry of `log`.

    keeps: whether the log goes on behind it.
    """

    def __init__(
        self, log: list[tuple[int, int, bytes]], machine: Sessions, keeps: bool = True
    ) -> None:
        self.log = log
        self.index = len(log)
        self.term = log[-1][0] if log else 0
        self.data = packed(machine) if log else b""
        self.state = state_of(machine)
        self.keeps = keeps
        self.is_restored = False  # it has been seen that its bytes bring back the state

    def is_in(self, store: Store) -> bool:
        """Whether it is the one that the store holds, whole."""
        snapshot = store.snapshot
        return (snapshot.index, snapshot.term) == (self.index, self.term) and (
            read_snapshot(store) == self.data
        )

    def is_coming_to(self, store: Store) -> bool:
        """Whether it is the one of which the store holds the first bytes."""
        coming, data = store.coming, self.data
        return coming is not None and (
            (coming.index, coming.term, coming.size) == (self.index, self.term, len(data))
            and coming.crc == crc32(data) & NONE
            and coming.sum == crc32(data[: coming.next])
        )


class Arrival:
    """A core.Ready that brings a piece of a snapshot and nothing else."""

    save = False
    first = 0
    entries = ()
    doubt = 0

    def __init__(
        self, model: Model, snapshot: Snapshot, at: int, piece: bytes, is_last: bool, keeps: bool
    ) -> None:
        self.term = model.term
        self.vote = model.vote
        self.chunks = [(snapshot, at, piece)]
        self.installed = snapshot if is_last else None
        self.keeps = keeps


def packed(machine: Sessions) -> bytes:
    """The bytes of its snapshot in the flash (raft/compaction.py)."""
    chunks = list(machine.snapshot())
    chunks.insert(0, struct.pack("<I", 0) + MEMBERS.data)
    return b"".join([struct.pack("<H", len(chunk)) + chunk for chunk in chunks])


def state_of(machine: Sessions) -> list[bytes]:
    """All that it knows, in an order that doesn't depend on its history."""
    chunks = list(machine.snapshot())
    end = [len(chunk) for chunk in chunks].index(CLOCK_BYTES)
    return sorted(chunks[:end]) + sorted(chunks[end:])


def new_machine() -> Sessions:
    return Sessions(Machines(KeyValue(MACHINE_BYTES)))


def copied(machine: Sessions) -> Sessions:
    other = new_machine()
    other.reset()
    for chunk in machine.snapshot():
        other.restore(chunk)
    return other


def old_ring() -> RamFlash:
    """A partition that nobody has erased: some sectors full of junk, some partly, some blank."""
    dice = Dice(1)
    flash = RamFlash(SECTORS)
    for sector in range(SECTORS):
        if sector % 4 != 3:
            blank = 4000 if sector % 3 == 1 else 0
            flash.fill(sector, b"\xff" * blank + dice.bytes(SECTOR_BYTES - blank))
    return flash


class LiveStore(Store):
    """Tells its life of the snapshots."""

    life: "Life | None" = None

    def begin_snapshot(self, index: int, term: int, size: int = 0, crc: int = 0) -> None:
        assert self.life
        self.life.begins_snapshot(index, size)
        super().begin_snapshot(index, term, size, crc)
        self.life.has_begun()

    def end_snapshot(self, keeps: bool) -> None:
        assert self.life
        self.life.ends_snapshot(keeps)
        super().end_snapshot(keeps)
        self.life.has_ended()


class LiveCompaction(Compaction):
    """Writes a snapshot when so many sectors are in use: earlier than it would be due."""

    eager_at = 0

    def is_due(self) -> bool:
        is_early = self._store.used_sectors() >= self.eager_at and not self._is_moving()
        return is_early or super().is_due()


class Life:
    """What a node does with its flash, decided by `seed`; it stands in for core and log.

    before: called as before(life, operation) before each program and erase. flash: what it begins
    with. is_busy: it has no quiet moments. cuts: after about so many operations the power fails in
    one, and the node starts again; 0: never. faults: after about so many programs one fails.

    seen: how often what happened. model: all that was acknowledged. write: what is under way, or
    None. whole: the snapshot that counts. ending: the one that is about to, or None. arriving: the
    one that comes from a leader, or None; `arrived` of its bytes were acknowledged, -1 if not even
    its begin was, and `arrives` more are under way. is_retry: the program before has failed.
    """

    def __init__(  # type: ignore[no-untyped-def]
        self,
        seed: int,
        before=None,
        flash: RamFlash | None = None,
        is_busy: bool = False,
        cuts: int = 0,
        faults: int = 0,
    ) -> None:
        self.dice = Dice(seed)
        self.before = before
        self.is_busy = is_busy
        self.cuts = cuts
        self.faults = faults
        self.is_retry = False
        self.seen: dict[str, int] = {}
        self.model = Model()
        self.write: Write | Install | None = None
        self.machine = new_machine()
        self.whole = Taken([], self.machine)
        self.begun = self.whole
        self.ending: Taken | None = None
        self.arriving: Taken | None = None
        self.arrived = self.arrives = 0
        self.commit = 0
        self.log = self  # what Compaction wants of a core
        self.peers: dict[int, object] = {}
        self.coming: Taken | None = None
        self._fails = False  # the program that has just been told of
        self._sessions: list[list[int]] = []  # session, number of its last command
        self.flash = WatchedFlash(flash or old_ring(), self.operates)
        self._boot()

    def fork(self, image: RamFlash, seed: int, before) -> "Life":  # type: ignore[no-untyped-def]
        """Another life, which starts with what a power cut has left of this one's flash."""
        other = Life(seed, None, RamFlash(SECTORS))
        other.before = before
        for name in ("write", "whole", "ending", "arriving", "arrived", "arrives", "commit"):
            setattr(other, name, getattr(self, name))
        other.model = self.model.copy()
        other._sessions = [list(session) for session in self._sessions]
        other.machine = copied(self.machine)
        other.flash = WatchedFlash(image, other.operates)
        other._boot()
        return other

    def term(self, index: int) -> int:
        return self.model.log[index - 1][0]

    def happens(self, what: str, times: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + times

    # What its parts tell

    @property
    def operations(self) -> int:
        return self.seen.get("programs", 0) + self.seen.get("erases", 0)

    def operates(self, operation: Operation) -> None:
        self.happens("erases" if operation.offset == ERASE else "programs")
        self.is_retry, self._fails = self._fails, False
        if self.before:
            self.before(self, operation)
        if self.cuts and self.dice.one_in(self.cuts):
            page, variant = self.dice.pick(operation.cuts())
            image = operation.torn(page, variant, self.dice.below(1 << 16))
            self.flash = WatchedFlash(image, self.operates)
            raise PowerCut("in the %s" % operation)
        if self.faults and operation.offset != ERASE and self.dice.one_in(self.faults):
            self.flash.failures = 1
            self._fails = True
            self.happens("faults")

    def members_at(self, index: int) -> tuple[int, Members]:
        return 0, MEMBERS

    def begins_snapshot(self, index: int, size: int) -> None:
        if self.store.coming:
            self.happens("broken off")
        if size == 0:  # one of its own
            self.arriving = None
        self.begun = self.arriving or Taken(self.model.log[:index], self.machine)

    def has_begun(self) -> None:
        if self.arriving:
            self.arrived = 0

    def ends_snapshot(self, keeps: bool) -> None:
        self.ending = self.begun
        if not keeps:
            self.write = Install(self.begun.log)

    def has_ended(self) -> None:
        if not self.arriving:
            self.happens("compactions")
            self._draw_eagerness()
        else:
            self.happens("installs that keep" if self.begun.keeps else "installs that drop")
        self.whole, self.ending, self.arriving = self.begun, None, None
        if self.write:
            self._acknowledged()

    # What it does

    def turn(self) -> None:
        """A write, and what a node does around it."""
        dice = self.dice
        try:
            if dice.one_in(100):
                self._boot()
            elif dice.one_in(60):
                self._begin_to_arrive()
            elif self.arriving and dice.one_in(2):
                self._arrive()
            else:
                self._append()
                self.compaction.keep_pace(self.commit)
            if not self.is_busy and dice.one_in(2):
                self._quiet()
        except PowerCut:
            self.happens("power cuts")
            self._boot()

    def _quiet(self) -> None:
        if not self.store.idle():
            self.compaction.step(self.commit)

    def _draw_eagerness(self) -> None:
        self.compaction.eager_at = self.dice.draw(*EAGER_AT)

    def _append(self) -> None:
        dice, model = self.dice, self.model
        term, vote, first = model.term or 1, model.vote, len(model.log) + 1
        if dice.one_in(12):
            term, vote = term + dice.draw(1, 2), dice.below(4)
            if len(model.log) > self.commit and dice.one_in(2):
                first = dice.draw(self.commit + 1, len(model.log))
                self.happens("truncations")
        elif vote == 0 and dice.one_in(3):
            vote = dice.draw(1, 3)
        entries = [(term, NOOP, b"")] if term > model.term else []
        pending = 2 * record_bytes(0)
        for _ in range(dice.draw(1, BATCH if dice.one_in(10) else 2)):
            data = self._command()
            waited = 0
            while not self.store.has_room(len(data), pending=pending):
                assert waited < STUCK, "the ring stays full"
                self._quiet()
                waited += 1
            entries.append((term, COMMAND, data))
            pending += record_bytes(len(data))
            self.happens("commands")
        save = (term, vote) != (model.term, model.vote)
        if save:
            self.happens("hard states")
        self._do(Write(save, term, vote, first, entries))
        last = len(self.model.log)
        if not self.arriving or self.arriving.keeps:
            self._commit_to(dice.draw(max(self.commit, last - UNCOMMITTED), last))

    def _do(self, write: Write) -> None:
        self.write = write
        write.to(self.store)
        self._acknowledged()

    def _acknowledged(self) -> None:
        assert self.write
        self.model.take(self.write)
        self.write = None

    def _command(self) -> bytes:
        dice = self.dice
        if not self._sessions or len(self._sessions) < SESSIONS and dice.one_in(20):
            return entry(0, OPEN)
        session = dice.pick(self._sessions)
        session[1] += 1
        key = b"key%02d" % dice.below(KEYS)
        if dice.one_in(8):
            change = requests.delete(key)
        else:
            change = requests.put(key, dice.bytes(dice.draw(*VALUE_BYTES)))
        return entry(0, command(session[0], session[1], change))

    def _commit_to(self, index: int) -> None:
        for i in range(self.commit + 1, index + 1):
            _, kind, data = self.model.log[i - 1]
            if data == entry(0, OPEN) and len(self._sessions) < SESSIONS:
                self._sessions.append([i, 0])
            if kind == COMMAND:
                self.machine.apply(i, data)
        self.commit = index

    def _begin_to_arrive(self) -> None:
        """A leader wants to send a snapshot: of what the node has already, or of more."""
        dice = self.dice
        leader = copied(self.machine)
        log = self.model.log[: self.commit]
        keeps = self.commit > 0 and dice.one_in(2)
        if not keeps:
            term = self.model.term + 1
            # Its own entries will be of a later one: of that term, they would be the same ones.
            self._do(Write(True, term + 1, 0))
            for _ in range(dice.draw(1, 30)):
                log.append((term, COMMAND, self._command()))
                leader.apply(len(log), log[-1][2])
        self.arriving = self.coming = Taken(log, leader, keeps)
        self.arrived = -1
        self._arrive()

    def _arrive(self) -> None:
        """Its next piece comes."""
        taken, at = self.arriving, max(self.arrived, 0)
        assert taken
        data = taken.data
        snapshot = Snapshot(taken.index, taken.term, len(data), crc32(data) & NONE)
        piece = data[at : at + MAX_PIECE]
        is_last = at + len(piece) == len(data)
        self.arrives = len(piece)
        self.store.write(Arrival(self.model, snapshot, at, piece, is_last, taken.keeps))
        self.compaction.restored = not is_last
        self.arrived = at + len(piece)
        self.arrives = 0
        if is_last:
            self.coming = None
            self._restore(max(self.commit, taken.index))

    def _boot(self) -> None:
        """The node starts with what the flash holds, and goes on."""
        self.happens("starts")
        commit, state = self.commit, state_of(self.machine)
        self.store = store = LiveStore(self.flash, NODE)
        self.model, self.whole = found(self, store)
        store.life = self
        self.write = self.ending = None
        if self.arriving and not self.arriving.is_coming_to(store):
            self.arriving = None
        if self.arriving:
            assert store.coming
            self.arrived = store.coming.next
            if self.arrived == store.coming.size:
                self.arriving = None  # only its end is missing: it comes again from its beginning
        self.arrives = 0
        self.coming = self.arriving
        self.begun = self.arriving or self.whole
        self.machine = new_machine()
        self.compaction = LiveCompaction(store, self, self.machine)
        self._draw_eagerness()
        self._restore(max(commit, self.whole.index))
        assert self.commit > commit or state_of(self.machine) == state

    def _restore(self, commit: int) -> None:
        """The machine gets the state of the snapshot, and of the entries behind it."""
        while not self.compaction.restored:
            self.compaction.restore()
        assert state_of(self.machine) == self.whole.state
        self.commit = self.whole.index
        self._commit_to(commit)


def found(life: Life, store: Store) -> tuple[Model, Taken]:
    """What `store` holds, made from the flash that a power cut has left of that life's."""
    assert store.doubt == 0
    model = life.model.found(store, life.write)
    if life.ending and life.ending.is_in(store):
        taken = life.ending
    else:
        taken = life.whole
        assert taken.is_in(store), "snapshot of %d found" % store.snapshot.index
    if life.arriving and taken is not life.arriving and life.arrived >= 0:
        assert store.coming and life.arriving.is_coming_to(store)
        assert life.arrived <= store.coming.next <= life.arrived + life.arrives
    return model, taken


def check(life: Life, operation: Operation, page: int, variant: int) -> None:
    """Nothing is lost by that power cut, and the node can go on."""
    check_image(life, operation.torn(page, variant, life.operations))


def check_image(life: Life, flash: RamFlash) -> None:
    store = Store(flash, NODE)
    model, taken = found(life, store)
    if not taken.is_restored:
        machine = new_machine()
        compaction = Compaction(store, life, machine)
        while not compaction.restored:
            compaction.restore()
        assert state_of(machine) == taken.state
        taken.is_restored = True
    # a quiet moment, a vote, and entries of another leader
    store.idle()
    term, first = model.term + 1, max(taken.index + 1, len(model.log))
    entries = [(term, COMMAND, b"after the cut"), (term, COMMAND, b"and more")]
    for write in (Write(True, term, 2), Write(False, term, 2, first, entries)):
        write.to(store)
        model.take(write)
    store = Store(flash, NODE)
    model.found(store)
    assert taken.is_in(store)


def check_again(life: Life, operation: Operation, page: int, variant: int) -> int:
    """Started again from that power cut, the node may meet the next one anywhere.

    Returns how many power cuts were tried.
    """
    seen = 0

    def before(again: Life, operation: Operation) -> None:
        nonlocal seen
        for page, variant in operation.cuts():
            check(again, operation, page, variant)
            seen += 1

    image = operation.torn(page, variant, life.operations)
    again = life.fork(image, life.operations, before)
    again.compaction.eager_at = 0  # a snapshot is begun at once
    for _ in range(3):
        again.turn()
    return seen
