"""Terms, votes and log entries, durable in a ring of flash sectors.

The device is a MicroPython block device with offsets (`esp32.Partition` on a board):
`ioctl(4, 0)` counts its blocks, `ioctl(5, 0)` is a block's size (a sector of 4,096 bytes),
`ioctl(6, n)` erases one, `readblocks(n, buf, off)` reads, `writeblocks(n, buf, off)` programs
without erasing. Programming only clears bits: nothing is written twice, what is written is
only ever erased. `sector.py` tells how the log lies in a sector.

An entry replaces the one at its index and all behind it. Term and vote stand in one record,
and again at the head of each sector, so that the sectors before can go.

After a power cut (`recovery.py`) what a torn program has left behind is never programmed over:
the next record begins a new sector.
"""

from array import array

from raft.sector import (
    BUFFER_BYTES,
    ENTRY,
    FIRST,
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    SECTOR_BYTES,
    STATE,
    Reader,
    put_header,
    put_record,
    record_bytes,
)

PAGE_BYTES = 256  # what flash programs at once (W25Q32 datasheet, "Page Program")
ERASED_AHEAD = 2  # sectors kept erased, so that none is erased while a command waits
RESERVE = 4  # sectors that commands may not use: terms, votes and no-ops must go on

_NONE = 0x3FFFFFFF  # no entry of the log lies in this sector


class StoreError(Exception):
    """The flash doesn't hold what it should: a wrong device, another node's log."""


class StoreFull(StoreError):
    """No sector is left."""


