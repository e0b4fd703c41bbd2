"""Whatever arrives at a node's sockets that is no message: it is counted and changes nothing.

A real node takes in datagrams through its own endpoints, whose sockets are stand-ins. hypothesis
draws arbitrary bytes and the seeds of batches of mutations: 100,000 and more in all.
"""

import json
import random
import struct
from binascii import crc32
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raft import interpreter, sessions
from raft import requests as encode
from raft.core import CANDIDATE, FOLLOWER, HEARTBEAT_MS, LEADER
from raft.events import Events
from raft.messages import (
    ADMIN,
    APPEND,
    APPEND_REPLY,
    COMMAND,
    DOUBT_REJECT,
    MAX_DATAGRAM,
    MAX_NUMBER,
    MAX_PIECE,
    MEMBERS,
    PEER_BYTES,
    PIECE_HEADER_BYTES,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ,
    REPLY,
    RESCUE,
    SNAPSHOT,
    STATUS,
    VOTE_REPLY,
    WATCH,
    WRITE,
    Codec,
)
from raft.node import Node
from tests.core.group import GRANTED, HIGH_MS, frame, letter, message
from tests.flash import RamFlash

CLUSTER = "test"
TERM = 3  # of the node at the start
SECTORS = 48  # more than a state machine of the default size needs
EXAMPLES = 100
BATCH = 1000  # mutations per example
TOTAL = 3 * EXAMPLES * BATCH
assert TOTAL >= 100_000

# The same examples each time: a test is never red by chance.
DETERMINISTIC = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
CLIENT = ("127.0.0.1", 9999)


