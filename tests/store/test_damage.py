"""A broken record is a torn tail only if nothing was programmed behind it; else it is damage.

Damage is told, never guessed away: what lies behind it isn't believed, for what was lost may
have replaced entries (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage",
FAST 2018); no vote is given on it; and a leader that sends what was lost makes the log whole.
"""

import struct
import sys
from binascii import crc32

from raft.messages import COMMAND, NOOP
from raft.sector import HEADER_BYTES, RECORD_BYTES, record_bytes
from raft.store import RESERVE, Store, StoreError
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, RamFlash
from tests.store.cuts import Operation, WatchedFlash
from tests.store.model import NODE, Model, Write, contents, opened, random_write
from tests.support import raises

PORTABLE = True

SECTORS = 16
WRITES = 60
HEAD = "<4sBBHIIIIIIIHHI"  # without its CRC-32
STRIDE = 11 if sys.implementation.name == "cpython" else 97  # bytes between two bits turned
REPAIRED = 3  # one of so many is repaired: a record is hit more often than that
LARGE_BYTES = 1180  # three such entries fill a sector


class Flash(WatchedFlash):
    """A flash with the log of some writes.

    history: what was durable before the first of them, and after each. programmed: the sector,
    offset and length of each program, and the number of its write.
    """

    def __init__(self, writes: list[Write]) -> None:
        operations: list[Operation] = []
        super().__init__(RamFlash(SECTORS), operations.append)
        self.writes = writes
        self.history = [Model()]
        self.programmed: list[tuple[int, int, int, int]] = []
        store = Store(self, NODE)
        for number, write in enumerate(writes):
            write.to(store)
            for program in operations:
                self.programmed.append((program.sector, program.offset, len(program.data), number))
            operations.clear()
            self.history.append(self.history[-1].copy())
            self.history[-1].take(write)
        self.model = self.history[-1]

    def spoilt(self, sector: int, offset: int) -> RamFlash:
        """A copy in which one bit of that byte has turned."""
        flash = self.copy()
        flash.flip(sector, offset, offset % 8)
        return flash


def commands(first: int, *terms: int, size: int = 0) -> list[tuple[int, int, bytes]]:
    return [
        (term, COMMAND, b"%d of term %d" % (first + i, term) + bytes(size))
        for i, term in enumerate(terms)
    ]


def random_log() -> Flash:
    """A log over several sectors, with conflicts, votes and batches."""
    dice = Dice(3)
    model = Model()
    writes = []
    for _ in range(WRITES):
        write = random_write(dice, model, 6, 120)
        model.take(write)
        writes.append(write)
    return Flash(writes)


def repair(store: Store, model: Model) -> None:
    """A leader of a newer term sends what differs, and goes on beyond the damage."""
    log = contents(store)
    same = 0
    while same < min(len(log), len(model.log)) and log[same] == model.log[same]:
        same += 1
    model.take(Write(True, max(store.term, model.term) + 1, 0))
    model.log.append((model.term, NOOP, b""))
    store.append(True, model.term, model.vote, same + 1, model.log[same:], 0)


def check_damage(flash: Flash, store: Store, write: int) -> None:
    """`store` has lost a part of that write, and more has been written since."""
    model = flash.model
    # then it says how far the log had got, and has no vote to give that it may have given
    assert store.damage is not None and store.damage >= len(model.log)
    assert store.vote != 0 or (store.term, store.vote) == (model.term, model.vote)
    # then it holds what it held before the loss, and nothing from behind
    before = flash.history[write].copy()
    before.term, before.vote = store.term, store.vote
    lost = flash.writes[write]
    partial = Write(False, store.term, store.vote, lost.first, lost.entries)
    damage, store.damage = store.damage, None
    before.found(store, partial)
    store.damage = damage


