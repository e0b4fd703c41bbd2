"""A node whose flash was wiped or swapped, as processes of this machine."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host_tools import desk
from host_tools.client import Client, NotCommitted, Unknown
from host_tools.cluster import Cluster
from host_tools.events import Event, parse
from host_tools.processes import Processes
from host_tools.replay import replay
from tests.clusters import INTERPRETERS, free_cluster

NODES = 3
PATIENCE_S = 60.0
ELECTION_S = 0.3  # the longest election timeout
LONG_ENOUGH_S = 10 * ELECTION_S  # to elect a leader, could there be one
ONE, OTHER, STRANGER = 1, 2, 3  # nodes

each_interpreter = pytest.mark.parametrize("interpreter", INTERPRETERS)


class Run:
    """A cluster that runs: its processes, its events in order, and a client."""

    def __init__(self, cluster: Cluster, interpreter: str) -> None:
        self.cluster = cluster
        self.lines: list[str] = []
        self.client = Client(cluster.path, PATIENCE_S)
        self.processes = Processes(cluster, interpreter, lambda node, line: self.lines.append(line))

    def events(self, node: int, *whats: str) -> list[Event]:
        parsed = [parse(line) for line in list(self.lines)]
        return [e for e in parsed if e and e.node == node and e.what in whats]

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "\n".join(self.lines)
            assert not self.processes.ended(), "\n".join(self.lines)
            time.sleep(0.02)

    def status(self, node: int) -> dict[str, Any]:
        return self.client.statuses([node])[node]

    def flash(self, node: int) -> Path:
        return desk.state_folder(self.cluster, node) / desk.FLASH_FILE

    def stop(self) -> None:
        """When all nodes have applied all that there is; their keys and values are the same."""

        def have_settled() -> bool:
            statuses = self.client.statuses().values()
            ends = {status[name] for status in statuses for name in ("applied", "last")}
            return len(statuses) == NODES and len(ends) == 1

        self.until(have_settled)
        last = self.status(ONE)["last"]
        assert set(self.processes.stop().values()) == {0}
        contents = [replay(self.flash(node), node, last).after for node in self.cluster.nodes]
        assert contents == [contents[0]] * NODES


@contextmanager
def run(folder: Path, interpreter: str) -> Iterator[Run]:
    """All nodes of a new cluster."""
    folder.mkdir()
    made = Run(free_cluster(folder / "cluster.toml", NODES), interpreter)
    with made.processes, made.client:
        for node in made.cluster.nodes:
            made.processes.start(node)
        yield made


@each_interpreter
def test_a_wiped_node_has_no_vote_until_all_others_vouch_for_it(
    tmp_path: Path, interpreter: str
) -> None:
    with run(tmp_path / "home", interpreter) as cluster:
        # given a node that has acknowledged what one of the others may lack
        cluster.client.put("k", b"1")
        cluster.processes.kill(OTHER)
        cluster.client.put("k", b"2")

        # when it comes back with an erased flash
        cluster.processes.kill(STRANGER)
        cluster.flash(STRANGER).unlink()
        cluster.lines.clear()
        cluster.processes.start(STRANGER)

        # then it knows that it has promised what it doesn't know any more
        cluster.until(lambda: cluster.events(STRANGER, "learner"))
        assert cluster.events(STRANGER, "wiped")
        assert cluster.status(STRANGER)["role"] == "learner"

        # and two of three nodes are no majority, since one of them has no vote
        cluster.client.timeout = LONG_ENOUGH_S
        with pytest.raises((NotCommitted, Unknown)):
            cluster.client.put("k", b"3")
        assert not cluster.events(ONE, "leader")
        assert not cluster.events(STRANGER, "precandidate", "trusted")
        cluster.client.timeout = PATIENCE_S
        cluster.until(lambda: cluster.events(STRANGER, "stat"))
        assert {e.facts["role"] for e in cluster.events(STRANGER, "stat")} == {"learner"}

        # until the third one is there, and with it all that was ever committed
        cluster.processes.start(OTHER)
        cluster.until(lambda: cluster.events(STRANGER, "trusted"))
        (first, *_) = cluster.events(STRANGER, "trusted", "precandidate", "candidate", "leader")
        assert first.what == "trusted"
        cluster.until(lambda: cluster.status(STRANGER)["role"] in ("follower", "leader"))
        assert cluster.client.get("k") in (b"2", b"3")

        # from when on its vote counts again, for another start as well
        cluster.processes.kill(STRANGER)
        cluster.lines.clear()
        cluster.processes.start(STRANGER)
        cluster.until(lambda: cluster.events(STRANGER, "recovered"))
        cluster.processes.kill(OTHER)
        cluster.client.put("k", b"4")
        assert cluster.client.get("k") == b"4"
        assert not cluster.events(STRANGER, "wiped", "learner")
        cluster.processes.start(OTHER)
        cluster.stop()


@each_interpreter
def test_a_flash_of_another_cluster_is_not_taken_for_a_nodes_own(
    tmp_path: Path, interpreter: str
) -> None:
    # given a flash that the node of the same id has filled elsewhere, with the same indexes
    with run(tmp_path / "elsewhere", interpreter) as elsewhere:
        for i in range(5):
            elsewhere.client.put(f"theirs-{i}", b"theirs")
        elsewhere.stop()
    with run(tmp_path / "home", interpreter) as cluster:
        for i in range(20):
            cluster.client.put(f"ours-{i}", b"ours")

        # when a node comes back with that
        cluster.processes.kill(STRANGER)
        shutil.copy(elsewhere.flash(STRANGER), cluster.flash(STRANGER))
        cluster.lines.clear()
        cluster.processes.start(STRANGER)

        # then
        cluster.until(lambda: cluster.events(STRANGER, "trusted"))
        what = [event.what for event in cluster.events(STRANGER, "swapped", "learner", "trusted")]
        assert what == ["swapped", "learner", "trusted"]
        cluster.until(lambda: cluster.status(STRANGER)["role"] in ("follower", "leader"))
        cluster.client.put("ours-20", b"ours")
        cluster.stop()
