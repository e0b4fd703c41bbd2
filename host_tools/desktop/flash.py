"""Flash in a file, with the semantics of NOR flash."""

import os
import time

from host_tools.desktop.system import sync

BLOCK_BYTES = 4096  # an erase sector
PAGE_BYTES = 256  # what a chip programs at a time
PAGE_MS = (1, 5)  # what that takes as a rule, and at most
ERASE_MS = (45, 300)

_ERASED = b"\xff"
_INIT, _DEINIT, _SYNC, _BLOCK_COUNT, _BLOCK_SIZE, _ERASE = 1, 2, 3, 4, 5, 6


class Flash:
    """The flash of the file at `path` (str): a block device as `esp32.Partition` is one.

    start, size: the part of the file that it is (bytes); all of it if no size is given.

    Erasing sets a block to 0xFF, programming clears bits; whatever isn't erased can't be
    programmed, which raises OSError. All is on the disk when a call returns. Raises OSError
    if the file can't be used. slow: whether the process stands still for as long as with a
    board's flash, and `kill -9` meanwhile leaves what a power cut would: some bits of the page
    or block under way are new.
    """

    def __init__(self, path, slow=False, start=0, size=None):
        self.path = path
        self.slow = slow
        self.start = start
        self.size = size or os.stat(path)[6]
        if self.size == 0 or self.size % BLOCK_BYTES:
            raise OSError(
                "%s has %d bytes, and no whole number of blocks of %d: delete it, and the log "
                "in it, to start with an erased one" % (path, self.size, BLOCK_BYTES)
            )
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 - stays open

    def ioctl(self, op, arg):
        """As in a block device of MicroPython: 4 counts blocks, 5 is their size, 6 erases one."""
        if op == _BLOCK_COUNT:
            return self.size // BLOCK_BYTES
        if op == _BLOCK_SIZE:
            return BLOCK_BYTES
        if op == _ERASE:
            at = self._at(arg, 0, BLOCK_BYTES)
            self._write(at, _ERASED * BLOCK_BYTES, BLOCK_BYTES, ERASE_MS)
        elif op not in (_INIT, _DEINIT, _SYNC):
            return None
        return 0

    def readblocks(self, block, buf, offset=0):
        """Fill `buf` with what lies from `offset` (bytes) of `block` on."""
        self._read(self._at(block, offset, len(buf)), buf)

    def writeblocks(self, block, buf, offset=None):
        """Program `buf` from `offset` (bytes) of `block` on; without one, erase it before."""
        if offset is None:
            for erased in range(block, block + (len(buf) + BLOCK_BYTES - 1) // BLOCK_BYTES):
                self.ioctl(_ERASE, erased)
        at = self._at(block, offset or 0, len(buf))
        self._check_erased(at, len(buf))
        self._write(at, buf, PAGE_BYTES, PAGE_MS)

    def close(self):
        self._file.close()

    def _at(self, block, offset, length):
        at = block * BLOCK_BYTES + offset
        if block < 0 or offset < 0 or at + length > self.size:
            raise OSError(
                "%d bytes at offset %d of block %d are not within the flash of %d bytes"
                % (length, offset, block, self.size)
            )
        return at

    def _check_erased(self, at, length):
        old = bytearray(length)
        self._read(at, old)
        if old == _ERASED * length:
            return
        for i in range(length):
            if old[i] != 0xFF:
                raise OSError(
                    "programmed onto bytes that are not erased: offset 0x%x (block %d, byte %d) "
                    "holds 0x%02x"
                    % (at + i, (at + i) // BLOCK_BYTES, (at + i) % BLOCK_BYTES, old[i])
                )

    def _read(self, at, buf):
        self._file.seek(self.start + at)
        if self._file.readinto(buf) != len(buf):
            raise OSError("%s has become shorter" % self.path)

    def _write(self, at, buf, step, step_ms):
        """step: the bytes that change at a time, where the chip is slow; step_ms: how long."""
        if self.slow:
            view, start, end = memoryview(buf), at, at + len(buf)
            while start < end:
                after = min(end, (start // step + 1) * step)
                self._change(start, view[start - at : after - at], step_ms)
                start = after
        else:
            self._put(at, buf)
        sync(self._file)

    def _change(self, at, new, step_ms):
        old = bytearray(len(new))
        self._read(at, old)
        self._put(at, _torn(old, new))
        time.sleep(_draw_ms(step_ms) / 1000)
        self._put(at, new)

    def _put(self, at, buf):
        self._file.seek(self.start + at)
        if self._file.write(buf) != len(buf):
            raise OSError("%s: the disk is full" % self.path)


def _torn(old, new):
    """What `old` is on its way to `new`: of the bits that differ, few, half or most are new."""
    size = len(new)
    a, b, c = [int.from_bytes(os.urandom(size), "little") for _ in range(3)]
    chosen = (a & b & c, a, a | b | c)[os.urandom(1)[0] % 3]
    before, after = int.from_bytes(old, "little"), int.from_bytes(new, "little")
    return (before ^ ((before ^ after) & chosen)).to_bytes(size, "little")


def _draw_ms(step_ms):
    usual, longest = step_ms
    dice, share = os.urandom(2)
    if dice % 32:
        return usual
    return usual + (longest - usual) * share / 255
