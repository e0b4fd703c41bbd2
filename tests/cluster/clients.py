"""Clients of a simulated cluster; portable.

Each has one session and one request under way. It asks whoever it believes leads, and goes on
asking, with the very same bytes, until it has an answer: that is how a client of the real cluster
behaves, and what the sessions are for.
"""

import struct

from raft import messages, requests, sessions
from tests.sealing import caller

# Sockets, the second part of an address; the first is the number of a node or client
PEERS = 0  # a node's for other nodes
CLIENTS = 1  # a node's for clients
CLIENT = 2  # a client's

RETRY_US = (100_000, 400_000)  # until a request is sent again
PAUSE_US = (0, 60_000)  # between an answer and the next request
SLEEP_US = (500_000, 4_000_000)  # now and then: sessions may expire
REFUSED_US = (1000, 30_000)  # between a refusal and the next attempt
WATCH_US = (20_000, 1_500_000)  # until a question is asked anew, of another node
KEYS = (b"a", b"b", b"c")

# What a client asks for
OPEN = "open"
PUT = "put"
DELETE = "delete"
CAS = "cas"  # put, if the value is what it has read last
READ = "read"
READ_OF_LEADER = "read-of-leader"
READS = (READ, READ_OF_LEADER)


class Watcher:
    """Watches keys, asks now this node and now that one, and misses nothing."""

    is_idle = True  # there is no end to it
    done = 0

    def __init__(self, world, number: int) -> None:  # type: ignore[no-untyped-def]
        self.world = world
        self.number = number
        self.dice = world.dice_of(number)
        self._caller = caller(world.NAME, draw=self.dice.draw)
        self._prefix = self.dice.pick((b"", b"a", b"b"))
        self._request = 0
        self._after = 0
        self._ask(0)

    def _ask(self, request: int) -> None:
        if request != self._request or self.world.draining:
            return
        self._request += 1
        self._send(self.dice.pick(self.world.nodes()))
        patience = self.world.now + self.dice.draw(*WATCH_US)
        self.world.at(patience, self.number, self._ask, self._request)

    def _send(self, node: int) -> None:
        payload = requests.watch(self._after, self._prefix)
        n = self._caller.request(node, messages.WATCH, self._request, payload)
        self.world.send((self.number, CLIENT), (node, CLIENTS), bytes(self._caller.frame(n)))

    def hear(self, datagram: bytes) -> None:
        """A datagram has arrived."""
        reply = self._caller.read(datagram)
        if reply is None or reply[1] != self._request:
            return
        node, _, status, _, result = reply
        if status == messages.STALE:
            if result:
                self._send(node)
            return
        self._request += 1  # a second copy of it is none
        watch = self.world.watch
        if status == messages.OK:
            upto, changes = requests.watch_answer(result)
            watch.client_watched(self._prefix, self._after, upto, changes)
            self._after = upto
        elif status == messages.GONE:
            behind = struct.unpack("<I", result)[0]
            assert self._after < behind <= len(watch.committed)
            watch.count("gone")
            self._after = behind
        self.world.at(self.world.now + self.dice.below(2000), self.number, self._ask, self._request)


