"""A node as a board would run it: compiled modules, a small heap. Tells how much of it is used.

MICROPYPATH=MODULES:.frozen micropython -X heapsize=112k -m heap_node STATE
"""

import asyncio
import gc
import json
import sys

from raft.core import ROLES
from raft.interpreter import collect_early, unload
from raft.node import Node

SECTOR_BYTES = 4096
TELL_MS = 300


class FileFlash:
    """Enough of a partition; on a board it is the firmware's and takes no heap."""

    def __init__(self, path):
        self.file = open(path, "r+b")  # noqa: SIM115
        self.sectors = self.file.seek(0, 2) // SECTOR_BYTES

    def ioctl(self, op, arg):
        return self.sectors if op == 4 else SECTOR_BYTES if op == 5 else 0

    def readblocks(self, block, buf, offset=0):
        self.file.seek(block * SECTOR_BYTES + offset)
        self.file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        self.file.seek(block * SECTOR_BYTES + offset)
        self.file.write(buf)
        self.file.flush()


def make_node():
    with open(sys.argv[1] + "/config.json") as f:
        node = Node(json.load(f))
    node.open(FileFlash(sys.argv[1] + "/raft.flash"))
    return node


async def tell(node):
    """Print role, entries applied and heap in use (bytes, after a collection), again and again."""
    while True:
        await asyncio.sleep_ms(TELL_MS)
        gc.collect()
        print("heap", ROLES[node.core.role], node.applied, gc.mem_alloc())


async def run(node):
    telling = asyncio.create_task(tell(node))
    await node.serve()
    telling.cancel()


def main():
    collect_early()
    node = make_node()
    unload("raft", "recovery")
    unload("raft", "config")
    asyncio.run(run(node))


main()
