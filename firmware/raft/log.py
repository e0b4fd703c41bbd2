"""The log as the core sees it: its newest entries in RAM, more of them in the store.

An entry is a tuple (term: int, kind: int, data: bytes); indexes start at 1. What the store
has made durable may leave the RAM, and is read back from flash when a follower needs it. What
has left the flash as well is in the snapshot, and raises Compacted here.
"""

import struct

from raft.sector import record_bytes
from raft.store import Compacted, Snapshot

RAM_BYTES = 2048
ENTRY_RAM_BYTES = 64  # what an entry costs in RAM beside its data: tuple, bytes object, slot


class Log:
    """`store` is what it stands for, and only read here (see store.py).

    coming: the snapshot that is being received, or None. chunks: what has come of one and isn't
    durable yet: (Snapshot, offset, data). installed: the one that is whole by that, or None;
    keeps: whether the log goes on behind it.
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
        # Not the store's own: this one runs ahead of what is durable. One of which only the end
        # is missing would never be sent on.
        coming = store.coming
        self.coming = coming.copy() if coming and coming.next < coming.size else None
        self.chunks = []
        self.installed = None
        self.keeps = True

    def snapshot(self):
        """The newest whole snapshot (store.Snapshot); its index is 0 if there is none."""
        return self.store.snapshot

    def configurations(self):
        """(index, bytes): of the last two that the flash holds, the older one first.

        The index is that of its entry, and 0 of one that the cluster was founded with.
        """
        found = [self.snapshot_members()] if self.snapshot().index else []
        for index in self.store.configurations:
            if index > self.snapshot().index:
                found.append((index, self.store.live(index, 0)[0][2]))
        return found[-2:]

    def snapshot_members(self):
        """(index, bytes) of the configuration that the newest whole snapshot begins with.

        It is the first chunk of the snapshot: see `compaction.py`.
        """
        store = self.store
        data = store.read_snapshot(0)
        size = 2 + (data[0] | data[1] << 8)
        while len(data) < size:
            data += store.read_snapshot(len(data))
        return struct.unpack_from("<I", data, 2)[0], data[6:size]

    def term(self, index):
        """The term of the entry at `index`; 0 for index 0."""
        if index == self.last:
            return self.last_term
        if index >= self._first:
            return self._entries[index - self._first][0]
        if self.installed and index == self.installed.index:
            return self.installed.term
        store = self.store
        if not store.reaches(index):
            raise Compacted("entry %d has left the flash" % index)
        if index == store.base:
            return store.base_term
        return store.live(index, 0)[0][0]

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

        -1 if that has left the flash. Both sides use it to skip whole terms while they look for
        the point where two logs part (Raft paper, end of section 5.3; etcd's two-sided form).
        """
        index = min(index, self.last)
        store = self.store
        while store.reaches(index):
            if self.installed and index <= self.installed.index:
                return self.installed.index if self.installed.term <= term else -1
            if index == store.base:
                return index if store.base_term <= term else -1
            if index >= self._first:
                first = self._first
                while index >= first and self._entries[index - first][0] > term:
                    index -= 1
            else:
                try:
                    first, terms = store.terms(index)
                except Compacted:
                    continue  # it can't be read: the log reaches less far than it seemed to
                while index >= first and terms[index - first] > term:
                    index -= 1
            if index >= first:
                return index
        return -1

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

    def begin_snapshot(self, index, term, size, crc):
        """One begins to come; what has come of another is void."""
        self.coming = Snapshot(index, term, size, crc)
        self.chunks.clear()

    def add_to_snapshot(self, data):
        """The next of its bytes have come. Returns False if it is whole and not sound."""
        coming = self.coming
        self.chunks.append((coming, coming.next, data))
        self._pending += record_bytes(len(data))
        coming.take(data)
        if coming.next < coming.size:
            return True
        if not coming.is_whole():
            self.coming = None
            self.chunks.clear()
            return False
        self._install(coming)
        return True

    def _install(self, snapshot):
        """It is whole: what it stands for has no need of entries any more (figure 13)."""
        self.coming = None
        self.keeps = snapshot.index <= self.durable and self.matches(snapshot.index, snapshot.term)
        self.installed = snapshot
        if self.keeps:
            return
        # Entries that conflict with it, or end before it, go on with nothing.
        self._entries.clear()
        self._used = 0
        self.last = self.durable = snapshot.index
        self.last_term = snapshot.term
        self._first = self.last + 1

    def unstable(self):
        """The entries that aren't durable yet; the first has the index `durable` + 1."""
        return self._entries[self.durable + 1 - self._first :]

    def stable(self, commit):
        """All entries are durable now: forget the oldest that are too much for the RAM.

        Those above index `commit` stay; the leader bounds them (UNCOMMITTED_BYTES).
        """
        self.durable = self.last
        self._pending = 0
        self.chunks.clear()
        self.installed = None
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
