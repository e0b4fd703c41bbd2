"""Flash that fails: a sector that doesn't hold what was programmed, or can't be erased.

Each program is read back; the sector is left out, what was to go there goes into the next one.
"""

from raft.messages import COMMAND
from raft.store import ERASED_AHEAD, MOST_LEFT_OUT, Store, StoreFull
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, RamFlash
from tests.store.model import NODE, Model, Write, contents, opened, random_write, read_snapshot

PORTABLE = True

SECTORS = 16
QUARTER = SECTORS // MOST_LEFT_OUT
LAPS = 4  # times round the ring
JUNK = bytes(SECTOR_BYTES)


class Node:
    """Writes, takes snapshots and erases ahead, as a node does; and what it must hold."""

    def __init__(self, flash: RamFlash, seed: int = 1) -> None:
        self.flash = flash
        self.dice = Dice(seed)
        self.store = Store(flash, NODE)
        self.model = Model()
        self.snapshot = 0, b""  # index, data
        self.faults = 0  # before the last restart

    def append(self, size: int = 200) -> None:
        """One write, none of whose entries replaces what a snapshot stands for."""
        write = random_write(self.dice, self.model, 4, size)
        write.first = max(write.first, self.snapshot[0] + 1)
        write.to(self.store)
        self.model.take(write)

    def compact(self) -> None:
        store = self.store
        index, data = store.last, self.dice.bytes(self.dice.draw(1, 800))
        store.begin_snapshot(index, store.last_term)
        for at in range(0, len(data), 300):
            store.add_to_snapshot(data[at : at + 300])
        store.end_snapshot(True)
        self.snapshot = index, data

    def turn(self) -> None:
        self.append()
        self.store.idle()
        if self.store.used_sectors() > SECTORS // 4 and self.model.log:
            self.compact()

    def check(self, store: Store) -> None:
        self.model.found(store)
        assert store.doubt == 0
        assert (store.snapshot.index, read_snapshot(store)) == self.snapshot

    def restart(self) -> None:
        self.faults += self.store.faults
        self.store = Store(self.flash, NODE)
        self.check(self.store)

    def go_round(self, laps: int = LAPS) -> None:
        """Go on until the ring has come round so often, starting again now and then."""
        end = self.store.newest + laps * SECTORS
        turns = 0
        while self.store.newest < end:
            self.turn()
            turns += 1
            if turns % 20 == 0:
                self.check(self.store)
            if turns % 50 == 0:
                self.restart()
        self.restart()
        assert turns > 100


def used(sectors: int = SECTORS) -> RamFlash:
    """A partition that held something else before: each sector must be erased."""
    flash = RamFlash(sectors)
    for sector in range(sectors):
        flash.fill(sector, JUNK)
    return flash


def test_a_program_that_fails_is_done_in_the_next_sector() -> None:
    node = Node(RamFlash(SECTORS))
    for _ in range(5):
        node.append()
    newest = node.store.newest
    # when a program fails, half done
    node.flash.failures = 1
    node.append()

    # then the sector is left out, and nothing is lost
    assert (node.store.faults, node.store.bad) == (1, {newest})
    assert node.store.newest == newest + 1
    node.check(node.store)
    node.restart()
    # then what it held before is still read there
    assert contents(node.store) == node.model.log


def test_a_program_that_says_nothing_and_is_not_held_is_noticed() -> None:
    for sector in range(4):
        # given a sector in which each program leaves a bit set
        flash = RamFlash(SECTORS)
        flash.bad = {sector}
        node = Node(flash)
        while node.store.newest <= sector:
            node.append(100)
        # then it is left out at its first program, and all that was to be there is elsewhere
        assert (node.store.faults, node.store.bad) == (1, {sector})
        node.check(node.store)
        node.restart()


def test_a_sector_that_can_not_be_erased_is_left_out() -> None:
    for late in (False, True):
        flash = used()
        flash.bad_erases = {0, 2, 5}
        node = Node(flash)
        while node.store.newest < 7:
            for _ in range(0 if late else ERASED_AHEAD):
                node.store.idle()
            node.append()
        assert (node.store.faults, node.store.bad) == (3, {0, 2, 5})
        assert (node.store.late_erases > 0) == late
        node.check(node.store)
        assert all(flash.sector(sector) == JUNK for sector in (0, 2, 5))
        node.restart()


