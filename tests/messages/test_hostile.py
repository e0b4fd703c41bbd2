"""Whatever arrives at a node's sockets that is no message: it is counted and changes nothing.

A real node takes in datagrams through its own endpoints, whose sockets are stand-ins. hypothesis
draws arbitrary bytes and the seeds of batches of mutations: 100,000 and more in all.
"""

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raft import requests as encode
from raft import sessions
from raft.access import ADMIN as ADMIN_ROLE
from raft.access import OWNER, TRAILER_BYTES, credential
from raft.core import CANDIDATE, FOLLOWER, HEARTBEAT_MS, LEADER
from raft.events import Events
from raft.messages import (
    ADMIN,
    APPEND,
    APPEND_REPLY,
    COMMAND,
    DOUBT_REJECT,
    MAX_NUMBER,
    MAX_PIECE,
    MEMBERS,
    PEER_BYTES,
    PIECE_HEADER_BYTES,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ,
    REPLY,
    REQUEST_BYTES,
    RESCUE,
    SNAPSHOT,
    STATUS,
    VOTE_REPLY,
    WATCH,
    WRITE,
)
from raft.node import Node
from raft.seal import SEAL_BYTES, TAG_BYTES
from raft.service import MAX_REQUEST
from raft.udp import Endpoint
from tests import sealing
from tests.core.group import GRANTED, HIGH_MS, letter, message
from tests.flash import RamFlash
from tests.keys import SECRET

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
MAX_PAYLOAD = MAX_REQUEST - REQUEST_BYTES - TRAILER_BYTES
CLIENT = ("127.0.0.1", 9999)


class FakeSocket:
    """A socket whose datagrams the test puts in and takes out.

    joins: whether it reads on until the buffer is full, as MicroPython's do. is_closed: whether it
    gives nothing but empty datagrams until it is opened anew.
    """

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.sent: list[bytes] = []
        self.joins = False
        self.is_closed = False

    def recv_into(self, buf: bytearray) -> int:
        read = self.recvfrom(len(buf))[0]
        while self.joins and self.waiting and len(read) < len(buf):
            read += self.recvfrom(len(buf) - len(read))[0]
        buf[: len(read)] = read
        return len(read)

    def recvfrom(self, most: int) -> tuple[bytes, tuple[str, int]]:
        if self.is_closed:
            return b"", CLIENT
        if not self.waiting:
            raise BlockingIOError(11, "nothing waits")
        return self.waiting.pop(0)[:most], CLIENT

    def sendto(self, data: bytes, address: object) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        """It is opened anew with what waits in it: nothing else could be counted."""
        self.is_closed = False


class Target:
    """Node 1 of three, with a log of six entries, the first three committed.

    client: one that knows its challenge.
    """

    def __init__(self, role: int, **settings: Any) -> None:
        config = settings | {
            "id": 1,
            "cluster": CLUSTER,
            "keys": [SECRET],
            "nodes": {n: {"host": "127.0.0.1", "port": 0, "client_port": 0} for n in "123"},
        }
        self.node = Node(config, events=Events(1, write=lambda line: None))
        self.node.open(RamFlash(SECTORS))
        self.peers = self.attach(self.node.endpoint)
        self.clients = self.attach(self.node._clients)
        self.client = sealing.caller_of(self.node)
        self.codecs: dict[int, Any] = {}
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

    def frame(self, m: Any) -> bytes:
        """The datagram of a message from one of its peers, or from a stranger."""
        if m.src not in self.codecs:
            self.codecs[m.src] = sealing.codec_to(self.node, m.src)
        codec = self.codecs[m.src]
        return bytes(codec.frame(codec.encode(m)))

    def request(self, kind: int, number: int, payload: bytes) -> bytes:
        """A datagram of the client."""
        return bytes(self.client.frame(self.client.request(self.node.id, kind, number, payload)))

    def replies(self) -> list[Any]:
        """What the client has been answered since the last call."""
        replies = [self.client.read(data) for data in self.clients.sent]
        self.clients.sent.clear()
        return replies

    def hear(self, m: Any) -> None:
        self.peers.waiting.append(self.frame(m))
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


def originals(target: Target) -> list[bytes]:
    """Sound frames to node 1; nearly each of them would change something if it were taken."""
    entries = [(TERM, COMMAND, b"data"), (TERM, COMMAND, b"x" * 40)]
    frames = []
    for kind in range(PRE_VOTE, DOUBT_REJECT + 1):
        piece = (0, 2 * MAX_PIECE, 99, bytes(MAX_PIECE)) if kind == SNAPSHOT else None
        for term in (TERM, TERM + 1, 9, MAX_NUMBER):
            for src, index in ((2, 0), (3, 6)):
                with_entries = entries if kind in (APPEND, RESCUE) else ()
                m = letter(kind, src, 1, term, index, min(index, TERM), 5, 1, with_entries, piece)
                frames.append(target.frame(m))
    return frames


