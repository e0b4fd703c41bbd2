"""The flash in RAM under the store's tests: it fails as a real chip may, and no worse."""

import errno

from tests.dice import Dice
from tests.flash import PAGE_BYTES, SECTOR_BYTES, PowerCut, RamFlash
from tests.support import raises

PORTABLE = True

ERASED = b"\xff" * SECTOR_BYTES
OFFSET = 200  # of DATA: in the pages 0 to 2 of its sector
DATA = bytes([i * 7 % 256 for i in range(500)])
END = OFFSET + len(DATA)
FULL = Dice(1).bytes(SECTOR_BYTES)


def cut_program(done: int, torn: "Dice | None") -> bytearray:
    """The sector in which the power has failed after `done` bytes of DATA."""
    flash = RamFlash(3)
    flash.torn = torn
    flash.power_bytes = done
    raises(PowerCut, flash.writeblocks, 1, DATA, OFFSET)
    assert flash.sector(0) == flash.sector(2) == ERASED
    assert (flash.programs, flash.bytes) == (1, done)
    return flash.sector(1)


def cut_erase(torn: "Dice | None") -> bytearray:
    flash = RamFlash(3)
    flash.fill(1, FULL)
    flash.torn = torn
    flash.half_erased = 100
    flash.power_bytes = 0
    raises(PowerCut, flash.ioctl, 6, 1)
    assert flash.sector(0) == flash.sector(2) == ERASED
    return flash.sector(1)


def changed_bits(old: bytes, new: "bytes | bytearray") -> int:
    return sum([bin(a ^ b).count("1") for a, b in zip(old, new)])


def kind(changed: int, all_bits: int) -> str:
    few = 3
    if changed in (0, all_bits):
        return "all" if changed else "none"
    if changed <= few or changed >= all_bits - few:
        return "nearly none" if changed <= few else "nearly all"
    return "some"


KINDS = {"all", "nearly all", "some", "nearly none", "none"}


def test_without_torn_bits_a_cut_program_is_its_first_bytes() -> None:
    for done in (0, 1, 56, 499):
        sector = cut_program(done, None)

        assert sector[OFFSET:END] == DATA[:done] + ERASED[done : len(DATA)]


def test_without_torn_bits_a_cut_erase_is_its_first_bytes() -> None:
    assert cut_erase(None) == ERASED[:100] + FULL[100:]


def test_a_torn_program_is_whole_pages_and_any_bits_of_the_one_that_was_cut() -> None:
    kinds = set()
    whole = ERASED[:OFFSET] + DATA + ERASED[END:]
    for seed in range(200):
        done = seed * 5 % len(DATA)
        page = (OFFSET + done) // PAGE_BYTES * PAGE_BYTES
        start, end = max(page, OFFSET), min(page + PAGE_BYTES, END)

        sector = cut_program(done, Dice(seed))

        assert sector[:start] == whole[:start]
        assert sector[end:] == ERASED[end:]
        for i in range(start, end):
            assert sector[i] & whole[i] == whole[i]  # no bit is 0 that was not to be cleared
        all_bits = changed_bits(ERASED[start:end], whole[start:end])
        kinds.add(kind(changed_bits(ERASED[start:end], sector[start:end]), all_bits))
    assert kinds == KINDS


def test_a_torn_erase_has_set_any_bits() -> None:
    kinds = set()
    for seed in range(30):
        sector = cut_erase(Dice(seed))

        for i in range(SECTOR_BYTES):
            assert sector[i] & FULL[i] == FULL[i]  # no bit has been cleared
        kinds.add(kind(changed_bits(FULL, sector), changed_bits(FULL, ERASED)))
    assert kinds == KINDS


def test_the_same_dice_tear_alike() -> None:
    assert cut_program(300, Dice(7)) == cut_program(300, Dice(7))
    assert cut_erase(Dice(7)) == cut_erase(Dice(7))


