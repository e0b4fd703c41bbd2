"""The power may fail in the middle of any program and of any erase: nothing acknowledged is lost.

A life (life.py) writes, votes, truncates, compacts, installs and starts again. Before an operation
of the flash that is looked at, the flash is what it would be had the power failed in it, in
several ways: recovery must find all that was acknowledged, and at most a prefix of what was not;
and the node must be able to go on. Here it is a sample of operations; `make test-power` takes all.
"""

import sys

from tests.dice import Dice
from tests.flash import CUT_STRIDE
from tests.store.cuts import ERASE, Operation
from tests.store.life import Life, check, check_again, check_image

PORTABLE = True

IS_QUICK = sys.implementation.name == "cpython"
COMMANDS = 1000
STRIDE = 47 if IS_QUICK else 199  # operations from one that is looked at to the next
ERASE_STRIDE = 7 if IS_QUICK else 29  # erases
AGAIN = 3 * STRIDE  # operations from one with a second power cut to the next
YOUNG = 22  # commands
ERASED_STRIDE = 256  # the same in an erase


class Sample:
    """Looks at some of the operations of a life: those for which `wants` says so."""

    def __init__(self, wants=None) -> None:  # type: ignore[no-untyped-def]
        self.wants = wants or self._wants
        self.cuts = self.again = 0

    def _wants(self, life: Life, operation: Operation) -> bool:
        if operation.offset == ERASE:
            return life.seen["erases"] % ERASE_STRIDE == 0
        return life.operations % STRIDE == 0

    def __call__(self, life: Life, operation: Operation) -> None:
        if not self.wants(life, operation):
            return
        cuts = operation.cuts()
        try:
            for page, variant in cuts:
                check(life, operation, page, variant)
                self.cuts += 1
            if life.operations % AGAIN == 0:
                page, variant = Dice(life.operations).pick(cuts)
                self.again += check_again(life, operation, page, variant)
        except Exception:
            print("power cut in page %d (way %d) of the %s" % (page, variant, operation))
            raise


def lead(life: Life, commands: int = COMMANDS) -> Life:
    while life.seen.get("commands", 0) < commands:
        life.turn()
    return life


def test_a_power_cut_that_leaves_any_bits_loses_nothing_acknowledged() -> None:
    sample = Sample()

    life = lead(Life(1, sample))

    assert sample.cuts > 6 * life.operations // STRIDE and sample.again > 20
    for what in ("compactions", "installs that keep", "installs that drop", "truncations"):
        assert life.seen[what] >= 3, what
    assert life.seen["erases"] > 20 and life.store.late_erases == 0


def test_nor_does_one_after_many_others() -> None:
    sample = Sample()

    life = lead(Life(2, sample, cuts=40))

    assert sample.cuts > 6 * life.operations // STRIDE
    assert life.seen["power cuts"] > 10 and life.seen["broken off"] > 1


def test_nor_does_one_in_an_erase_on_the_way_of_a_write() -> None:
    # given a node that never has a quiet moment: its sectors are erased when they are needed
    sample = Sample(
        lambda life, operation: operation.offset == ERASE and life.seen["erases"] % 4 == 0
    )

    life = lead(Life(3, sample, is_busy=True))

    assert sample.cuts >= 60 and life.store.late_erases > 3


def test_nor_does_one_behind_a_device_fault() -> None:
    # given programs that fail, half done: what they were to write goes into the next sector
    sample = Sample(lambda life, operation: life.is_retry)

    life = lead(Life(2, sample, faults=15 if IS_QUICK else 80))

    assert sample.cuts > 6 * life.seen["faults"] > 6 * 3


def test_a_power_cut_behind_any_byte_loses_nothing_acknowledged() -> None:
    # given a young node, of which a sector is filled, a snapshot written and one installed
    cuts = 0

    def look(life: Life, operation: Operation) -> None:
        nonlocal cuts
        stride = ERASED_STRIDE if operation.offset == ERASE else CUT_STRIDE
        # when a power cut leaves the first bytes whole and none of the others
        for done in range(0, operation.bytes(), stride):
            try:
                check_image(life, operation.cut(done))
            except Exception:
                print("power cut behind %d bytes of the %s" % (done, operation))
                raise
            cuts += 1

    life = lead(Life(20, look), YOUNG)

    assert cuts > 3000 // CUT_STRIDE
    assert life.seen["compactions"] and life.seen["installs that drop"] and life.seen["truncations"]
