"""A snapshot in the ring counts once it is whole; what it stands for then leaves the flash."""

from raft.compaction import snapshot_sectors
from raft.messages import COMMAND
from raft.sector import HEADER_BYTES
from raft.store import ERASED_AHEAD, Compacted, Store, StoreError, StoreFull
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, PowerCut, RamFlash
from tests.store.model import NODE, Install, Model, Write, contents, opened, read_snapshot
from tests.support import raises

PORTABLE = True

SECTORS = 12
PIECE_BYTES = 300  # of a snapshot, written at one time
ENTRY_BYTES = 200


class Ring:
    """A store, and what it must hold.

    data: of the snapshot that counts, which stands for the entries up to `index`.
    """

    def __init__(self, flash: RamFlash | None = None) -> None:
        self.flash = flash or RamFlash(SECTORS)
        self.store = Store(self.flash, NODE)
        self.model = Model()
        self.index = 0
        self.data = b""

    def append(
        self, count: int = 1, term: int = 1, first: int = 0, size: int = ENTRY_BYTES
    ) -> None:
        """Entries of that term, in place of those from `first` on."""
        first = first or len(self.model.log) + 1
        entries = [
            (term, COMMAND, b"%d of %d" % (first + i, term) + bytes(size)) for i in range(count)
        ]
        write = Write(term != self.model.term, term, 0, first, entries)
        write.to(self.store)
        self.model.take(write)

    def begin(self, index: int, data: bytes, term: int = 0) -> None:
        """Begin a snapshot, of the node's own or (with a size) of a leader's."""
        self.store.begin_snapshot(index, term or self.model.log[index - 1][0])
        self.add(data)

    def add(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE_BYTES):
            self.store.add_to_snapshot(data[at : at + PIECE_BYTES])

    def end(self, keeps: bool = True) -> None:
        coming = self.store.coming
        assert coming
        index, size = coming.index, coming.next
        self.store.end_snapshot(keeps)
        assert (self.store.snapshot.index, self.store.snapshot.size) == (index, size)

    def compact(self, index: int, data: bytes) -> None:
        self.begin(index, data)
        self.end()
        self.index, self.data = index, data

    def install(self, log: list[tuple[int, int, bytes]], data: bytes) -> None:
        """A leader's, which stands for `log`; the node's own log doesn't go on behind it."""
        self.append(0, log[-1][0])
        self.begin(len(log), data, log[-1][0])
        self.end(keeps=False)
        self.model.take(Install(log))
        self.index, self.data = len(log), data

    def go_round(self) -> None:
        """Begin new sectors until all that aren't needed were taken into use again."""
        while self.store.used_sectors() < self.store.sectors:
            self.store.end = SECTOR_BYTES
            self.store.append(True, self.store.term, self.store.vote, 0, ())

    def check(self, store: Store) -> Store:
        """That store holds what it must."""
        self.model.found(store)
        assert store.snapshot.index == self.index
        assert read_snapshot(store) == self.data
        return store

    def check_all(self) -> Store:
        """So do this one and what is found after a power cut; the latter."""
        self.check(self.store)
        return self.check(opened(self.flash))


def filled(entries: int = 60) -> Ring:
    """A ring with so many entries; 60 lie in four sectors."""
    ring = Ring()
    ring.append(entries)
    return ring


def some(size: int, seed: int = 1) -> bytes:
    return Dice(seed).bytes(size)


def test_a_snapshot_counts_only_with_its_last_record() -> None:
    # given a first snapshot, and a second one of which all data are written
    old, new = some(1000), some(2000, 2)
    ring = filled(12)
    ring.compact(10, old)
    ring.append(10)
    ring.begin(20, new)

    # then it doesn't count, before a restart and after it
    ring.check_all()

    # when its end is written, then it does; a power cut in that leaves the one or the other
    end = None
    for done in range(0, 2 * HEADER_BYTES, 3):
        flash = ring.flash.copy()
        store = Store(flash, NODE)
        store.begin_snapshot(20, 1)
        for at in range(0, 2000, PIECE_BYTES):
            store.add_to_snapshot(new[at : at + PIECE_BYTES])
        flash.power_bytes = done
        try:
            store.end_snapshot(True)
        except PowerCut:
            pass
        found = opened(flash)
        ring.model.found(found)
        if end is None and found.snapshot.index == 20:
            end = done
        assert found.snapshot.index == (10 if end is None else 20)
        assert read_snapshot(found) == (old if end is None else new)
    assert end == 24  # the record of the end: 16 bytes and 8 of data


