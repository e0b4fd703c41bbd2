"""The power may fail between any two bytes of any program, and in the middle of any erase.

A workload of 300 entries is recorded, operation by operation of the device, on a ring full of
what somebody else has left there. Then, for each operation, the flash is what it would be had
the power failed after k of its bytes, for every k: recovery must find all that was acknowledged,
and at most a prefix of what was not; and the node must be able to go on, also when the power
fails again. CPython cuts at every byte, MicroPython at every thirteenth and the last of a program.
"""

import sys

from raft.messages import COMMAND
from raft.store import Store
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, PowerCut, RamFlash
from tests.store.model import ERASE, NODE, Model, Recorder, Write, opened, random_write
from tests.support import raises

PORTABLE = True
TIMEOUT_S = 240

ENTRIES = 300
MOST = 20  # entries in one write
BYTES = 50  # longest usual entry
SECTORS = 9
STRIDE = 1 if sys.implementation.name == "cpython" else 13  # bytes
CUT_AGAIN = 199 * STRIDE  # after every so many cuts, cut every byte of what comes next as well
ERASED_STEP = 256  # bytes of a sector between two cuts of its erase


class Cut:
    """One operation of the device, and what must be found when the power fails in it.

    flash: as it was before. model: all that was acknowledged. write: what was under way, or
    None if the operation is an erase ahead.
    """

    def __init__(
        self, flash: RamFlash, model: Model, write: Write | None, operation: tuple[int, int, bytes]
    ) -> None:
        self.flash = flash
        self.model = model
        self.write = write
        self.sector, self.offset, self.data = operation

    def __str__(self) -> str:
        what = "the erase" if self.offset == ERASE else "the program at %d" % self.offset
        return "%s of sector %d" % (what, self.sector)

    def points(self) -> list[int]:
        """After how many bytes to cut."""
        if self.offset == ERASE:
            return list(range(0, SECTOR_BYTES, ERASED_STEP))
        last = len(self.data) - 1
        return [k for k in range(last + 1) if k % STRIDE == 0 or k == last]

    def image(self, k: int) -> RamFlash:
        """The flash when the power has failed after k bytes."""
        flash = self.flash.copy()
        if self.offset == ERASE:
            flash.half_erased = k
            flash.power_bytes = 0
            raises(PowerCut, flash.ioctl, 6, self.sector)
        else:
            flash.power_bytes = k
            raises(PowerCut, flash.writeblocks, self.sector, self.data, self.offset)
        return flash.copy()


def old_ring(dice: Dice, sectors: int) -> Recorder:
    """A partition that nobody has erased: some sectors full of junk, some partly, some blank."""
    flash = Recorder(sectors)
    for sector in range(sectors):
        junk = dice.bytes(SECTOR_BYTES)
        if sector % 3 == 1:
            junk = b"\xff" * 4000 + junk[4000:]
        if sector % 4 != 3:
            flash.fill(sector, junk)
    return flash


def cuts_of(flash: Recorder, store: Store, model: Model, write: Write | None) -> list[Cut]:
    """Do `write` (None: erase ahead), and return the cuts of all that the device did then."""
    before = flash.copy()
    flash.operations.clear()
    if write is None:
        store.idle()
    else:
        write.to(store)
    cuts = []
    for operation in flash.operations:
        cuts.append(Cut(before, model.copy(), write, operation))
        before = before.copy()
        sector, offset, data = operation
        if offset == ERASE:
            before.ioctl(6, sector)
        else:
            before.writeblocks(sector, data, offset)
    return cuts


def workload(with_idle: bool) -> list[Cut]:
    dice = Dice(7)
    flash = old_ring(dice, SECTORS)
    store = Store(flash, NODE)
    model = Model()
    cuts = []
    if with_idle:
        cuts += cuts_of(flash, store, model, None)
    written = 0
    while written < ENTRIES:
        write = random_write(dice, model, MOST if dice.one_in(6) else 2, BYTES)
        cuts += cuts_of(flash, store, model, write)
        model.take(write)
        written += len(write.entries)
        if with_idle:
            cuts += cuts_of(flash, store, model, None)
    model.found(store)
    assert bool(store.late_erases) != with_idle
    return cuts


def check(cut: Cut, k: int) -> None:
    flash = cut.image(k)
    try:
        store = Store(flash, NODE)
        model = cut.model.found(store, cut.write)
        for write in going_on(model):
            write.to(store)
            model.take(write)
        model.found(opened(flash))
    except Exception:
        print("power cut after %d bytes of %s" % (k, cut))
        raise


def going_on(model: Model) -> list[Write]:
    """A vote, then entries of another leader that replace the last one."""
    term = model.term + 1
    first = max(1, len(model.log))
    entries = [(term, COMMAND, b"after the cut, %d" % i) for i in range(3)]
    return [Write(True, term, 2), Write(False, term, 2, first, entries)]


def check_cut_again(cut: Cut, flash: RamFlash) -> None:
    """Recovered from one cut, the power fails again at any byte of what comes next."""
    recorder = Recorder.of(flash)
    store = Store(recorder, NODE)
    model = cut.model.found(store, cut.write)
    for write in going_on(model):
        for again in cuts_of(recorder, store, model, write):
            for k in again.points():
                model.found(Store(again.image(k), NODE), write)
        model.take(write)
    model.found(opened(recorder))


def test_a_power_cut_at_every_byte_loses_nothing_acknowledged() -> None:
    # given all that a device did for a workload, erases ahead included
    seen = 0
    for cut in workload(True):
        # when the power fails at any byte of it, then nothing is lost
        for k in cut.points():
            check(cut, k)
            seen += 1
            if seen % CUT_AGAIN == 0:
                check_cut_again(cut, cut.image(k))
    assert seen * STRIDE > ENTRIES * BYTES // 2


def test_a_power_cut_in_an_erase_on_the_way_of_a_write_loses_nothing() -> None:
    # given a node that never had an idle moment: its sectors are erased when they are needed
    erases = [cut for cut in workload(False) if cut.offset == ERASE]
    assert erases and all(cut.write for cut in erases)

    for cut in erases:
        for k in cut.points():
            check(cut, k)