def test_a_bit_turned_in_any_byte_is_met_as_damage_or_as_a_torn_tail() -> None:
    flash = random_log()
    assert flash.programmed[-1][0] >= 3 and flash.programmed[-1][1] > 0, "too short a log"
    damaged = 0
    for sector, offset, length, write in flash.programmed:
        for at in range(offset, offset + length, STRIDE):
            # given a log, when one bit of it has turned
            spoilt = flash.spoilt(sector, at)
            store = Store(spoilt, NODE)
            where = "bit in sector %d at %d, of write %d" % (sector, at, write)
            try:
                if write == len(flash.writes) - 1:
                    found = flash.history[write].found(store, flash.writes[write])
                    assert store.torn or found.log == flash.model.log
                elif store.damage is None:
                    # only a record's padding, or a hard state that the next head repeats
                    flash.model.found(store)
                else:
                    check_damage(flash, store, write)
                    damaged += 1
                    if damaged % REPAIRED == 0:
                        check_repair(flash, spoilt, store)
            except Exception:
                print(where)
                raise
    assert damaged > 1000 // STRIDE


def check_repair(flash: Flash, spoilt: RamFlash, store: Store) -> None:
    # when it goes on without what was lost, then the damage stays known
    store.append(True, max(store.term, flash.model.term) + 1, 0, 0, ())
    store = opened(spoilt)
    assert store.damage is None and store.doubt >= len(flash.model.log)
    # when a leader has sent what was lost, then the log is whole
    model = flash.model.copy()
    store = Store(spoilt, NODE)
    repair(store, model)
    found = opened(spoilt)
    model.found(found)
    assert found.doubt == 0


def log_behind_a_snapshot() -> Flash:
    """A random log, and then a snapshot that stands for all of it; nothing is erased yet."""
    flash = random_log()
    store = Store(flash, NODE)
    store.end = SECTOR_BYTES
    store.begin_snapshot(store.last, store.last_term)
    store.add_to_snapshot(b"the state")
    store.end_snapshot(True)
    assert store.oldest == 0 and store.floor >= 3
    flash.model.found(store)
    return flash


def test_what_a_sector_has_lost_that_is_not_needed_is_neither_told_nor_guessed() -> None:
    # given sectors before a snapshot, in which later entries have replaced earlier ones
    flash = log_behind_a_snapshot()
    unread = 0
    for sector, offset, length, _ in flash.programmed:
        # when those before one are erased, and a bit of it has turned
        for first in range(sector + 1):
            for at in range(offset, offset + length, 11 * STRIDE):
                spoilt = flash.spoilt(sector, at)
                for erased in range(first):
                    spoilt.fill(erased, b"\xff" * SECTOR_BYTES)
                try:
                    check_old(flash.model, store := Store(spoilt, NODE))
                except Exception:
                    print("bit in sector %d at %d, %d erased" % (sector, at, first))
                    raise
                unread += store.base > 0
    assert unread > 100 // STRIDE


def test_the_oldest_sector_may_be_lost_although_it_goes_back_before_its_beginning() -> None:
    # given a sector that begins with entries in place of some of the sector before, which is erased
    flash = RamFlash(SECTORS)
    store = Store(flash, NODE)
    model = Model()
    for write in (
        Write(True, 1, 1, 1, commands(1, *[1] * 10)),
        Write(True, 2, 1, 8, commands(8, 2, 2)),
        Write(False, 2, 1, 10, commands(10, 2, 2, 2)),
    ):
        write.to(store)
        model.take(write)
        if store.newest == 0:
            store.end = SECTOR_BYTES
    end = store.end
    store.end = SECTOR_BYTES
    store.begin_snapshot(12, 2)
    store.add_to_snapshot(b"the state")
    store.end_snapshot(True)
    flash.ioctl(6, 0)
    model.found(opened(flash))

    # when a bit of it turns, or its erase is cut off
    for at in range(end):
        spoilt = flash.copy()
        spoilt.flip(1, at, at % 8)
        check_old(model, Store(spoilt, NODE))


