"""Median time (ms) of one program of a desk's flash, a write and its fsync: what a node waits.

    python -m tests.benchmarks.program FILE

Run as many at one time as there are nodes: all program at the same moments, as the nodes of a
cluster do that share a disk.
"""

import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

from host_tools.desktop.flash import Flash

PROGRAMS = 500
PERIOD_S = 0.002  # the moments are the multiples of it


def main(path: Path) -> None:
    path.write_bytes(b"\xff" * 4096 * 16)
    times = []
    with closing(Flash(str(path))) as flash:
        for i in range(PROGRAMS):
            time.sleep(PERIOD_S - time.time() % PERIOD_S)
            start = time.perf_counter()
            flash.writeblocks(i // 40, bytes(92), i % 40 * 100)
            times.append(time.perf_counter() - start)
    print(1000 * statistics.median(times))


main(Path(sys.argv[1]))
