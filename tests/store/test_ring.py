"""Hard state, sectors and programs of the flash ring, each rule by itself."""

from raft.messages import COMMAND, MAX_DATA, NOOP
from raft.sector import BUFFER_BYTES, HEADER_BYTES, RECORD_BYTES, record_bytes
from raft.store import ERASED_AHEAD, PAGE_BYTES, RESERVE, Store, StoreError, StoreFull
from tests.dice import Dice
from tests.flash import CUT_STRIDE, SECTOR_BYTES, PowerCut, RamFlash
from tests.store.model import NODE, Model, Write, contents, opened
from tests.support import raises

PORTABLE = True

SECTORS = 8
COMMAND_BYTES = 64
STATE_BYTES = RECORD_BYTES  # of a record of term and vote


def command(index: int, size: int = COMMAND_BYTES) -> tuple[int, int, bytes]:
    return 1, COMMAND, bytes([index & 0xFF]) * size


def new_store(sectors: int = SECTORS) -> tuple[RamFlash, Store]:
    flash = RamFlash(sectors)
    return flash, Store(flash, NODE)


def used_flash(sectors: int = SECTORS) -> RamFlash:
    """A partition that held something else before."""
    flash = RamFlash(sectors)
    for sector in range(sectors):
        flash.fill(sector, bytes(SECTOR_BYTES))
    return flash


def free_sectors(store: Store) -> int:
    """Sectors that commands may still use, beside the one being filled."""
    return store.sectors - RESERVE - store.used_sectors()


def fill(store: Store) -> int:
    """Append commands while there is room for them; returns how many."""
    count = 0
    while store.has_room(COMMAND_BYTES):
        store.append(False, 1, 0, store.last + 1, [command(store.last + 1)])
        store.idle()
        count += 1
    return count


def test_the_first_hard_state_ever_is_durable() -> None:
    # etcd-io/etcd#2878: a vote given before there is any entry
    flash, store = new_store()
    assert (store.term, store.vote, store.last) == (0, 0, 0)

    store.append(True, 1, 2, 0, ())

    found = opened(flash)
    assert (found.term, found.vote, found.last) == (1, 2, 0)


def test_term_and_vote_are_saved_together_or_not_at_all() -> None:
    # hashicorp/raft#661, willemt/raft#47: a new term with the vote of the old one
    flash, store = new_store()
    store.append(True, 4, 3, 0, ())
    for cut in range(STATE_BYTES + 1):
        halted = flash.copy()
        halted.power_bytes = cut
        write = Write(True, 5, 1)
        if cut < STATE_BYTES:
            raises(PowerCut, write.to, Store(halted, NODE))
        else:
            write.to(Store(halted, NODE))
        found = opened(halted)
        assert (found.term, found.vote) == ((4, 3) if cut < STATE_BYTES else (5, 1))


def test_each_sector_repeats_the_hard_state_so_that_those_before_can_go() -> None:
    flash, store = new_store()
    store.append(True, 7, 3, 0, ())
    fill(store)
    assert store.used_sectors() == SECTORS - RESERVE
    for sector in range(store.used_sectors() - 1):
        flash.ioctl(6, sector)

    found = opened(flash)

    assert (found.term, found.vote) == (7, 3)


def test_the_hard_state_of_a_write_that_begins_a_sector_is_in_that_sector() -> None:
    # given a sector with no room for another record
    flash, store = new_store()
    last = SECTOR_BYTES - HEADER_BYTES - STATE_BYTES - 3 * (RECORD_BYTES + 1000) - RECORD_BYTES
    entries = [command(i, 1000) for i in (1, 2, 3)] + [command(4, last - 8)]
    store.append(True, 2, 1, 1, entries)
    assert store.used_sectors() == 1
    # when a vote is saved, and the old sector is lost
    store.append(True, 3, 2, 0, ())
    assert store.used_sectors() == 2
    flash.ioctl(6, 0)

    found = opened(flash)

    assert (found.term, found.vote) == (3, 2)


def test_hard_state_and_entries_of_one_ready_are_one_program() -> None:
    flash, store = new_store()
    store.append(True, 1, 1, 1, [command(1), command(2), command(3)])
    assert flash.programs == 1

    store.append(False, 1, 1, 4, [command(4)] * 16)
    assert flash.programs == 2


