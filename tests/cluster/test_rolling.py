"""Every node of a cluster of processes is restarted, one after the other, while clients write."""

from collections.abc import Iterator

import pytest

from host_tools.client import Client
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON
from host_tools.processes import Processes
from tests.clusters import free_cluster
from tests.rolling import Writers, restart_in_turn, wait_until_level

NODES = 5
# What `make bench` measures on an idle machine is much shorter, and this is none.
LONGEST_MS = 10_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Processes]]:
    """Five nodes; what they say must be no alarm."""
    cluster = free_cluster(tmp_path_factory.mktemp("rolling") / "cluster.toml", NODES)
    lines: list[str] = []
    with Processes(cluster, CPYTHON, lambda node, line: lines.append(line)) as processes:
        for node in cluster.nodes:
            processes.start(node)
        yield cluster, processes
    assert not [line for line in lines if " alarm " in line or " crash " in line]


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_no_write_fails_while_all_nodes_are_restarted_in_turn(
    running: tuple[Cluster, Processes], end: str
) -> None:
    cluster, processes = running
    nodes = list(cluster.nodes)
    with Client(cluster.path) as client:
        first = wait_until_level(client, nodes)
        # the leader first, and whoever leads then may be the next
        order = sorted(nodes, key=lambda node: (node - first) % NODES)

        with Writers(cluster) as writers:
            led = restart_in_turn(
                processes, client, order, processes.stop if end == "SIGTERM" else processes.kill
            )

        assert led >= 1
        assert writers.failures == []
        assert writers.count > 0 and writers.pause_ms() < LONGEST_MS
        for writer in writers:
            assert client.get(writer.key) == writer.last
        print(f"{end}: {writers.count} writes, longest {writers.pause_ms():.0f} ms")
