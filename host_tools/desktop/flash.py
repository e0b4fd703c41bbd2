"""Flash in a file, with the semantics of NOR flash."""

import os

from host_tools.desktop.system import sync

BLOCK_BYTES = 4096  # an erase sector

_ERASED = b"\xff"
_INIT, _DEINIT, _SYNC, _BLOCK_COUNT, _BLOCK_SIZE, _ERASE = 1, 2, 3, 4, 5, 6


class Flash:
    """The flash of the file at `path` (str): a block device as `esp32.Partition` is one.

    Erasing sets a block to 0xFF, programming clears bits; whatever isn't erased can't be
    programmed, which raises OSError. All is on the disk when a call returns. Raises OSError
    if the file can't be used.
    """

    def __init__(self, path):
        self.path = path
        self.size = os.stat(path)[6]
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
            self._write(self._at(arg, 0, BLOCK_BYTES), _ERASED * BLOCK_BYTES)
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
        self._write(at, buf)

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
        self._file.seek(at)
        if self._file.readinto(buf) != len(buf):
            raise OSError("%s has become shorter" % self.path)

    def _write(self, at, buf):
        self._file.seek(at)
        if self._file.write(buf) != len(buf):
            raise OSError("%s: the disk is full" % self.path)
        sync(self._file)
