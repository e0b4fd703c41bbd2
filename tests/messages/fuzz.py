"""A dishonest peer: what somebody without a key may send to a real node changes nothing.

    python -m tests.messages.fuzz --count 1000000 --seed 1

Portable. What it sends is made of noise, and of what was said in this cluster, and in others,
before and since the node's start: recorded, and sent again, to either port, as it was or changed.
"""

import gc
import struct
import sys
from hashlib import sha256

from raft import hello, requests, sessions
from raft.access import STRANGERS_PER_S, Limit
from raft.core import CANDIDATE, FOLLOWER, LEADER
from raft.events import Events
from raft.messages import (
    ADMIN,
    APPEND,
    APPEND_REPLY,
    COMMAND,
    DOUBT_REJECT,
    HEADER_BYTES,
    HELLO,
    MAX_DATAGRAM,
    MAX_NUMBER,
    MAX_PIECE,
    MEMBERS,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ,
    REPLY,
    RESCUE,
    SNAPSHOT,
    STATUS,
    VOTE,
    VOTE_REPLY,
    WATCH,
    WRITE,
    Codec,
)
from raft.node import Node
from raft.seal import Key, Session, keys_of
from raft.udp import AUTO, resolve
from tests import sealing
from tests.core.group import GRANTED, HIGH_MS, letter
from tests.dice import Dice
from tests.flash import RamFlash
from tests.keys import SECRET

CLUSTER = "test"
TERM = 3
SECTORS = 48
RECORDED = 120  # frames of either peer: four times as many as a window is long
PORT, CLIENT_PORT = 7000, 7001
BATCH = 250  # datagrams between two looks at the node
WARM_UP = 500  # datagrams, until what is kept once is kept
ROLES = {"follower": FOLLOWER, "candidate": CANDIDATE, "leader": LEADER}
IS_MICROPYTHON = sys.implementation.name == "micropython"
MEMORY_UNIT = "bytes" if IS_MICROPYTHON else "blocks"
MAX_GROWN = 2048 if IS_MICROPYTHON else 100  # of them, from then until the end

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Address = Any  # what this interpreter sends to


class Air:
    """Stands in for a socket: what is to come, and what was sent, each with an address.

    Where the interpreter joins datagrams, so does this.
    """

    def __init__(self) -> None:
        self.inbox: list[tuple[bytes, Address]] = []
        self.outbox: list[tuple[bytes, Address]] = []

    def readinto(self, buf: bytearray) -> "int | None":
        n = 0
        while self.inbox and n < len(buf):
            data = self.inbox.pop(0)[0][: len(buf) - n]
            if not data:
                break
            buf[n : n + len(data)] = data
            n += len(data)
        else:
            return n or None
        return n

    def recv_into(self, buf: bytearray) -> int:
        data, _ = self.recvfrom(len(buf))
        buf[: len(data)] = data
        return len(data)

    def recvfrom(self, most: int) -> "tuple[bytes, Address]":
        if not self.inbox:
            raise OSError(11, "nothing waits")
        data, sender = self.inbox.pop(0)
        return data[:most], sender

    def sendto(self, data: memoryview, address: "Address") -> None:
        self.outbox.append((bytes(data), address))

    def close(self) -> None:
        """It stays as it is."""


class Peer:
    """Node `id` of the victim's cluster, as it is between two starts."""

    def __init__(self, id: int, key: Key, start: int) -> None:
        self.id = id
        self.key = key
        self.incarnation = struct.pack("<II", id, start)
        self.address = resolve("127.0.0.%d" % id, CLIENT_PORT)
        self.codec = Codec(id, {})

    def meet(self, node: int, incarnation: bytes) -> None:
        self.codec.sessions[node] = Session(
            self.key, [self.key], self.id, self.incarnation, node, incarnation, False
        )

    def frame(self, kind: int, dst: int = 1, term: int = TERM, *rest, **more) -> bytes:  # type: ignore[no-untyped-def]
        m = letter(kind, self.id, dst, term, *rest, **more)
        return bytes(self.codec.frame(self.codec.encode(m)))

    def hello(self, to: int, question: bytes, answer: bytes) -> bytes:
        n = hello.write(self.codec, self.key, to, self.incarnation, question, answer, PORT)
        return bytes(self.codec.frame(n))


