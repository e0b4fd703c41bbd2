"""A block device in RAM that behaves like a NOR flash partition; portable."""

import errno
import sys

from tests.dice import Dice

SECTOR_BYTES = 4096
PAGE_BYTES = 256  # what a chip programs at a time
# Bytes from one power cut to the next: CPython has one behind each
CUT_STRIDE = 1 if sys.implementation.name == "cpython" else 13
_OFF = -1
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
    torn: None, which leaves a program that was cut with its first bytes whole and the rest as it
    was; or what decides which bits have changed, as on a real chip: any of those of the page in
    which the power failed, the pages before it being whole, or any of the sector that was erased.
    failures: how many of the next programs fail with OSError, half of their bytes programmed.
    bad: sectors in which each program leaves one bit set that was to be cleared, and says nothing.
    bad_erases: sectors in which each erase fails with OSError and changes nothing.
    programs, bytes, erases, erased (of each sector): counted, programs that were cut included.
    """

    def __init__(self, sectors: int) -> None:
        self.power_bytes: int | None = None
        self.half_erased = 0
        self.torn: Dice | None = None
        self.failures = 0
        self.bad: set[int] = set()
        self.bad_erases: set[int] = set()
        self.programs = 0
        self.bytes = 0
        self.erases = 0
        self.erased = [0] * sectors
        # The last whole program, and those after it that were cut: sector, from, to
        self.newest: list[tuple[int, int, int]] = []
        self._spoilt: set[tuple[int, int]] = set()  # erased bytes that have lost a bit
        # None is an erased sector
        self._sectors: list[bytearray | None] = [None] * sectors

    def copy(self) -> "RamFlash":
        """Another device with the same contents, as worn as this one; its counters begin at 0."""
        other = RamFlash(len(self._sectors))
        other.bad = set(self.bad)
        other.bad_erases = set(self.bad_erases)
        other.newest = list(self.newest)
        other._spoilt = set(self._spoilt)
        other._sectors = [sector and bytearray(sector) for sector in self._sectors]
        return other

    def sector(self, block: int) -> bytearray:
        """A copy of the bytes of one sector."""
        return bytearray(self._sectors[block] or _ERASED)

    def flip(self, block: int, offset: int, bit: int) -> None:
        """Turn one bit round, as a worn or disturbed cell would."""
        sector = self.sector(block)
        if sector[offset] == 0xFF:
            self._spoilt.add((block, offset))
        sector[offset] ^= 1 << bit
        self._sectors[block] = sector

    def rot(self, dice: Dice, block: int | None = None) -> bool:
        """Turn one bit of what was programmed before the last program; whether there is any.

        One of the last program itself, or of what was cut since, would look as if the power had
        failed in it. block: the sector; by default any one.
        """
        used = [n for n, sector in enumerate(self._sectors) if sector]
        if block is None:
            if not used:
                return False
            block = dice.pick(used)
        sector = self.sector(block)
        at = [
            i
            for i, byte in enumerate(sector)
            if byte != 0xFF
            and not any(block == b and start <= i < end for b, start, end in self.newest)
        ]
        if at:
            self.flip(block, dice.pick(at), dice.below(8))
        return len(at) > 0

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
            if self.torn:
                self._tear(self.torn, sector, 0, _ERASED)
            else:
                sector[: self.half_erased] = _ERASED[: self.half_erased]
            self._sectors[arg] = sector
            raise PowerCut("erase of sector %d" % arg)
        if arg in self.bad_erases:
            raise OSError(errno.EIO, "erase of sector %d" % arg)
        self.erases += 1
        self.erased[arg] += 1
        self._spoilt = {(block, at) for block, at in self._spoilt if block != arg}
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
        data = self._worn(buf) if block in self.bad else bytearray(buf)
        for i in range(len(buf) if sector[offset:end] != _ERASED[offset:end] else 0):
            if sector[offset + i] != 0xFF and (block, offset + i) not in self._spoilt:
                raise NotErased("sector %d, bytes %d to %d" % (block, offset, end))
            data[i] &= sector[offset + i]
        fails = self.failures > 0
        done = len(buf) // 2 if fails else self._powered(len(buf))
        if self.torn and done < len(buf) and not fails:
            page = (offset + done) // PAGE_BYTES * PAGE_BYTES
            whole = max(page - offset, 0)
            sector[offset : offset + whole] = data[:whole]
            self._tear(self.torn, sector, offset + whole, data[whole : page + PAGE_BYTES - offset])
        else:
            sector[offset : offset + done] = data[:done]
        self._sectors[block] = sector
        self.programs += 1
        self.bytes += done
        if done == len(buf):
            self.newest.clear()
        self.newest.append((block, offset, end))
        if fails:
            self.failures -= 1
            raise OSError(errno.EIO, "program of sector %d" % block)
        if done < len(buf):
            raise PowerCut("%d of %d bytes programmed" % (done, len(buf)))

    def _check(self, block: int, offset: int, size: int) -> None:
        if not 0 <= block < len(self._sectors) or offset + size > SECTOR_BYTES:
            raise ValueError("block %d, offset %d, %d bytes" % (block, offset, size))

    def _worn(self, buf: bytes | memoryview) -> bytearray:
        """What has become of `buf` in a bad sector: the bit is another one each time."""
        data = bytearray(buf)
        programmed = [i for i in range(len(data)) if data[i] != 0xFF]
        if programmed:
            at = programmed[self.programs % len(programmed)]
            data[at] |= data[at] + 1  # its lowest bit of those that are 0
        return data

    def _powered(self, size: int) -> int:
        """How many of `size` bytes the power still allows."""
        if self.power_bytes is None:
            return size
        size = max(0, min(size, self.power_bytes))
        self.power_bytes -= size
        return size

    def _tear(
        self, dice: Dice, sector: bytearray, start: int, new: bytes | bytearray | memoryview
    ) -> None:
        """Let the power fail while `new` is to come into the sector, from `start` on."""
        if self.power_bytes == _OFF:
            return  # what is tried later changes no bit
        self.power_bytes = _OFF
        end = start + len(new)
        sector[start:end] = _torn(dice, sector[start:end], bytearray(new))


def _torn(dice: Dice, old: bytearray, new: bytearray) -> bytearray:
    """What the power cut has left of `old` on its way to `new`: any bits that differ are new."""
    torn = bytearray(old)
    differ = [i for i in range(len(old)) if old[i] != new[i]]
    kind = dice.below(6)
    if kind == 0 or not differ:
        return torn
    if kind == 1:
        return new
    if kind == 2:  # a half of them
        for i in differ:
            torn[i] ^= (old[i] ^ new[i]) & dice.below(256)
        return torn
    if kind == 3:  # the first bytes alone: what looks most like something whole
        size = dice.below(len(old))
        return new[:size] + torn[size:]
    if kind == 4:  # nearly none
        result, other = torn, new
    else:  # nearly all
        result, other = bytearray(new), torn
    for _ in range(dice.draw(1, 3)):
        i = dice.pick(differ)
        bit = dice.pick([1 << n for n in range(8) if (old[i] ^ new[i]) >> n & 1])
        result[i] = result[i] & ~bit | other[i] & bit
    return result
