"""Under a flood of 5,000 datagrams a second the cluster commits on, and counts what it drops.

How fast it still is tells `python -m tests.cluster.flood`: here others use the machine, too.
"""

from pathlib import Path

import pytest

from host_tools.client import Client
from tests.cluster.flood import running
from tests.clusters import INTERPRETERS

SECONDS = 0.5
# (kind, port, cause by which nearly all of it is counted)
FLOODS = (
    ("forged_frames", "peers", "forged"),
    ("forged_requests", "clients", "strangers"),
    ("garbage", "clients", "dropped"),
    ("empty", "peers", ""),
)
LEAST_COUNTED = 100  # of some 2,500: a node that has no processor for a while never gets the rest


def counted(client: Client, leader: int) -> dict[str, int]:
    statuses = client.statuses([leader])
    counts: dict[str, int] = statuses[leader]["udp"]
    return counts


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_flooded_cluster_commits_on(tmp_path: Path, interpreter: str) -> None:
    with running(tmp_path, interpreter, has_lived=False) as flooded:
        client = flooded.client
        for kind, port, cause in FLOODS:
            leader = client.leader
            before = counted(client, leader)

            result = flooded.measure(kind, port, SECONDS, rounds=1)

            assert result.flooded > 0 and client.leader == leader
            after = counted(client, leader)
            if cause:
                assert after[cause] - before[cause] >= LEAST_COUNTED, (kind, before, after)
