"""The network of the histories does what it is told, and nothing else."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from host_tools.cluster import LOOPBACK, Cluster
from tests.cluster.network import CLIENTS, Network, Weather
from tests.clusters import free_cluster

MANY = 100
ARRIVAL_S = 10.0


class Ends:
    """Sockets in the place of nodes 1 and 2, and of a client, with a network between them."""

    def __init__(self, cluster: Cluster, network: Network, stack: ExitStack) -> None:
        self.network = network
        self._stack = stack
        routes = (route.split(":") for route in network.environment["RAFT_DESK_VIA"].split())
        self._via = {int(port): int(via) for port, via in routes}
        self.nodes = {node: self._bound(m.port) for node, m in cluster.nodes.items()}
        self.services = {node: self._bound(m.client_port) for node, m in cluster.nodes.items()}
        self.client = self._bound(0)

    def _bound(self, port: int) -> socket.socket:
        bound = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        bound.bind((LOOPBACK, port))
        bound.settimeout(ARRIVAL_S)
        return bound

    def send(self, source: int, target: int, data: bytes) -> None:
        port = self.nodes[target].getsockname()[1]
        self.nodes[source].sendto(data, (LOOPBACK, self._via[port]))

    def ask(self, node: int, data: bytes) -> None:
        port = self.network.clients.nodes[node].client_port
        self.client.sendto(data, (LOOPBACK, port))

    def all_at(self, node: int) -> list[bytes]:
        """What has arrived, once the network has ended."""
        self.network.stop()
        self.nodes[node].setblocking(False)
        found = []
        try:
            while True:
                found.append(self.nodes[node].recv(100))
        except BlockingIOError:
            return found


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    cluster = free_cluster(tmp_path / "cluster.toml", 2)
    with Network(cluster, seed=1) as network, ExitStack() as stack:
        yield Ends(cluster, network, stack)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_a_calm_network_passes_all_on_in_order(ends: Ends) -> None:
    for data in numbered(MANY):
        ends.send(1, 2, data)

    assert ends.all_at(2) == numbered(MANY)
    assert ends.network.counts["reordered"] == 0


def test_a_client_has_the_answer_from_where_it_has_asked(ends: Ends) -> None:
    ends.ask(2, b"question")
    data, sender = ends.services[2].recvfrom(100)
    ends.services[2].sendto(b"answer to " + data, sender)

    answer, sender = ends.client.recvfrom(100)

    assert answer == b"answer to question"
    assert sender == (LOOPBACK, ends.network.clients.nodes[2].client_port)


def test_a_bad_network_loses_doubles_and_reorders(ends: Ends) -> None:
    ends.network.set(Weather(lost=0.2, doubled=0.2, late=0.2, late_ms=30))
    for data in numbered(MANY):
        ends.send(1, 2, data)

    arrived = ends.all_at(2)

    assert set(arrived) < set(numbered(MANY))
    assert len(arrived) > len(set(arrived))
    assert arrived != sorted(arrived, key=int)
    counts = ends.network.counts
    assert counts["passed"] == len(arrived) == MANY - counts["lost"] + counts["doubled"]
    assert counts["late"] > 0
    assert 0 < counts["reordered"] < MANY


def test_a_cut_is_of_one_direction(ends: Ends) -> None:
    ends.network.set(Weather(cuts=[(1, 2), (CLIENTS, 1)]))

    ends.send(2, 1, b"the other way")
    assert ends.nodes[1].recv(100) == b"the other way"
    ends.ask(2, b"by another way")
    assert ends.services[2].recv(100) == b"by another way"
    ends.send(1, 2, b"cut off")
    ends.ask(1, b"cut off")
    ends.network.stop()
    assert ends.network.counts["cut"] == 2
