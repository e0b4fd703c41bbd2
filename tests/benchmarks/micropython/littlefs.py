"""The same commands, appended to a file on littlefs and flushed; runs under MicroPython.

Counts what MicroPython's own VfsLfs2 asks of the flash.
"""

import json

import vfs

from tests.solo import SECTORS, put

COMMANDS = 1600
SECTOR_BYTES = 4096
PAGE_BYTES = 256


class CountingFlash:
    def __init__(self):
        self.data = bytearray(SECTORS * SECTOR_BYTES)
        self.begin()

    def begin(self):
        """Count from now on."""
        self.pages = self.bytes = 0
        self.erased = [0] * SECTORS

    def readblocks(self, block, buf, offset=0):
        start = block * SECTOR_BYTES + offset
        buf[:] = memoryview(self.data)[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        start = block * SECTOR_BYTES + offset
        self.data[start : start + len(buf)] = buf
        self.pages += (offset + len(buf) - 1) // PAGE_BYTES - offset // PAGE_BYTES + 1
        self.bytes += len(buf)

    def ioctl(self, op, arg):
        if op == 4:
            return SECTORS
        if op == 5:
            return SECTOR_BYTES
        if op == 6:
            self.erased[arg] += 1
        return 0


def measure(batch):
    flash = CountingFlash()
    vfs.VfsLfs2.mkfs(flash)  # type: ignore[arg-type]
    vfs.mount(vfs.VfsLfs2(flash), "/flash")  # type: ignore[arg-type]
    flash.begin()
    with open("/flash/log", "ab") as log:
        for first in range(0, COMMANDS, batch):
            for number in range(first, first + batch):
                log.write(put(1, number))
            log.flush()
    vfs.umount("/flash")
    if batch == 1:
        figures["flash.littlefs.amplification"] = flash.bytes / COMMANDS / len(put(1, 1))
        figures["flash.littlefs.entries_per_erase"] = COMMANDS / sum(flash.erased)
    return {
        "flash.littlefs.erases_per_command.batch%d" % batch: sum(flash.erased) / COMMANDS,
        "flash.littlefs.programs_per_command.batch%d" % batch: flash.pages / COMMANDS,
        "flash.littlefs.bytes_per_command.batch%d" % batch: flash.bytes / COMMANDS,
    }


figures = {}
figures.update(measure(1))
figures.update(measure(16))
print(json.dumps(figures))
