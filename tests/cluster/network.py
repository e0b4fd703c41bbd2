"""A network that loses, doubles, delays and reorders datagrams, and that can be cut.

It is a process of its own, through which all datagrams of nodes and clients go.
Each node has two places in it, for what others send to its `port` and its `client_port`. Who the
sender is shows in its address, for nodes send to each other from their `port`.
"""

import heapq
import io
import json
import math
import random
import selectors
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from host_tools.cluster import LOOPBACK, Cluster
from host_tools.processes import PROJECT

CLIENTS = 0  # in the place of a node's id: all clients
MAX_DATAGRAM = 2048
BURST = 64  # datagrams taken from one socket before the others have their turn
STOP_S = 10.0
WHAT = ("passed", "lost", "doubled", "late", "cut", "reordered")
_RECORD = struct.Struct("<HH")  # port, length

Address = tuple[str, int]


@dataclass(frozen=True)
class Weather:
    """How bad the network is. lost, doubled, late: shares of all datagrams.

    late_ms: the longest delay of those that are late; others overtake them. cuts: (from, to), of
    nodes or CLIENTS: between these nothing is passed on.
    """

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    late_ms: int = 0
    cuts: list[tuple[int, int]] = field(default_factory=list)


class Network:
    """The network of `cluster`, as a process; a context manager. One seed, one sort of bad luck.

    clients: the cluster as clients must see it. environment: what nodes must be started with.
    record: a file for all that arrives (`recorded`); what nodes send to each other's client ports
    goes through it then, too.
    """

    def __init__(self, cluster: Cluster, seed: int, record: Path | None = None) -> None:
        ports = {node: (m.port, m.client_port) for node, m in cluster.nodes.items()}
        command = [sys.executable, "-m", "tests.cluster.network", str(seed), json.dumps(ports)]
        self._process = subprocess.Popen(
            [*command, str(record)] if record else command,
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        places = self._hear()
        routes = [
            f"{port}:{place}"
            for node, both in ports.items()
            for port, place in list(zip(both, places[str(node)]))[: 2 if record else 1]
        ]
        self.environment = {"RAFT_DESK_VIA": " ".join(routes)}
        members = {
            node: replace(member, client_port=places[str(node)][1])
            for node, member in cluster.nodes.items()
        }
        self.clients = replace(cluster, nodes=members)
        self.counts: dict[str, int] = {}  # once it has ended: datagrams

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def set(self, weather: Weather) -> None:
        """From now on."""
        self._tell(asdict(weather))

    def stop(self) -> None:
        """End it, when all has arrived that was on its way, and learn what it has done."""
        self.counts = self._tell({})
        self._process.wait(STOP_S)

    def _tell(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


def recorded(file: Path) -> list[tuple[int, bytes]]:
    """(port of a node, 0 for one of a client; datagram) of all that has arrived, in order."""
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        port, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size + size
        found.append((port, data[at - size : at]))
    return found


# The process


@dataclass(frozen=True)
class _Place:
    """A socket: what comes in there is for `node`, at `target`."""

    socket: socket.socket
    node: int
    target: Address


class _Relay:
    def __init__(
        self, seed: int, ports: dict[int, tuple[int, int]], record: BinaryIO | None
    ) -> None:
        self._record = record
        self._ports = {port for both in ports.values() for port in both}
        self._is_over = False
        self.counts = dict.fromkeys(WHAT, 0)
        self.places: dict[int, list[int]] = {}
        self._dice = random.Random(seed)
        self._weather = Weather()
        self._cuts: set[tuple[int, int]] = set()
        self._waiting: list[tuple[float, int, socket.socket, bytes, Address]] = []
        self._taken = 0  # datagrams: each has a number
        self._latest: dict[tuple[socket.socket, Address], int] = {}  # that has left, on each way
        self._senders = {(LOOPBACK, port): node for node, (port, _) in ports.items()}
        self._clients: dict[tuple[Address, int], socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._orders = io.FileIO(0)  # without a buffer, in which a second line could be overlooked
        self._selector.register(self._orders, selectors.EVENT_READ, self._obey)
        for node, both in ports.items():
            self.places[node] = []
            for port, take in zip(both, (self._from_node, self._from_client)):
                place = _Place(self._open(), node, (LOOPBACK, port))
                self.places[node].append(place.socket.getsockname()[1])
                self._watch(place.socket, take, place)

    def run(self) -> None:
        while not self._is_over:
            wait = self._waiting[0][0] - time.monotonic() if self._waiting else None
            self._take(None if wait is None else max(0.0, wait))
            self._send_waiting(time.monotonic())
        self._selector.unregister(self._orders)
        while self._take(0.0):
            pass
        self._send_waiting(math.inf)

    def _take(self, wait_s: float | None) -> bool:
        """Take in what comes within that time; whether anything did."""
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _send_waiting(self, until: float) -> None:
        while self._waiting and self._waiting[0][0] <= until:
            _, number, sender, data, target = heapq.heappop(self._waiting)
            self._send(number, sender, data, target)

    def _open(self) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((LOOPBACK, 0))
        opened.setblocking(False)
        return opened

    def _watch(self, opened: socket.socket, take: Any, *more: Any) -> None:
        self._selector.register(
            opened, selectors.EVENT_READ, lambda: self._take_all(opened, take, more)
        )

    def _take_all(self, opened: socket.socket, take: Any, more: tuple[Any, ...]) -> None:
        for _ in range(BURST):
            try:
                data, sender = opened.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # what was sent before has met a closed port
            take(data, sender, *more)

    def _from_node(self, data: bytes, sender: Address, place: _Place) -> None:
        node = self._senders.get(sender)
        assert node is not None, f"{sender} is no node's port"
        self._pass_on(node, place.node, place.socket, data, place.target)

    def _from_client(self, data: bytes, client: Address, place: _Place) -> None:
        """Each client has a socket of its own towards each node, to which that answers."""
        own = self._clients.get((client, place.node))
        if own is None:
            own = self._clients[client, place.node] = self._open()
            self._watch(own, self._to_client, place, client)
        self._pass_on(CLIENTS, place.node, own, data, place.target)

    def _to_client(self, data: bytes, _: Address, place: _Place, client: Address) -> None:
        self._pass_on(place.node, CLIENTS, place.socket, data, client)

    def _pass_on(
        self, source: int, target: int, sender: socket.socket, data: bytes, to: Address
    ) -> None:
        weather, dice = self._weather, self._dice
        if (source, target) in self._cuts:
            self.counts["cut"] += 1
        elif dice.random() < weather.lost:
            self.counts["lost"] += 1
        else:
            self._send_in_time(sender, data, to)
            if dice.random() < weather.doubled:
                self.counts["doubled"] += 1
                self._send_in_time(sender, data, to)

    def _send_in_time(self, sender: socket.socket, data: bytes, to: Address) -> None:
        self._taken += 1
        if self._dice.random() < self._weather.late:
            self.counts["late"] += 1
            at = time.monotonic() + self._dice.random() * self._weather.late_ms / 1000
            heapq.heappush(self._waiting, (at, self._taken, sender, data, to))
        else:
            self._send(self._taken, sender, data, to)

    def _send(self, number: int, sender: socket.socket, data: bytes, to: Address) -> None:
        try:
            sender.sendto(data, to)
            self.counts["passed"] += 1
            if number < self._latest.get((sender, to), 0):
                self.counts["reordered"] += 1
            else:
                self._latest[sender, to] = number
            if self._record:
                port = to[1] if to[1] in self._ports else 0
                self._record.write(_RECORD.pack(port, len(data)) + data)
        except OSError:
            self.counts["lost"] += 1  # the node is down

    def _obey(self) -> None:
        line = self._orders.readline()
        told = json.loads(line) if line else {}
        self._is_over = not told
        if told:
            self._weather = Weather(**told)
            self._cuts = {(source, target) for source, target in self._weather.cuts}
            print("{}", flush=True)


def main() -> None:
    ports = {int(node): tuple(both) for node, both in json.loads(sys.argv[2]).items()}
    with ExitStack() as stack:
        record = stack.enter_context(open(sys.argv[3], "wb")) if len(sys.argv) > 3 else None
        relay = _Relay(int(sys.argv[1]), ports, record)
        print(json.dumps(relay.places), flush=True)
        relay.run()
    print(json.dumps(relay.counts), flush=True)


if __name__ == "__main__":
    main()
