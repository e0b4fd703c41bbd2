"""Nodes that are not: they answer clients on real loopback sockets, as badly as a test wants."""

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import membership
from host_tools.cluster import LOOPBACK, Cluster, Member
from host_tools.firmware import Machines, kv, messages, sessions
from host_tools.firmware import members as records
from host_tools.membership import Known
from tests import sealing
from tests.clusters import KEYS, write

NAME = "test"


@dataclass(frozen=True)
class Request:
    """What a client has asked of a node."""

    node: int
    kind: int
    number: int
    payload: bytes
    guest: Any = field(compare=False, repr=False)  # see access.Gate

    @property
    def is_open(self) -> bool:
        return self.kind == messages.WRITE and self.payload == sessions.OPEN

    @property
    def is_command(self) -> bool:
        return self.kind == messages.WRITE and self.payload != sessions.OPEN

    @property
    def command_number(self) -> int:
        return int.from_bytes(self.payload[4:8], "little")


@dataclass(frozen=True)
class Reply:
    status: int
    leader: int = 0
    result: bytes = b""
    number: int | None = None  # of the request; None: of the one that it answers


Behaviour = Callable[[Request], list[Reply | bytes]]


def silent(request: Request) -> list[Reply | bytes]:
    return []


def follows(leader: int) -> Behaviour:
    """A follower of that node; 0: of nobody."""
    return lambda request: [Reply(messages.NOT_LEADER, leader)]


class Leader:
    """Leads, and commits at once. `spoil` may replace its replies."""

    def __init__(self, node: int, spoil: Callable[[Request, Reply], list[Reply | bytes]]) -> None:
        self.machine = Machines(kv.KeyValue(1 << 20))
        self.applied: list[bytes] = []  # commands, as often as they were applied
        self._sessions = sessions.Sessions(self)
        self.time = 0  # of the cluster, in s
        self._node = node
        self._spoil = spoil
        self._index = 0

    def apply(self, payload: memoryview, now: int) -> bytes:
        self.applied.append(bytes(payload))
        result: bytes = self.machine.apply(payload, now)
        return result

    def __call__(self, request: Request) -> list[Reply | bytes]:
        return self._spoil(request, Reply(messages.OK, self._node, self._answer(request)))

    def _answer(self, request: Request) -> bytes:
        answer: bytes = b"{}"
        if request.kind == messages.WRITE:
            self._index += 1
            answer = self._sessions.apply(self._index, sessions.entry(self.time, request.payload))
        elif request.kind == messages.READ:
            answer = self.machine.query(request.payload[1:])
        return answer


def members_answer(index: int, members: Iterable[Known]) -> bytes:
    """What a node answers to MEMBERS; a leader if it tells the states of all."""
    configuration = progress = b""
    for member in members:
        role = records.ROLES.index(member.role)
        place = member.host, member.port, member.client_port
        configuration += records.record(member.id, role, member.priority, *place)
        if member.state is not None:
            state = membership.STATES.index(member.state) if member.state else membership.LEADER
            progress += struct.pack("<BII", state, member.match, member.heard_ms)
    return struct.pack("<IBH", index, 9, len(configuration)) + configuration + progress


def leads(
    node: int, spoil: Callable[[Request, Reply], list[Reply | bytes]] = lambda _, reply: [reply]
) -> Leader:
    return Leader(node, spoil)


class FakeCluster:
    """requests: all that came, in order. sockets: of the nodes, by id."""

    def __init__(self, file: Path, behaviours: dict[int, Behaviour], keys: Sequence[str]) -> None:
        self.file = file
        self.requests: list[Request] = []
        self.senders: list[tuple[str, int]] = []
        self.behaviours = behaviours
        self.sockets: dict[int, socket.socket] = {}
        self._gates = {node: sealing.gate(node, NAME, keys) for node in behaviours}
        members = {}
        for node in behaviours:
            self.sockets[node] = made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((LOOPBACK, 0))
            members[node] = Member(node, LOOPBACK, node, made.getsockname()[1])
        write(Cluster(file, NAME, members), keys=keys)

    def commands(self) -> list[Request]:
        return [request for request in self.requests if request.is_command]

    def frame(self, request: Request, reply: Reply) -> bytes:
        """A node's reply as it goes over the wire."""
        gate = self._gates[request.node]
        number = request.number if reply.number is None else reply.number
        n = gate.reply(request.guest, number, reply.status, reply.leader, reply.result)
        return bytes(gate.frame(n))

    def serve(self, stop: threading.Event) -> None:
        selector = selectors.DefaultSelector()
        for node, bound in self.sockets.items():
            selector.register(bound, selectors.EVENT_READ, node)
        while not stop.is_set():
            for key, _ in selector.select(0.02):
                self._answer(key.data)
        selector.close()

    def _answer(self, node: int) -> None:
        data, sender = self.sockets[node].recvfrom(messages.MAX_DATAGRAM + 1)
        gate = self._gates[node]
        decoded = gate.hear(data)
        assert decoded, "a client's datagram that is none"
        kind, number, payload, guest = decoded
        request = Request(node, kind, number, bytes(payload), guest)
        if kind == 0:
            stale = Reply(messages.STALE, result=gate.challenge)
            self.sockets[node].sendto(self.frame(request, stale), sender)
            return
        self.senders.append(sender)
        self.requests.append(request)
        for reply in self.behaviours[node](request):
            if isinstance(reply, Reply):
                reply = self.frame(request, reply)
            self.sockets[node].sendto(reply, sender)


@contextmanager
def fake_cluster(
    file: Path, *behaviours: Behaviour, keys: Sequence[str] = KEYS
) -> Iterator[FakeCluster]:
    """Nodes 1, 2, ... that behave so, described in the file. keys: the nodes', and the client's."""
    cluster = FakeCluster(file, dict(enumerate(behaviours, 1)), keys)
    stop = threading.Event()
    thread = threading.Thread(target=cluster.serve, args=(stop,))
    thread.start()
    try:
        yield cluster
    finally:
        stop.set()
        thread.join()
        for bound in cluster.sockets.values():
            bound.close()
