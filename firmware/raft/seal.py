"""The seal at the end of every datagram: here, that it arrived as it was sent.

A CRC-32 over the frame, appended little endian, which UDP's 16-bit sum doesn't make
superfluous. `open` and `close` are the only places that know what a seal is: who may speak
(a message authentication code) belongs here and nowhere else.
"""

import struct
from binascii import crc32

SEAL_BYTES = 4

# The CRC-32 of any data followed by its own CRC-32. Below 2^30, so that checking a good
# frame makes no long integer on a 32-bit MicroPython.
_RESIDUE = 0x2144DF1C


def close(buf, view, n):
    """Seal the first n bytes of `buf` (`view` is its memoryview); returns the frame's bytes."""
    struct.pack_into("<I", buf, n, crc32(view[:n]))
    return n + SEAL_BYTES


def open(frame):
    """Whether the seal of `frame` (bytes) is intact."""
    return crc32(frame) == _RESIDUE
