"""Terms, votes and log entries, durable in a ring of flash sectors.

The device is a MicroPython block device with offsets (`esp32.Partition` on a board):
`ioctl(4, 0)` counts its blocks, `ioctl(5, 0)` is a block's size (a sector of 4,096 bytes),
`ioctl(6, n)` erases one, `readblocks(n, buf, off)` reads, `writeblocks(n, buf, off)` programs
without erasing. Programming only clears bits: nothing is written twice, what is written is
only ever erased.

A sector, little endian:

    offset  size  what
    0       4     "RAFT"
    4       1     format version 1
    5       1     node id
    6       2     vote at the time the sector was begun
    8       4     sequence number; sector = sequence % sectors of the ring
    12      4     term at the time the sector was begun
    16      4     index of the next entry at the time the sector was begun
    20      4     term of the entry before it
    24      4     CRC-32 of the above
    28      ...   records, one behind the other, each begun at a multiple of 4

    a record:
    0       1     type: 1 entry, 2 term and vote; + 0x80 in the first record of a program
    1       1     kind of the entry
    2       2     length of the data; the vote in a record of term and vote
    4       4     index of the entry; 0 in a record of term and vote
    8       4     term
    12      n     data
    12 + n  4     CRC-32 of the above

An entry replaces the one at its index and all behind it. Term and vote stand in one record,
and again at the head of each sector, so that the sectors before can go.

After a power cut the log ends at the last whole record. What a torn program has left behind
is never programmed over: the next record begins a new sector. A broken record is a torn tail
only if no later program is found behind it; otherwise it is damage, which `damage` tells.
"""

import struct
from array import array
from binascii import crc32

SECTOR_BYTES = 4096
PAGE_BYTES = 256  # what flash programs at once (W25Q32 datasheet, "Page Program")
HEADER_BYTES = 28
RECORD_BYTES = 16  # a record without its data
ERASED_AHEAD = 2  # sectors kept erased, so that none is erased while a command waits
RESERVE = 4  # sectors that commands may not use: terms, votes and no-ops must go on
MAX_RECORD_BYTES = 1220
BUFFER_BYTES = 1792  # one program, or a piece of a sector being read: a record at least

_MAGIC = b"RAFT"
_VERSION = 1
_ENTRY = 1
_STATE = 2
_FIRST = 0x80
_RESIDUE = 0x2144DF1C  # CRC-32 of anything followed by its own CRC-32
_NONE = 0x3FFFFFFF  # no entry of the log lies in this sector
_BLANK = b"\xff" * 256
_VOTE_UNKNOWN = 255  # no node's id: a vote was given, but it can't be read any more


class StoreError(Exception):
    """The flash doesn't hold what it should: a wrong device, another node's log."""


class StoreFull(StoreError):
    """No sector is left."""


