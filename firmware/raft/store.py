"""Terms, votes, log entries and snapshots, durable in a ring of flash sectors.

The device is a MicroPython block device with offsets (`esp32.Partition` on a board):
`ioctl(4, 0)` counts its blocks, `ioctl(5, 0)` is a block's size (a sector of 4,096 bytes),
`ioctl(6, n)` erases one, `readblocks(n, buf, off)` reads, `writeblocks(n, buf, off)` programs
without erasing. Programming only clears bits: nothing is written twice, what is written is
only ever erased. `sector.py` tells how the log lies in a sector.

An entry replaces the one at its index and all behind it. Term, vote and doubt stand in one
record, and again at the head of each sector, so that the sectors before can go: those before a
snapshot and before the entries that it doesn't stand for. They are erased when their room is
needed, and until then their entries can be read, for followers that are behind.

After a power cut (`recovery.py`) what a torn program has left behind is never programmed over:
the next record begins a new sector. Each program is read back: a sector that doesn't hold what
was programmed, or can't be erased, is left out, and what was to go there goes into the next.
"""

import struct
from array import array
from binascii import crc32

from raft.sector import (
    BEGIN,
    BUFFER_BYTES,
    DATA,
    DROP,
    ENTRY,
    FIRST,
    HEADER_BYTES,
    KEEP,
    MAX_RECORD_BYTES,
    NONE,
    RECORD_BYTES,
    SECTOR_BYTES,
    SNAPSHOT,
    STATE,
    Reader,
    put_header,
    put_record,
    record_bytes,
    seal_again,
)

PAGE_BYTES = 256  # what flash programs at once (W25Q32 datasheet, "Page Program")
ERASED_AHEAD = 2  # sectors kept erased, so that none is erased while a command waits
RESERVE = 4  # sectors that commands may not use: terms, votes and no-ops must go on
MOST_LEFT_OUT = 4  # a fourth of the sectors
MIN_PIECE_BYTES = 64  # of a snapshot's data, to fill a sector's end with

_BLANK = b"\xff" * PAGE_BYTES


class StoreError(Exception):
    """The flash doesn't hold what it should: a wrong device, another node's log."""


class StoreFull(StoreError):
    """No sector is left."""


class Compacted(StoreError):
    """The entry has left the flash: only a snapshot stands for it."""


class Snapshot:
    """The state of the state machine after the entry `index` of `term`, as bytes in the ring.

    size: its bytes. crc: 30 bits of their CRC-32. next: how many of them are there, which
    have the CRC-32 `sum`. first, final: sequence numbers of the sectors with its first and
    last record.
    """

    def __init__(self, index=0, term=0, size=0, crc=0):
        self.index = index
        self.term = term
        self.size = size
        self.crc = crc
        self.next = 0
        self.sum = 0
        self.first = 0
        self.final = 0

    def copy(self):
        """The same one, as far as it has come."""
        other = Snapshot(self.index, self.term, self.size, self.crc)
        other.next = self.next
        other.sum = self.sum
        return other

    def take(self, data):
        """The next of its bytes have come."""
        self.next += len(data)
        self.sum = crc32(data, self.sum)

    def is_whole(self):
        return self.next == self.size and self.sum & NONE == self.crc