def test_a_write_that_is_larger_than_the_buffer_or_the_sector_takes_several_programs() -> None:
    flash, store = new_store()
    entries = [command(i) for i in range(1, 100)]

    store.append(True, 1, 1, 1, entries)

    total = STATE_BYTES + len(entries) * (COMMAND_BYTES + RECORD_BYTES)
    assert store.used_sectors() == 2
    assert flash.programs <= total // BUFFER_BYTES + store.used_sectors() + 1
    assert contents(opened(flash)) == entries


def test_what_is_counted_is_what_the_device_did() -> None:
    flash = used_flash(16)
    store = Store(flash, NODE)
    dice = Dice(5)
    pages = 0
    store.idle()
    for i in range(1, 200):
        before, at = store.programs, store.end
        store.append(False, 1, 0, i, [command(i, dice.below(300))])
        if store.programs == before + 1 and store.end > at:
            pages += (store.end - 1) // PAGE_BYTES - at // PAGE_BYTES + 1
        else:
            pages += (store.end - 1) // PAGE_BYTES + 1
        store.idle()
        assert (store.programs, store.bytes) == (flash.programs, flash.bytes)
        assert store.erases == flash.erases
    assert store.pages == pages
    assert store.used_sectors() > 6


def test_sectors_are_erased_ahead_and_none_while_a_command_waits() -> None:
    flash = used_flash()
    store = Store(flash, NODE)
    # when it is idle, then as many as are kept ahead are erased, and no more
    for _ in range(ERASED_AHEAD):
        assert store.idle()
    assert not store.idle()
    assert flash.erases == ERASED_AHEAD

    # when it is idle between writes, then no write erases
    fill(store)
    assert store.late_erases == 0
    assert store.erases == flash.erases == store.used_sectors() + ERASED_AHEAD


def test_a_blank_sector_is_not_erased() -> None:
    flash, store = new_store()
    fill(store)
    while free_sectors(store) > -RESERVE:
        store.append(True, store.term + 1, 0, 0, ())
        assert not store.idle()
    assert flash.erases == store.erases == store.late_erases == 0


def test_an_erase_on_the_way_of_a_write_is_counted() -> None:
    flash = used_flash()
    store = Store(flash, NODE)

    store.append(True, 1, 1, 0, ())

    assert store.late_erases == store.erases == flash.erases == 1


def test_after_a_restart_nothing_that_was_erased_ahead_is_erased_again() -> None:
    flash = used_flash()
    store = Store(flash, NODE)
    while store.idle():
        pass
    restarted = flash.copy()
    store = Store(restarted, NODE)
    for _ in range(2 * ERASED_AHEAD):
        store.idle()
    store.append(True, 1, 1, 0, ())

    assert restarted.erases == 0


