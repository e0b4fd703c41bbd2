"""What the flash of a node that has ended holds, applied once more."""

# mypy: allow-untyped-calls

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from host_tools.desktop.flash import Flash
from host_tools.firmware import Compaction, Log, Machines, Store, kv, messages, sessions


class ReplayError(Exception):
    """The flash contradicts itself."""


@dataclass(frozen=True)
class Replay:
    """base: from the entry behind this one on the log was replayed; 0: all of it.

    What is before has left the flash, and `before` stands for it: the keys and values of the
    snapshot that ends with the entry `base`. applied: how often each command behind it was
    applied. after: the keys and values in the end.
    """

    base: int
    before: dict[bytes, bytes]
    applied: Counter[bytes]
    after: dict[bytes, bytes]


class _Recorder(Machines):
    """A key-value store, and which command it has applied how often."""

    def __init__(self) -> None:
        super().__init__(kv.KeyValue(0))  # the limit is a leader's concern
        self.applied: Counter[bytes] = Counter()

    def apply(self, payload: memoryview, now: int) -> bytes:
        self.applied[bytes(payload)] += 1
        result: bytes = super().apply(payload, now)
        return result

    def contents(self) -> dict[bytes, bytes]:
        return dict(self.default._values)


def replay(flash: Path, node: int, commit: int) -> Replay:
    """Apply what the flash of `node` holds, up to the entry `commit`, as the node itself does.

    From the first entry on if the flash still has it, so that most is seen; else from its
    snapshot on. Raises ReplayError if a snapshot isn't what the entries before it lead to.
    """
    machine = _Recorder()
    guarded = sessions.Sessions(machine)
    with closing(Flash(str(flash))) as device:
        store = Store(device, node)
        base = 0 if store.reaches(0) else _restore(store, guarded)
        before = machine.contents()
        log = Log(store)
        index, snapshot = base, store.snapshot.index
        while index < min(commit, log.last):
            for _, kind, data in log.slice(index + 1, messages.MAX_DATAGRAM, 0):
                index += 1
                if kind == messages.COMMAND and index <= commit:
                    guarded.apply(index, data)
                if index == snapshot:
                    _compare(store, guarded)
    return Replay(base, before, machine.applied, machine.contents())


def _restore(store: Store, machine: sessions.Sessions) -> int:
    """Give the machine the state of the store's snapshot; the last entry that it stands for."""
    compaction = Compaction(store, None, machine)
    while not compaction.restored:
        compaction.restore()
    index: int = store.snapshot.index
    return index


def _compare(store: Store, machine: sessions.Sessions) -> None:
    other = sessions.Sessions(_Recorder())
    index = _restore(store, other)
    # As a snapshot has them: the sessions, and the keys with their values.
    if sorted(other.snapshot()) != sorted(machine.snapshot()):
        raise ReplayError(f"the snapshot of {index} entries isn't what these entries lead to")