def test_one_that_is_broken_off_costs_nothing_but_room_until_the_next_one() -> None:
    ring = filled()
    ring.compact(40, some(1000))
    used = ring.store.used_sectors()
    # given several that are begun, and not ended
    for i in range(1, 4):
        ring.begin(40 + i, some(1500, i))
        ring.check_all()
    assert ring.store.used_sectors() > used

    # when one is whole, then nothing is kept for the others
    ring.compact(60, some(1000, 5))
    assert ring.check_all().used_sectors() == ring.store.used_sectors() == 2


def test_one_of_a_leader_that_is_broken_off_goes_on_after_a_restart() -> None:
    ring = filled()
    data = some(3000)
    ring.store.begin_snapshot(60, 1, len(data), 77)
    ring.add(data[:900])

    # when the node starts again
    store = opened(ring.flash)

    # then it knows what has come, and of what
    coming = store.coming
    assert coming and (coming.index, coming.term, coming.size, coming.crc) == (60, 1, 3000, 77)
    assert coming.next == 900 and not coming.is_whole()
    # when the rest comes, then it is whole
    ring.flash = store._device
    ring.store = store
    ring.add(data[900:])
    ring.end()
    ring.index, ring.data = 60, data
    ring.check_all()


def test_an_end_whose_data_are_not_all_there_does_not_count() -> None:
    for cut in (24, None):
        # given a second snapshot, of which a bit in its middle turns
        ring = filled()
        ring.compact(40, some(1000))
        ring.begin(60, some(3000, 2))
        place = ring.store.newest % SECTORS, ring.store.end - 100
        ring.flash.power_bytes = cut  # None, or behind its end
        if cut is None:
            ring.end()
        else:
            raises(PowerCut, ring.end)
        flash = ring.flash.copy()
        flash.flip(*place, 0)

        store = Store(flash, NODE)

        # then it is told that something was lost
        assert store.damage is not None and store.damage >= 60 and store.doubt >= 60
        if cut:
            # and as long as no header gives the sectors of the one before away, that one counts
            assert read_snapshot(store) == some(1000)
            assert contents(store)[-20:] == ring.model.log[-20:]
        else:
            assert (store.snapshot.index, store.last, contents(store)) == (0, 0, [])


def test_sectors_before_it_go_back_to_the_ring_when_a_header_says_so() -> None:
    ring = filled()
    store = ring.store
    used = store.used_sectors()
    store.end = SECTOR_BYTES
    ring.begin(60, some(1000))
    assert (store.floor, store.safe) == (0, 0)
    # when it ends, then a new sector's header says from where on the ring is needed
    ring.end()
    ring.index, ring.data = 60, some(1000)
    assert store.floor == store.safe == store.snapshot.first == used
    assert store.used_sectors() == 2
    assert ring.check_all().used_sectors() == 2


def test_until_then_they_are_not_given_back_even_if_the_ring_is_nearly_full() -> None:
    # given a ring with one free sector, and a power cut behind a snapshot's end
    ring = Ring()
    while ring.store.used_sectors() < SECTORS - 2:
        ring.append(1)
    ring.store.end = SECTOR_BYTES
    ring.begin(len(ring.model.log), some(1000))
    ring.flash.power_bytes = 24
    raises(PowerCut, ring.end)
    flash = ring.flash.copy()

    # then it counts, but the sectors before it aren't given away
    store = Store(flash, NODE)
    first = SECTORS - 2
    assert store.snapshot.index == len(ring.model.log)
    assert (store.safe, store.floor, store.newest) == (0, first, first)
    for _ in range(ERASED_AHEAD):
        store.idle()
    assert flash.erases == 0

    # when the next write begins a sector, which says so, then they are
    store.append(True, 2, 0, 0, ())
    assert store.safe == store.floor == first
    assert opened(flash).used_sectors() == 2
    store.idle()
    assert flash.erases == 1


