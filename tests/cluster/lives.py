"""A whole life of a cluster of processes, recorded: all that an outsider could have heard of it."""

import time
from dataclasses import replace
from pathlib import Path

from host_tools import view
from host_tools.client import Client, NotCommitted
from host_tools.cluster import Cluster
from host_tools.processes import Processes
from tests.cluster.network import Network, recorded
from tests.clusters import free_cluster

NODES = 3
# Slow elections: what is recorded and replayed must not depend on how busy this machine is.
HEARTBEAT_MS = 100
ELECTION_MS = (1500, 2500)
PATIENCE_S = 60.0
LOOK_S = 0.05
WRITES = 30


def calm_cluster(path: Path) -> Cluster:
    """Of processes, with elections that no busy machine causes."""
    cluster = replace(free_cluster(path, NODES), heartbeat_ms=HEARTBEAT_MS, election_ms=ELECTION_MS)
    path.write_text(cluster.to_toml())
    return cluster


def wait_for_leader(client: Client) -> int:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            client.put("is", b"led")
            return client.leader
        except NotCommitted:
            continue
    raise AssertionError(f"no leader within {PATIENCE_S:g} s")


def wait_for_voters(client: Client) -> None:
    """Until whoever was added has all that it missed, and votes."""
    end = time.monotonic() + PATIENCE_S
    while len(view.members_of(client.statuses())["voters"]) < NODES:
        assert time.monotonic() < end, f"not all are voters within {PATIENCE_S:g} s"
        time.sleep(LOOK_S)


def live(cluster: Cluster, interpreter: str) -> list[tuple[int, bytes]]:
    """What went to each port (`network.recorded`) from its first start until all were stopped.

    It elects, writes, reads, watches its leader die, and has orders of an administrator.
    """
    record = cluster.path.with_name("record")
    through = cluster.path.with_name("through.toml")
    with Network(cluster, 1, record) as network:
        through.write_text(network.clients.to_toml())
        with (
            Client(through, PATIENCE_S) as client,
            Processes(cluster, interpreter, lambda node, line: None) as processes,
        ):
            for node in cluster.nodes:
                processes.start(node, network.environment)
            first = wait_for_leader(client)
            for i in range(WRITES):
                client.put(f"key-{i}", b"value")
                assert client.get(f"key-{i}") == b"value"
            processes.kill(first)
            wait_for_leader(client)
            processes.start(first, network.environment)
            client.transfer()
            wait_for_leader(client)
            client.remove_member(first)
            client.add_member(cluster.nodes[first])
            wait_for_voters(client)
            processes.stop()
        network.stop()
    return recorded(record)
