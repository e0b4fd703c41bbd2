"""`Store.live` gives back today's log, however often it was replaced, against a plain list."""

import sys

from raft.store import Store
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, RamFlash
from tests.store.model import NODE, Model, contents, opened, random_write

PORTABLE = True

SECTORS = 250
STEPS = 1000 if sys.implementation.name == "cpython" else 400
ROOMS = 0, 150, SECTOR_BYTES  # bytes of data that are asked for
CHECK_ALL = 150  # steps between two looks at the whole log
RESTART = 170  # steps between two restarts


def check_live(store: Store, model: Model, index: int, room: int) -> None:
    entries = store.live(index, room)
    assert entries == model.log[index - 1 : index - 1 + len(entries)]
    assert len(entries) == 1 or sum([len(data) for _, _, data in entries]) <= room
    first, terms = store.terms(index)
    assert 0 < first <= index < first + len(terms)
    assert terms == [term for term, _, _ in model.log[first - 1 : first - 1 + len(terms)]]


def walk(seed: int, most: int, size: int, back: int) -> None:
    """Writes of up to `most` entries of up to `size` bytes; conflicts up to `back` entries ago."""
    dice = Dice(seed)
    flash = RamFlash(SECTORS)
    store = Store(flash, NODE)
    model = Model()
    for step in range(1, STEPS + 1):
        write = random_write(dice, model, most, size, back)
        write.to(store)
        model.take(write)
        assert (store.last, store.term, store.vote) == (len(model.log), model.term, model.vote)
        if model.log:
            check_live(store, model, store.last, 0)
            check_live(store, model, dice.draw(1, store.last), dice.pick(ROOMS))
        if step % CHECK_ALL == 0:
            assert contents(store) == model.log
        if step % RESTART == 0:
            store = Store(flash, NODE)
            model.found(store)
    assert store.used_sectors() > 10
    model.found(opened(flash))


def test_short_conflicts_within_and_across_sectors() -> None:
    walk(1, 3, 100, 10)


def test_long_conflicts_that_go_back_over_several_sectors() -> None:
    walk(2, 12, 60, 300)


def test_large_entries_of_which_few_fit_into_a_sector() -> None:
    walk(3, 2, 900, 12)