def test_once_the_power_is_off_no_more_bits_are_torn() -> None:
    for seed in range(20):
        flash = RamFlash(2)
        flash.fill(1, FULL)
        flash.torn = Dice(seed)
        flash.power_bytes = 300
        raises(PowerCut, flash.writeblocks, 0, DATA, 0)
        left = flash.sector(0)

        for _ in range(5):
            raises(PowerCut, flash.writeblocks, 0, DATA, 1000)
            raises(PowerCut, flash.ioctl, 6, 1)

        assert flash.sector(0) == left
        assert flash.sector(1) == FULL


def test_torn_bits_need_a_power_cut() -> None:
    flash = RamFlash(2)
    flash.torn = Dice(1)
    flash.power_bytes = len(DATA) + 1

    flash.writeblocks(1, DATA, OFFSET)
    assert flash.sector(1)[OFFSET:END] == DATA
    flash.ioctl(6, 1)
    assert flash.sector(1) == ERASED

    flash.power_bytes = None
    flash.failures = 1
    raises(OSError, flash.writeblocks, 0, DATA, 0)
    assert flash.sector(0)[: len(DATA)] == DATA[:250] + ERASED[250 : len(DATA)]


def test_a_bad_sector_leaves_a_bit_set_that_was_to_be_cleared() -> None:
    flash = RamFlash(3)
    flash.bad.add(1)
    places = set()

    for _ in range(20):
        flash.ioctl(6, 1)
        flash.writeblocks(1, DATA, OFFSET)

        wrong = [i for i in range(len(DATA)) if flash.sector(1)[OFFSET + i] != DATA[i]]
        assert len(wrong) == 1
        found = flash.sector(1)[OFFSET + wrong[0]]
        assert found & DATA[wrong[0]] == DATA[wrong[0]]
        assert changed_bits(DATA, flash.sector(1)[OFFSET:END]) == 1
        places.add(wrong[0])
    assert len(places) == 20
    flash.writeblocks(0, DATA, OFFSET)
    assert flash.sector(0)[OFFSET:END] == DATA


def test_a_bad_sector_takes_any_data_with_a_bit_to_clear_wrongly_and_no_other() -> None:
    flash = RamFlash(1)
    flash.bad.add(0)

    for data in (b"\x00", b"\x7f", b"\xfe", b"\xff\xff\x7f\xff"):
        flash.ioctl(6, 0)
        flash.writeblocks(0, data, 0)
        assert changed_bits(data, flash.sector(0)[: len(data)]) == 1, data

    flash.ioctl(6, 0)
    flash.writeblocks(0, b"\xff\xff", 0)
    assert flash.sector(0) == ERASED


def test_a_bad_erase_says_so_and_changes_nothing() -> None:
    flash = RamFlash(2)
    flash.fill(0, FULL)
    flash.fill(1, FULL)
    flash.bad_erases.add(1)

    assert raises(OSError, flash.ioctl, 6, 1).errno == errno.EIO
    assert raises(OSError, flash.writeblocks, 1, DATA, None).errno == errno.EIO
    flash.ioctl(6, 0)

    assert flash.sector(1) == FULL
    assert flash.sector(0) == ERASED
    assert (flash.erases, flash.erased) == (1, [1, 0])


def test_erases_are_counted_for_each_sector() -> None:
    flash = RamFlash(3)
    for sector in (2, 0, 2, 2):
        flash.ioctl(6, sector)

    assert flash.erases == 4
    assert flash.erased == [1, 0, 3]


def test_a_copy_is_as_worn_and_counts_anew() -> None:
    flash = RamFlash(3)
    flash.bad.add(0)
    flash.bad_erases.add(2)
    flash.torn = Dice(1)
    flash.power_bytes = 1
    flash.ioctl(6, 1)

    other = flash.copy()

    assert (other.bad, other.bad_erases) == ({0}, {2})
    assert (other.torn, other.power_bytes) == (None, None)
    assert (other.erases, other.erased) == (0, [0, 0, 0])
    other.bad.add(1)
    other.bad_erases.clear()
    other.ioctl(6, 2)
    assert (flash.bad, flash.bad_erases, flash.erased) == ({0}, {2}, [0, 1, 0])