def test_a_full_ring_refuses_commands_while_terms_and_votes_go_on() -> None:
    flash, store = new_store()
    store.append(True, 1, 1, 0, ())
    count = fill(store)
    # given no room for a command
    assert count > (SECTORS - RESERVE) * (SECTOR_BYTES // 100)
    assert not store.has_room(COMMAND_BYTES)
    assert not store.has_room(0) or free_sectors(store) == 0

    # when there are elections, then their terms, votes and no-ops find their place
    elections = 0
    while elections < 200:
        elections += 1
        entry = (1 + elections, NOOP, b"")
        store.append(True, 1 + elections, 2, store.last + 1, [entry])
    found = opened(flash)
    assert (found.term, found.vote, found.last) == (201, 2, count + 200)
    assert not found.has_room(COMMAND_BYTES)


def test_room_is_what_the_reserve_leaves() -> None:
    store = new_store()[1]
    assert free_sectors(store) == SECTORS - RESERVE
    while free_sectors(store) > 0:
        store.append(False, 1, 0, store.last + 1, [command(1, 1000)])
        assert free_sectors(store) == SECTORS - RESERVE - store.used_sectors()
    # in the last sector that commands may use, what counts is what is left of it
    left = SECTOR_BYTES - HEADER_BYTES - 1000 - RECORD_BYTES
    assert store.has_room(left - RECORD_BYTES - 3)
    assert not store.has_room(left - RECORD_BYTES + 1)


def test_a_write_for_which_there_was_room_is_never_refused() -> None:
    for seed in range(1, 20):
        dice = Dice(seed)
        store = new_store()[1]
        while store.has_room(0, 1):
            # given entries for each of which there was room behind those before it
            entries: list[tuple[int, int, bytes]] = []
            pending = 0
            size = dice.below(dice.pick((50, MAX_DATA + 1)))
            while len(entries) < 10 and store.has_room(size, 1, pending):
                entries.append(command(len(entries), size))
                pending += record_bytes(size)
                size = dice.below(dice.pick((50, MAX_DATA + 1)))
            # when they are written, then the last sector stays for terms and votes
            store.append(False, 1, 0, store.last + 1, entries)
            assert store.used_sectors() < SECTORS


def test_beyond_the_last_sector_a_write_fails_and_all_before_it_is_kept() -> None:
    flash, store = new_store()
    model = Model()
    error = None
    while error is None:
        write = Write(not model.log, 1, 0, len(model.log) + 1, [command(0, 700)])
        try:
            write.to(store)
            model.take(write)
        except StoreFull as e:
            error = e
    assert "full" in str(error) and str(SECTORS) in str(error)
    assert isinstance(error, StoreError)
    assert len(model.log) == SECTORS * 5
    model.found(opened(flash))


def truncation() -> tuple[RamFlash, Store, Model, Write]:
    """A log of eight entries, and a write that is to replace those from the fourth on."""
    flash, store = new_store()
    model = Model()
    old = Write(True, 1, 1, 1, [command(i) for i in range(1, 9)])
    old.to(store)
    model.take(old)
    return flash, store, model, Write(True, 2, 0, 4, [(2, COMMAND, bytes(100 * i)) for i in (1, 2)])


def test_a_truncation_whose_program_fails_goes_into_the_next_sector() -> None:
    # canonical/raft#450: the truncation had taken effect in memory, the write had failed
    for faults in (1, 2):
        # when the program fails that is to replace entries, and perhaps the next one too
        flash, store, model, new = truncation()
        flash.failures = faults
        new.to(store)
        model.take(new)

        # then these sectors are left out, and the new log is durable
        assert (store.faults, store.bad) == (faults, set(range(faults)))
        for s in (store, opened(flash)):
            model.found(s)
            assert (s.newest, s.last) == (faults, 5)
        # then the log goes on from there, also after a restart
        more = Write(False, 2, 0, 6, [(2, COMMAND, b"more")])
        for s in (store, Store(flash.copy(), NODE)):
            after = model.copy()
            more.to(s)
            after.take(more)
            after.found(opened(s._device))


def test_a_sector_that_holds_something_else_than_was_programmed_is_left_out() -> None:
    flash, store, model, new = truncation()
    flash.bad = {0, 1}

    new.to(store)
    model.take(new)

    assert (store.faults, store.bad, store.newest) == (2, {0, 1}, 2)
    for s in (store, opened(flash)):
        model.found(s)


def test_a_power_cut_behind_a_device_fault_leaves_the_old_log_or_a_part_of_the_new() -> None:
    kept = set()
    cut = 0
    is_cut = True
    while is_cut:
        # given a program that fails half done, when the power fails while it is done elsewhere
        flash, store, model, new = truncation()
        flash.failures = 1
        flash.power_bytes = cut
        try:
            new.to(store)
            is_cut = False
        except PowerCut:
            pass
        found = model.found(opened(flash), new)
        kept.add(len(found.log))

        # then the next attempt from the flash's own state brings the new log
        flash = flash.copy()
        new.to(Store(flash, NODE))
        model.take(new)
        model.found(opened(flash))
        cut += CUT_STRIDE
    assert cut > HEADER_BYTES + STATE_BYTES + 300
    # before the next head is whole, what is whole of the program that failed; then the old log
    assert kept == {4, 8, 5}


def test_entries_replace_what_was_there_and_behind() -> None:
    flash, store = new_store()
    old = [command(i) for i in range(1, 7)]
    store.append(False, 1, 0, 1, old)

    store.append(True, 2, 0, 4, [(2, NOOP, b"")])

    for s in (store, opened(flash)):
        assert (s.last, s.last_term) == (4, 2)
        assert contents(s)[:3] == old[:3]
        assert contents(s)[3:] == [(2, NOOP, b"")]


def test_an_entry_that_the_log_does_not_hold_is_not_given() -> None:
    flash, store = new_store()
    raises(StoreError, store.live, 1, 0)
    store.append(False, 1, 0, 1, [command(1), command(2)])

    for index in (-1, 0, 3):
        raises(StoreError, store.live, index, 0)
        raises(StoreError, opened(flash).live, index, 0)
