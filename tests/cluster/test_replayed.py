"""What was said in a whole life of a cluster, sent again after its restart: nothing counts."""

import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from host_tools.client import Client
from host_tools.cluster import LOOPBACK, Cluster
from host_tools.firmware import hello, messages
from host_tools.processes import Processes
from tests.cluster.lives import PATIENCE_S, calm_cluster, live, wait_for_leader
from tests.clusters import INTERPRETERS
from tests.rolling import wait_until_level

CHUNK = 50  # datagrams sent before the nodes are asked whether they have taken them
REQUESTS = set(range(messages.WRITE, messages.MEMBERS + 1)) - {messages.REPLY}


class Replayer:
    """Sends what was recorded to nodes, and waits until they have refused it."""

    def __init__(self, cluster: Cluster, client: Client, own: socket.socket) -> None:
        self.cluster = cluster
        self._client = client
        self._own = own
        self._dropped = self._count()
        self.sent = 0
        self.answers = 0

    def _count(self) -> dict[int, int]:
        """How many datagrams each node has dropped."""
        found: dict[int, int] = {}
        while len(found) < len(self.cluster.nodes):
            found = {n: s["udp"]["dropped"] for n, s in self._client.statuses().items()}
        return found

    def send(self, node: int, is_client_port: bool, datagrams: list[bytes]) -> None:
        """Each of them to that node; afterwards, all that can't be answered is counted there."""
        member = self.cluster.nodes[node]
        port = member.client_port if is_client_port else member.port
        for start in range(0, len(datagrams), CHUNK):
            chunk = datagrams[start : start + CHUNK]
            for data in chunk:
                self._own.sendto(data, (LOOPBACK, port))
            refused = [
                data for data in chunk if not (is_client_port and may_be_answered(data, node))
            ]
            self._dropped[node] += len(refused)
            self.sent += len(chunk)
            self._wait(node)
            self._read_answers()

    def _wait(self, node: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while (dropped := self._count()[node]) != self._dropped[node]:
            assert dropped < self._dropped[node], "something else was dropped"
            assert time.monotonic() < end, f"{self._dropped[node] - dropped} of {CHUNK} were taken"

    def _read_answers(self) -> None:
        """A client's request, which shows an old challenge, may only be told the present one."""
        while True:
            try:
                answer = self._own.recv(2000)
            except BlockingIOError:
                return
            self.answers += 1
            assert answer[1] & ~messages.HIDDEN == messages.REPLY
            assert answer[messages.HEADER_BYTES + 4] == messages.STALE


def may_be_answered(data: bytes, node: int) -> bool:
    """At that node's client port: requests to it, with STALE, and hellos; they aren't dropped."""
    kind = data[1] & ~messages.HIDDEN
    is_hello = len(data) == hello.HELLO_BYTES and kind == messages.HELLO
    return data[3] == node and (kind in REQUESTS or is_hello)


def state(client: Client) -> dict[int, Any]:
    """What must not change, of each node."""
    statuses = client.statuses()
    kept = ("role", "term", "leader", "commit", "applied", "last", "last_term", "members", "doubt")
    return {node: [status[name] for name in kept] for node, status in statuses.items()}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_nothing_of_a_clusters_life_is_accepted_after_its_restart(
    tmp_path: Path, interpreter: str
) -> None:
    cluster = calm_cluster(tmp_path / "cluster.toml")
    said = live(cluster, interpreter)
    kinds = {data[1] for _, data in said}
    assert {messages.VOTE, messages.APPEND, messages.HELLO, messages.WRITE, messages.ADMIN} <= kinds

    with (
        Client(cluster.path, PATIENCE_S) as client,
        Processes(cluster, interpreter, lambda node, line: None) as processes,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
    ):
        own.setblocking(False)
        for node in cluster.nodes:
            processes.start(node)
        wait_for_leader(client)
        wait_until_level(client, list(cluster.nodes))
        before = state(client)
        replayer = Replayer(cluster, client, own)

        # each to where it was for, in order
        for node, member in cluster.nodes.items():
            for port in (member.port, member.client_port):
                own_part = [data for to, data in said if to == port]
                replayer.send(node, port == member.client_port, own_part)
        # a sample of all to everybody, at either port, in any order
        everything = [data for _, data in said]
        dice = random.Random(1)
        for node in cluster.nodes:
            for is_client_port in (False, True):
                replayer.send(node, is_client_port, dice.sample(everything, 300))

        assert state(client) == before
        assert replayer.sent > 2000 and replayer.answers > 0
        client.put("it", b"goes on")
        assert client.get("it") == b"goes on"