def requests(target: Target) -> list[bytes]:
    """Sound frames of a client to node 1."""
    command = sessions.command(1, 1, encode.put(b"key", b"value"))
    return [
        target.request(kind, number, payload)
        for number, kind, payload in (
            (1, WRITE, sessions.OPEN),
            (2, WRITE, command),
            (3, READ, encode.read(encode.get_query(b"key"))),
            (4, STATUS, b""),
        )
    ]


def sealer(target: Target) -> Callable[[bytes], bytes]:
    """Seals whatever there is behind the header, as node 2 would."""
    session = sealing.codec_to(target.node, 2).sessions[1]
    session.sent = 1 << 20  # beyond what has come from it

    def sealed(data: bytes) -> bytes:
        buf = bytearray(data) + bytearray(SEAL_BYTES)
        return bytes(buf[: session.close(buf, memoryview(buf), len(data))])

    return sealed


def sealed_request(data: bytes) -> bytes:
    """Seals that anew, as the owner would."""
    own = credential(sealing.key(CLUSTER), OWNER, ADMIN_ROLE)
    return data + bytes(own.mac.digest(own.requests, data)[:TAG_BYTES])


def is_sound(data: bytes, target: Target) -> bool:
    """Whether a node that knows no channels yet would let that in."""
    gate = sealing.gate(1, CLUSTER)
    gate.challenge = target.node.gate.challenge
    return gate.hear(data[:MAX_REQUEST]) is not None


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


def readdressed(head: bytearray, rng: random.Random) -> None:
    """From nobody or itself, to another node, by another key or of another length."""
    field = rng.randrange(3)
    if field == 0:
        head[2] = rng.choice((0, 1, 255))
    elif field == 1:
        head[3] = rng.choice((0, 2, 3, 255))
    else:
        head[4 + rng.randrange(4)] ^= 1 << rng.randrange(8)


def broken(head: bytearray, rng: random.Random) -> None:
    """With a field that can't be."""
    field = rng.randrange(6 if head[1] == SNAPSHOT else 4)
    if field == 0:
        head[0] ^= 1 << rng.randrange(8)
    elif field == 1:
        head[1] = rng.choice((0, 19, WRITE, READ, STATUS, REPLY, 40, 127))
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


class Mutations:
    """Makes datagrams from these frames, none of which is one of them.

    seal: seals what is sound no more; seal_bytes: how much that is. whole: none begins with one
    of the frames.
    """

    def __init__(
        self,
        frames: list[bytes],
        seal: Callable[[bytes], bytes],
        seal_bytes: int,
        whole: bool = False,
    ) -> None:
        self._frames = frames
        self._known = set(frames)
        self._seal = seal
        self._seal_bytes = seal_bytes
        self._whole = whole

    def some(self, seed: int, count: int) -> Iterator[bytes]:
        rng = random.Random(seed)
        while count:
            data = self._changed(rng.choice(self._frames), rng)
            if data and data not in self._known:
                count -= 1
                yield data

    def _changed(self, data: bytes, rng: random.Random) -> bytes:
        change = rng.randrange(5 if self._whole else 7)
        if change == 0:
            return cut(data, rng)
        if change <= 2:
            head = bytearray(data[: -self._seal_bytes])
            (readdressed if change == 1 else broken)(head, rng)
            if change == 2:
                struct.pack_into("<H", head, 6, len(head) + self._seal_bytes)
            return self._seal(bytes(head))
        if change <= 4:
            return flipped(data, rng)
        if change == 5:
            return spliced(data, rng.choice(self._frames), rng)
        return lengthened(data, rng)


@pytest.mark.parametrize("role", [FOLLOWER, CANDIDATE, LEADER], ids=["follower", "cand", "leader"])
def test_what_is_no_message_is_counted_and_changes_nothing(role: int) -> None:
    target = Target(role)
    mutations = Mutations(originals(target), sealer(target), SEAL_BYTES)
    before = target.state()
    fed = 0

    @DETERMINISTIC
    @given(seed=st.integers(0), arbitrary=st.lists(st.binary(min_size=1, max_size=1600)))
    def feed(seed: int, arbitrary: list[bytes]) -> None:
        nonlocal fed
        dropped = target.node.dropped
        datagrams = [*mutations.some(seed, BATCH), *arbitrary]

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
    monkeypatch.setattr(Endpoint, "joins", True)
    target = Target(FOLLOWER)
    target.peers.joins = True
    mutations = Mutations(originals(target), sealer(target), SEAL_BYTES, whole=True)
    before = target.state()

    @DETERMINISTIC
    @given(seed=st.integers(0), arbitrary=st.lists(st.binary(min_size=1, max_size=1600)))
    def feed(seed: int, arbitrary: list[bytes]) -> None:
        datagrams = [*mutations.some(seed, 100), *arbitrary]
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
    monkeypatch.setattr(Endpoint, "joins", True)
    target = Target(FOLLOWER)
    target.peers.joins = True
    heartbeats = [target.frame(letter(APPEND, 2, 1, TERM, 6, TERM, 3, ctx)) for ctx in range(30)]

    target.take(heartbeats, target.peers, target.node._hear_peers)

    answers = [message(data) for data in target.peers.sent]
    assert [(m.kind, m.ctx) for m in answers] == [(APPEND_REPLY, ctx) for ctx in range(30)]
    assert target.node.dropped == 0


