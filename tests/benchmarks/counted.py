"""A node as `raftctl node` runs it, which counts its bytes and its CPU time in its STATUS.

    python -m tests.benchmarks.counted CLUSTER ID

becomes it; the interpreter that it becomes runs this file as a script in place of
host_tools/desktop/run.py. With UNSEALED in the environment, its datagrams have a CRC in place of
the seal, as all did before there was one.
"""

import os
import runpy
import sys
import time
from binascii import crc32
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "firmware")]

from host_tools import cluster, desk  # noqa: E402

UNSEALED = "RAFT_BENCH_UNSEALED"


def crc(begun: bytes, outer: bytes, view: bytes | memoryview) -> bytes:
    """In place of `seal._hmac`."""
    return crc32(view).to_bytes(4, "little") * 8


def is_same(digest: bytes, frame: bytes | memoryview, tag: int) -> bool:
    """In place of `seal.is_same`."""
    return digest[:4] == frame[tag : tag + 4]


def unseal() -> None:
    from raft import seal

    seal._hmac = crc
    seal.is_same = is_same


def count() -> None:
    """Let STATUS tell `bytes`, sent to other nodes, and `cpu_s`."""
    import raft.status
    from raft.udp import Endpoint

    send, status = Endpoint.send, raft.status.status

    def counted_send(self, data, address):  # type: ignore[no-untyped-def]
        self.bytes += len(data)
        send(self, data, address)

    def counted_status(node):  # type: ignore[no-untyped-def]
        return {**status(node), "bytes": node.endpoint.bytes, "cpu_s": time.process_time()}

    Endpoint.bytes = 0  # type: ignore[attr-defined]
    Endpoint.send = counted_send  # type: ignore[method-assign]
    raft.status.status = counted_status


if __name__ == "__main__":
    if sys.argv[0] == __file__ and len(sys.argv) > 3:
        count()
        if UNSEALED in os.environ:
            unseal()
        runpy.run_path(str(desk.RUN), run_name="__main__")
    else:
        run, desk.RUN = desk.RUN, Path(__file__).resolve()
        desk.become_node(cluster.load(sys.argv[1]), int(sys.argv[2]))
