"""The log as the core sees it, partly in RAM and all of it in flash, against a plain list."""

import sys

from raft.log import ENTRY_RAM_BYTES, Log
from raft.messages import COMMAND, ENTRIES_BYTES, ENTRY_HEADER_BYTES
from raft.store import RESERVE, Store
from tests.dice import Dice
from tests.flash import RamFlash
from tests.store.model import NODE, opened

PORTABLE = True

SECTORS = 200
STEPS = 1500
SEEDS = 3 if sys.implementation.name == "cpython" else 1
RAM_BYTES = 1000
LONGEST = 300  # bytes of an entry's data
UNCOMMITTED = 12  # entries at most


class Walk:
    """A log and the list that it must be equal to, through random but lawful changes."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.flash = RamFlash(SECTORS)
        self.store = Store(self.flash, NODE)
        self.log = Log(self.store, RAM_BYTES)
        self.model: list[tuple[int, int, bytes]] = []
        self.durable: list[tuple[int, int, bytes]] = []
        self.term = 1
        self.commit = 0

    def append(self) -> None:
        entry = (self.term, COMMAND, self.dice.bytes(self.dice.below(LONGEST + 1)))
        self.log.append(entry)
        self.model.append(entry)

    def truncate(self) -> None:
        index = self.dice.draw(self.commit + 1, len(self.model))
        self.log.truncate(index)
        del self.model[index - 1 :]
        assert self.log.last_term == (self.model[-1][0] if self.model else 0)
        self.term += 1
        self.append()  # the entry that it conflicted with

    def save(self) -> None:
        """What the driver does with a Ready."""
        first = self.log.durable + 1
        entries = self.log.unstable()
        assert entries == self.model[first - 1 :]
        if entries:
            self.store.append(False, 0, 0, first, entries)
        self.durable = list(self.model)
        self.commit = self.dice.draw(
            max(self.commit, len(self.model) - UNCOMMITTED), len(self.model)
        )
        self.log.stable(self.commit)
        self.check_ram()

    def restart(self) -> None:
        self.store = opened(self.flash)
        self.flash = self.store._device
        self.log = Log(self.store, RAM_BYTES)
        self.model = list(self.durable)
        assert self.log.durable == self.log.last == len(self.model)

    def check_ram(self) -> None:
        kept = self.log.last + 1 - self.log._first
        entries = self.model[len(self.model) - kept :]
        assert self.log._entries == entries
        used = sum(ENTRY_RAM_BYTES + len(entry[2]) for entry in entries)
        assert self.log._used == used
        if kept > len(self.model) - self.commit:  # those that aren't committed may be more
            assert used <= RAM_BYTES

    def check(self) -> None:
        log, model, dice = self.log, self.model, self.dice
        assert log.last == len(model)
        assert log.last_term == (model[-1][0] if model else 0)
        assert log.term(0) == 0
        assert log.matches(0, 0)
        assert not log.matches(log.last + 1, self.term)
        if not model:
            return
        index = dice.draw(1, len(model))
        entry = model[index - 1]
        assert log.entry(index) == entry
        assert log.term(index) == entry[0]
        assert log.matches(index, entry[0]) and not log.matches(index, entry[0] + 1)
        self.check_slice(index)
        self.check_conflict(
            dice.draw(0, len(model) + 3), dice.draw(max(0, self.term - 20), self.term + 1)
        )

    def check_slice(self, index: int) -> None:
        """As many as fit, but one at least; a sector's end may end it earlier."""
        most = self.dice.draw(1, ENTRIES_BYTES)
        got = list(self.log.slice(index, most, ENTRY_HEADER_BYTES))
        assert got == self.model[index - 1 : index - 1 + len(got)]
        size = sum(ENTRY_HEADER_BYTES + len(entry[2]) for entry in got)
        assert len(got) == 1 or got and size <= most
        after = index + len(got)
        if after <= len(self.model) and index >= self.log._first:
            assert size + ENTRY_HEADER_BYTES + len(self.model[after - 1][2]) > most

    def check_conflict(self, index: int, term: int) -> None:
        expected = min(index, len(self.model))
        while expected and self.model[expected - 1][0] > term:
            expected -= 1
        assert self.log.conflict(index, term) == expected

    def check_all(self) -> None:
        """What a follower that is far behind would be sent."""
        index = 1
        while index <= len(self.model):
            got = self.log.slice(index, ENTRIES_BYTES, ENTRY_HEADER_BYTES)
            assert got, "no progress"
            assert list(got) == self.model[index - 1 : index - 1 + len(got)]
            index += len(got)
        assert len(self.log.slice(index, ENTRIES_BYTES, ENTRY_HEADER_BYTES)) == 0


