"""Finds out what the flash log holds, after a restart or a power cut anywhere.

The newest sector's header tells from which sector on the log is needed; only those are read.
The log ends at the last whole record. A broken record is a torn tail if no later program is
found behind it: what was cut off was never acknowledged, and is dropped. Otherwise it may be
damage: what is sound before it stays, and how far the log had got is remembered, as the doubt. If a
record of term and vote may be among what is lost, nobody knows what the node has promised.

But the next sector's header tells where the log goes on. If that continues what was read, then
nothing that was lost matters: same index and term mean the same log (Log Matching), and the hard
state is in the header. So damage that a leader has repaired since leaves no doubt. It also tells
where the programs of the sector before it end; what lies behind, in that sector or in sectors that
were left out, was never acknowledged.

A power cut leaves any subset of the bits of the page that was being programmed (or of the sector
that was being erased): a header may be torn although the record behind it is whole.
"""

import struct

from raft.messages import CONFIG
from raft.sector import (
    BEGIN,
    DATA,
    DROP,
    ENTRY,
    HEADER_BYTES,
    NONE,
    SECTOR_BYTES,
    STATE,
    VERSION,
)
from raft.store import Snapshot, StoreError

_OPEN = SECTOR_BYTES + 1  # the end of a sector that nothing tells
_LOOK_BEHIND = 3  # sectors: the next one may have been left out
_VOTE_UNKNOWN = 255  # no node's id: a vote was given, but it can't be read any more


def identify(store, memory, draw):
    """Hold the identity of the ring against the one in `memory` (see node.Node.open).

    Returns "wiped" if the ring should have one and has none, "swapped" if it has another, else
    None. In both cases the node may have promised what isn't there; and what is there may be
    another cluster's, so the log begins anew.
    draw(low, high): a random int.
    """
    known = memory.load()
    if known and known == store.identity:
        return None
    what = None
    if known:
        what = "swapped" if store.identity else "wiped"
        _begin_anew(store)
        store.doubt = store.ALL
        store.vote = store.vote or _VOTE_UNKNOWN
    store.identity = store.identity or known or draw(1, NONE - 1)
    # First here and then there: the other way round, a power cut between the two would look
    # like a ring that was wiped.
    store.end = SECTOR_BYTES
    store.append(True, store.term, store.vote, 0, ())
    memory.save(store.identity)
    return what


def _begin_anew(store):
    """What the ring holds of the log is worth nothing."""
    store.begin_log(0, 0)
    store.snapshot = Snapshot()
    store.coming = None
    store.floor = store.oldest = store._based = store.newest + 1


