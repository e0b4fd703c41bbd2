"""A flash of which only one thing is known: what is durable, and what isn't.

It stands in for `raft.store.Store` in the search; that the store keeps this promise is shown by
`tests/store/`.
"""

from raft.core import Ready
from raft.messages import CONFIG
from raft.store import Snapshot

Entry = tuple[int, int, bytes]  # term, kind, data


class Disk:
    """term, vote, entries: what would survive a power cut at this moment."""

    # What a log asks its store for, of a flash that is large enough and has no snapshot
    base = base_term = doubt = 0
    coming = None
    snapshot = Snapshot(0, 0, 0, 0)

    def __init__(self, term: int, vote: int, entries: tuple[Entry, ...]) -> None:
        self.term = term
        self.vote = vote
        self.entries = entries

    @property
    def last(self) -> int:
        return len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    @property
    def configurations(self) -> list[int]:
        found = [i for i, (_, kind, _) in enumerate(self.entries, 1) if kind == CONFIG]
        return found[-2:]

    def live(self, index: int, max_bytes: int) -> list[Entry]:
        return list(self.entries[index - 1 :])

    def reaches(self, index: int) -> bool:
        return 0 <= index <= self.last

    def has_room(self, data_bytes: int, reserve: int, pending: int) -> bool:
        return True

    def states_of_writing(self, ready: Ready) -> "list[Disk]":
        """What may be durable while this is written: nothing of it, ..., all of it.

        Term and vote are one record and go first; each entry is another one, and replaces what
        the log held from its index on.
        """
        states = [self]
        term, vote = self.term, self.vote
        if ready.save:
            term, vote = ready.term, ready.vote
            states.append(Disk(term, vote, self.entries))
        kept = self.entries[: ready.first - 1]
        for count in range(1, len(ready.entries) + 1):
            states.append(Disk(term, vote, kept + tuple(ready.entries[:count])))
        return states
