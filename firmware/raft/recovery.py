"""Finds out what the flash log holds, after a restart or a power cut anywhere.

The log ends at the last whole record. A broken record is a torn tail if no later program is
found behind it: what was cut off was never acknowledged, and is dropped. Otherwise it is damage:
what is sound before it stays, and how far the log had got is remembered.
"""

import struct

from raft.sector import HEADER_BYTES, SECTOR_BYTES, STATE, VERSION
from raft.store import StoreError

_VOTE_UNKNOWN = 255  # no node's id: a vote was given, but it can't be read any more


class Recovery:
    """Reads all of the flash, and fills in what `store` knows of it."""

    def __init__(self, store):
        self.store = store
        self.reader = store.reader
        self.reachable = True  # the entries that are read continue the log

    def run(self):
        store = self.store
        self._find_newest()
        for sequence in range(store.oldest, store.newest + 1):
            self._take_sector(sequence, sequence == store.newest)
        self._look_behind()
        if store.damage is not None:
            if store.last >= store.damage:
                store.damage = None  # a leader has since brought all that was lost
            else:
                store.end = SECTOR_BYTES  # what comes next begins a new sector

    def _find_newest(self):
        """The newest sector in use; those before it are in use too, readable or not."""
        for sector in range(self.store.sectors):
            sequence = self._sequence(sector)
            if sequence is not None and sequence > self.store.newest:
                self.store.newest = sequence

    def _sequence(self, sector):
        """Open a sector, its header in the buffer; its sequence number, or None."""
        self.reader.open(sector)
        if not self.reader.has_header():
            return None
        buf = self.reader.buf
        if buf[4] != VERSION:
            raise StoreError(
                "the raft partition has format version %d, this is version %d" % (buf[4], VERSION)
            )
        if buf[5] != self.store.node:
            raise StoreError(
                "the raft partition belongs to node %d, this is node %d: erase it, or "
                "correct the id in the configuration" % (buf[5], self.store.node)
            )
        sequence = struct.unpack_from("<I", buf, 8)[0]
        return sequence if sequence % self.store.sectors == sector else None

    def _take_sector(self, sequence, is_newest):
        store, reader = self.store, self.reader
        sector = sequence % store.sectors
        if self._sequence(sector) == sequence:
            self._take_header()
        else:  # its records still tell how far the log had got
            self._damaged(store.last + 1)
            self.reachable = False
        at = HEADER_BYTES
        while True:
            at = self._take_records(sector, at)
            if reader.is_blank(at):
                break
            sound = self._later_program(at)
            if sound is None:
                store.torn = is_newest
                at = SECTOR_BYTES
                break
            self._damaged(store.last + 1)
            self.reachable = False  # what was lost may have replaced entries
            at = sound
        store.end = at

    def _take_header(self):
        store, buf = self.store, self.reader.buf
        term = struct.unpack_from("<I", buf, 12)[0]
        self._take_state(term, struct.unpack_from("<H", buf, 6)[0])
        # The same index and term mean the same log up to there (Log Matching): only then are
        # the entries of this sector the continuation of what has been read so far.
        next_index, last_term = struct.unpack_from("<II", buf, 16)
        self.reachable = next_index == store.last + 1 and last_term == store.last_term
        if not self.reachable:
            self._damaged(max(next_index - 1, store.last + 1))

    def _take_records(self, sector, at):
        """Take in the records from `at` to the first that isn't sound; returns where it is."""
        reader = self.reader
        while reader.is_record(at):
            type, _, size, index, term = reader.record(at)
            if type == STATE:
                self._take_state(term, size)
            else:
                self._take_entry(sector, index, term)
            at = reader.next(at)
        return at

    def _take_entry(self, sector, index, term):
        store = self.store
        if term > store.term:  # its record of term and vote was lost
            self._take_state(term, _VOTE_UNKNOWN)
        if not self.reachable or index > store.last + 1:
            self._damaged(max(index, store.last + 1))
            return
        store.last = index
        store.last_term = term
        if index < store.low[sector]:
            store.low[sector] = index

    def _take_state(self, term, vote):
        if term >= self.store.term:
            self.store.term = term
            self.store.vote = vote

    def _damaged(self, index):
        """The log has held entries up to `index` that can't be read any more."""
        store = self.store
        if store.damage is None or store.damage < index:
            store.damage = index
        if store.vote == 0:
            store.vote = _VOTE_UNKNOWN  # a lost record may have held the vote of this term

    def _later_program(self, at):
        """Where, behind the broken record at `at`, a later program begins; None if none does."""
        # The other records of a torn program aren't one: they lack the mark of a first record.
        reader = self.reader
        for offset in range(at + 4, SECTOR_BYTES, 4):
            if reader.is_record(offset) and reader.begins_program(offset):
                return offset
        return None

    def _look_behind(self):
        """Sound records behind the newest sector: its successor has lost its header."""
        store = self.store
        if store.used_sectors() >= store.sectors:
            return
        self.reader.open((store.newest + 1) % store.sectors)
        if self.reader.is_record(HEADER_BYTES):
            # Stays in use, unreadable: or else the next program would erase the evidence.
            store.newest += 1
            self._take_sector(store.newest, True)
