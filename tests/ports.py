"""Clusters on ports that nobody else uses."""

import socket
from contextlib import ExitStack
from pathlib import Path

from host_tools.cluster import Cluster, Member

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Different UDP ports that were free a moment ago."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            probe.bind((HOST, 0))
            ports.append(probe.getsockname()[1])
    return ports


def free_cluster(path: Path, nodes: int, state_kb: int = 256) -> Cluster:
    """A cluster of that many nodes on this machine, described in the file `path`."""
    ports = free_ports(2 * nodes)
    members = {i: Member(i, HOST, ports[2 * i - 2], ports[2 * i - 1]) for i in range(1, nodes + 1)}
    cluster = Cluster(path, "test", members, state_kb=state_kb)
    path.write_text(cluster.to_toml())
    return cluster
