"""How the flash log lies in a sector, and how one is read.

A sector, little endian:

    offset  size  what
    0       4     "RAFT"
    4       1     format version 4
    5       1     node id
    6       2     vote at the time the sector was begun
    8       4     sequence number; sector = sequence % sectors of the ring
    12      4     term at the time the sector was begun
    16      4     index of the next entry at the time the sector was begun
    20      4     term of the entry before it
    24      4     doubt at the time the sector was begun (`store.py`)
    28      4     sequence number of the oldest sector that is still needed
    32      4     identity of the flash (`store.py`)
    36      2     how many sequence numbers ago the sector before was begun: 1, or more if others
                  were left out
    38      2     where its programs end: what lies behind was torn, or has failed
    40      4     lowest index of an entry in it, 2^30 - 1 if there is none
    44      4     CRC-32 of the above
    48      ...   records, one behind the other, each begun at a multiple of 4

    a record:
    0       1     type: 1 entry, 2 hard state, 3 snapshot; + 0x80 in the first of a program
    1       1     kind of the entry; of a snapshot's record: 0 begin, 1 data, 2 and 3 end
    2       2     length of the data; the vote in a record of hard state
    4       4     index of the entry; the doubt; offset of the data in the snapshot; in its
                  begin and end the index of the last entry that it stands for
    8       4     term; in a snapshot's data the index of the last entry that it stands for
    12      n     data; in a snapshot's begin and end its length and CRC-32 (30 bits), each u32
    12 + n  4     CRC-32 of the above, begun with the sector's sequence number: what an erase that
                  was cut off, or a sector that was left out, still holds isn't taken for new

A snapshot counts once its end is there, and all that it says: see `recovery.py`. With an end of
kind 2 the entries behind the snapshot go on from it, with one of kind 3 the log begins anew.
"""

import struct
from binascii import crc32

SECTOR_BYTES = 4096
HEADER_BYTES = 48
RECORD_BYTES = 16  # a record without its data
MAX_RECORD_BYTES = 1220
BUFFER_BYTES = 1536  # header and one program, or a piece of a sector: a record at least

VERSION = 4
ENTRY = 1
STATE = 2
SNAPSHOT = 3
FIRST = 0x80

# Kinds of a snapshot's records
BEGIN = 0
DATA = 1
KEEP = 2  # its end; the log goes on behind it
DROP = 3  # its end; the log begins anew

NONE = 0x3FFFFFFF  # in place of an index: there is none

_MAGIC = b"RAFT"
_RESIDUE = 0x2144DF1C  # CRC-32 of anything followed by its own CRC-32
_BLANK = b"\xff" * 256


def record_bytes(data_bytes):
    """The bytes of flash that a record with so many bytes of data takes."""
    return (RECORD_BYTES + data_bytes + 3) & ~3


