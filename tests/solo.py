"""A node that is its own cluster, and takes commands as fast as they come; portable."""

from raft import requests, sessions
from raft.core import LEADER
from raft.messages import COMMAND
from raft.node import Node
from raft.sector import SECTOR_BYTES
from raft.store import PAGE_BYTES
from tests.keys import SECRET

KEYS = 100
STATE_KB = 16
SECTORS = 64  # a partition of 256 KB


def put(session: int, number: int) -> bytes:
    """A put of 64 bytes, key and value, as the log carries it."""
    change = requests.put(b"key-%04d" % (number % KEYS), b"v" * 56)
    return sessions.entry(0, sessions.command(session, number, change))


class Chip:
    """A partition that takes as much of the heap when it is full as when it is empty.

    read, bytes, pages: read, programmed; erased: of each sector, how often; all since `begin`.
    """

    def __init__(self) -> None:
        self._data = memoryview(bytearray(SECTORS * SECTOR_BYTES))
        self._blank = b"\xff" * SECTOR_BYTES
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self.read = self.bytes = self.pages = 0
        self.erased = [0] * SECTORS

    def readblocks(self, block: int, buf: bytearray | memoryview, offset: int = 0) -> None:
        start = block * SECTOR_BYTES + offset
        buf[:] = self._data[start : start + len(buf)]
        self.read += len(buf)

    def writeblocks(self, block: int, buf: bytes | memoryview, offset: int = 0) -> None:
        start = block * SECTOR_BYTES + offset
        self._data[start : start + len(buf)] = buf
        self.pages += (offset + len(buf) - 1) // PAGE_BYTES - offset // PAGE_BYTES + 1
        self.bytes += len(buf)

    def ioctl(self, op: int, arg: int) -> int:
        if op == 4:
            return SECTORS
        if op == 5:
            return SECTOR_BYTES
        if op == 6:
            start = arg * SECTOR_BYTES
            self._data[start : start + SECTOR_BYTES] = self._blank
            self.erased[arg] += 1
        return 0


class Wire:
    """Stands in for a socket: what is sent is gone, what is to be received is `inbox`."""

    received = sent = errors = 0

    def __init__(self) -> None:
        self.inbox: list[bytes] = []

    def receive(self) -> bytes | None:
        return self.inbox.pop() if self.inbox else None

    def refuse(self) -> None:
        """Nothing is joined here."""

    def is_empty(self) -> bool:
        return not self.inbox

    def send(self, data: memoryview, address: object) -> None:
        self.sent += 1

    def close(self) -> None:
        self.inbox.clear()


def offline(node: Node) -> Wire:
    """Close a node's sockets; what it has in place of the one for its peers."""
    node.endpoint.close()
    node._clients.close()
    wire = Wire()
    node.endpoint = wire  # type: ignore[assignment]
    return wire


class Solo:
    """It leads, with one session open.

    device: its flash. commands: how many it has taken; bytes: of them.
    """

    def __init__(self, device) -> None:  # type: ignore[no-untyped-def]
        nodes = {"1": {"host": "127.0.0.1", "port": 0, "client_port": 0}}
        config = {
            "id": 1, "cluster": "bench", "keys": [SECRET], "nodes": nodes, "state_kb": STATE_KB,
        }  # fmt: skip
        self.node = node = Node(config, events=lambda what, **facts: None)
        node.open(device)
        offline(node)
        node.core.tick(1000)
        node._drive()
        assert node.core.role == LEADER
        node.core.propose(COMMAND, sessions.entry(0, sessions.OPEN))
        node._drive()
        self.session = node.core.log.last
        self.commands = self.bytes = 0

    def command(self) -> None:
        """One command, and a quiet moment."""
        self.commands += 1
        data = put(self.session, self.commands)
        self.bytes += len(data)
        self.node.core.propose(COMMAND, data)
        self.node._drive()
        self.node._use_quiet()
        assert self.node.applied == self.node.core.log.last