def check_old(model: Model, store: Store) -> None:
    """The node can do without what is lost: entries are read as they were last, or not at all."""
    assert store.doubt == 0 and store.snapshot.index == store.last
    model.found(store)
    for index in range(store.base, store.last):
        assert store.reaches(index)


def test_what_stands_behind_a_broken_record_of_the_last_program_is_no_later_program() -> None:
    for size in range(40):
        # given a last program of two records, the second of which begins anywhere
        last = Write(False, 1, 1, 2, [(1, COMMAND, bytes(size)), (1, COMMAND, bytes(size))])
        flash = Flash([Write(True, 1, 1, 1, commands(1, 1)), last])
        assert not opened(flash).torn
        sector, offset, _, _ = flash.programmed[-1]

        # when the first of them is broken
        store = Store(flash.spoilt(sector, offset + 5), NODE)

        # then both are dropped as torn
        assert store.torn and store.damage is None
        assert contents(store) == commands(1, 1)


def test_a_bit_turned_where_nothing_was_programmed_does_no_harm() -> None:
    flash = random_log()
    used = {sector: 0 for sector in range(SECTORS)}
    for sector, offset, length, _ in flash.programmed:
        used[sector] = offset + length
    for sector in range(SECTORS):
        for at in range(used[sector], SECTOR_BYTES, 17 * STRIDE):
            spoilt = flash.spoilt(sector, at)
            store = Store(spoilt, NODE)
            model = flash.model.found(store)
            write = Write(False, 0, 0, len(model.log) + 1, commands(0, model.term, size=99))
            write.to(store)
            model.take(write)
            model.found(opened(spoilt))


def test_entries_behind_a_lost_conflict_are_not_joined_to_those_it_replaced() -> None:
    # given a log whose entries 3 to 5 were replaced by a leader of term 2
    flash = Flash([
        Write(True, 1, 1, 1, commands(1, 1, 1, 1, 1, 1)),
        Write(True, 2, 2, 3, commands(3, 2)),
        Write(False, 2, 2, 4, commands(4, 2, 2, 2)),
        Write(False, 2, 2, 7, commands(7, 2)),
    ])  # fmt: skip
    sector, offset, length, _ = flash.programmed[1]

    # when the record of the first of them is lost
    store = Store(flash.spoilt(sector, offset + length - 8), NODE)

    # then 6 and 7 of term 2 aren't put behind 5 of term 1
    assert contents(store) == commands(1, 1, 1, 1, 1, 1)
    assert store.damage is not None and store.damage >= 7


def full_sector(*terms: int) -> list[tuple[int, int, bytes]]:
    """Entries that leave no room for another record in the first sector, behind a vote."""
    entries = commands(1, *terms, size=LARGE_BYTES)
    left = SECTOR_BYTES - HEADER_BYTES - RECORD_BYTES
    left -= sum(record_bytes(len(data)) for _, _, data in entries)
    return entries + commands(len(terms) + 1, terms[-1], size=left - 2 * RECORD_BYTES)


def test_entries_of_the_next_sector_are_not_joined_to_one_of_another_term() -> None:
    # given a sector that ends with entry 4 of term 1 and then another entry 4, of term 2
    first = full_sector(1, 1, 1)
    _, kind, data = first[3]
    flash = Flash([
        Write(True, 1, 1, 1, first[:3]),
        Write(False, 1, 1, 4, commands(4, 1)),
        Write(False, 2, 2, 4, [(2, kind, data[: len(data) - 2 * RECORD_BYTES])]),
        Write(True, 2, 2, 5, commands(5, 2)),
    ])  # fmt: skip
    sector, offset, _, _ = flash.programmed[-2]
    assert (sector, flash.programmed[-1][0]) == (0, 1)

    # when the latter is lost
    store = Store(flash.spoilt(sector, offset), NODE)

    # then entry 5 of the next sector isn't put behind the former, though the index would fit
    assert (store.last, store.last_term) == (4, 1)
    assert store.damage == 5