class Store:
    """The durable state of node `node` (int) on `device`. Reads it when it is made.

    term, vote: the hard state. last, last_term: the log's last entry, 0 if there is none.
    base, base_term: the entry before the oldest that can be read (see `reaches`). snapshot:
    the newest whole one. coming: one that is being written or received, or None.
    doubt: 0, or an index up to which the node may have acknowledged entries that its flash has
    lost; ALL if nobody knows. damage: None, or what of that was found at this start.
    torn: whether the last program had been cut off. identity: an int that this ring has from
    its first sector on, 0 before.
    programs, pages, bytes, erases: counted since start; late_erases: those on the way of a
    program, which should be none. bad: sectors left out; faults: how often one was.
    snapshot_sectors: how many a snapshot may take; commands may not use them.
    configurations: indexes of the last two configurations in the log, as found at this start.
    """

    ALL = NONE

    def __init__(self, device, node):
        self.sectors = device.ioctl(4, 0)
        if device.ioctl(5, 0) != SECTOR_BYTES or self.sectors < RESERVE + 2:
            raise StoreError(
                "the raft partition needs sectors of %d bytes, at least %d of them"
                % (SECTOR_BYTES, RESERVE + 2)
            )
        self.node = node
        self.term = self.vote = self.doubt = self.identity = 0
        self.last = self.last_term = 0
        self.base = self.base_term = 0
        self.snapshot = Snapshot()
        self.coming = None
        self.configurations = []
        self.damage = None
        self.torn = False
        self.programs = self.pages = self.bytes = self.erases = self.late_erases = 0
        self.faults = 0
        self.bad = set()
        self.snapshot_sectors = 0
        # Per sector: lowest index of an entry, lowest offset of a snapshot's data, where its
        # programs end (0 if it holds none), and, if that is before, where its entries end because
        # of damage
        self.low = array("I", [NONE] * self.sectors)
        self.offsets = array("I", [NONE] * self.sectors)
        self.ends = array("H", [0] * self.sectors)
        self.breaks = {}
        # Sequence numbers: of the newest sector, none yet; of the oldest that is needed; of the
        # oldest that is needed by what the flash says; of the oldest that can be read
        self.newest = -1
        self.floor = self.safe = self.oldest = 0
        self.end = SECTOR_BYTES  # where the next record goes in the newest sector
        self.reader = Reader(device)
        self._device = device
        self._seen = memoryview(bytearray(PAGE_BYTES))  # what is read back
        self._erased = 0  # how many sectors behind the newest are known to be erased
        self._based = 0  # the oldest sector when `base` was looked up
        # Where the last piece of the snapshot was read: sequence, place in the sector, offset
        self._place = (NONE, 0, 0)
        self._before = (-1, 0, NONE)  # of the last sector with programs: sequence, end, low
        self._fill = HEADER_BYTES  # of the buffer: room for a header, and records that wait
        self._fill_low = self._fill_offset = NONE  # as `low` and `offsets`, of what waits
        # Here, as it imports this module; a board may unload it then (firmware/main.py).
        from raft.recovery import Recovery

        Recovery(self).run()

    # Writing

    def write(self, ready):
        """Make durable all that a `core.Ready` names; raises as `append` does."""
        save = ready.save
        if ready.chunks:
            if save:
                self.append(True, ready.term, ready.vote, 0, ())
                save = False
            for snapshot, offset, data in ready.chunks:
                if offset == 0:
                    self.begin_snapshot(snapshot.index, snapshot.term, snapshot.size, snapshot.crc)
                self.add_to_snapshot(data)
            if ready.installed:
                self.end_snapshot(ready.keeps)
        if save or ready.entries:
            self.append(save, ready.term, ready.vote, ready.first, ready.entries)
        if self.doubt != ready.doubt:
            # Not before that is there again which it was about.
            self.append(True, ready.term, ready.vote, 0, (), ready.doubt)

    def append(self, save, term, vote, first, entries, doubt=None):
        """Make durable, in one program if it fits into the sector and into BUFFER_BYTES:

        with `save` the hard state (doubt: None if it stays), and `entries` from index `first`
        on, which replace what the log held there and behind. Raises StoreFull and OSError;
        then a part of it may be durable, nothing of it may be told to anyone, and the store
        must be made anew.
        """
        if save:
            self.term = term
            self.vote = vote
            if doubt is not None:
                self.doubt = doubt
            self._put_state()
        index = first
        for entry_term, kind, data in entries:
            self._put(ENTRY, kind, len(data), index, entry_term, data)
            if index < self._fill_low:
                self._fill_low = index
            self.last = index
            self.last_term = entry_term
            index += 1
        self._program()

    def begin_snapshot(self, index, term, size=0, crc=0):
        """Begin to write one; `coming` is it then. An earlier one that isn't whole is void.

        size, crc: of all its data, if they are known already.
        """
        self._put(SNAPSHOT, BEGIN, 8, index, term, struct.pack("<II", size, crc))
        self._program()
        self.coming = Snapshot(index, term, size, crc)
        self.coming.first = self.newest

    def add_to_snapshot(self, data):
        """Write the next of its data (bytes, at most 512)."""
        coming = self.coming
        start = 0
        while start < len(data):
            # A record doesn't go on in the next sector: data fill this one's end.
            size = len(data) - start
            left = (SECTOR_BYTES - self._at() - RECORD_BYTES) & ~3
            if MIN_PIECE_BYTES <= left < size:
                size = left
            piece = data[start : start + size]
            self._put(SNAPSHOT, DATA, size, coming.next, coming.index, piece)
            if coming.next < self._fill_offset:
                self._fill_offset = coming.next
            coming.take(piece)
            start += size
        self._program()

    def end_snapshot(self, keeps):
        """It is whole, and counts from now on.

        keeps: whether the log goes on behind it; otherwise it is empty then.
        """
        if not self.can_end_snapshot():
            raise StoreFull("the flash log is full: no sector is left behind the snapshot")
        coming = self.coming
        coming.size, coming.crc = coming.next, coming.sum & NONE
        kind = KEEP if keeps else DROP
        data = struct.pack("<II", coming.size, coming.crc)
        self._put(SNAPSHOT, kind, 8, coming.index, coming.term, data)
        self._program()
        self.take_snapshot(self.newest, keeps)
        self.floor = self.needed_from(keeps)
        # The sectors before can go when a header says so.
        self._begin_sector()
        self._put_state()
        self._program()

    def can_end_snapshot(self):
        """Whether its last record would leave a sector, for the header that frees others.

        If elections alone have filled the ring, it may not.
        """
        is_in_next = self._at() + record_bytes(8) > SECTOR_BYTES
        return self.newest - self.safe + 1 + is_in_next < self.sectors

    def take_snapshot(self, final, keeps):
        """The one that was coming has its last record in the sector `final`."""
        self.snapshot = self.coming  # type: ignore[assignment]
        self.coming = None
        self.snapshot.final = final
        if not keeps:
            self.begin_log(self.snapshot.index, self.snapshot.term)

    def begin_log(self, index, term):
        """The log is empty, and goes on behind `index`."""
        for sector in range(self.sectors):
            self.low[sector] = NONE
        self.base = self.last = index
        self.base_term = self.last_term = term
        self.configurations.clear()

    def needed_from(self, keeps):
        """The sequence of the oldest sector with an entry behind the snapshot, or with it."""
        sequence = max(self.snapshot.first, self.floor)
        while keeps and sequence > self.floor:
            # What isn't in the log yet when a sector is begun lies there, or in a later one.
            if self.opens(sequence) and self.reader.next_index()[0] <= self.snapshot.index + 1:
                break
            sequence -= 1
        return sequence

    def has_room(self, data_bytes, reserve=RESERVE, pending=0):
        """Whether an entry with that much data fits, and leaves `reserve` sectors unused.

        Beside those for a snapshot. pending: bytes of records that will be written before it.
        """
        size = pending + record_bytes(data_bytes)
        sectors = self.used_sectors() + reserve + self.snapshot_sectors
        if size > SECTOR_BYTES - self.end:
            # A record that doesn't fit into the rest of a sector leaves that rest unused.
            sectors += (size - 1) // (SECTOR_BYTES - HEADER_BYTES - MAX_RECORD_BYTES) + 1
        return sectors <= self.sectors

    def used_sectors(self):
        """How many sectors hold what is needed."""
        return self.newest - self.floor + 1

    def idle(self):
        """Erase one sector ahead if one is due. Takes up to 300 ms; call it in a quiet moment.

        Returns whether it has erased.
        """
        if not self.is_erase_due():
            return False
        erased = self._make_blank((self.newest + 1 + self._erased) % self.sectors)
        self._erased += 1
        self._forget_oldest()
        return erased

    def is_erase_due(self):
        free = self.sectors - (self.newest - self.safe + 1)
        return self._erased < min(ERASED_AHEAD, free)

    def _clear(self):
        """Nothing waits in the buffer; room for a header is at its beginning."""
        self._fill = HEADER_BYTES
        self._fill_low = self._fill_offset = NONE

    def _at(self):
        """Where the next record goes in the newest sector."""
        return (self.end or HEADER_BYTES) + self._fill - HEADER_BYTES

    def _put_state(self):
        self._put(STATE, 0, self.vote, self.doubt, self.term, b"")

    def _put(self, type, kind, size, index, term, data):
        """Put one record into the buffer, behind those that wait there."""
        total = record_bytes(len(data))
        if self._at() + total > SECTOR_BYTES:
            self._program()
            self._begin_sector()
        elif self._fill + total > BUFFER_BYTES:
            self._program()
        if self._fill == HEADER_BYTES:
            type |= FIRST
            self._next = self.last + 1
            self._next_term = self.last_term
        reader = self.reader
        self._fill = put_record(
            reader.buf, reader.view, self._fill, self.newest, type, kind, size, index, term, data
        )

    def _begin_sector(self):
        """Take the next sector into use; its header leaves with the first records."""
        sector = self.newest % self.sectors
        if self.ends[sector]:
            self._before = (self.newest, self.ends[sector], self.low[sector])
        while True:
            if self.newest - self.safe + 1 >= self.sectors:
                raise StoreFull(
                    "the flash log is full: %d sectors, %d of them left out"
                    % (self.sectors, len(self.bad))
                )
            self.newest += 1
            sector = self.newest % self.sectors
            if self._erased:
                self._erased -= 1
            elif self._make_blank(sector):
                self.late_erases += 1
            self.low[sector] = self.offsets[sector] = NONE
            self.ends[sector] = 0
            self.breaks.pop(sector, None)
            if sector not in self.bad:
                break
        self.end = 0
        self._forget_oldest()

    def _program(self):
        """Program what waits in the buffer."""
        if self._fill == HEADER_BYTES:
            return
        while not self._is_programmed():
            self._leave_out(self.newest % self.sectors)
            self._begin_sector()
            reader = self.reader
            seal_again(reader.buf, reader.view, HEADER_BYTES, self._fill, self.newest)
        sector = self.newest % self.sectors
        self.low[sector] = min(self.low[sector], self._fill_low)
        self.offsets[sector] = min(self.offsets[sector], self._fill_offset)
        self._clear()

    def _is_programmed(self):
        """Program it into the newest sector; whether that holds it then."""
        begins = self.end == 0
        start = 0 if begins else HEADER_BYTES
        if begins:
            put_header(self, self._next, self._next_term, *self._before)
        data = self.reader.view[start : self._fill]
        end = self.end + len(data)
        try:
            self._device.writeblocks(self.newest % self.sectors, data, self.end)
            is_held = self._holds(self.newest % self.sectors, self.end, data)
        except OSError:
            is_held = False
        self.programs += 1
        self.pages += (end - 1) // PAGE_BYTES - self.end // PAGE_BYTES + 1
        self.bytes += len(data)
        if is_held:
            self.end = self.ends[self.newest % self.sectors] = end
            if begins:
                self.safe = self.floor
        return is_held

    def _holds(self, sector, at, data):
        """Whether the sector holds these data from `at` on."""
        for i in range(0, len(data), PAGE_BYTES):
            seen = self._seen[: min(PAGE_BYTES, len(data) - i)]
            self._device.readblocks(sector, seen, at + i)
            if seen != data[i : i + PAGE_BYTES]:
                return False
        return True

    def _is_blank(self, sector):
        for at in range(0, SECTOR_BYTES, PAGE_BYTES):
            self._device.readblocks(sector, self._seen, at)
            if self._seen != _BLANK:
                return False
        return True

    def _make_blank(self, sector):
        """Erase a sector unless it is blank. Returns whether it has erased."""
        if self._is_blank(sector):
            return False
        try:
            self._device.ioctl(6, sector)
            is_blank = self._is_blank(sector)
        except OSError:
            is_blank = False
        self.erases += 1
        if not is_blank:
            self._leave_out(sector)
        return True

    def _leave_out(self, sector):
        self.faults += 1
        if len(self.bad) >= self.sectors // MOST_LEFT_OUT:
            self.bad.clear()  # they get another chance: it may have been a passing fault
        self.bad.add(sector)

    def _forget_oldest(self):
        """Of the oldest sectors, those that are erased by now can't be read any more."""
        self.oldest = max(self.oldest, self.newest + self._erased + 1 - self.sectors)

    # Reading

    def reaches(self, index):
        """Whether the term of the entry `index` is known: it is not below `base`."""
        if self._based != self.oldest:
            self._based = self.oldest
            self._look_up_base()
        return index >= self.base

    def live(self, index, max_bytes):
        """The log's entries from `index` on, as far as they lie in one sector with it.

        Only so many that their data have `max_bytes`, but one at least. Raises Compacted if
        it has left the flash, StoreError if the log has no such entry.
        """
        low, items = self._items(index, index, max_bytes)
        del items[: index - low]
        for i, item in enumerate(items):
            if isinstance(item, int):
                return items[:i]
        return items

    def terms(self, index):
        """(first, terms): of the entries that lie in one sector with the one at `index`.

        The first of them has the index `first`. Raises Compacted, StoreError.
        """
        return self._items(index, self.last + 1, 0)

    def read_snapshot(self, offset):
        """The data of the newest whole snapshot from `offset` on, as far as they lie together.

        bytes, 512 at most. Raises StoreError if they can't be read.
        """
        snapshot, reader = self.snapshot, self.reader
        sequence = snapshot.final
        while sequence > snapshot.first and self.offsets[sequence % self.sectors] > offset:
            sequence -= 1
        place, at, first_there = self._place
        if place != sequence or first_there > offset:
            at = HEADER_BYTES
        reader.open(sequence % self.sectors, sequence)
        found = 0
        while True:
            if not reader.is_record(at):
                # An entry between its records may be damaged.
                later = None if found else reader.later_program(at)
                if later is None:
                    break
                at = later
            type, kind, size, first, index = reader.record(at)
            if type == SNAPSHOT and index == snapshot.index and kind == DATA:
                if first <= offset < first + size:
                    found = at
                    self._place = (sequence, at, first)
                    if sequence > snapshot.first:
                        break  # in its first sector one that never ended may lie before it
            at = reader.next(at)
        if not found:
            raise StoreError("byte %d of the snapshot can't be read" % offset)
        first = self._place[2]
        return bytes(reader.data_view(found, reader.data_bytes(found))[offset - first :])

    def opens(self, sequence):
        """Open the sector of that sequence number; whether it has a sound header for it."""
        self.reader.open(sequence % self.sectors, sequence)
        return self.reader.has_header() and self.reader.sequence() == sequence

    def _look_up_base(self):
        """The oldest entries may have left the flash: which is the first that can be read?"""
        sequence = self.oldest
        while not self.opens(sequence):
            sequence += 1
            if sequence > self.newest:
                raise StoreError("the flash log can't be read")
        index, term = self.reader.next_index()
        index -= 1
        if index > self.base:
            self.set_base(index, term)

    def set_base(self, index, term):
        """The entry before the oldest that can be read was this one when it was."""
        low = min(self.low[s % self.sectors] for s in range(self.oldest, self.newest + 1))
        if low <= index:  # it was replaced since
            self.base = low - 1
            try:
                first, terms = self.terms(low)
            except Compacted:
                return  # it can't be read: `base` is the snapshot now
            index, term = low, terms[low - first]
        if index >= self.snapshot.index:  # all behind that one can be read
            index, term = self.snapshot.index, self.snapshot.term
        self.base, self.base_term = index, term

    def _items(self, index, start, room):
        """(low, items): what the log holds today of the sector that has its entry `index`.

        `items` begins at index `low`: entries from `start` on for which there is room (bytes
        of data), and of others only the term, for a whole sector would fill a small heap.
        """
        limit = self.last + 1
        if not 0 < index < limit:
            raise StoreError("the log has no entry %d" % index)
        if not self.reaches(index - 1):
            raise Compacted("entry %d has left the flash" % index)
        sequence = self.newest
        while sequence >= self.oldest:
            low = self.low[sequence % self.sectors]
            if low <= index:
                items = []
                if self._read(sequence, low, items, start, room):
                    del items[limit - low :]
                    if index < low + len(items):
                        return low, items
                break
            # What a newer sector holds replaces all from there on in older ones.
            limit = min(limit, low)
            sequence -= 1
        if index > self.snapshot.index:
            raise StoreError("entry %d can't be read" % index)
        self.base, self.base_term = self.snapshot.index, self.snapshot.term
        raise Compacted("entry %d can't be read" % index)

    def _read(self, sequence, low, items, start, room):
        """Whether all could be read: what can't be may have replaced what can."""
        reader = self.reader
        sector = sequence % self.sectors
        end = self.breaks.get(sector, self.ends[sector])
        reader.open(sector, sequence)
        at = HEADER_BYTES
        while at < end and reader.is_record(at):
            type, kind, size, index, term = reader.record(at)
            # One above all so far is replaced further on in this sector, or lies behind a gap
            # that damage has made (and so behind the limit).
            if type == ENTRY and low <= index <= low + len(items):
                del items[index - low :]
                if index == start or index > start and size <= room:
                    room -= size
                    items.append((term, kind, reader.data(at, size)))
                else:
                    items.append(term)
            at = reader.next(at)
        return at >= end