class Client:
    """One client.

    world: the `simulator.World`. number: beyond those of the nodes. done: requests answered.
    """

    def __init__(self, world, number: int) -> None:  # type: ignore[no-untyped-def]
        self.world = world
        self.number = number
        self.name = "c%d" % number
        self.dice = world.dice_of(number)
        self.done = 0
        self.is_idle = True
        self._caller = caller(world.NAME, draw=self.dice.draw)
        self._node = 1  # believed to lead
        self._session = 0
        self._command = 0  # number of the latest command of the session
        self._request = 0  # number of the latest request
        self._turn = 0  # timers of earlier turns are void
        self._what = OPEN
        self._key = b""
        self._payload = b""
        self._told = 0  # what clients knew when the request was first sent
        self._seen: dict[bytes, bytes | None] = {}  # key -> value, as last read
        self._wait(PAUSE_US)

    def _wait(self, between: tuple[int, int]) -> None:
        self._turn += 1
        low, high = between
        typical = (low + high) // 2
        us = self.world.decides(self.name, "waits", typical, self.dice.draw(low, high))
        self.world.at(self.world.now + us, self.number, self._act, self._turn)

    def _act(self, turn: int) -> None:
        if turn != self._turn:
            return
        if not self.is_idle:
            self._ask()
        elif self.world.chance.is_free and not self.world.draining:
            self._choose()

    def _choose(self) -> None:
        """Decide what to ask for next, and whom."""
        dice = self.dice
        key = dice.pick(KEYS)
        # A leader that was deposed must be asked, too.
        node = dice.pick(self.world.nodes()) if dice.one_in(4) else self._node
        size = 0
        if not self._session:
            what = OPEN
        elif dice.below(10) < self.world.plan.reads:
            what = READ_OF_LEADER if dice.one_in(3) else READ
            node = self._reader(node)
        else:
            size = dice.below(self.world.plan.value_bytes)
            choice = dice.below(8)
            what = DELETE if choice == 0 else CAS if choice < 3 else PUT
        self.world.does("request", self.number, what, key.decode(), size, node)

    def _reader(self, node: int) -> int:
        """Whom it asks what it wants to read, if it would ask that one."""
        return node

    def begin(self, what: str, key: bytes, size: int, node: int) -> None:
        """Ask a node for something; with a value of `size` bytes more than it needs.

        Unless it waits for something else, or has a session to open or to use.
        """
        if not self.is_idle or (what == OPEN) == (self._session > 0):
            return
        self.is_idle = False
        self._request += 1
        self._told = self.world.watch.told
        self._what, self._key, self._node = what, key, node
        if what == OPEN:
            self._payload = sessions.OPEN
        elif what in READS:
            how = messages.LEADER if what == READ_OF_LEADER else messages.ANY
            self._payload = requests.read(requests.get_query(key), how)
        else:
            self._command += 1
            self._payload = sessions.command(self._session, self._command, self._command_of(size))
        self._ask()

    def _command_of(self, size: int) -> bytes:
        if self._what == DELETE:
            return requests.delete(self._key)
        value = b"%d.%d" % (self.number, self._command) + bytes(size)
        if self._what == CAS:
            return requests.cas(self._key, self._seen.get(self._key), value)
        return requests.put(self._key, value)

    def _send(self, node: int) -> None:
        kind = messages.READ if self._what in READS else messages.WRITE
        n = self._caller.request(node, kind, self._request, self._payload)
        frame = bytes(self._caller.frame(n))
        self.world.send((self.number, CLIENT), (node, CLIENTS), frame)

    def _ask(self) -> None:
        self._send(self._node)
        # If it hears nothing, it may ask another one.
        other = self.dice.pick(self.world.nodes()) if self.dice.one_in(2) else self._node
        self._node = self._decided(other)
        self._wait(RETRY_US)

    def _decided(self, other: int) -> int:
        """Whom it asks next, unless it is told better: typically, one after the other."""
        nodes = self.world.nodes()
        later = [node for node in nodes if node > self._node]
        return self.world.decides(self.name, "asks", (later or nodes)[0], other)

    def hear(self, datagram: bytes) -> None:
        """A datagram has arrived."""
        reply = self._caller.read(datagram)
        if reply is None:
            return  # it was garbled
        node, request, status, leader, result = reply
        if request != self._request or self.is_idle:
            return  # to an earlier request
        if status == messages.OK:
            self._node = node
            self._take(result)
            self.done += 1
            self.is_idle = True
            self._wait(SLEEP_US if self.dice.one_in(50) else PAUSE_US)
        elif status == messages.NOT_LEADER:
            self._node = leader or self._decided(self.dice.pick(self.world.nodes()))
            self._wait(REFUSED_US)
        elif status == messages.STALE:
            if result:
                self._send(node)
        else:
            assert status in (messages.BUSY, messages.LOST), "status %d" % status
            self._wait(REFUSED_US)

    def _take(self, result: bytes) -> None:
        watch = self.world.watch
        if self._what in READS:
            value = requests.get_answer(result)
            watch.client_read(self._key, value, self._told)
            self._seen[self._key] = value
        elif self._what == OPEN:
            self._session = struct.unpack_from("<I", result, 1)[0]
            watch.client_opened(self._session)
        else:
            watch.client_wrote(self._payload[: sessions.HEADER_BYTES], result)
            if result[0] == sessions.EXPIRED:
                self._session = 0