def test_a_conflict_lost_at_the_end_of_a_sector_is_damage_though_only_a_vote_follows() -> None:
    # given a sector that ends with an entry 3 of term 2, in place of 3 and 4 of term 1
    first = full_sector(1, 1, 1)
    _, kind, data = first[3]
    flash = Flash([
        Write(True, 1, 1, 1, first[:3]),
        Write(False, 1, 1, 4, commands(4, 1)),
        Write(False, 2, 2, 3, [(2, kind, data[: len(data) - 2 * RECORD_BYTES])]),
        Write(True, 2, 2),
    ])  # fmt: skip
    sector, offset, _, _ = flash.programmed[-2]
    assert (sector, flash.programmed[-1][0]) == (0, 1)

    # when that is lost, then 3 and 4 of term 1 aren't taken for the whole log
    store = Store(flash.spoilt(sector, offset), NODE)

    assert store.damage == 5


def test_an_entry_lost_at_the_end_of_a_sector_is_damage_though_only_a_vote_follows() -> None:
    flash = Flash([Write(True, 1, 1)] + [
        Write(False, 1, 1, i + 1, [entry]) for i, entry in enumerate(full_sector(1, 1, 1))
    ] + [Write(True, 2, 3)])  # fmt: skip
    sector, offset, _, _ = flash.programmed[-2]
    assert (sector, flash.programmed[-1][0]) == (0, 1)

    store = Store(flash.spoilt(sector, offset), NODE)

    assert (store.term, store.vote, store.last) == (2, 3, 3)
    assert store.damage == 4


def test_a_lost_sector_is_damage_and_what_lies_behind_it_is_not_believed() -> None:
    flash = Flash([Write(True, 1, 1)] + [
        Write(False, 1, 1, i, commands(i, 1, size=LARGE_BYTES)) for i in range(1, 13)
    ])  # fmt: skip
    for sector in range(3):
        # when a sector is as blank as if it had been erased
        blank = flash.copy()
        blank.fill(sector, b"\xff" * SECTOR_BYTES)
        store = Store(blank, NODE)
        # then its entries and those behind are gone, and it is known how far they went
        assert contents(store) == flash.model.log[: 3 * sector]
        assert store.damage == 12
        assert (store.term, store.vote) == (1, 1)  # as every sector's head has it
        model = flash.model.copy()
        repair(store, model)
        model.found(opened(blank))


def test_the_first_sector_without_its_head_is_not_taken_for_an_empty_flash() -> None:
    # given a node whose whole log lies in one sector
    flash = Flash([Write(True, 3, 2, 1, commands(1, 3)), Write(False, 3, 2, 2, commands(2, 3))])

    # when a bit of that sector's head has turned
    store = Store(flash.spoilt(0, 5), NODE)

    # then the node knows that it has lost something, and what it may have voted for
    assert store.damage == 2
    assert store.term == 3 and store.vote != 0


def test_an_entry_lost_before_a_vote_is_damage() -> None:
    flash = Flash([Write(True, 1, 1), Write(False, 1, 1, 1, commands(1, 1)), Write(True, 2, 3)])
    sector, offset, _, _ = flash.programmed[1]

    store = Store(flash.spoilt(sector, offset + 1), NODE)

    assert (store.term, store.vote, store.last) == (2, 3, 0)
    assert store.damage == 1


def test_a_vote_in_a_lost_record_is_not_given_again() -> None:
    # given a vote in term 5, and entries behind it
    flash = Flash([
        Write(True, 5, 0), Write(True, 5, 3), Write(False, 5, 3, 1, commands(1, 5)),
    ])  # fmt: skip
    sector, offset, _, _ = flash.programmed[1]

    # when the record of the vote is lost
    store = Store(flash.spoilt(sector, offset + 2), NODE)

    # then the vote is neither known nor free
    assert store.term == 5
    assert store.vote not in (0, 1, 2, 3)


