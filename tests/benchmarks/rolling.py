"""How long clients wait while all five nodes are restarted in turn, by SIGTERM and by SIGKILL."""

import tempfile
from pathlib import Path

from host_tools.client import Client
from host_tools.desk import CPYTHON
from host_tools.processes import Processes
from tests.clusters import free_cluster
from tests.rolling import Writers, restart_in_turn, wait_until_level

NODES = 5
ROUNDS = 2  # of all nodes


def measure() -> dict[str, float]:
    figures = {"rolling.failed": 0.0, "rolling.writes": 0.0, "rolling.leader_restarts": 0.0}
    with tempfile.TemporaryDirectory(prefix="raft-rolling-") as name:
        cluster = free_cluster(Path(name) / "cluster.toml", NODES)
        nodes = list(cluster.nodes)
        with (
            Processes(cluster, CPYTHON, lambda node, line: None) as processes,
            Client(cluster.path) as client,
        ):
            for node in nodes:
                processes.start(node)
            for how, end in (("transfer", processes.stop), ("kill", processes.kill)):
                wait_until_level(client, nodes)
                with Writers(cluster) as writers:
                    for _ in range(ROUNDS):
                        led = restart_in_turn(processes, client, nodes, end)
                        figures["rolling.leader_restarts"] += led
                figures[f"rolling.pause_ms.{how}"] = writers.pause_ms()
                figures["rolling.failed"] += len(writers.failures)
                figures["rolling.writes"] += writers.count
    return figures