def test_one_that_would_leave_no_sector_for_what_comes_next_is_refused() -> None:
    # given a ring that elections have filled, whose entries were never committed
    flash = RamFlash(SECTORS)
    store = Store(flash, NODE)
    while store.used_sectors() < SECTORS:
        term = store.term + 1
        store.append(True, term, 1, store.last + 1, [(term, COMMAND, b"")])
    last, term = store.last, store.term
    store.begin_snapshot(last, store.last_term)
    store.add_to_snapshot(b"state")

    # when it should count, then it is refused, and the node can go on
    assert not store.can_end_snapshot()
    raises(StoreFull, store.end_snapshot, True)
    store = opened(flash)
    assert (store.last, store.term, store.snapshot.index) == (last, term, 0)
    store.append(True, term + 1, 1, 0, ())
    assert store.term == term + 1


def test_entries_behind_it_are_kept() -> None:
    for index in (1, 30, 45, 59, 60):
        # given a snapshot that doesn't stand for all entries
        ring = filled()
        ring.compact(index, some(1000))
        ring.check_all()
        # when the ring goes round as far as it may, then they are still there
        before = ring.store.floor
        while ring.store.used_sectors() < SECTORS - 1:
            ring.store.end = SECTOR_BYTES
            ring.append(1)
        found = ring.check_all()
        assert found.floor == ring.store.floor == before
        assert found.base <= index


def test_entries_from_before_it_can_be_read_until_their_sector_is_erased() -> None:
    ring = filled()
    ring.store.end = SECTOR_BYTES
    ring.compact(60, some(1000))
    for store in (ring.store, opened(ring.flash)):
        assert store.reaches(0) and store.live(1, 0) == ring.model.log[:1]
    # when sectors are taken into use again
    ring.go_round()
    # then they are in the snapshot alone
    for store in (ring.store, opened(ring.flash)):
        assert not store.reaches(59) and store.reaches(60)
        assert (store.base, store.base_term) == (60, 1)
        for index in (1, 30, 60):
            error = raises(Compacted, store.live, index, 0)
            assert "%d" % index in str(error)
            raises(Compacted, store.terms, index)
        raises(StoreError, store.live, 61, 0)
    ring.append(3)
    ring.check_all()
    assert ring.store.live(61, SECTOR_BYTES) == ring.model.log[60:]


def test_one_that_drops_the_log_begins_it_anew() -> None:
    # given entries that conflict with a leader's snapshot, or that end before it
    for count in (90, 70, 40, 0):
        ring = Ring()
        ring.append(count)
        log = [(3, COMMAND, b"of the leader")] * 70

        ring.install(log, some(1500))

        # then nothing is left of them, even when nothing older is left either
        ring.check_all()
        ring.go_round()
        assert (ring.store.base, ring.store.last) == (70, 70)
        found = ring.check_all()
        assert (found.last, found.last_term, found.base, found.base_term) == (70, 3, 70, 3)
        raises(Compacted, found.live, 70, 0)
        # and the log goes on behind it
        ring = Ring()
        ring.append(count)
        ring.install(log, some(1500))
        ring.append(5, 4)
        assert contents(ring.check_all()) == ring.model.log[70:]
        assert len(ring.model.log) == 75


def test_entries_of_a_log_that_began_anew_are_not_joined_to_those_before() -> None:
    # given a node that is behind, with entries 1 to 10 of term 1, all in the first sector
    ring = Ring()
    ring.append(10)
    # when it gets a snapshot after entry 30, and entries from there on
    ring.install([(2, COMMAND, b"of the leader")] * 30, some(500))
    ring.append(5, 3)
    # then no index before that one can be read
    for store in (ring.store, opened(ring.flash)):
        for index in range(1, 31):
            assert not store.reaches(index - 1)
            raises(Compacted, store.live, index, 0)
        assert contents(store) == ring.model.log[30:]


