"""The same commands, appended to a file on littlefs and flushed; runs under MicroPython.

Counts what MicroPython's own VfsLfs2 asks of the flash.
"""

import json

import vfs

from tests.solo import Chip, put

COMMANDS = 1600


def measure(batch):
    flash = Chip()
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
