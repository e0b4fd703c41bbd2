"""How the flash log lies in a sector, and how one is read.

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
"""

import struct
from binascii import crc32

SECTOR_BYTES = 4096
HEADER_BYTES = 28
RECORD_BYTES = 16  # a record without its data
MAX_RECORD_BYTES = 1220
BUFFER_BYTES = 1536  # one program, or a piece of a sector being read: a record at least

VERSION = 1
ENTRY = 1
STATE = 2
FIRST = 0x80

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
        self._sector = 0
        self._from = self._to = 0  # what of the sector is in the buffer

    def open(self, sector):
        """Begin to read a sector. What the buffer held is lost."""
        self._sector = sector
        self._from = self._to = 0

    def see(self, at, size):
        """Where in the buffer the `size` bytes are that lie at `at` in the sector."""
        if at < self._from or at + size > self._to:
            self._from = at
            self._to = min(at + BUFFER_BYTES, SECTOR_BYTES)
            self._device.readblocks(self._sector, self.view[: self._to - at], at)
        return at - self._from

    def is_record(self, at):
        """Whether a whole and sound record begins at `at`; all of it is in the buffer then."""
        if at + RECORD_BYTES > SECTOR_BYTES:
            return False
        i = self.see(at, RECORD_BYTES)
        if self.buf[i] & ~FIRST not in (ENTRY, STATE):
            return False
        size = RECORD_BYTES + self._data_bytes(i)
        if size > MAX_RECORD_BYTES or at + size > SECTOR_BYTES:
            return False
        i = self.see(at, size)
        return crc32(self.view[i : i + size]) == _RESIDUE

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

    def data(self, at, size):
        """The `size` bytes of data of the sound record at `at`."""
        start = at - self._from + 12
        return bytes(self.view[start : start + size])

    def _data_bytes(self, i):
        buf = self.buf
        return buf[i + 2] | buf[i + 3] << 8 if buf[i] & ~FIRST == ENTRY else 0

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
        self.see(0, HEADER_BYTES)
        return self.buf[:4] == _MAGIC and crc32(self.view[:HEADER_BYTES]) == _RESIDUE


def put_header(buf, view, node, vote, sequence, term, next_index, last_term):
    """Write the header of a new sector to the beginning of `buf` (`view` is its memoryview)."""
    struct.pack_into(
        "<4sBBHIIII", buf, 0, _MAGIC, VERSION, node, vote, sequence, term, next_index, last_term
    )
    struct.pack_into("<I", buf, 24, crc32(view[:24]))


def put_record(buf, view, at, type, kind, size, index, term, data):
    """Write a record into `buf` at `at`; returns where the next one goes."""
    end = at + record_bytes(len(data))
    struct.pack_into("<BBHII", buf, at, type, kind, size, index, term)
    n = at + 12 + len(data)
    buf[at + 12 : n] = data
    struct.pack_into("<I", buf, n, crc32(view[at:n]))
    for i in range(n + 4, end):
        buf[i] = 0xFF
    return end
