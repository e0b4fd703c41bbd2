"""What 25 learners cost a leader of five voters, all of them processes of this machine.

The same writes, at a steady rate, without the learners and with them. Thirty processes share this
machine's cores, which thirty boards don't: the latency is an upper bound, bytes and CPU of the
leader are what they are.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from host_tools.client import Client
from host_tools.cluster import Cluster, on_free_ports
from host_tools.desk import CPYTHON
from host_tools.processes import Processes
from tests.rolling import wait_until_level

VOTERS = 5
LEARNERS = 25
WRITES = 400
WARM_UP = 50
EVERY_S = 0.02  # a write
UP_S = 60.0
VALUE = b"v" * 56
KEYS = 100


@dataclass
class Cost:
    """p50_ms: of a write, from the call to its return; the rest is the leader's, per write."""

    p50_ms: float
    bytes: float
    cpu_ms: float


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
    path.write_text(cluster.to_toml())
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


def cost(path: Path, learners: int) -> Cost:
    cluster = fleet(path, learners)
    nodes = list(cluster.nodes)
    with Counted(cluster, CPYTHON, lambda node, line: None) as processes:
        for node in nodes:
            processes.start(node)
        with Client(cluster.path, UP_S) as client:
            write(client, WARM_UP)
            leader = wait_until_level(client, nodes)
            before = client.statuses([leader])[leader]
            took = write(client, WRITES)
            after = client.statuses([leader])[leader]
            assert after["role"] == "leader" and after["term"] == before["term"], "no steady leader"
            wait_until_level(client, nodes)
    return Cost(
        1000 * statistics.median(took),
        (after["bytes"] - before["bytes"]) / WRITES,
        1000 * (after["cpu_s"] - before["cpu_s"]) / WRITES,
    )


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="raft-fleet-") as name:
        alone = cost(Path(name) / "alone" / "cluster.toml", 0)
        together = cost(Path(name) / "together" / "cluster.toml", LEARNERS)
    figures = {}
    for setting, found in (("voters", alone), ("learners", together)):
        figures[f"fleet.{setting}.commit_p50_ms"] = found.p50_ms
        figures[f"fleet.{setting}.leader_bytes_per_commit"] = found.bytes
        figures[f"fleet.{setting}.leader_cpu_ms_per_commit"] = found.cpu_ms
    figures["fleet.commit_ratio"] = together.p50_ms / alone.p50_ms
    return figures
