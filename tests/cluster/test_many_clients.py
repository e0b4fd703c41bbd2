"""Many clients of real processes at once; those that behave badly cost the others nothing."""

import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from host_tools.asking import Request
from host_tools.client import Client, NotCommitted, Unknown
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON
from host_tools.firmware import messages, requests, sessions
from host_tools.processes import Processes
from tests.cluster.test_watching import until
from tests.clusters import free_cluster, write
from tests.sealing import caller

PATIENCE_S = 60.0
CLIENTS = 50
EACH = 5  # of them adds so often
UNREAD = 3000  # answers that the one who never listens gets: more than its socket holds
EXPIRED = bytes((sessions.EXPIRED,))


@contextmanager
def running(file: Path, **settings: int) -> Iterator[Cluster]:
    cluster = replace(free_cluster(file, 3), **settings)  # type: ignore[arg-type]
    write(cluster)
    with Processes(cluster, CPYTHON, lambda node, line: None) as processes:
        for node in cluster.nodes:
            processes.start(node)
        yield cluster


class Adder(threading.Thread):
    """Adds to a counter, and notes the sums."""

    def __init__(self, cluster: Cluster, together: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self.sums: list[int] = []
        self.unknown = 0
        self._cluster = cluster
        self._together = together

    def run(self) -> None:
        with Client(self._cluster.path, PATIENCE_S) as client:
            self._together.wait(PATIENCE_S)
            while len(self.sums) + self.unknown < EACH:
                try:
                    self.sums.append(client.add("total"))
                except NotCommitted:
                    continue
                except Unknown:
                    self.unknown += 1


class Rude(threading.Thread, ABC):
    """Sends what it has made, again and again, to all nodes' ports for clients; reads nothing."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._end = threading.Event()
        self._ports = [member.client_port for member in cluster.nodes.values()]
        self._caller = caller(cluster.name)
        self._dice = random.Random(1)

    def stop(self) -> None:
        self._end.set()
        self.join(PATIENCE_S)

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            while not self._end.wait(0.002):
                for node, port in enumerate(self._ports, 1):
                    own.sendto(self.datagram(node), ("127.0.0.1", port))
                    self.sent += 1

    @abstractmethod
    def datagram(self, node: int) -> bytes:
        """What that node gets next."""


class Deaf(Rude):
    """Asks, and never reads an answer: its socket is soon full of them."""

    def datagram(self, node: int) -> bytes:
        kind, payload = self._dice.choice(
            [
                (messages.STATUS, b""),
                (messages.READ, requests.read(requests.get_query(b"total"))),
                (messages.WATCH, requests.watch(0, b"")),
            ]
        )
        n = self._caller.request(node, kind, self.sent, payload)
        return bytes(self._caller.frame(n))


class Garbling(Rude):
    def datagram(self, node: int) -> bytes:
        n = self._caller.request(node, self._dice.randrange(256), self.sent, b"\0" * 40)
        data = bytearray(self._caller.frame(n))
        for _ in range(self._dice.randrange(4)):
            data[self._dice.randrange(len(data))] = self._dice.randrange(256)
        return bytes(data) if self._dice.random() < 0.8 else self._dice.randbytes(1400)


def test_fifty_clients_at_once_lose_nothing_whoever_else_is_there(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml") as cluster, Client(cluster.path, PATIENCE_S) as first:
        first.put("before", b"")
        opened = first._session
        rude = [Deaf(cluster), Garbling(cluster)]
        together = threading.Barrier(CLIENTS)
        adders = [Adder(cluster, together) for _ in range(CLIENTS)]
        for thread in [*rude, *adders]:
            thread.start()
        for adder in adders:
            adder.join(PATIENCE_S)
        until(lambda: all(thread.sent > UNREAD for thread in rude))
        for thread in rude:
            thread.stop()

        sums = [total for adder in adders for total in adder.sums]
        unknown = sum(adder.unknown for adder in adders)
        assert len(sums) + unknown == CLIENTS * EACH
        assert len(set(sums)) == len(sums)  # none was lost, and none done twice
        total = int(first.get("total") or b"0")
        assert len(sums) <= total <= len(sums) + unknown
        assert max(sums) <= total

        # so many sessions that the first one's must have made room
        with Client(cluster.path, PATIENCE_S) as many:
            for _ in range(sessions.MAX_SESSIONS):
                many._session = 0
                many.put("many", b"")
        assert first.add("total") == total + 1
        assert first._session != opened


def test_an_expired_session_is_replaced_and_what_was_sent_in_it_does_nothing(
    tmp_path: Path,
) -> None:
    with (
        running(tmp_path / "cluster.toml", session_s=1) as cluster,
        Client(cluster.path, PATIENCE_S) as idle,
        Client(cluster.path, PATIENCE_S) as busy,
    ):
        assert idle.add("n") == 1
        expired = idle._session
        assert idle._life_s == 1
        assert busy.lock("time", "earlier", 2)[0]
        until(lambda: busy.lock("time", "later", 2)[0] > 0)  # two seconds have passed

        for number in (2, 99):
            command = sessions.command(expired, number, requests.add(b"n", 1))
            late = Request(messages.WRITE, command)
            assert busy._ask(late, time.monotonic() + PATIENCE_S) == EXPIRED
        idle._life_s = 1_000_000  # it doesn't know
        assert idle.add("n") == 2
        assert idle._session != expired