class Victim:
    """Node 1 of three, with a log of six entries, in that role. host: of the other two.

    heard: what it was told by its peers and by a client, all of which it has taken in. said: what
    it has told anybody.
    """

    def __init__(self, role: int, host: str = "127.0.0.1", cluster: str = CLUSTER) -> None:
        place = {"host": host, "port": PORT, "client_port": CLIENT_PORT}
        own = {"host": "127.0.0.1", "port": 0, "client_port": 0}
        nodes = {"1": own, "2": place, "3": place}
        config = {"id": 1, "cluster": cluster, "keys": [SECRET], "nodes": nodes}
        self.node = node = Node(config, events=Events(1, write=lambda line: None))
        node.open(RamFlash(SECTORS))
        self.ports = [self._attach(node.endpoint), self._attach(node._clients)]
        self.heard: list[bytes] = []
        self.said: list[bytes] = []
        self.peers = {id: Peer(id, sealing.key(cluster), 1) for id in (2, 3)}
        for peer in self.peers.values():
            self.meet(peer)
        self.client = sealing.caller_of(node)
        self._become(role)
        assert node.core.role == role

    def _attach(self, endpoint) -> Air:  # type: ignore[no-untyped-def]
        endpoint.close()
        endpoint.socket = air = Air()
        endpoint._open = lambda: None
        return air

    def hear(self, port: int, data: bytes, sender: "Address" = None) -> None:
        """Take in that datagram at the port for peers (0) or clients (1)."""
        self.heard.append(data)
        self.ports[port].inbox.append((data, sender or self.peers[2].address))
        self.let_hear()

    def let_hear(self) -> None:
        """Until nothing waits."""
        peers, clients = self.ports
        while peers.inbox:
            self.node._hear_peers()
        while clients.inbox:
            self.node._hear_clients()
        for air in self.ports:
            self.said += [data for data, _ in air.outbox]
            air.outbox.clear()

    def meet(self, peer: Peer) -> None:
        """Hellos, as between two that have just started."""
        greeter = self.node.greeter
        greeter.look()
        greeter.step(0)
        questions = [data for data, _ in self.ports[1].outbox if data[3] in (peer.id, 0)]
        self.hear(1, peer.hello(1, bytes(8), questions[-1][16:24]), peer.address)
        self.hear(1, peer.hello(1, b"question", bytes(8)), peer.address)
        peer.meet(1, self.node.seal.incarnation)
        assert self.node.seal.knows(peer.id, peer.incarnation)

    def _become(self, role: int) -> None:
        two, three = self.peers[2], self.peers[3]
        log = [(TERM, COMMAND, b"%d" % i) for i in range(6)]
        self.hear(0, two.frame(APPEND, 1, TERM, commit=3, entries=log))
        for i in range(RECORDED):
            self.hear(0, two.frame(APPEND, 1, TERM, 6, TERM, 3, i))
            self.hear(0, three.frame(VOTE, 1, TERM, 6, TERM, 3, 0))
        for number in range(4):
            self.hear(1, self.request(STATUS, number, b""))
        if role == FOLLOWER:
            return
        self.node.core.tick(HIGH_MS)
        self.hear(0, three.frame(PRE_VOTE_REPLY, 1, TERM + 1, GRANTED))
        if role == LEADER:
            self.hear(0, three.frame(VOTE_REPLY, 1, TERM + 1, GRANTED))
            self.hear(0, three.frame(APPEND_REPLY, 1, TERM + 1, 5, ctx=1))

    def request(self, kind: int, number: int, payload: bytes) -> bytes:
        client = self.client
        return bytes(client.frame(client.request(1, kind, number, payload)))

    def state(self) -> "dict[str, Any]":
        """All that nobody without a key may change."""
        node = self.node
        core, store = node.core, node.store
        greeter = node.greeter
        return {
            "core": (core.role, core.term, core.vote, core.leader, core.commit, core.alarm),
            "members": (core.members_index, core.members.data, core.doubt, store.doubt),
            "coming": (core.log.coming, list(core.log.chunks), store.coming),
            "log": [core.log.entry(i) for i in range(1, core.log.last + 1)],
            "peers": [(p.state, p.match, p.next, list(p._in_flight)) for p in core.peers.values()],
            "flash": (store.term, store.vote, store.last, store.programs, store.erases),
            "machine": (node.applied, node.sessions.machine.default.used),
            "sessions": [
                (peer, s.incarnation, s.sent, s._last, s._seen)
                for peer, s in sorted(node.seal.sessions.items(), key=lambda item: item[0])
            ],
            "incarnation": node.seal.incarnation,
            "addresses": sorted([(peer, str(a)) for peer, a in node.addresses.items()]),
            "channels": sorted(
                [(n, c._last, c._seen) for n, c in node.gate._channels.items()], key=str
            ),
            "challenge": node.gate.challenge,
            "waiting": (len(node.service._writes), len(node.service._reads), node.service.held),
            "places": sorted(greeter._places.items(), key=lambda item: item[0]),
        }

    def is_alive(self) -> bool:
        """Whether it still does what a peer and a client who may speak tell it to do."""
        self.hear(0, self.peers[3].frame(APPEND, 1, MAX_NUMBER, 6, TERM, 6))
        asked = self.request(STATUS, 5, b"")
        self.ports[1].inbox.append((asked, self.peers[2].address))
        self.node._hear_clients()
        answers = [self.client.read(data) for data, _ in self.ports[1].outbox]
        return self.node.core.term == MAX_NUMBER and [a[1] for a in answers if a] == [5]