class FakeSocket:
    """A socket whose datagrams the test puts in and takes out.

    joins: whether it reads on until the buffer is full, as MicroPython's do.
    """

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.sent: list[bytes] = []
        self.joins = False

    def recv_into(self, buf: bytearray) -> int:
        read = self.recvfrom(len(buf))[0]
        while self.joins and self.waiting and len(read) < len(buf):
            read += self.recvfrom(len(buf) - len(read))[0]
        buf[: len(read)] = read
        return len(read)

    def recvfrom(self, most: int) -> tuple[bytes, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError(11, "nothing waits")
        return self.waiting.pop(0)[:most], CLIENT

    def sendto(self, data: bytes, address: object) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        """It is opened anew with what waits in it: nothing else could be counted."""


class Target:
    """Node 1 of three, with a log of six entries, the first three committed."""

    def __init__(self, role: int, **settings: Any) -> None:
        config = settings | {
            "id": 1,
            "cluster": CLUSTER,
            "nodes": {n: {"host": "127.0.0.1", "port": 0, "client_port": 0} for n in "123"},
        }
        self.node = Node(config, events=Events(1, write=lambda line: None))
        self.node.open(RamFlash(SECTORS))
        self.peers = self.attach(self.node.endpoint)
        self.clients = self.attach(self.node._clients)
        self.become(role)
        self.peers.sent.clear()
        assert self.node.core.role == role

    def attach(self, endpoint: Any) -> FakeSocket:
        endpoint.close()
        endpoint.socket = FakeSocket()
        endpoint._open = lambda: None  # opened anew, it is the same one
        return endpoint.socket

    def become(self, role: int) -> None:
        log = [(TERM, COMMAND, b"%d" % i) for i in range(6)]
        self.hear(letter(APPEND, 2, 1, TERM, commit=3, entries=log))
        if role == FOLLOWER:
            return
        self.node.core.tick(HIGH_MS)
        self.hear(letter(PRE_VOTE_REPLY, 3, 1, TERM + 1, GRANTED))
        if role == LEADER:
            self.hear(letter(VOTE_REPLY, 3, 1, TERM + 1, GRANTED))
            self.hear(letter(APPEND_REPLY, 3, 1, TERM + 1, index=5, ctx=1))

    def hear(self, m: Any) -> None:
        self.peers.waiting.append(frame(m))
        self.node._hear_peers()

    def state(self) -> dict[str, Any]:
        """All that a datagram could have changed, the counter of drops apart."""
        node = self.node
        core, store = node.core, node.store
        return {
            "core": (core.role, core.term, core.vote, core.leader, core.commit, core.alarm),
            "doubt": (core.doubt, store.doubt),
            "coming": (core.log.coming, list(core.log.chunks), store.coming),
            "log": [core.log.entry(i) for i in range(1, core.log.last + 1)],
            "peers": [vars(p) | {"_in_flight": list(p._in_flight)} for p in core.peers.values()],
            "flash": (store.term, store.vote, store.last, store.programs),
            "machine": (node.applied, node.sessions.machine.default.used),
            "sent": (list(self.peers.sent), list(self.clients.sent)),
        }

    def take(self, datagrams: list[bytes], socket: FakeSocket, hear: Callable[[], None]) -> None:
        socket.waiting.extend(datagrams)
        while socket.waiting:
            hear()


def originals() -> list[bytes]:
    """Sound frames to node 1; nearly each of them would change something if it were taken."""
    entries = [(TERM, COMMAND, b"data"), (TERM, COMMAND, b"x" * 40)]
    frames = []
    for kind in range(PRE_VOTE, DOUBT_REJECT + 1):
        piece = (0, 2 * MAX_PIECE, 99, bytes(MAX_PIECE)) if kind == SNAPSHOT else None
        for term in (TERM, TERM + 1, 9, MAX_NUMBER):
            for src, index in ((2, 0), (3, 6)):
                with_entries = entries if kind in (APPEND, RESCUE) else ()
                m = letter(kind, src, 1, term, index, min(index, TERM), 5, 1, with_entries, piece)
                frames.append(frame(m))
    return frames


def requests() -> list[bytes]:
    """Sound frames of a client to node 1."""
    codec = Codec(0, CLUSTER)
    command = sessions.command(1, 1, encode.put(b"key", b"value"))
    return [
        bytes(codec.frame(codec.request(1, kind, number, payload)))
        for number, kind, payload in (
            (1, WRITE, sessions.OPEN),
            (2, WRITE, command),
            (3, READ, encode.read(encode.get_query(b"key"))),
            (4, STATUS, b""),
        )
    ]


def sealed(data: bytes) -> bytes:
    return data + struct.pack("<I", crc32(data))


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.choice((0, 0, rng.randrange(len(data))))
    return data[start : rng.randrange(start, len(data))]


def spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def lengthened(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.choice((1, 2, 4, 40, 1500)))


def readdressed(data: bytes, rng: random.Random) -> bytes:
    """Sound, but from nobody or itself, to another node or of another cluster."""
    head = bytearray(data[:-4])
    field = rng.randrange(3)
    if field == 0:
        head[2] = rng.choice((0, 1, 255))
    elif field == 1:
        head[3] = rng.choice((0, 2, 3, 255))
    else:
        head[4 + rng.randrange(4)] ^= 1 << rng.randrange(8)
    return sealed(bytes(head))


def broken(data: bytes, rng: random.Random) -> bytes:
    """Sealed, but with a field that can't be."""
    head = bytearray(data[:-4])
    field = rng.randrange(6 if head[1] == SNAPSHOT else 4)
    if field == 0:
        head[0] ^= 1 << rng.randrange(8)
    elif field == 1:
        head[1] = rng.choice((0, 19, WRITE, READ, STATUS, REPLY, 40, 255))
    elif field == 2:
        head[11 + 4 * rng.randrange(min(5, len(head) // 4 - 2))] |= rng.choice((0x40, 0x80))
    elif field == 3:
        head += rng.randbytes(rng.randrange(1, 7))  # less than an entry
    elif field == 4:  # offset, length or CRC-32 of the snapshot
        head[PEER_BYTES + 3 + 4 * rng.randrange(3)] |= rng.choice((0x40, 0x80))
    else:  # a piece that has not even its header, or that is too short or too long
        del head[PEER_BYTES + rng.randrange(PIECE_HEADER_BYTES + 1) :]
        if len(head) == PEER_BYTES + PIECE_HEADER_BYTES:
            head += bytes(rng.choice((0, MAX_PIECE + 1)))
        struct.pack_into("<H", head, 6, len(head) + 4)
    return sealed(bytes(head))


def mutations(frames: list[bytes], seed: int, count: int, whole: bool = False) -> Iterator[bytes]:
    """`count` datagrams made from these frames, none of which is one of them.

    whole: none begins with one of them either.
    """
    rng = random.Random(seed)
    known = set(frames)
    while count:
        data = rng.choice(frames)
        change = rng.randrange(5 if whole else 7)
        if change == 0:
            data = cut(data, rng)
        elif change == 1:
            data = readdressed(data, rng)
        elif change == 2:
            data = broken(data, rng)
        elif change <= 4:
            data = flipped(data, rng)
        elif change == 5:
            data = spliced(data, rng.choice(frames), rng)
        else:
            data = lengthened(data, rng)
        if data and data not in known:
            count -= 1
            yield data


@pytest.mark.parametrize("role", [FOLLOWER, CANDIDATE, LEADER], ids=["follower", "cand", "leader"])
def test_what_is_no_message_is_counted_and_changes_nothing(role: int) -> None:
    target = Target(role)
    frames = originals()
    before = target.state()
    fed = 0

    @DETERMINISTIC
    @given(seed=st.integers(0), arbitrary=st.lists(st.binary(min_size=1, max_size=1600)))
    def feed(seed: int, arbitrary: list[bytes]) -> None:
        nonlocal fed
        dropped = target.node.dropped
        datagrams = [*mutations(frames, seed, BATCH), *arbitrary]

        target.take(datagrams, target.peers, target.node._hear_peers)

        assert target.node.dropped == dropped + len(datagrams)
        assert target.state() == before
        fed += len(datagrams)

    feed()

    assert fed >= TOTAL // 3
    assert target.node.endpoint.received >= fed


def test_what_is_no_message_changes_nothing_where_datagrams_are_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interpreter, "JOINS_DATAGRAMS", True)
    target = Target(FOLLOWER)
    target.peers.joins = True
    frames = originals()
    before = target.state()

    @DETERMINISTIC
    @given(seed=st.integers(0), arbitrary=st.lists(st.binary(min_size=1, max_size=1600)))
    def feed(seed: int, arbitrary: list[bytes]) -> None:
        datagrams = [*mutations(frames, seed, 100, whole=True), *arbitrary]
        random.Random(seed).shuffle(datagrams)
        dropped = target.node.dropped

        target.take(datagrams, target.peers, target.node._hear_peers)

        # what begins like no frame takes along what has been read behind it
        assert dropped < target.node.dropped <= dropped + len(datagrams)
        assert target.state() == before

    feed()


def test_sound_frames_are_all_taken_where_datagrams_are_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interpreter, "JOINS_DATAGRAMS", True)
    target = Target(FOLLOWER)
    target.peers.joins = True
    heartbeats = [frame(letter(APPEND, 2, 1, TERM, 6, TERM, 3, ctx)) for ctx in range(30)]

    target.take(heartbeats, target.peers, target.node._hear_peers)

    answers = [message(data) for data in target.peers.sent]
    assert [(m.kind, m.ctx) for m in answers] == [(APPEND_REPLY, ctx) for ctx in range(30)]
    assert target.node.dropped == 0


@pytest.mark.parametrize("role", [FOLLOWER, LEADER], ids=["follower", "leader"])
def test_what_is_no_request_of_a_client_is_counted_and_changes_nothing(role: int) -> None:
    target = Target(role)
    frames = requests()
    before = target.state()

    @DETERMINISTIC
    @given(seed=st.integers(0), arbitrary=st.lists(st.binary(min_size=1, max_size=1600)))
    def feed(seed: int, arbitrary: list[bytes]) -> None:
        dropped = target.node.service.dropped
        # requests from other senders' ids, or longer, may be sound ones: those are left out
        datagrams = [
            data
            for data in [*mutations(frames, seed, 100), *arbitrary]
            if target.node.codec.decode_request(data) is None
        ]

        target.take(datagrams, target.clients, target.node._hear_clients)

        assert target.node.service.dropped == dropped + len(datagrams)
        assert target.state() == before

    feed()


def test_a_sound_request_with_a_senseless_payload_is_answered_and_changes_nothing() -> None:
    target = Target(LEADER)
    before = target.state()
    codec = Codec(0, CLUSTER)
    target.node.core.log.has_room = lambda *args: False  # what is valid by chance isn't taken

    @DETERMINISTIC
    @given(kind=st.sampled_from([WRITE, READ]), payload=st.binary(max_size=MAX_DATAGRAM - 16))
    def ask(kind: int, payload: bytes) -> None:
        request = bytes(codec.frame(codec.request(1, kind, 7, payload)))

        target.take([request], target.clients, target.node._hear_clients)

        service = target.node.service
        service.lost_leadership()
        for token in list(service._reads):  # they wait for the others
            service.confirmed([(token, target.node.applied)])
        service.answer_reads()
        (answer,) = [codec.decode_reply(data) for data in target.clients.sent]
        assert answer is not None and answer[1] == 7 and answer[2] != 0
        target.clients.sent.clear()
        target.peers.sent.clear()
        assert target.state()["core"] == before["core"]
        assert target.state()["log"] == before["log"]

    ask()


@pytest.mark.parametrize("role", [FOLLOWER, LEADER], ids=["follower", "leader"])
def test_no_payload_of_a_question_or_an_order_stops_a_node(role: int) -> None:
    target = Target(role)
    codec = Codec(0, CLUSTER)
    orders = st.tuples(st.integers(0, 6), st.binary(max_size=40)).map(lambda o: bytes(o[:1]) + o[1])

    @DETERMINISTIC
    @given(
        kind=st.sampled_from([WATCH, ADMIN, MEMBERS, STATUS]),
        payload=st.one_of(orders, st.binary(max_size=MAX_DATAGRAM - 16)),
    )
    def ask(kind: int, payload: bytes) -> None:
        request = bytes(codec.frame(codec.request(1, kind, 7, payload)))

        target.take([request], target.clients, target.node._hear_clients)
        target.node.core.tick(HEARTBEAT_MS)
        target.node._drive()

        # of a watch that has waited, too
        answers = [codec.decode_reply(data) for data in target.clients.sent]
        assert all(answer is not None and answer[1] == 7 for answer in answers)
        target.clients.sent.clear()
        target.peers.sent.clear()

    ask()


def test_the_sound_frames_that_were_mutated_are_taken() -> None:
    target = Target(FOLLOWER)

    target.take(originals(), target.peers, target.node._hear_peers)
    target.take(requests(), target.clients, target.node._hear_clients)

    assert target.node.dropped == 0
    assert target.node.core.term == MAX_NUMBER
    answers = [Codec(0, CLUSTER).decode_reply(data) for data in target.clients.sent]
    assert len(answers) == len(requests()) - 1  # for the read the leader has been asked
    assert json.loads(answers[-1][4])["term"] == MAX_NUMBER


def test_an_empty_datagram_makes_the_socket_be_opened_anew_and_changes_nothing() -> None:
    target = Target(FOLLOWER)
    before = target.state()

    target.take([b""] * 5, target.peers, target.node._hear_peers)

    assert target.node.endpoint.reopened == 5
    assert target.state() == before
