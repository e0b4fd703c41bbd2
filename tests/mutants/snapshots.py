"""Mistakes in what a snapshot stands for, and in how it gets to others."""

from typing import Any

from raft.core import Core
from raft.leading import Leading
from raft.messages import APPEND_REPLY, SNAPSHOT_REPLY, Message
from raft.sessions import CLOCK_BYTES, Sessions
from raft.store import Snapshot
from tests.cluster.invariants import EagerCompaction, WatchedLog, WatchedStore
from tests.mutants.mutant import Mutant


class SnapshotKeepsConflictingEntries(WatchedLog):
    """What conflicts with a snapshot stays behind it.

    hashicorp/raft#704
    """

    def _install(self, snapshot: Snapshot) -> None:
        super()._install(snapshot)
        self.keeps = True


class SnapshotCountsBeforeItIsDurable(Core):
    """A follower's answer leaves before the piece that it acknowledges is durable."""

    def _handle_snapshot(self, m: Message) -> None:
        super()._handle_snapshot(m)
        if self._ready.after and self._ready.after[-1].kind == SNAPSHOT_REPLY:
            self._ready.early.append(self._ready.after.pop())
        if self._ready.after and self._ready.after[-1].kind == APPEND_REPLY:
            self._ready.early.append(self._ready.after.pop())


class SnapshotOfWhatIsNotCommitted(EagerCompaction):
    """A snapshot is said to stand for entries that aren't committed."""

    def step(self, applied: int) -> bool:
        return bool(super().step(self._core.log.last if self._chunks is None else applied))


class SnapshotWithoutTheSessions(Sessions):
    """Who is restored from a snapshot doesn't know what clients have sent already."""

    def restore(self, chunk: bytes) -> None:
        if not self._restores_sessions or len(chunk) == CLOCK_BYTES:
            super().restore(chunk)


class SnapshotWithoutTheTime(Sessions):
    """Who is restored from a snapshot has another cluster time than others."""

    def restore(self, chunk: bytes) -> None:
        time = self.time
        super().restore(chunk)
        self.time = time


class SectorsErasedBeforeTheSnapshotIsWhole(WatchedStore):
    """The log is given up while the snapshot that stands for it is only begun."""

    def begin_snapshot(self, index: int, term: int, size: int = 0, crc: int = 0) -> None:
        super().begin_snapshot(index, term, size, crc)
        self.floor = self.newest


class SnapshotNeverSent(Leading):
    """Who lacks what has left the leader's log is sent nothing at all.

    hashicorp/raft#212
    """

    def _send_snapshot(self, peer: Any, number: int, must: bool, news: bool) -> bool:
        return False


class OldEntriesAppendedAgain(Core):
    """A doubled append of entries that are in the snapshot by now appends them once more.

    willemt/raft#118
    """

    def _handle_append(self, m: Message) -> None:
        if m.entries and m.index + len(m.entries) <= self.log.snapshot().index:
            for entry in m.entries:
                self.log.append(entry)
        super()._handle_append(m)


MUTANTS = [
    Mutant(SnapshotKeepsConflictingEntries),
    Mutant(SnapshotCountsBeforeItIsDurable),
    Mutant(SnapshotOfWhatIsNotCommitted),
    Mutant(SnapshotWithoutTheSessions),
    Mutant(SnapshotWithoutTheTime),
    Mutant(SectorsErasedBeforeTheSnapshotIsWhole),
    Mutant(SnapshotNeverSent),
    Mutant(OldEntriesAppendedAgain),
]
