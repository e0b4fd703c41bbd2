"""A block device in RAM that behaves like a NOR flash partition; portable."""

import errno

SECTOR_BYTES = 4096
_ERASED = b"\xff" * SECTOR_BYTES


class PowerCut(Exception):
    """The power failed in the middle of a program or of an erase."""


class NotErased(Exception):
    """A program onto bytes that aren't erased: on flash, it would spoil them."""


class RamFlash:
    """`sectors` erased sectors, with the methods of `esp32.Partition`.

    power_bytes: None, or how many more bytes can be programmed until the power fails; an erase
    counts as one. Then each program, and each erase, raises PowerCut: make a `copy`, which has
    power again. half_erased: how many bytes of its sector the erase that was cut has erased.
    failures: how many of the next programs fail with OSError, half of their bytes programmed.
    programs, bytes, erases: counted, those that the power cut included.
    """

    def __init__(self, sectors: int) -> None:
        self.power_bytes: int | None = None
        self.half_erased = 0
        self.failures = 0
        self.programs = 0
        self.bytes = 0
        self.erases = 0
        # None is an erased sector
        self._sectors: list[bytearray | None] = [None] * sectors

    def copy(self) -> "RamFlash":
        """Another device with the same contents; its counters begin at 0."""
        other = RamFlash(0)
        other._sectors = [sector and bytearray(sector) for sector in self._sectors]
        return other

    def sector(self, block: int) -> bytearray:
        """A copy of the bytes of one sector."""
        return bytearray(self._sectors[block] or _ERASED)

    def flip(self, block: int, offset: int, bit: int) -> None:
        """Turn one bit round, as a worn or disturbed cell would."""
        sector = self.sector(block)
        sector[offset] ^= 1 << bit
        self._sectors[block] = sector

    def fill(self, block: int, contents: bytes | bytearray) -> None:
        """Put `contents` (4,096 bytes) into a sector, as somebody else has left it."""
        self._sectors[block] = bytearray(contents)

    def ioctl(self, op: int, arg: int) -> int:
        if op == 4:
            return len(self._sectors)
        if op == 5:
            return SECTOR_BYTES
        if op != 6:
            raise ValueError("no such ioctl: %d" % op)
        if self._powered(1) == 0:
            sector = self.sector(arg)
            sector[: self.half_erased] = _ERASED[: self.half_erased]
            self._sectors[arg] = sector
            raise PowerCut("erase of sector %d" % arg)
        self.erases += 1
        self._sectors[arg] = None
        return 0

    def readblocks(self, block: int, buf: bytearray | memoryview, offset: int = 0) -> None:
        self._check(block, offset, len(buf))
        buf[:] = (self._sectors[block] or _ERASED)[offset : offset + len(buf)]

    def writeblocks(self, block: int, buf: bytes | memoryview, offset: int | None = None) -> None:
        """With an offset: program. Without: erase, then program."""
        if offset is None:
            self.ioctl(6, block)
            offset = 0
        end = offset + len(buf)
        self._check(block, offset, len(buf))
        sector = self._sectors[block] or bytearray(_ERASED)
        if sector[offset:end] != _ERASED[offset:end]:
            raise NotErased("sector %d, bytes %d to %d" % (block, offset, end))
        fails = self.failures > 0
        done = len(buf) // 2 if fails else self._powered(len(buf))
        sector[offset : offset + done] = buf[:done]
        self._sectors[block] = sector
        self.programs += 1
        self.bytes += done
        if fails:
            self.failures -= 1
            raise OSError(errno.EIO, "program of sector %d" % block)
        if done < len(buf):
            raise PowerCut("%d of %d bytes programmed" % (done, len(buf)))

    def _check(self, block: int, offset: int, size: int) -> None:
        if not 0 <= block < len(self._sectors) or offset + size > SECTOR_BYTES:
            raise ValueError("block %d, offset %d, %d bytes" % (block, offset, size))

    def _powered(self, size: int) -> int:
        """How many of `size` bytes the power still allows."""
        if self.power_bytes is None:
            return size
        size = min(size, self.power_bytes)
        self.power_bytes -= size
        return size
