"""Several datagrams in one piece, as MicroPython reads them: no stranger's takes others along."""

import struct

from raft.messages import (
    APPEND,
    BUFFER_BYTES,
    EMPTY_BYTES,
    MARK,
    MAX_DATAGRAM,
    Message,
    heads_of,
)
from raft.udp import MAX_SEARCHES, Endpoint
from tests import sealing
from tests.core.group import letter
from tests.dice import Dice

PORTABLE = True

CLUSTER = "test"
NODE = 1
HEAD = heads_of(NODE, [sealing.key(CLUSTER)])[0]


class Socket:
    """Stands in for one that reads all that waits in one piece."""

    def __init__(self, pieces: "list[bytes]") -> None:
        self._pieces = pieces

    def readinto(self, buf: bytearray) -> "int | None":
        if not self._pieces:
            return None
        piece = self._pieces.pop(0)
        buf[: len(piece)] = piece
        return len(piece)

    def recv_into(self, buf: bytearray) -> int:
        n = self.readinto(buf)
        if n is None:
            raise BlockingIOError
        return n

    def close(self) -> None:
        """Nothing to close."""


class Node:
    """heard: the indexes of the messages of node 2. decoded: how many frames were looked at."""

    def __init__(self) -> None:
        self.codec = sealing.codec(NODE, CLUSTER)
        self._peer = sealing.codec(2, CLUSTER)
        self._sent = 0
        self.heard: list[int] = []
        self.decoded = 0

    def sound(self, data: bytes = b"") -> bytes:
        """The next frame of node 2, with an index of its own."""
        self._sent += 1
        entries = [(3, 1, data)] if data else []
        m = letter(APPEND, 2, NODE, 3, self._sent, 3, entries=entries)
        return bytes(self._peer.frame(self._peer.encode(m)))

    def read(self, *datagrams: bytes) -> None:
        """Take in these in one piece."""
        piece = b"".join(datagrams)
        assert len(piece) <= BUFFER_BYTES
        endpoint = Endpoint(None, bytearray(BUFFER_BYTES), heads_of(NODE, [sealing.key(CLUSTER)]))
        endpoint.close()
        endpoint.socket = Socket([piece])  # type: ignore[assignment]
        endpoint.joins = True
        m = Message()
        frame = endpoint.receive()
        while frame is not None:
            self.decoded += 1
            if self.codec.decode(frame, m):
                self.heard.append(m.index)
            else:
                endpoint.refuse()
            frame = endpoint.receive()


def head(size: int, src: int = 2, mark: int = MARK) -> bytes:
    """What a frame of that length to this node begins with."""
    return bytes((mark, APPEND, src)) + HEAD + struct.pack("<H", size)


def test_a_length_that_is_a_lie_takes_nothing_along() -> None:
    for rest in (0, 1, 10, 40, 100, 900):
        for size in (EMPTY_BYTES, EMPTY_BYTES + rest + 8, 3 * EMPTY_BYTES + rest, MAX_DATAGRAM):
            for src in (2, 3, 9):
                node = Node()
                lie = head(size, src) + bytes(rest)
                node.read(lie, *[node.sound() for _ in range(8)], lie, node.sound(b"x" * 300))
                assert node.heard == list(range(1, 10)), (rest, size, src)


def test_what_begins_like_no_frame_takes_nothing_along() -> None:
    dice = Dice(1)
    for n in range(1, 60):
        node = Node()
        for junk in (dice.bytes(n), bytes(n), bytes((MARK,)) * n, HEAD * n, head(5)[:n]):
            node.read(junk, node.sound())
        assert len(node.heard) == 5 if n <= MAX_SEARCHES else len(node.heard) >= 4, n


def test_any_mixture_of_strangers_and_peers_lets_all_peers_through() -> None:
    dice = Dice(5)
    for _ in range(150):
        node = Node()
        datagrams: list[bytes] = []
        sent = strange = 0
        while True:
            if dice.one_in(2) and strange < MAX_SEARCHES // 2:
                data = dice.pick((
                    dice.bytes(dice.draw(1, 60)),
                    head(dice.draw(0, 2000)) + dice.bytes(dice.draw(0, 60)),
                    head(48) + dice.bytes(40),
                    head(dice.draw(0, 3000), mark=0xA1),
                ))  # fmt: skip
                strange += 1
            else:
                data = node.sound(dice.bytes(dice.draw(0, 60)))
                sent += 1
            if len(b"".join(datagrams)) + len(data) > BUFFER_BYTES:
                break
            datagrams.append(data)
        node.read(*datagrams)
        heard = node.heard
        assert heard == list(range(1, sent)) or heard == list(range(1, sent + 1))


def test_forged_frames_of_the_right_length_cost_no_search() -> None:
    node = Node()
    forged = head(EMPTY_BYTES) + bytes(EMPTY_BYTES - 8)
    datagrams: list[bytes] = []
    for _ in range(BUFFER_BYTES // EMPTY_BYTES // 2):
        datagrams += [forged, node.sound()]
    assert len(datagrams) // 2 > MAX_SEARCHES

    node.read(*datagrams)

    assert node.heard == list(range(1, len(datagrams) // 2 + 1))
    assert node.decoded == len(datagrams)


def test_one_datagram_of_a_stranger_costs_no_more_than_so_many_looks() -> None:
    for fake in (head(MAX_DATAGRAM), head(400), HEAD, bytes((MARK,)) + HEAD, bytes((MARK,))):
        node = Node()
        node.read((fake * MAX_DATAGRAM)[:MAX_DATAGRAM])
        assert node.decoded <= MAX_SEARCHES + MAX_DATAGRAM // 30


def test_frames_sealed_by_either_key_are_found() -> None:
    keys = [sealing.key("one"), sealing.key("two")]
    found = heads_of(7, keys)
    assert len(set(found)) == 2
    for key, first in zip(keys, found):
        frame = struct.pack("<BBBBH", MARK, APPEND, 2, 7, key.number)
        assert frame[3:6] == first
