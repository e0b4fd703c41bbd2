"""What a cluster of five says to itself, counted on a wire without loss or delay."""

from collections import deque

from raft.core import LEADER, Core
from raft.log import Log
from raft.members import founders
from raft.messages import COMMAND, EMPTY_BYTES, Message
from raft.store import Store
from tests.flash import RamFlash
from tests.sealing import codec
from tests.solo import put

VOTERS = (1, 2, 3, 4, 5)
COMMANDS = 200
IDLE_S = 20


class Exchange:
    """Five cores; what one of them sends arrives before anything else happens."""

    def __init__(self) -> None:
        self.datagrams = self.bytes = 0
        self.codecs = {node: codec(node, "bench") for node in VOTERS}
        self.stores = {node: Store(RamFlash(16), node) for node in VOTERS}
        self.cores = {
            # The first stands first; who it is makes no difference to the figures.
            node: Core(node, founders(VOTERS), Log(self.stores[node]), 0, 0, lambda low, high: high)
            for node in VOTERS
        }
        self.leader = self.cores[1]
        self.leader.tick(301)
        self.settle()
        if self.leader.role != LEADER:
            raise AssertionError("no leader on a perfect wire")

    def settle(self) -> None:
        """Let all that is to be said be said."""
        waiting: deque[tuple[int, bytes]] = deque()
        message = Message()
        for node in VOTERS:
            self.drive(node, waiting)
        while waiting:
            node, frame = waiting.popleft()
            if not self.codecs[node].decode(frame, message):
                raise AssertionError("a frame that its receiver can't read")
            self.cores[node].step(message)
            self.drive(node, waiting)

    def drive(self, node: int, waiting: deque[tuple[int, bytes]]) -> None:
        core, codec = self.cores[node], self.codecs[node]
        while (ready := core.ready()) is not None:
            if ready.save or ready.entries:
                self.stores[node].write(ready)
            for m in ready.early + ready.after:
                frame = bytes(codec.frame(codec.encode(m)))
                self.datagrams += 1
                self.bytes += len(frame)
                waiting.append((m.dst, frame))
            core.advance()


def measure() -> dict[str, float]:
    exchange = Exchange()
    exchange.datagrams = exchange.bytes = 0
    for number in range(1, COMMANDS + 1):
        exchange.leader.propose(COMMAND, put(1, number))
        exchange.settle()
    figures: dict[str, float] = {
        "wire.heartbeat_bytes": EMPTY_BYTES,
        "wire.bytes_per_commit": exchange.bytes / COMMANDS,
        "wire.datagrams_per_commit": exchange.datagrams / COMMANDS,
    }
    exchange.datagrams = exchange.bytes = 0
    for _ in range(IDLE_S * 1000):
        for core in exchange.cores.values():
            core.tick(1)
        exchange.settle()
    figures["wire.idle_bytes_per_second"] = exchange.bytes / IDLE_S
    figures["wire.idle_datagrams_per_second"] = exchange.datagrams / IDLE_S
    return figures