def record_bytes(data_bytes):
    """The bytes of flash that a record with so many bytes of data takes."""
    return (RECORD_BYTES + data_bytes + 3) & ~3


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
        self._device = device
        self._buf = bytearray(BUFFER_BYTES)  # one program made ready, or a piece of a sector
        self._view = memoryview(self._buf)
        self._fill = 0  # writing: bytes in the buffer that wait to be programmed
        self._sector = 0  # reading: the sector, and what of it is in the buffer
        self._from = self._to = 0
        self._low = array("I", [_NONE] * self.sectors)  # lowest index of an entry per sector
        self._oldest = 0  # sequence number of the oldest sector in use: none has left yet
        self._newest = -1  # and of the newest; none yet
        self._end = SECTOR_BYTES  # where the next record goes in the newest sector
        self._erased = 0  # how many sectors behind the newest are known to be erased
        self._reachable = True  # recovery: the records read continue the log
        self._recover()

    # Writing

    def append(self, save, term, vote, first, entries):
        """Make durable, in one program if it fits into the sector and into BUFFER_BYTES:

        with `save` the hard state, and `entries` from index `first` on, which replace what
        the log held there and behind. Raises StoreFull and OSError; then a part of it may be
        durable, nothing of it may be told to anyone, and the store must be made anew.
        """
        if save:
            self._put(_STATE, 0, term, 0, vote, b"")
            self.term = term
            self.vote = vote
        index = first
        for entry_term, kind, data in entries:
            self._put(_ENTRY, kind, entry_term, index, len(data), data)
            sector = self._newest % self.sectors
            if index < self._low[sector]:
                self._low[sector] = index
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
        if size > SECTOR_BYTES - self._end:
            # A record that doesn't fit into the rest of a sector leaves that rest unused.
            sectors = (size - 1) // (SECTOR_BYTES - HEADER_BYTES - MAX_RECORD_BYTES) + 1
        return self.used_sectors() + sectors + reserve <= self.sectors

    def used_sectors(self):
        return self._newest - self._oldest + 1

    def idle(self):
        """Erase one sector ahead if one is due. Takes up to 300 ms; call it in a quiet moment.

        Returns whether it has erased.
        """
        free = self.sectors - self.used_sectors()
        if self._erased >= min(ERASED_AHEAD, free):
            return False
        erased = self._make_blank((self._newest + 1 + self._erased) % self.sectors)
        self._erased += 1
        return erased

    def _put(self, type, kind, term, index, size, data):
        """Put one record into the buffer, behind those that wait there."""
        total = record_bytes(len(data))
        if self._end + self._fill + total > SECTOR_BYTES:
            self._program()
            self._begin_sector()
        elif self._fill + total > BUFFER_BYTES:
            self._program()
        at = self._fill
        if at == 0 or at == HEADER_BYTES and self._end == 0:
            type |= _FIRST
        buf = self._buf
        struct.pack_into("<BBHII", buf, at, type, kind, size, index, term)
        n = at + 12 + len(data)
        buf[at + 12 : n] = data
        struct.pack_into("<I", buf, n, crc32(self._view[at:n]))
        self._fill += total
        for i in range(n + 4, self._fill):
            buf[i] = 0xFF

    def _begin_sector(self):
        """Take the next sector into use; its header waits in the buffer."""
        if self.used_sectors() >= self.sectors:
            raise StoreFull("the flash log is full: %d sectors" % self.sectors)
        self._newest += 1
        self._end = 0
        sector = self._newest % self.sectors
        if self._erased:
            self._erased -= 1
        elif self._make_blank(sector):
            self.late_erases += 1
        self._low[sector] = _NONE
        struct.pack_into(
            "<4sBBHIIII", self._buf, 0, _MAGIC, _VERSION, self.node, self.vote,
            self._newest, self.term, self.last + 1, self.last_term,
        )  # fmt: skip
        struct.pack_into("<I", self._buf, 24, crc32(self._view[:24]))
        self._fill = HEADER_BYTES

    def _program(self):
        if self._fill == 0:
            return
        start, end = self._end, self._end + self._fill
        self._device.writeblocks(self._newest % self.sectors, self._view[: self._fill], start)
        self._end = end
        self._fill = 0
        self.programs += 1
        self.pages += (end - 1) // PAGE_BYTES - start // PAGE_BYTES + 1
        self.bytes += end - start

    def _make_blank(self, sector):
        """Erase a sector unless it is blank. Returns whether it has erased."""
        self._open(sector)
        if self._is_blank(0):
            return False
        self._device.ioctl(6, sector)
        self.erases += 1
        return True

    # Reading

    def live(self, index):
        """(first, entries): the entries that lie in one sector with the one at `index`.

        Those the log holds today, in order, the first at index `first`. Raises StoreError
        if there is no such entry.
        """
        limit = self.last + 1
        if not 0 < index < limit:
            raise StoreError("the log has no entry %d" % index)
        sequence = self._newest
        while sequence >= self._oldest:
            low = self._low[sequence % self.sectors]
            if low <= index:
                return low, self._entries(sequence % self.sectors, low, limit)
            # What a newer sector holds replaces all from there on in older ones.
            limit = min(limit, low)
            sequence -= 1
        raise StoreError("entry %d has left the flash" % index)

    def _entries(self, sector, low, limit):
        entries = []
        self._open(sector)
        at = HEADER_BYTES
        while self._is_record(at):
            type, kind, size, index, term = self._record(at)
            # One above all so far is replaced further on in this sector, or lies behind a gap
            # that damage has made (and so behind the limit).
            if type == _ENTRY and index <= low + len(entries):
                del entries[index - low :]
                data = at - self._from + 12
                entries.append((term, kind, bytes(self._view[data : data + size])))
            at = self._next(at)
        del entries[limit - low :]
        return entries

    def _open(self, sector):
        """Begin to read a sector. What the buffer holds is lost."""
        self._sector = sector
        self._from = self._to = 0

    def _see(self, at, size):
        """Where in the buffer the `size` bytes are that lie at `at` in the sector."""
        if at < self._from or at + size > self._to:
            self._from = at
            self._to = min(at + BUFFER_BYTES, SECTOR_BYTES)
            self._device.readblocks(self._sector, self._view[: self._to - at], at)
        return at - self._from

    def _is_record(self, at):
        """Whether a whole and sound record begins at `at`; all of it is in the buffer then."""
        if at + RECORD_BYTES > SECTOR_BYTES:
            return False
        i = self._see(at, RECORD_BYTES)
        if self._buf[i] & ~_FIRST not in (_ENTRY, _STATE):
            return False
        size = RECORD_BYTES + self._data_bytes(i)
        if size > MAX_RECORD_BYTES or at + size > SECTOR_BYTES:
            return False
        i = self._see(at, size)
        return crc32(self._view[i : i + size]) == _RESIDUE

    def _record(self, at):
        """(type, kind, length, index, term) of the sound record at `at`."""
        # Pairs: MicroPython finds room for a tuple of two without a search.
        i = at - self._from
        kind, size = struct.unpack_from("<BH", self._buf, i + 1)
        index, term = struct.unpack_from("<II", self._buf, i + 4)
        return self._buf[i] & ~_FIRST, kind, size, index, term

    def _data_bytes(self, i):
        buf = self._buf
        return buf[i + 2] | buf[i + 3] << 8 if buf[i] & ~_FIRST == _ENTRY else 0

    def _next(self, at):
        return at + record_bytes(self._data_bytes(at - self._from))

    def _is_blank(self, at):
        """Whether all is erased from `at` on."""
        while at < SECTOR_BYTES:
            size = min(256, SECTOR_BYTES - at)
            i = self._see(at, size)
            if self._view[i : i + size] != _BLANK[:size]:
                return False
            at += size
        return True

    # Recovery

    def _recover(self):
        self._find_sectors()
        sequence = self._oldest
        while sequence <= self._newest:
            self._recover_sector(sequence, sequence == self._newest)
            sequence += 1
        self._look_behind()
        if self.damage is not None:
            if self.last >= self.damage:
                self.damage = None  # a leader has since brought all that was lost
            else:
                self._end = SECTOR_BYTES  # what comes next begins a new sector

    def _find_sectors(self):
        """The newest sector in use; those before it are in use too, readable or not."""
        for sector in range(self.sectors):
            sequence = self._header(sector)
            if sequence is not None and sequence > self._newest:
                self._newest = sequence

    def _header(self, sector):
        """Open a sector, its header in the buffer; its sequence number, or None."""
        self._open(sector)
        self._see(0, HEADER_BYTES)
        if self._buf[:4] != _MAGIC or crc32(self._view[:HEADER_BYTES]) != _RESIDUE:
            return None
        if self._buf[4] != _VERSION:
            raise StoreError(
                "the raft partition has format version %d, this is version %d"
                % (self._buf[4], _VERSION)
            )
        if self._buf[5] != self.node:
            raise StoreError(
                "the raft partition belongs to node %d, this is node %d: erase it, or "
                "correct the id in the configuration" % (self._buf[5], self.node)
            )
        sequence = struct.unpack_from("<I", self._buf, 8)[0]
        return sequence if sequence % self.sectors == sector else None

    def _recover_sector(self, sequence, is_newest):
        sector = sequence % self.sectors
        if self._header(sector) == sequence:
            self._take_header()
        else:  # its records still tell how far the log had got
            self._damaged(self.last + 1)
            self._reachable = False
        at = HEADER_BYTES
        while True:
            at = self._take_records(sector, at)
            if self._is_blank(at):
                break
            sound = self._later_program(at)
            if sound is None:
                self.torn = is_newest
                at = SECTOR_BYTES
                break
            self._damaged(self.last + 1)
            self._reachable = False  # what was lost may have replaced entries
            at = sound
        self._end = at

    def _take_header(self):
        vote = struct.unpack_from("<H", self._buf, 6)[0]
        self._take_state(struct.unpack_from("<I", self._buf, 12)[0], vote)
        # The same index and term mean the same log up to there (Log Matching): only then are
        # the entries of this sector the continuation of what has been read so far.
        next_index, last_term = struct.unpack_from("<II", self._buf, 16)
        self._reachable = next_index == self.last + 1 and last_term == self.last_term
        if not self._reachable:
            self._damaged(max(next_index - 1, self.last + 1))

    def _take_records(self, sector, at):
        """Take in the records from `at` to the first that isn't sound; returns where it is."""
        while self._is_record(at):
            type, _, size, index, term = self._record(at)
            if type == _STATE:
                self._take_state(term, size)
            else:
                self._take_entry(sector, index, term)
            at = self._next(at)
        return at

    def _take_entry(self, sector, index, term):
        if term > self.term:  # its record of term and vote was lost
            self._take_state(term, _VOTE_UNKNOWN)
        if not self._reachable or index > self.last + 1:
            self._damaged(max(index, self.last + 1))
            return
        self.last = index
        self.last_term = term
        if index < self._low[sector]:
            self._low[sector] = index

    def _take_state(self, term, vote):
        if term >= self.term:
            self.term = term
            self.vote = vote

    def _damaged(self, index):
        """The log has held entries up to `index` that can't be read any more."""
        if self.damage is None or self.damage < index:
            self.damage = index
        if self.vote == 0:
            self.vote = _VOTE_UNKNOWN  # a lost record may have held the vote of this term

    def _later_program(self, at):
        """Where, behind the broken record at `at`, a later program begins; None if none does."""
        # The other records of a torn program aren't one: they lack the mark of a first record.
        for offset in range(at + 4, SECTOR_BYTES, 4):
            if self._is_record(offset) and self._buf[offset - self._from] & _FIRST:
                return offset
        return None

    def _look_behind(self):
        """Sound records behind the newest sector: its successor has lost its header."""
        if self.used_sectors() >= self.sectors:
            return
        self._open((self._newest + 1) % self.sectors)
        if self._is_record(HEADER_BYTES):
            # Stays in use, unreadable: or else the next program would erase the evidence.
            self._newest += 1
            self._recover_sector(self._newest, True)