class Recovery:
    """Reads what is needed of the flash, and fills in what `store` knows of it."""

    def __init__(self, store):
        self.store = store
        self.reader = store.reader
        self.reachable = False  # the entries that are read continue the log
        self.knows_state = True  # no record of term and vote can have been lost
        self.keeps = True  # the log goes on behind the snapshot
        self.floor_base = None  # where the log of the oldest sector that is needed goes on from

    def run(self):
        store = self.store
        self._find_newest()
        if store.newest < 0:
            self.reachable = True
        self._find_ends()
        is_first = True
        for sequence in range(store.floor, store.newest + 1):
            if store.ends[sequence % store.sectors]:
                self._take_sector(sequence, is_first)
                is_first = False
        self._look_behind()
        if store.base > store.snapshot.index:
            self._damaged(store.last)
            _begin_anew(store)
        elif store.newest >= 0:
            store.floor = store.needed_from(self.keeps)
            is_end = store.snapshot.size and store.snapshot.final == store.newest
            if store.floor != store.safe or is_end:
                store.end = SECTOR_BYTES  # the next sector's header has to say so
            self._find_older()
            store._based = store.oldest
            store.set_base(store.base, store.base_term)
        if store.damage is not None:
            store.doubt = max(store.doubt, store.damage if self.knows_state else store.ALL)
            store.end = SECTOR_BYTES  # what comes next begins a new sector

    def _find_newest(self):
        """The newest sector in use, and the oldest that it says is needed."""
        store = self.store
        for sector in range(store.sectors):
            sequence = self._sequence(sector)
            if sequence is not None and sequence > store.newest:
                store.newest = sequence
                store.floor, store.identity = struct.unpack_from("<II", self.reader.buf, 28)
        store.safe = store.oldest = store._based = store.floor

    def _sequence(self, sector):
        """Open a sector, its header in the buffer; its sequence number, or None."""
        self.reader.open(sector)
        if not self.reader.has_header():
            return None
        buf = self.reader.buf
        if buf[4] != VERSION:
            raise StoreError(
                "the raft partition has format version %d, this is version %d: erase it, and "
                "let the others bring this node up to date" % (buf[4], VERSION)
            )
        if buf[5] != self.store.node:
            raise StoreError(
                "the raft partition belongs to node %d, this is node %d: erase it, or "
                "correct the id in the configuration" % (buf[5], self.store.node)
            )
        sequence = self.reader.sequence()
        return sequence if sequence % self.store.sectors == sector else None

    def _find_ends(self):
        """Where the programs of the sectors that are needed end; of those left out, at 0."""
        store = self.store
        sequence, end = store.newest, _OPEN
        while sequence >= store.floor:
            store.ends[sequence % store.sectors] = end
            if store.opens(sequence):
                sequence, end = self.reader.before()
            else:
                sequence, end = sequence - 1, _OPEN

    def _take_sector(self, sequence, is_first):
        store, reader = self.store, self.reader
        sector = sequence % store.sectors
        end = store.ends[sector]
        if store.opens(sequence):
            self._take_header(sequence, is_first)
        else:
            self._lost()
        at = HEADER_BYTES
        while True:
            at = self._take_records(sequence, at, end)
            if at >= end or end == _OPEN and reader.is_blank(at):
                break
            sound = reader.later_program(at)
            if sound is None and end == _OPEN:
                store.torn = True
                store.ends[sector] = at
                store.end = SECTOR_BYTES
                return
            self._lost()
            store.breaks.setdefault(sector, at)
            if sound is None:
                return
            at = sound
        store.end = store.ends[sector] = at

    def _take_header(self, sequence, is_first):
        store, buf = self.store, self.reader.buf
        vote = struct.unpack_from("<H", buf, 6)[0]
        term = struct.unpack_from("<I", buf, 12)[0]
        doubt = struct.unpack_from("<I", buf, 24)[0]
        next_index, last_term = self.reader.next_index()
        self.knows_state = True
        if is_first:
            self.floor_base = next_index - 1
            store.begin_log(self.floor_base, last_term)
            self.reachable = True
        else:
            self.reachable = next_index - 1 == store.last and last_term == store.last_term
        if self.reachable:
            store.damage = None
            if term >= store.term:
                store.term, store.vote, store.doubt = term, vote, doubt
        else:
            self._take_state(term, vote, doubt)
            self._damaged(max(next_index - 1, store.last + 1))

    def _take_records(self, sequence, at, end):
        """Take in the records from `at` to `end`, or to the first that isn't sound.

        Returns where that is.
        """
        reader = self.reader
        while at < end and reader.is_record(at):
            type, kind, size, index, term = reader.record(at)
            if type == STATE:
                self._take_state(term, size, index)
            elif type == ENTRY:
                self._take_entry(sequence, kind, index, term)
            elif kind == BEGIN:
                self._take_begin(sequence, index, term, at)
            elif kind == DATA:
                self._take_data(sequence, index, term, at, size)
            else:
                self._take_end(sequence, kind, index, term, at)
            at = reader.next(at)
        return at

    def _take_entry(self, sequence, kind, index, term):
        store = self.store
        self._take_term(term)
        if not self.reachable or index > store.last + 1:
            self._damaged(max(index, store.last + 1))
            return
        store.last = index
        store.last_term = term
        known = store.configurations
        while known and known[-1] >= index:
            known.pop()
        if kind == CONFIG:
            known.append(index)
            del known[:-2]
        sector = sequence % store.sectors
        if index < store.low[sector]:
            store.low[sector] = index

    def _take_begin(self, sequence, index, term, at):
        size, crc = self.reader.numbers(at)
        self.store.coming = coming = Snapshot(index, term, size, crc)
        coming.first = sequence

    def _take_data(self, sequence, offset, index, at, size):
        store = self.store
        coming = store.coming
        if coming is None or index != coming.index or offset < coming.next:
            return  # of one whose begin isn't needed any more; or a copy (`Store._program`)
        if offset > coming.next:
            store.coming = None  # damage: its end, if there is one, can't count
            return
        coming.take(self.reader.data_view(at, size))
        sector = sequence % store.sectors
        if offset < store.offsets[sector]:
            store.offsets[sector] = offset

    def _take_end(self, sequence, kind, index, term, at):
        store = self.store
        self._take_term(term)
        coming = store.coming
        if coming is None or coming.index != index:
            return
        coming.size, coming.crc = self.reader.numbers(at)
        if not coming.is_whole():
            store.coming = None
            return
        self.keeps = kind != DROP
        # Entries that don't reach to it can't be joined to those behind it.
        goes_on = self.keeps and self.reachable and index <= store.last
        store.take_snapshot(sequence, goes_on)
        if not goes_on:
            self.reachable = True
            self.floor_base = None

    def _take_term(self, term):
        if term > self.store.term:  # its record of term and vote was lost
            self.store.term = term
            self.store.vote = _VOTE_UNKNOWN

    def _take_state(self, term, vote, doubt):
        store = self.store
        if term >= store.term:
            store.term = term
            store.vote = vote
            store.doubt = doubt

    def _lost(self):
        """Records can't be read: they may have replaced entries, and held term and vote."""
        self._damaged(self.store.last + 1)
        self.reachable = False
        self.knows_state = False
        if self.store.vote == 0:
            self.store.vote = _VOTE_UNKNOWN

    def _damaged(self, index):
        """The log has held entries up to `index` that can't be read any more."""
        if self.store.damage is None or self.store.damage < index:
            self.store.damage = index

    def _look_behind(self):
        """Later programs behind the newest sector: a successor of it has lost its header."""
        store = self.store
        for sequence in range(store.newest + 1, store.newest + 1 + _LOOK_BEHIND):
            if sequence - store.safe >= store.sectors:
                return
            if self._has_two_programs(sequence):
                # Stays in use, unreadable: or else the next program would erase the evidence.
                store.newest = sequence
                store.ends[sequence % store.sectors] = _OPEN
                self._take_sector(sequence, False)
                return

    def _has_two_programs(self, sequence):
        # One program alone may be torn, and its header with it.
        reader = self.reader
        reader.open(sequence % self.store.sectors, sequence)
        at = HEADER_BYTES
        while reader.is_record(at):
            at = reader.next(at)
            if reader.is_record(at) and reader.begins_program(at):
                return True
        return False

    def _find_older(self):
        """Sectors from before the snapshot that haven't been erased yet: their headers tell."""
        store, reader = self.store, self.reader
        if store.floor != store.safe or store.base != self.floor_base:
            return
        sequence = store.floor
        while store.opens(sequence):
            next_index, last_term = reader.next_index()
            store.base, store.base_term = next_index - 1, last_term
            if sequence <= max(0, store.newest + 1 - store.sectors):
                return
            low = struct.unpack_from("<I", reader.buf, 40)[0]
            sequence, end = reader.before()
            if sequence < 0 or not store.opens(sequence):
                return
            # A log that began anew at the end of that sector doesn't continue what is in it.
            if low == NONE and reader.next_index() != (next_index, last_term):
                return
            if low != NONE and low > reader.next_index()[0]:
                return
            store.low[sequence % store.sectors] = low
            store.ends[sequence % store.sectors] = end
            store.oldest = sequence
