"""What a flash is about to do, and what a power cut in the middle of it leaves; portable."""

from tests.dice import Dice
from tests.flash import PAGE_BYTES, SECTOR_BYTES, PowerCut, RamFlash
from tests.support import raises

ERASE = -1  # in place of an offset

# Ways in which a power cut may leave the page or the sector that it met: see flash._torn
UNTOUCHED = 0
DONE = 1
WAYS_OF_PAGE = UNTOUCHED, DONE, 2, 3, 4, 5
WAYS_OF_ERASE = UNTOUCHED, DONE, 2, 2, 3, 3, 3, 4, 4, 5, 5


class WatchedFlash(RamFlash):
    """Has what `contents` has, and calls tell(Operation) before each program and each erase."""

    def __init__(self, contents: RamFlash, tell) -> None:  # type: ignore[no-untyped-def]
        sectors = contents.ioctl(4, 0)
        super().__init__(sectors)
        self._tell = tell
        self.bad = set(contents.bad)
        self.bad_erases = set(contents.bad_erases)
        for sector in range(sectors):
            self.fill(sector, contents.sector(sector))

    def ioctl(self, op: int, arg: int) -> int:
        if op == 6:
            self._tell(Operation(self, arg, ERASE, b""))
        return super().ioctl(op, arg)

    def writeblocks(self, block: int, buf: bytes | memoryview, offset: int | None = None) -> None:
        assert offset is not None
        self._tell(Operation(self, block, offset, bytes(buf)))
        super().writeblocks(block, buf, offset)


class Operation:
    """A program or an erase that is about to happen to `flash`."""

    def __init__(self, flash: RamFlash, sector: int, offset: int, data: bytes) -> None:
        self.flash = flash
        self.sector = sector
        self.offset = offset
        self.data = data

    def __str__(self) -> str:
        if self.offset == ERASE:
            return "erase of sector %d" % self.sector
        return "program of %d bytes in sector %d at %d" % (len(self.data), self.sector, self.offset)

    def cuts(self) -> list[tuple[int, int]]:
        """All power cuts that are worth a look: (page, counted from its first, variant)."""
        if self.offset == ERASE:
            return [(0, variant) for variant in range(len(WAYS_OF_ERASE))]
        pages = (self.offset % PAGE_BYTES + len(self.data) - 1) // PAGE_BYTES + 1
        # A page untouched is the same as the one before it done.
        return [
            (page, variant)
            for page in range(pages)
            for variant in range(0 if page == 0 else 1, len(WAYS_OF_PAGE))
        ]

    def torn(self, page: int, variant: int, seed: int) -> RamFlash:
        """The flash after a power cut in that page of it, which leaves any subset of the bits."""
        seed = (seed * 16 + page) * 16 + variant
        if self.offset == ERASE:
            return self._after(0, _Way(seed, WAYS_OF_ERASE[variant]))
        done = max(0, page * PAGE_BYTES - self.offset % PAGE_BYTES)
        return self._after(done, _Way(seed, WAYS_OF_PAGE[variant]))

    def cut(self, done: int) -> RamFlash:
        """The flash after a power cut behind so many bytes, all of them whole."""
        return self._after(done, None)

    def _after(self, done: int, torn: "_Way | None") -> RamFlash:
        flash = self.flash.copy()
        flash.torn = torn
        if self.offset == ERASE:
            flash.power_bytes = 0
            flash.half_erased = done
            raises(PowerCut, flash.ioctl, 6, self.sector)
        else:
            flash.power_bytes = done
            raises(PowerCut, flash.writeblocks, self.sector, self.data, self.offset)
        return flash.copy()

    def bytes(self) -> int:
        """How many it changes."""
        return SECTOR_BYTES if self.offset == ERASE else len(self.data)


class _Way(Dice):
    """Falls on the way of a power cut, and then as dice do."""

    def __init__(self, seed: int, way: int) -> None:
        self._way = -1
        super().__init__(seed)
        self._way = way

    def below(self, n: int) -> int:
        if self._way < 0:
            return super().below(n)
        way, self._way = self._way, -1
        return way