def walk(seed: int) -> None:
    w = Walk(seed)
    for step in range(1, STEPS + 1):
        chance = w.dice.below(20)
        if chance < 9:
            w.append()
        elif chance < 11 and len(w.model) > w.commit:
            w.truncate()
        elif chance < 18:
            w.save()
        elif chance == 18 and w.dice.one_in(10):
            w.restart()
        w.check()
        if step % 250 == 0:
            w.check_all()
    assert len(w.model) > 300 and w.term > 100


def test_a_log_is_what_was_appended_and_not_dropped() -> None:
    for seed in range(1, 1 + SEEDS):
        walk(seed)


def test_entries_that_left_the_ram_are_read_back_from_flash() -> None:
    # given a log of which few entries fit into RAM
    store = Store(RamFlash(SECTORS), NODE)
    log = Log(store, RAM_BYTES)
    entries = [(1, COMMAND, bytes([i & 0xFF]) * 40) for i in range(1, 501)]
    for index, entry in enumerate(entries, 1):
        log.append(entry)
        store.append(False, 0, 0, index, log.unstable())
        log.stable(index)
        assert (log.last + 1 - log._first) * (ENTRY_RAM_BYTES + 40) <= RAM_BYTES

    # then each of them is still there
    assert [log.entry(i) for i in range(1, 501)] == entries


def test_no_more_entries_leave_the_ram_than_have_to() -> None:
    store = Store(RamFlash(SECTORS), NODE)
    log = Log(store, RAM_BYTES)
    size = ENTRY_RAM_BYTES + 40
    for index in range(1, 101):
        log.append((1, COMMAND, bytes(40)))
        store.append(False, 0, 0, index, log.unstable())
        log.stable(index)
        if log._first > 1:
            assert (log.last + 2 - log._first) * size > RAM_BYTES * 3 // 4


def test_what_waits_to_be_written_counts_as_written_when_room_is_asked_for() -> None:
    # given a flash of which commands may use two sectors
    store = Store(RamFlash(RESERVE + 2), NODE)
    log = Log(store, RAM_BYTES)
    entry = (1, COMMAND, bytes(1000))

    # when entries are appended while there is room, and not yet written
    while log.has_room(1000, RESERVE):
        log.append(entry)
        assert log.last < 10

    # then all of them fit; and being written once, they aren't counted twice
    store.append(False, 1, 0, 1, log.unstable())
    log.stable(0)
    assert store.used_sectors() <= 2
    assert log.has_room(1000, RESERVE) == store.has_room(1000, RESERVE)
    assert log.has_room(1000, 1)


def test_uncommitted_entries_stay_in_ram() -> None:
    store = Store(RamFlash(SECTORS), NODE)
    log = Log(store, RAM_BYTES)
    for index in range(1, 101):
        log.append((1, COMMAND, bytes(40)))
        store.append(False, 0, 0, index, log.unstable())
        log.stable(10)

    assert log._first == 11


def test_between_a_truncation_and_its_write_the_flash_s_old_entries_are_not_seen() -> None:
    # given entries that lie in flash alone
    store = Store(RamFlash(SECTORS), NODE)
    log = Log(store, RAM_BYTES)
    old = [(1, COMMAND, b"old %d" % i) for i in range(1, 41)]
    for entry in old:
        log.append(entry)
    store.append(False, 0, 0, 1, log.unstable())
    log.stable(40)
    assert log._first > 10

    # when the log is cut and goes on otherwise, and that isn't written yet
    log.truncate(8)
    log.append((2, COMMAND, b"new 8"))

    # then the old entries from there on have gone
    assert list(log.slice(6, ENTRIES_BYTES, ENTRY_HEADER_BYTES)) == old[5:7]
    assert log.slice(8, ENTRIES_BYTES, ENTRY_HEADER_BYTES) == [(2, COMMAND, b"new 8")]
    assert log.conflict(40, 1) == 7