def test_its_data_can_be_read_from_any_offset_on() -> None:
    ring = filled(20)
    data = some(2 * SECTOR_BYTES + 777)
    # given one between whose records entries lie, and one before it that never ended
    ring.begin(15, some(1000, 2))
    ring.store.begin_snapshot(20, 1)
    for at in range(0, len(data), PIECE_BYTES):
        ring.add(data[at : at + PIECE_BYTES])
        if at % 5 == 0:
            ring.append(1, size=30)
    ring.end()
    ring.index, ring.data = 20, data
    for store in (ring.store, opened(ring.flash)):
        for offset in range(0, len(data), 41):
            piece = store.read_snapshot(offset)
            assert piece and piece == data[offset : offset + len(piece)]
        # in any order
        for offset in (5000, 1, len(data) - 1, 0, 4999):
            assert store.read_snapshot(offset)[:1] == data[offset : offset + 1]
        raises(StoreError, store.read_snapshot, len(data))
    ring.check_all()


def test_one_can_be_read_while_the_next_is_begun_behind_its_end() -> None:
    # given one over two sectors, and a power cut right behind its end
    ring = filled(10)
    data = some(3000)
    ring.begin(5, data)
    ring.flash.power_bytes = 24
    raises(PowerCut, ring.end)
    ring.flash = ring.flash.copy()
    ring.store = Store(ring.flash, NODE)
    ring.index, ring.data = 5, data
    ring.check_all()
    assert ring.store.snapshot.final > ring.store.snapshot.first

    # when another one is begun
    ring.begin(10, some(700, 2))

    # then the first one can still be read
    ring.check_all()


def test_what_of_it_can_not_be_read_any_more_is_told() -> None:
    ring = filled(20)
    ring.compact(20, some(3000))
    store = ring.store
    sector = store.snapshot.final % SECTORS
    ring.flash.fill(sector, b"\xff" * SECTOR_BYTES)

    error = raises(StoreError, read_snapshot, store)

    assert "snapshot can't be read" in str(error)


def test_an_empty_one_is_a_snapshot_too() -> None:
    ring = filled(20)
    ring.compact(20, b"")
    ring.check_all()


class CountingFlash(RamFlash):
    """Counts the sectors of which more than the header is read."""

    def __init__(self, contents: RamFlash) -> None:
        super().__init__(contents.ioctl(4, 0))
        for sector in range(contents.ioctl(4, 0)):
            self.fill(sector, contents.sector(sector))
        self.read: set[int] = set()

    def readblocks(self, block: int, buf: bytearray | memoryview, offset: int = 0) -> None:
        if offset:
            self.read.add(block)
        super().readblocks(block, buf, offset)


def test_recovery_reads_no_sector_that_is_not_needed() -> None:
    # given a ring that is full of entries which a snapshot stands for
    ring = Ring(RamFlash(64))
    store = ring.store
    while store.used_sectors() < 56:
        ring.append(3)
    store.end = SECTOR_BYTES
    ring.compact(len(ring.model.log), some(5000))
    ring.append(10)
    assert store.used_sectors() <= 4 and store.oldest == 0

    flash = CountingFlash(ring.flash)
    found = Store(flash, NODE)

    # then of the others only the header is read, but for those that may be next
    needed = {s % 64 for s in range(found.floor, found.newest + 1)}
    assert needed <= flash.read
    assert len(flash.read - needed) <= 3
    assert found.oldest == 0
    ring.check(found)


def test_the_ring_goes_round_again_and_again() -> None:
    dice = Dice(11)
    ring = Ring()
    data_bytes = 3 * SECTOR_BYTES // 2
    ring.store.snapshot_sectors = snapshot_sectors(data_bytes)
    term = 1
    compacted = 0
    while ring.store.newest < 12 * SECTORS:
        # entries, now and then of a new term that replaces some which no snapshot stands for
        if dice.one_in(15):
            term += 1
            ring.append(2, term, dice.draw(ring.index + 1, len(ring.model.log) + 1), 90)
        ring.append(dice.draw(1, 3), term, size=90)
        ring.store.idle()
        if ring.store.used_sectors() > 4:
            index = dice.draw(max(ring.index + 1, len(ring.model.log) - 10), len(ring.model.log))
            ring.compact(index, some(dice.draw(0, data_bytes), term))
            compacted += 1
        if dice.one_in(20):
            ring.store = Store(ring.flash, NODE)
            ring.check(ring.store)
    ring.check_all()
    assert compacted > 20 and term > 20
    worn = ring.flash.erased
    assert min(worn) >= 8 and max(worn) - min(worn) <= 2, "worn unevenly: %r" % worn
    assert ring.store.late_erases == 0
