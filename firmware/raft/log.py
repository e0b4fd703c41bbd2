"""The log as the core sees it: its newest entries in RAM, all of them in the store.

An entry is a tuple (term: int, kind: int, data: bytes); indexes start at 1. What the store
has made durable may leave the RAM, and is read back from flash when a follower needs it.
"""

from raft.sector import record_bytes

RAM_BYTES = 2048
ENTRY_RAM_BYTES = 64  # what an entry costs in RAM beside its data: tuple, bytes object, slot


class Log:
    """`store` gives `last`, `last_term`, `live`, `terms` and `has_room` (see store.py).

    ram_bytes: how much of the newest durable entries is kept in RAM, data and overhead.
    """

    def __init__(self, store, ram_bytes=RAM_BYTES):
        self.store = store
        self.last = store.last
        self.last_term = store.last_term
        self.durable = store.last  # the highest index that would survive a power cut
        self._ram_bytes = ram_bytes
        self._used = 0
        self._pending = 0  # bytes of records on their way to the flash
        self._first = self.last + 1  # index of _entries[0]
        self._entries = []

    def term(self, index):
        """The term of the entry at `index`; 0 for index 0."""
        if index == self.last:
            return self.last_term
        return self.entry(index)[0] if index else 0

    def entry(self, index):
        if index >= self._first:
            return self._entries[index - self._first]
        return self.store.live(index, 0)[0]

    def matches(self, index, term):
        """Whether the log holds an entry of `term` at `index` (paper, figure 2)."""
        return index <= self.last and self.term(index) == term

    def slice(self, index, max_bytes, entry_bytes):
        """Entries from `index` on whose data and `entry_bytes` of overhead each fit into
        `max_bytes`: none or more if the log ends, else at least one."""
        if index > self.last:
            return ()
        if index >= self._first:
            entries = self._entries
            start = index - self._first
        else:
            entries = self.store.live(index, max_bytes)
            # Behind what only it holds, the flash may have entries that were dropped since.
            del entries[self._first - index :]
            start = 0
        end = start
        while end < len(entries):
            max_bytes -= entry_bytes + len(entries[end][2])
            if max_bytes < 0 and end > start:
                break
            end += 1
        return entries[start:end]

    def conflict(self, index, term):
        """The highest index up to `index` whose term is at most `term`.

        Both sides use it to skip whole terms while they look for the point where two logs
        part (Raft paper, end of section 5.3; etcd's two-sided form of it).
        """
        index = min(index, self.last)
        while index:
            if index >= self._first:
                first = self._first
                while index >= first and self._entries[index - first][0] > term:
                    index -= 1
            else:
                first, terms = self.store.terms(index)
                while index >= first and terms[index - first] > term:
                    index -= 1
            if index >= first:
                return index
        return 0

    def has_room(self, data_bytes, reserve):
        """Whether the flash has room for one more entry, and `reserve` sectors beside it."""
        return self.store.has_room(data_bytes, reserve, self._pending)

    def append(self, entry):
        self.last += 1
        self.last_term = entry[0]
        self._entries.append(entry)
        self._used += ENTRY_RAM_BYTES + len(entry[2])
        self._pending += record_bytes(len(entry[2]))

    def truncate(self, index):
        """Drop all entries from `index` on, here; the store does when their successors come."""
        if index <= self.durable:
            self.durable = index - 1
        last_term = self.term(index - 1)
        if index <= self._first:
            self._entries.clear()
            self._first = index
            self._used = 0
        else:
            for i in range(index - self._first, len(self._entries)):
                self._used -= ENTRY_RAM_BYTES + len(self._entries[i][2])
            del self._entries[index - self._first :]
        self.last = index - 1
        self.last_term = last_term

    def unstable(self):
        """The entries that aren't durable yet; the first has the index `durable` + 1."""
        return self._entries[self.durable + 1 - self._first :]

    def stable(self, commit):
        """All entries are durable now: forget the oldest that are too much for the RAM.

        Those above index `commit` stay; the leader bounds them (UNCOMMITTED_BYTES).
        """
        self.durable = self.last
        self._pending = 0
        if self._used <= self._ram_bytes:
            return
        # Down to three quarters, so that the list is moved now and then, not at each entry.
        drop = 0
        most = commit + 1 - self._first
        while drop < most and self._used > self._ram_bytes * 3 // 4:
            self._used -= ENTRY_RAM_BYTES + len(self._entries[drop][2])
            drop += 1
        del self._entries[:drop]
        self._first += drop