class Store:
    """The durable state of node `node` (int) on `device`. Reads all of it when it is made.

    term, vote: the hard state. last, last_term: the log's last entry, 0 if there is none.
    damage: None, or the highest index that the damaged log is known to have held.
    torn: whether the last program had been cut off.
    programs, pages, bytes, erases: counted since start; late_erases: those on the way of a
    program, which should be none.
    """

    def __init__(self, device, node):
        self.sectors = device.ioctl(4, 0)
        if device.ioctl(5, 0) != SECTOR_BYTES or self.sectors < RESERVE + 2:
            raise StoreError(
                "the raft partition needs sectors of %d bytes, at least %d of them"
                % (SECTOR_BYTES, RESERVE + 2)
            )
        self.node = node
        self.term = 0
        self.vote = 0
        self.last = 0
        self.last_term = 0
        self.damage = None
        self.torn = False
        self.programs = self.pages = self.bytes = self.erases = self.late_erases = 0
        self.low = array("I", [_NONE] * self.sectors)  # lowest index of an entry per sector
        self.oldest = 0  # sequence number of the oldest sector in use: none has left yet
        self.newest = -1  # and of the newest; none yet
        self.end = SECTOR_BYTES  # where the next record goes in the newest sector
        self.reader = Reader(device)
        self._device = device
        self._fill = 0  # bytes in the reader's buffer that wait to be programmed
        self._erased = 0  # how many sectors behind the newest are known to be erased
        # Here, as it imports this module; a board may unload it then (firmware/main.py).
        from raft.recovery import Recovery

        Recovery(self).run()

    # Writing

    def append(self, save, term, vote, first, entries):
        """Make durable, in one program if it fits into the sector and into BUFFER_BYTES:

        with `save` the hard state, and `entries` from index `first` on, which replace what
        the log held there and behind. Raises StoreFull and OSError; then a part of it may be
        durable, nothing of it may be told to anyone, and the store must be made anew.
        """
        if save:
            self._put(STATE, 0, vote, 0, term, b"")
            self.term = term
            self.vote = vote
        index = first
        for entry_term, kind, data in entries:
            self._put(ENTRY, kind, len(data), index, entry_term, data)
            sector = self.newest % self.sectors
            if index < self.low[sector]:
                self.low[sector] = index
            self.last = index
            self.last_term = entry_term
            index += 1
        self._program()

    def free_sectors(self):
        """Sectors that commands may still use, beside the one being filled."""
        return self.sectors - RESERVE - self.used_sectors()

    def has_room(self, data_bytes, reserve=RESERVE, pending=0):
        """Whether an entry with that much data fits, and leaves `reserve` sectors unused.

        pending: bytes of records that will be written before it.
        """
        size = pending + record_bytes(data_bytes)
        sectors = 0
        if size > SECTOR_BYTES - self.end:
            # A record that doesn't fit into the rest of a sector leaves that rest unused.
            sectors = (size - 1) // (SECTOR_BYTES - HEADER_BYTES - MAX_RECORD_BYTES) + 1
        return self.used_sectors() + sectors + reserve <= self.sectors

    def used_sectors(self):
        return self.newest - self.oldest + 1

    def idle(self):
        """Erase one sector ahead if one is due. Takes up to 300 ms; call it in a quiet moment.

        Returns whether it has erased.
        """
        free = self.sectors - self.used_sectors()
        if self._erased >= min(ERASED_AHEAD, free):
            return False
        erased = self._make_blank((self.newest + 1 + self._erased) % self.sectors)
        self._erased += 1
        return erased

    def _put(self, type, kind, size, index, term, data):
        """Put one record into the buffer, behind those that wait there."""
        total = record_bytes(len(data))
        if self.end + self._fill + total > SECTOR_BYTES:
            self._program()
            self._begin_sector()
        elif self._fill + total > BUFFER_BYTES:
            self._program()
        at = self._fill
        if at == 0 or at == HEADER_BYTES and self.end == 0:
            type |= FIRST
        reader = self.reader
        self._fill = put_record(reader.buf, reader.view, at, type, kind, size, index, term, data)

    def _begin_sector(self):
        """Take the next sector into use; its header waits in the buffer."""
        if self.used_sectors() >= self.sectors:
            raise StoreFull("the flash log is full: %d sectors" % self.sectors)
        self.newest += 1
        self.end = 0
        sector = self.newest % self.sectors
        if self._erased:
            self._erased -= 1
        elif self._make_blank(sector):
            self.late_erases += 1
        self.low[sector] = _NONE
        put_header(
            self.reader.buf, self.reader.view, self.node, self.vote,
            self.newest, self.term, self.last + 1, self.last_term,
        )  # fmt: skip
        self._fill = HEADER_BYTES

    def _program(self):
        """Program what waits in the buffer."""
        if self._fill == 0:
            return
        start, end = self.end, self.end + self._fill
        self._device.writeblocks(self.newest % self.sectors, self.reader.view[: self._fill], start)
        self.end = end
        self._fill = 0
        self.programs += 1
        self.pages += (end - 1) // PAGE_BYTES - start // PAGE_BYTES + 1
        self.bytes += end - start

    def _make_blank(self, sector):
        """Erase a sector unless it is blank. Returns whether it has erased."""
        self.reader.open(sector)
        if self.reader.is_blank(0):
            return False
        self._device.ioctl(6, sector)
        self.erases += 1
        return True

    # Reading

    def live(self, index, max_bytes):
        """The log's entries from `index` on, as far as they lie in one sector with it.

        Only so many that their data have `max_bytes`, but one at least. Raises StoreError if
        the log has no such entry.
        """
        low, items = self._items(index, index, max_bytes)
        del items[: index - low]
        for i, item in enumerate(items):
            if isinstance(item, int):
                return items[:i]
        return items

    def terms(self, index):
        """(first, terms): of the entries that lie in one sector with the one at `index`.

        The first of them has the index `first`. Raises StoreError.
        """
        return self._items(index, self.last + 1, 0)

    def _items(self, index, start, room):
        """(low, items): what the log holds today of the sector that has its entry `index`.

        `items` begins at index `low`: entries from `start` on for which there is room (bytes
        of data), and of others only the term, for a whole sector would fill a small heap.
        """
        limit = self.last + 1
        if not 0 < index < limit:
            raise StoreError("the log has no entry %d" % index)
        sequence = self.newest
        while sequence >= self.oldest:
            low = self.low[sequence % self.sectors]
            if low <= index:
                items = []
                self._read(sequence % self.sectors, low, items, start, room)
                del items[limit - low :]
                return low, items
            # What a newer sector holds replaces all from there on in older ones.
            limit = min(limit, low)
            sequence -= 1
        raise StoreError("entry %d has left the flash" % index)

    def _read(self, sector, low, items, start, room):
        reader = self.reader
        reader.open(sector)
        at = HEADER_BYTES
        while reader.is_record(at):
            type, kind, size, index, term = reader.record(at)
            # One above all so far is replaced further on in this sector, or lies behind a gap
            # that damage has made (and so behind the limit).
            if type == ENTRY and index <= low + len(items):
                del items[index - low :]
                if index == start or index > start and size <= room:
                    room -= size
                    items.append((term, kind, reader.data(at, size)))
                else:
                    items.append(term)
            at = reader.next(at)