class FailingOnce(RamFlash):
    """Fails in one program: behind so many others."""

    fails_behind = -1

    def writeblocks(self, block: int, buf: bytes | memoryview, offset: int | None = None) -> None:
        self.failures = 1 if self.programs == self.fails_behind else 0
        super().writeblocks(block, buf, offset)


def test_a_failure_in_each_program_of_a_snapshot_loses_nothing() -> None:
    # given a node that takes a snapshot, when the n-th program from then on fails
    number = 0
    faults = 1
    while faults:
        flash = FailingOnce(SECTORS)
        node = Node(flash, seed=3)
        for _ in range(20):
            node.append()
        node.compact()
        node.append()
        flash.fails_behind = flash.programs + number
        node.compact()
        faults = node.store.faults
        # then it is whole in spite of that, and the node goes on
        node.append()
        node.check(node.store)
        node.restart()
        number += 1
    assert number > 3


def test_programs_that_fail_now_and_then_lose_nothing_over_restarts() -> None:
    node = Node(used())
    failed = 0
    while failed < 60:
        if node.dice.one_in(8):
            node.flash.failures = node.dice.draw(1, 2)
            failed += node.flash.failures
        node.turn()
        if node.dice.one_in(15):
            node.restart()
    node.restart()
    assert node.faults + node.flash.failures == failed


def test_the_ring_goes_on_with_a_quarter_of_its_sectors_bad() -> None:
    for seed in range(1, 4):
        dice = Dice(seed)
        bad: set[int] = set()
        while len(bad) < QUARTER:
            bad.add(dice.below(SECTORS))
        # given sectors that don't hold what is programmed, or some that can't be erased as well
        flash = used()
        flash.bad = set(bad)
        if seed > 1:
            flash.bad_erases = set(list(bad)[: QUARTER // 2])

        # when the ring goes round
        node = Node(flash, seed)
        node.go_round()

        # then these alone are left out, once in each life of the node
        assert node.store.bad <= bad
        assert node.faults >= QUARTER


def test_a_sector_is_tried_once_and_then_left_out_until_the_next_start() -> None:
    flash = used()
    flash.bad = {3, 4, 9}
    node = Node(flash)
    while node.store.newest < LAPS * SECTORS:
        node.turn()
    assert (node.store.faults, node.store.bad) == (3, flash.bad)
    node.check(node.store)
    # after a restart, each is tried again: it may have been a passing fault
    flash.bad = set()
    node.restart()
    while node.store.newest < 2 * LAPS * SECTORS:
        node.turn()
    assert (node.store.faults, node.store.bad) == (0, set())
    node.check(node.store)


def test_more_than_a_quarter_are_tried_again_as_it_may_have_been_a_passing_fault() -> None:
    flash = RamFlash(SECTORS)
    node = Node(flash)
    # given a device that fails for a while, longer than a quarter of its sectors
    flash.failures = QUARTER + 2
    node.append()

    # then what was left out first gets another chance
    assert node.store.faults == QUARTER + 2
    assert len(node.store.bad) <= QUARTER
    node.check(node.store)
    while node.store.newest < 3 * SECTORS:
        node.turn()
    node.restart()


def test_too_many_bad_sectors_end_in_an_error_that_says_so() -> None:
    # given a node whose flash takes no more programs
    node = Node(RamFlash(SECTORS))
    for _ in range(10):
        node.turn()
    flash = node.flash
    flash.bad = set(range(SECTORS))
    model = node.model.copy()
    error = None
    try:
        node.append()
    except StoreFull as e:
        error = e

    # then it says how many of the sectors were left out, in words
    assert error and "full" in str(error) and "%d sectors" % SECTORS in str(error)
    assert "left out" in str(error)
    # and all that was acknowledged is still there
    model.found(opened(flash))


def test_a_device_whose_reads_fail_stops_the_store() -> None:
    class Deaf(RamFlash):
        is_deaf = False

        def readblocks(self, block: int, buf: bytearray | memoryview, offset: int = 0) -> None:
            if self.is_deaf:
                raise OSError(5, "read of sector %d" % block)
            super().readblocks(block, buf, offset)

    flash = Deaf(SECTORS)
    store = Store(flash, NODE)
    store.append(True, 1, 1, 1, [(1, COMMAND, b"heard")])
    # when nothing can be read back, then no sector is believed to hold anything
    flash.is_deaf = True
    error = None
    try:
        Write(False, 1, 1, 2, [(1, COMMAND, b"unheard")]).to(store)
    except (OSError, StoreFull) as e:
        error = e
    assert error