@pytest.mark.parametrize("role", [FOLLOWER, LEADER], ids=["follower", "leader"])
def test_what_is_no_request_of_a_client_is_counted_and_changes_nothing(role: int) -> None:
    target = Target(role)
    mutations = Mutations(requests(target), sealed_request, TAG_BYTES)
    before = target.state()

    @DETERMINISTIC
    @given(seed=st.integers(0), arbitrary=st.lists(st.binary(min_size=1, max_size=1600)))
    def feed(seed: int, arbitrary: list[bytes]) -> None:
        dropped = target.node.service.dropped
        # with another challenge, or another number, they are sound ones: those are left out
        datagrams = [
            data for data in [*mutations.some(seed, 100), *arbitrary] if not is_sound(data, target)
        ]

        target.take(datagrams, target.clients, target.node._hear_clients)

        assert target.node.service.dropped == dropped + len(datagrams)
        assert target.state() == before

    feed()


def test_a_sound_request_with_a_senseless_payload_is_answered_and_changes_nothing() -> None:
    target = Target(LEADER)
    before = target.state()
    target.node.core.log.has_room = lambda *args: False  # what is valid by chance isn't taken

    @DETERMINISTIC
    @given(kind=st.sampled_from([WRITE, READ]), payload=st.binary(max_size=MAX_PAYLOAD))
    def ask(kind: int, payload: bytes) -> None:
        request = target.request(kind, 7, payload)

        target.take([request], target.clients, target.node._hear_clients)

        service = target.node.service
        service.lost_leadership()
        for token in list(service._reads):  # they wait for the others
            service.confirmed([(token, target.node.applied)])
        service.answer_reads()
        (answer,) = target.replies()
        assert answer is not None and answer[1] == 7 and answer[2] != 0
        target.peers.sent.clear()
        assert target.state()["core"] == before["core"]
        assert target.state()["log"] == before["log"]

    ask()


@pytest.mark.parametrize("role", [FOLLOWER, LEADER], ids=["follower", "leader"])
def test_no_payload_of_a_question_or_an_order_stops_a_node(role: int) -> None:
    target = Target(role)
    orders = st.tuples(st.integers(0, 6), st.binary(max_size=40)).map(lambda o: bytes(o[:1]) + o[1])

    @DETERMINISTIC
    @given(
        kind=st.sampled_from([WATCH, ADMIN, MEMBERS, STATUS]),
        payload=st.one_of(orders, st.binary(max_size=MAX_PAYLOAD)),
    )
    def ask(kind: int, payload: bytes) -> None:
        request = target.request(kind, 7, payload)

        target.take([request], target.clients, target.node._hear_clients)
        target.node.core.tick(HEARTBEAT_MS)
        target.node._drive()

        # of a watch that has waited, too
        assert all(answer is not None and answer[1] == 7 for answer in target.replies())
        target.peers.sent.clear()

    ask()


def test_the_sound_frames_that_were_mutated_are_taken() -> None:
    target = Target(FOLLOWER)

    target.take(originals(target), target.peers, target.node._hear_peers)
    target.take(requests(target), target.clients, target.node._hear_clients)

    assert target.node.dropped == 0
    assert target.node.core.term == MAX_NUMBER
    answers = target.replies()
    assert len(answers) == 3  # for the read the leader has been asked
    assert json.loads(answers[-1][4])["term"] == MAX_NUMBER


def test_empty_datagrams_change_nothing_where_they_are_nothing_else() -> None:
    target = Target(FOLLOWER)
    before = target.state()

    target.take([b""] * 5, target.peers, target.node._hear_peers)
    target.take([b""] * 5, target.clients, target.node._hear_clients)

    assert target.state() == before
    assert target.node.endpoint.reopened == target.node._clients.reopened == 0
    target.peers.waiting += [b"", b"", b""]
    target.hear(letter(APPEND, 2, 1, TERM, 6, TERM, 4))
    assert target.node.core.commit == 4  # what waits behind them isn't lost


def test_a_socket_that_an_empty_datagram_has_closed_is_opened_anew_at_once() -> None:
    target = Target(FOLLOWER)
    before = target.state()

    for socket, hear, endpoint in (
        (target.peers, target.node._hear_peers, target.node.endpoint),
        (target.clients, target.node._hear_clients, target.node._clients),
    ):
        socket.is_closed = True  # as on a board: from now on it gives nothing else
        hear()
        assert endpoint.reopened == 1 and not socket.is_closed

    assert target.state() == before
    target.hear(letter(APPEND, 2, 1, TERM, 6, TERM, 4))
    assert target.node.core.commit == 4