def test_a_term_in_a_lost_record_is_known_from_the_entries_behind() -> None:
    flash = Flash([
        Write(True, 1, 1, 1, commands(1, 1)),
        Write(True, 4, 2),
        Write(False, 4, 2, 2, commands(2, 4)),
    ])  # fmt: skip
    sector, offset, _, _ = flash.programmed[1]

    store = Store(flash.spoilt(sector, offset + 8), NODE)

    assert store.term == 4
    assert store.vote not in (0, 1, 2, 3)
    assert store.damage == 2


def test_damage_that_was_repaired_is_not_told_again_after_a_conflict_of_the_new_log() -> None:
    flash = Flash([Write(True, 1, 1)] + [
        Write(False, 1, 1, i, commands(i, 1)) for i in range(1, 9)
    ])  # fmt: skip
    sector, offset, _, _ = flash.programmed[4]
    spoilt = flash.spoilt(sector, offset)
    model = flash.model.copy()
    repair(Store(spoilt, NODE), model)

    # when the last of the repaired entries are replaced
    write = Write(True, 9, 0, 6, commands(6, 9, 9, 9, 9))
    write.to(Store(spoilt, NODE))
    model.take(write)

    model.found(opened(spoilt))


def test_another_node_s_flash_is_refused_by_name() -> None:
    flash = RamFlash(SECTORS)
    Store(flash, 3).append(True, 1, 3, 0, ())

    error = raises(StoreError, Store, flash, 4)

    assert "node 3" in str(error) and "node 4" in str(error)


def test_a_flash_of_another_format_version_is_refused() -> None:
    for version in (3, 5):
        flash = RamFlash(SECTORS)
        Store(flash, NODE).append(True, 1, 1, 0, ())
        sector = flash.sector(0)
        assert sector[4] == 4
        sector[4] = version
        struct.pack_into("<I", sector, HEADER_BYTES - 4, crc32(sector[: HEADER_BYTES - 4]))
        flash.fill(0, sector)

        error = raises(StoreError, Store, flash, NODE)

        assert "version %d" % version in str(error) and "erase it" in str(error)


def test_a_partition_that_is_too_small_is_refused() -> None:
    error = raises(StoreError, Store, RamFlash(RESERVE + 1), NODE)

    assert "at least %d" % (RESERVE + 2) in str(error)
    assert Store(RamFlash(RESERVE + 2), NODE).has_room(0)


def test_a_partition_with_sectors_of_another_size_is_refused() -> None:
    class Small(RamFlash):
        def ioctl(self, op: int, arg: int) -> int:
            return 512 if op == 5 else super().ioctl(op, arg)

    assert str(SECTOR_BYTES) in str(raises(StoreError, Store, Small(SECTORS), NODE))


def test_a_head_has_the_documented_fields_and_length() -> None:
    # given a ring whose log goes on behind entry 4
    flash = RamFlash(SECTORS)
    store = Store(flash, NODE)
    store.begin_log(4, 3)
    store.identity = 77
    store.append(True, 7, 2, 5, [(6, COMMAND, b"a")], 9)
    end = store.end
    sector = flash.sector(0)
    head = struct.unpack_from(HEAD, sector)
    assert head[:7] == (b"RAFT", 4, NODE, 2, 0, 7, 5)  # .., vote, sequence, term, next index
    assert head[7:10] == (3, 9, 0)  # the term before that, the doubt, the oldest sector needed
    assert head[10] == 77
    assert crc32(sector[:44]) == struct.unpack_from("<I", sector, 44)[0]

    # when the next one is begun, and this one isn't needed any more
    store.end = SECTOR_BYTES
    store.floor = 1
    store.append(True, 8, 0, 6, [(8, COMMAND, b"b")])

    # then it tells of the one before: how far back it was begun, its end and its lowest entry
    head = struct.unpack_from(HEAD, flash.sector(1))
    assert head[:7] == (b"RAFT", 4, NODE, 0, 1, 8, 6)
    assert head[7:] == (6, 9, 1, 77, 1, end, 5)
    assert struct.calcsize(HEAD) + 4 == HEADER_BYTES
