"""What a flash store has to hold, as plain lists; portable."""

from raft.messages import COMMAND, NOOP
from raft.store import Compacted, Store
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, RamFlash

NODE = 1
LONGEST = 1200  # bytes of one entry's data (messages.MAX_DATA)


class Write:
    """One call of `Store.append`."""

    def __init__(
        self,
        save: bool,
        term: int,
        vote: int,
        first: int = 0,
        entries: "list[tuple[int, int, bytes]] | None" = None,
    ) -> None:
        self.save = save  # the hard state, term and vote
        self.term = term
        self.vote = vote
        self.first = first
        self.entries = entries or []

    def to(self, store: Store) -> None:
        store.append(self.save, self.term, self.vote, self.first, self.entries)


class Install:
    """One call of `Store.end_snapshot(False)`: the log begins anew behind `log`."""

    def __init__(self, log: "list[tuple[int, int, bytes]]") -> None:
        self.log = log  # all that the snapshot stands for


class Model:
    """Hard state and log after all writes that were acknowledged.

    The log is whole; the store may have forgotten the beginning of it.
    """

    def __init__(self) -> None:
        self.term = 0
        self.vote = 0
        self.log: list[tuple[int, int, bytes]] = []

    def copy(self) -> "Model":
        other = Model()
        other.term, other.vote, other.log = self.term, self.vote, list(self.log)
        return other

    def take(self, write: "Write | Install") -> None:
        if isinstance(write, Install):
            self.log = list(write.log)
            return
        if write.save:
            self.term, self.vote = write.term, write.vote
        if write.entries:
            self.log[write.first - 1 :] = write.entries

    def found(self, store: Store, write: "Write | Install | None" = None) -> "Model":
        """What `store` holds, which must be this model, or additionally a prefix of `write`,
        which the power cut: the hard state comes first, then the entries in order."""
        assert store.damage is None, "damage reported up to %d" % store.damage
        after = self.copy()
        entries = contents(store)
        if isinstance(write, Install):
            if store.base == len(write.log) == store.last:
                after.take(write)
            write = None
        before = list(after.log)
        log = before[: store.base] + entries
        assert store.base <= store.snapshot.index, "entries without the state before them"
        assert store.base_term == (log[store.base - 1][0] if store.base else 0)
        if write and write.save and (store.term, store.vote) == (write.term, write.vote):
            after.term, after.vote = write.term, write.vote
        assert (store.term, store.vote) == (after.term, after.vote), "neither old nor new state"
        if log != before:
            assert write and (after.term, after.vote) == (write.term, write.vote), "state lost"
            taken = len(log) - write.first + 1
            assert 0 < taken <= len(write.entries), "%d entries found" % len(log)
            after.log[write.first - 1 :] = write.entries[:taken]
            assert log == after.log, "entries found that nobody wrote so"
        return after


def contents(store: Store) -> list[tuple[int, int, bytes]]:
    """All entries that the store gives back: from the one behind its base on."""
    log: list[tuple[int, int, bytes]] = []
    store.reaches(store.last)  # which finds out what the base is
    while store.base + len(log) < store.last:
        base = store.base
        try:
            entries = store.live(base + len(log) + 1, SECTOR_BYTES)
        except Compacted:  # damaged, and not needed: only now it is seen
            assert base < store.base == store.snapshot.index
            log.clear()
            continue
        assert entries, "live() without what was asked for"
        log += entries
    assert store.base + len(log) == store.last, "live() beyond the last entry"
    assert store.last_term == (log[-1][0] if log else store.base_term)
    return log


def read_snapshot(store: Store) -> bytes:
    """All data of the store's newest whole snapshot."""
    data = b""
    while len(data) < store.snapshot.size:
        data += store.read_snapshot(len(data))
    return data


def opened(flash: RamFlash, node: int = NODE) -> Store:
    """What is found after the power has come back."""
    return Store(flash.copy(), node)


def random_write(dice: Dice, model: Model, most: int, size: int, back: int = 0) -> Write:
    """A write such as the algorithm makes: appends, conflicts, votes, new terms.

    Up to `most` entries of up to `size` bytes each; now and then a large one. A conflict is up
    to `back` entries before the last, or `most`.
    """
    term, vote, first = model.term or 1, model.vote, len(model.log) + 1
    if dice.one_in(8):
        term, vote = term + 1 + dice.below(2), dice.below(4)
    elif vote == 0 and dice.one_in(3):
        vote = dice.draw(1, 3)
    new_term = term > model.term
    if new_term and model.log and dice.one_in(2):
        first = dice.draw(max(1, len(model.log) - (back or most)), len(model.log))
    count = dice.draw(0 if new_term or vote != model.vote else 1, most)
    entries = []
    for _ in range(count):
        if dice.one_in(6):
            entries.append((term, NOOP, b""))
        else:
            longest = LONGEST if dice.one_in(100) else size
            entries.append((term, COMMAND, dice.bytes(dice.below(longest + 1))))
    save = (term, vote) != (model.term, model.vote)
    return Write(save, term, vote, first, entries)
