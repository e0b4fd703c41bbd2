"""A mistake that is made on purpose is made by real processes, too."""

import time
from pathlib import Path

from host_tools.client import Client, NotCommitted
from tests.clusters import free_cluster
from tests.mutants.persistence import WritesStayInACache
from tests.mutants.process import MutantProcesses

PATIENCE_S = 60.0
WRITES = 20  # more than stay in the cache


def when_led(client: Client, key: str) -> bytes | None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.get(key)
        except NotCommitted:
            assert time.monotonic() < deadline


def test_what_was_acknowledged_and_stayed_in_a_cache_is_lost_by_kill_9(tmp_path: Path) -> None:
    cluster = free_cluster(tmp_path / "cluster.toml", 1)
    mistake = WritesStayInACache.__name__
    with (
        MutantProcesses(cluster, mistake, lambda node, line: None) as processes,
        Client(cluster.path) as client,
    ):
        processes.start(1)
        assert when_led(client, "key") is None
        for number in range(WRITES):
            client.put("key", b"%d" % number)
        assert when_led(client, "key") == b"%d" % (WRITES - 1)

        processes.kill(1)
        processes.start(1)

        assert when_led(client, "key") != b"%d" % (WRITES - 1)
