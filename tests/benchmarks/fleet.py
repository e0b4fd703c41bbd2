"""What 25 learners cost a leader of five voters, all of them processes of this machine.

Two clusters, without learners and with them, get the same writes in turn, at a steady rate: what
else goes on here disturbs both alike. Thirty processes share this machine's cores, which thirty
boards don't: the latency is an upper bound.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from host_tools.client import Client
from host_tools.cluster import Cluster, on_free_ports
from host_tools.desk import CPYTHON
from host_tools.processes import Processes
from tests import clusters
from tests.rolling import wait_until_level

VOTERS = 5
LEARNERS = 25
ROUNDS = 12
WRITES = 50  # to each cluster in each of them
WARM_UP = 50
EVERY_S = 0.02  # a write
UP_S = 60.0
VALUE = b"v" * 56
KEYS = 100


class Counted(Processes):
    """Nodes that count what they send."""

    def command(self, node: int) -> list[str]:
        file = str(self._cluster.path.resolve())
        return [sys.executable, "-m", "tests.benchmarks.counted", file, str(node)]


def fleet(path: Path, learners: int) -> Cluster:
    cluster = on_free_ports(path, VOTERS + learners)
    nodes = {i: replace(member, voter=i <= VOTERS) for i, member in cluster.nodes.items()}
    cluster = replace(cluster, nodes=nodes)
    path.parent.mkdir()
    clusters.write(cluster)
    return cluster


def write(client: Client, count: int) -> list[float]:
    """So many writes at the steady rate; how long each has taken (s)."""
    took = []
    due = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, due - time.perf_counter()))
        due += EVERY_S
        began = time.perf_counter()
        client.put(f"key-{number % KEYS:04}", VALUE)
        took.append(time.perf_counter() - began)
    return took


class Measured:
    """A cluster with so many learners, and what its writes cost."""

    def __init__(self, path: Path, learners: int, stack: ExitStack) -> None:
        cluster = fleet(path, learners)
        self.nodes = list(cluster.nodes)
        self.took: list[float] = []
        self.bytes = self.cpu_s = 0.0  # of the leader
        self.processes = stack.enter_context(Counted(cluster, CPYTHON, lambda node, line: None))
        for node in self.nodes:
            self.processes.start(node)
        self.client = stack.enter_context(Client(cluster.path, UP_S))
        write(self.client, WARM_UP)
        self.leader = wait_until_level(self.client, self.nodes)

    def measure(self) -> None:
        before = self._status()
        self.took += write(self.client, WRITES)
        wait_until_level(self.client, self.nodes)
        after = self._status()
        assert after["role"] == "leader" and after["term"] == before["term"], "no steady leader"
        self.bytes += after["bytes"] - before["bytes"]
        self.cpu_s += after["cpu_s"] - before["cpu_s"]

    def figures(self, name: str) -> dict[str, float]:
        writes = len(self.took)
        return {
            f"fleet.{name}.commit_p50_ms": 1000 * statistics.median(self.took),
            f"fleet.{name}.leader_bytes_per_commit": self.bytes / writes,
            f"fleet.{name}.leader_cpu_ms_per_commit": 1000 * self.cpu_s / writes,
        }

    def _status(self) -> dict[str, Any]:
        return self.client.statuses([self.leader])[self.leader]


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="raft-fleet-") as name, ExitStack() as stack:
        alone = Measured(Path(name) / "alone" / "cluster.toml", 0, stack)
        together = Measured(Path(name) / "together" / "cluster.toml", LEARNERS, stack)
        for _ in range(ROUNDS):
            alone.measure()
            together.measure()
    figures = alone.figures("voters") | together.figures("learners")
    figures["fleet.commit_ratio"] = (
        figures["fleet.learners.commit_p50_ms"] / figures["fleet.voters.commit_p50_ms"]
    )
    return figures
