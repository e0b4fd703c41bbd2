"""A node grows old: its heap on the way, and its recovery at the end; runs under MicroPython."""

import gc
import json

from raft.store import Store
from tests.solo import Chip, Solo
from tests.turns import clock, turn_us

AGES = (10_000, 100_000)  # commands
RECOVERIES = 10
SNAPSHOTS = 100


def heap():
    gc.collect()
    return gc.mem_alloc()


chip = Chip()
solo = Solo(chip)
figures = {}
for age in AGES:
    while solo.commands < age:
        solo.command()
    figures["heap.i386.after_%d" % age] = heap()

# A ring as full as it gets before it is compacted
before = solo.node.store.snapshot.index
while solo.node.store.snapshot.index == before:
    solo.command()
while solo.node.compaction._chunks is None:
    solo.command()
used = solo.node.store.used_sectors()
chip.read = 0
start = clock()
for _ in range(RECOVERIES):
    Store(chip, 1)
taken = (clock() - start) / RECOVERIES
figures["recovery.micropython_ms"] = taken * 1e3
figures["recovery.loops"] = taken * 1e6 / turn_us()
figures["recovery.bytes_read"] = chip.read / RECOVERIES
figures["recovery.sectors"] = used

# What a snapshot takes of the node's time: written slice by slice, and read back
node, compaction = solo.node, solo.node.compaction
while compaction._chunks is not None:
    compaction.step(node.applied)
compaction.is_due = lambda: True  # type: ignore[method-assign]
turn = turn_us()
slices = taken = 0
for _ in range(SNAPSHOTS):
    solo.command()
    while node.store.idle() or node.store.snapshot.index < node.applied:
        start = clock()
        compaction.step(node.applied)
        taken += clock() - start
        slices += 1
figures["cpu.snapshot_slice.loops"] = taken * 1e6 / slices / turn
slices = taken = 0
for _ in range(SNAPSHOTS):
    compaction.restored = False
    while not compaction.restored:
        start = clock()
        compaction.restore()
        taken += clock() - start
        slices += 1
    compaction._restoring = None
figures["cpu.restore_slice.loops"] = taken * 1e6 / slices / turn
print(json.dumps(figures))