class Reader:
    """Reads the sectors of `device`, one at a time, through a buffer that may be used for
    other things in between; `open` makes it the reader's again."""

    def __init__(self, device):
        self.buf = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buf)
        self._device = device
        self.sector = 0
        self._sequence = 0
        self._from = self._to = 0  # what of the sector is in the buffer

    def open(self, sector, sequence=0):
        """Begin to read a sector, whose records count if they were written when it had that
        sequence number. What the buffer held is lost."""
        self.sector = sector
        self._sequence = sequence
        self._from = self._to = 0

    def see(self, at, size):
        """Where in the buffer the `size` bytes are that lie at `at` in the sector."""
        if at < self._from or at + size > self._to:
            self._load(at, min(at + BUFFER_BYTES, SECTOR_BYTES))
        return at - self._from

    def _load(self, at, end):
        self._from = at
        self._to = end
        self._device.readblocks(self.sector, self.view[: end - at], at)

    def is_record(self, at):
        """Whether a whole and sound record begins at `at`; all of it is in the buffer then."""
        if at + RECORD_BYTES > SECTOR_BYTES:
            return False
        i = self.see(at, RECORD_BYTES)
        if not ENTRY <= self.buf[i] & ~FIRST <= SNAPSHOT:
            return False
        size = RECORD_BYTES + self._data_bytes(i)
        if size > MAX_RECORD_BYTES or at + size > SECTOR_BYTES:
            return False
        i = self.see(at, size)
        return crc32(self.view[i : i + size], self._sequence) == _RESIDUE

    def record(self, at):
        """(type, kind, length, index, term) of the sound record at `at`; see `is_record`."""
        # Pairs: MicroPython finds room for a tuple of two without a search.
        i = at - self._from
        kind, size = struct.unpack_from("<BH", self.buf, i + 1)
        index, term = struct.unpack_from("<II", self.buf, i + 4)
        return self.buf[i] & ~FIRST, kind, size, index, term

    def begins_program(self, at):
        """Whether the sound record at `at` was the first of its program."""
        return self.buf[at - self._from] & FIRST != 0

    def later_program(self, at):
        """Where, behind the broken record at `at`, a later program begins; None if none does."""
        # The other records of a torn program aren't one: they lack the mark of a first record.
        for offset in range(at + 4, SECTOR_BYTES, 4):
            if self.is_record(offset) and self.begins_program(offset):
                return offset
        return None

    def data(self, at, size):
        """The `size` bytes of data of the sound record at `at`."""
        return bytes(self.data_view(at, size))

    def data_bytes(self, at):
        """How many there are of the record at `at`, which is sound."""
        return self._data_bytes(self.see(at, RECORD_BYTES))

    def data_view(self, at, size):
        """The same as a memoryview, valid until something else is read."""
        start = self.see(at, RECORD_BYTES + size) + 12
        return self.view[start : start + size]

    def numbers(self, at):
        """The two numbers that are the data of a snapshot's begin or end at `at`."""
        return struct.unpack_from("<II", self.buf, at - self._from + 12)

    def _data_bytes(self, i):
        buf = self.buf
        return buf[i + 2] | buf[i + 3] << 8 if buf[i] & ~FIRST != STATE else 0

    def next(self, at):
        return at + record_bytes(self._data_bytes(at - self._from))

    def is_blank(self, at):
        """Whether all is erased from `at` on."""
        while at < SECTOR_BYTES:
            size = min(256, SECTOR_BYTES - at)
            i = self.see(at, size)
            if self.view[i : i + size] != _BLANK[:size]:
                return False
            at += size
        return True

    def has_header(self):
        """Whether the sector begins with a sound header, which is in the buffer then."""
        self._load(0, HEADER_BYTES)  # no more: often only the header is wanted
        return self.buf[:4] == _MAGIC and crc32(self.view[:HEADER_BYTES]) == _RESIDUE

    def sequence(self):
        """The number in the sector's header."""
        return struct.unpack_from("<I", self.buf, 8)[0]

    def before(self):
        """(sequence, end) of the sector before the one whose header was read."""
        distance, end = struct.unpack_from("<HH", self.buf, 36)
        return self.sequence() - distance, end

    def next_index(self):
        """(index, term) of the sector's header: of the next entry, and of the one before it."""
        return struct.unpack_from("<II", self.buf, 16)


def put_header(store, next_index, last_term, before, end, low):
    """Write the header of the newest sector of `store` to the beginning of its buffer.

    before, end, low: of the sector before.
    """
    buf = store.reader.buf
    struct.pack_into("<4sBBHI", buf, 0, _MAGIC, VERSION, store.node, store.vote, store.newest)
    struct.pack_into("<III", buf, 12, store.term, next_index, last_term)
    struct.pack_into("<III", buf, 24, store.doubt, store.floor, store.identity)
    struct.pack_into("<HHI", buf, 36, store.newest - before, end, low)
    struct.pack_into("<I", buf, 44, crc32(store.reader.view[:44]))


def put_record(buf, view, at, sequence, type, kind, size, index, term, data):
    """Write a record for the sector of that sequence number into `buf` at `at`.

    Returns where the next one goes.
    """
    end = at + record_bytes(len(data))
    struct.pack_into("<BBHII", buf, at, type, kind, size, index, term)
    n = at + 12 + len(data)
    buf[at + 12 : n] = data
    struct.pack_into("<I", buf, n, crc32(view[at:n], sequence))
    for i in range(n + 4, end):
        buf[i] = 0xFF
    return end


def seal_again(buf, view, at, end, sequence):
    """The records in `buf` from `at` to `end` go into the sector of another sequence number."""
    while at < end:
        size = buf[at + 2] | buf[at + 3] << 8 if buf[at] & ~FIRST != STATE else 0
        n = at + 12 + size
        struct.pack_into("<I", buf, n, crc32(view[at:n], sequence))
        at += record_bytes(size)