class Outsider:
    """Makes datagrams. counts: of each category, how many."""

    def __init__(self, victim: Victim, seed: int) -> None:
        self.counts: dict[str, int] = {}
        self._dice = Dice(seed)
        self._noise = sha256(b"%d" % seed).digest()
        self._recorded = recordings(victim)
        self._all = [data for name in sorted(self._recorded) for data in self._recorded[name]]
        # Sound, but never sent: not one bit of these may be left as it is.
        self._fresh = sound_frames(victim)
        changes = (self._flipped, self._cut, self._renamed)
        self._ways: list[tuple[str, Callable[[], bytes]]] = [
            (name, lambda name=name: self._dice.pick(self._recorded[name]))  # type: ignore[misc]
            for name in sorted(self._recorded)
        ]
        self._ways += [
            ("arbitrary", lambda: self._bytes(self._length())),
            ("empty", lambda: b""),
            ("nearly a frame", self._nearly),
            ("bits flipped", lambda: self._flipped(self._dice.pick(self._fresh))),
            ("cut off", lambda: self._cut(self._dice.pick(self._fresh))),
            ("renamed", lambda: self._renamed(self._dice.pick(self._fresh))),
            ("recorded, changed", lambda: self._dice.pick(changes)(self._dice.pick(self._all))),
            ("spliced", self._spliced),
            ("lengthened", lambda: self._dice.pick(self._all) + self._bytes(self._length())),
        ]

    def next(self) -> bytes:
        name, make = self._dice.pick(self._ways)
        self.counts[name] = self.counts.get(name, 0) + 1
        return make()[:MAX_DATAGRAM]

    def port(self) -> int:
        return self._dice.below(2)

    def _length(self) -> int:
        dice = self._dice
        return dice.pick((dice.below(8), dice.below(64), dice.below(200), dice.below(MAX_DATAGRAM)))

    def _bytes(self, n: int) -> bytes:
        self._noise = sha256(self._noise).digest()
        start = self._dice.below(7)
        return (self._noise * (n // 16 + 1))[start : start + n]

    def _nearly(self) -> bytes:
        """Right up to where the tag is."""
        dice, frame = self._dice, bytearray(self._dice.pick(self._fresh))
        n = dice.pick((4, 16, 20, 35))
        frame[len(frame) - n :] = self._bytes(n)
        return bytes(frame)

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        if changed:
            bit = self._dice.below(8 * len(changed))
            changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._dice.below(len(data))] if data else b""

    def _renamed(self, data: bytes) -> bytes:
        """Another kind, sender, receiver, key or length."""
        changed, dice = bytearray(data), self._dice
        if len(changed) > HEADER_BYTES:
            at = dice.draw(1, HEADER_BYTES - 1)
            changed[at] = (changed[at] + dice.pick((1, 2, 3, 128, 255))) & 0xFF
        return bytes(changed)

    def _spliced(self) -> bytes:
        one, other, dice = self._dice.pick(self._all), self._dice.pick(self._all), self._dice
        return one[: dice.below(len(one))] + other[dice.below(len(other)) :]


def sound_frames(victim: Victim) -> "list[bytes]":
    """Frames to the victim that would change something."""
    entries = [(TERM, COMMAND, b"data"), (TERM, COMMAND, b"x" * 40)]
    piece = (0, 2 * MAX_PIECE, 99, bytes(MAX_PIECE))
    frames = []
    for peer in victim.peers.values():
        for kind in range(PRE_VOTE, DOUBT_REJECT + 1):
            for term in (TERM + 1, MAX_NUMBER):
                more = {"piece": piece} if kind == SNAPSHOT else {}
                if kind in (APPEND, RESCUE):
                    more["entries"] = entries  # type: ignore[assignment]
                frames.append(peer.frame(kind, 1, term, 6, TERM, 5, 1, **more))
        frames.append(peer.hello(1, b"asks you", bytes(8)))
    return frames + some_requests(victim)


def some_requests(victim: Victim) -> "list[bytes]":
    """Of a client of the victim, which has not sent them yet."""
    return [
        victim.request(WRITE, 1, sessions.OPEN),
        victim.request(WRITE, 2, sessions.command(1, 1, requests.put(b"key", b"value"))),
        victim.request(READ, 3, requests.read(requests.get_query(b"key"))),
        victim.request(STATUS, 4, b""),
        victim.request(MEMBERS, 5, b""),
        victim.request(WATCH, 6, struct.pack("<IB", 0, 0)),
        victim.request(ADMIN, 7, bytes((3, 2))),
    ]


def recordings(victim: Victim) -> "dict[str, list[bytes]]":
    """What was said: to the victim, by it, and elsewhere."""
    role, hosts = victim.node.core.role, [p[0] for p in victim.node._places.values()]
    host = AUTO if AUTO in hosts else hosts[-1]
    before = Victim(role, host)  # the same node, before it was started anew
    elsewhere = Victim(role, host, "another")
    two, three = victim.peers[2], victim.peers[3]
    two.meet(3, three.incarnation)
    three.meet(2, two.incarnation)
    other_key = Peer(2, keys_of(["77" * 32], CLUSTER)[0], 1)
    other_key.meet(1, victim.node.seal.incarnation)
    restarted = Peer(2, two.key, 0)  # the peer, before it was started anew
    restarted.meet(1, victim.node.seal.incarnation)
    strangers = [other_key.frame(APPEND, 1, 9), other_key.hello(1, b"question", bytes(8))]
    number = struct.pack("<H", two.key.number)
    return {
        "replayed": list(victim.heard),
        "reflected": list(victim.said),
        "from before its start": before.heard + sound_frames(before),
        "from before a peer's start": [restarted.frame(k, 1, 9) for k in range(PRE_VOTE, VOTE + 3)]
        + [restarted.hello(1, b"question", bytes(8)), restarted.hello(1, bytes(8), b"question")],
        "for another node": [
            data
            for one, to in ((two, 3), (three, 2))
            for data in (one.frame(APPEND, to, 9, 6, TERM), one.hello(to, b"question", bytes(8)))
        ],
        "of another cluster": elsewhere.heard + sound_frames(elsewhere),
        "by another key": strangers + [d[:4] + number + d[6:] for d in strangers],
    }


def mem() -> int:
    """How much of the heap is in use, in MEMORY_UNIT."""
    gc.collect()
    return gc.mem_alloc() if IS_MICROPYTHON else sys.getallocatedblocks()  # type: ignore[attr-defined]


def run(count: int, seed: int, role: str, host: str) -> "tuple[dict[str, int], int]":
    """Send so many; how many of each category, and by how much the heap has grown."""
    victim = Victim(ROLES[role], host)
    outsider = Outsider(victim, seed)
    before = victim.state()
    level, sent = 0, 0
    while sent < count:
        for _ in range(BATCH):
            air = victim.ports[outsider.port()]
            air.inbox.append((outsider.next(), victim.peers[2].address))
        sent += BATCH
        victim.said.clear()
        victim.node.gate.limit = Limit(STRANGERS_PER_S, victim.node.now)  # looks into all of them
        victim.let_hear()
        if not all([data[1] in (HELLO, REPLY) for data in victim.said]):
            raise AssertionError("answered, after %d, what nobody may say" % sent)
        after = victim.state()
        if after != before:
            changed = [name for name in before if after[name] != before[name]]
            raise AssertionError("changed, after %d: %s" % (sent, ", ".join(changed)))
        if sent == WARM_UP:
            level = mem()
    grown = mem() - level
    assert victim.is_alive()
    return outsider.counts, grown


def sweep(count: int, seed: int) -> "tuple[dict[str, int], int]":
    """A node in each role, its peers at known hosts or at such that are found."""
    total: dict[str, int] = {}
    most = 0
    ways = [(role, host) for role in sorted(ROLES) for host in ("127.0.0.1", AUTO)]
    for i, (role, host) in enumerate(ways):
        counts, grown = run(count // len(ways) + BATCH, seed + i, role, host)
        most = max(most, grown)
        for name in counts:
            total[name] = total.get(name, 0) + counts[name]
    return total, most


def main() -> None:
    import argparse
    import time

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    counts, grown = sweep(options.count, options.seed)
    for name in sorted(counts):
        print(f"{counts[name]:9,} {name}")
    print(f"{sum(counts.values()):9,} in {time.monotonic() - began:.0f} s: no term, vote, entry,")
    print("          commit, session or address has changed")
    print(f"{grown:9,} {MEMORY_UNIT} more of heap at the end")


if __name__ == "__main__":
    main()
