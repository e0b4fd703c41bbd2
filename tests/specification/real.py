"""Traces of real processes: on loopback, through a network that loses, doubles and delays, and with
`kill -9` of whoever leads.

Each process writes down what it does. That is put in order by what caused what: a message is taken
in after it has left. So it needs no clock that all share; that of the machine only says which of
several things that may come next does.
"""

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host_tools.client import Client, ClusterError
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON, state_folder
from host_tools.processes import Processes
from tests.cluster.network import Network, Weather
from tests.clusters import free_cluster
from tests.specification.process import TracedProcesses
from tests.specification.refine import Refinement
from tests.specification.trace import Event, Letter, event_of

NODES = 3
WEATHER = Weather(lost=0.02, doubled=0.02, late=0.05, late_ms=60)
LIFE_S = (0.8, 2.0)  # until the leader is killed
DOWN_WRITES = 3  # before it is started again
ORDER_S = 0.5
UP_S = 60.0


def recorded(seconds: float, seed: int, interpreter: str = CPYTHON) -> tuple[list[Event], int]:
    """What happened in so many seconds, in order; and how many leaders were killed."""
    with tempfile.TemporaryDirectory(prefix="raft-specification-") as name:
        cluster = free_cluster(Path(name) / "cluster.toml", NODES, habits=("flash",))
        with Network(cluster, seed) as network:
            network.set(WEATHER)
            clients_file = Path(name) / "clients.toml"
            clients_file.write_text(network.clients.to_toml())
            with (
                Client(clients_file, ORDER_S) as client,
                TracedProcesses(cluster, interpreter, lambda node, line: None) as processes,
            ):
                kills = Life(client, processes, network.environment, seed).live(seconds)
                processes.stop()
            network.stop()
        return list(in_order(events_of(cluster))), kills


class Life:
    """A cluster that is written to, and whose leader is killed again and again."""

    def __init__(self, client: Client, processes: Processes, environment: Any, seed: int) -> None:
        self._client = client
        self._processes = processes
        self._environment = environment
        self._dice = random.Random(seed)
        self._written = 0

    def live(self, seconds: float) -> int:
        for node in range(1, NODES + 1):
            self._processes.start(node, self._environment)
        self._write(1)
        kills = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            until = time.monotonic() + self._dice.uniform(*LIFE_S)
            while time.monotonic() < until:
                self._write(1)
            leader = self._client.leader
            self._processes.kill(leader)
            kills += 1
            self._write(DOWN_WRITES)
            self._processes.start(leader, self._environment)
        self._wait_for_all()
        return kills

    def _wait_for_all(self) -> None:
        deadline = time.monotonic() + UP_S
        while len(self._client.statuses()) < NODES:
            assert time.monotonic() < deadline, "not all nodes are up"

    def _write(self, count: int) -> None:
        deadline = time.monotonic() + UP_S
        while count > 0:
            try:
                self._client.put("key", b"%d" % self._written)
                self._written += 1
                count -= 1
            except ClusterError as e:
                assert time.monotonic() < deadline, f"the cluster isn't up: {e}"


def events_of(cluster: Cluster) -> dict[int, list[Event]]:
    """What each node has told, in its order."""
    return {node: list(_lives(state_folder(cluster, node))) for node in cluster.nodes}


def _lives(folder: Path) -> Iterator[Event]:
    for life in range(len(list(folder.glob("trace-*.jsonl")))):
        text = (folder / f"trace-{life}.jsonl").read_text()
        for line in text.split("\n")[:-1]:  # what it was writing when it was killed is no record
            record = _with_tuples(json.loads(line))
            yield event_of(record, record["at"])


def _with_tuples(value: Any) -> Any:
    """As it was before it was JSON, which has no tuples."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    return value


def in_order(told: dict[int, list[Event]]) -> Iterator[Event]:
    """All of that, causes before effects."""
    under_way: Counter[Letter] = Counter()
    at = dict.fromkeys(told, 0)
    while left := [node for node in told if at[node] < len(told[node])]:
        heads = [told[node][at[node]] for node in left]
        possible = [event for event in heads if not event.heard or under_way[event.heard]]
        # If none is, a message has come that nobody has sent: the specification will say so.
        event = min(possible or heads, key=lambda event: event.at)
        at[event.node] += 1
        if event.heard:
            under_way[event.heard] -= 1
        if event.what == "left":
            under_way.update(event.made)
        yield event


def refined(events: list[Event]) -> Refinement:
    """What has become of them. Raises Broken."""
    refinement = Refinement(range(1, NODES + 1))
    for event in events:
        refinement.take(event)
    refinement.end()
    return refinement
