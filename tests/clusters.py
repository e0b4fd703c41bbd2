"""Clusters for tests that run real processes."""

from dataclasses import replace
from pathlib import Path

from host_tools.cluster import FLASH_KB, STATE_KB, Cluster, on_free_ports


def free_cluster(
    path: Path,
    nodes: int,
    state_kb: int = STATE_KB,
    flash_kb: int = FLASH_KB,
    slow_flash: bool = False,
) -> Cluster:
    """A cluster on ports that nobody else uses, described in the file `path`."""
    cluster = replace(
        on_free_ports(path, nodes), state_kb=state_kb, flash_kb=flash_kb, slow_flash=slow_flash
    )
    path.write_text(cluster.to_toml())
    return cluster
