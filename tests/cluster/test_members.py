"""Members come, go, die for good and return: processes, changed by `raftctl`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from host_tools.cli import main
from host_tools.client import Client
from host_tools.cluster import Cluster, Dead, load
from host_tools.cluster_edits import add_node
from host_tools.desk import CPYTHON
from host_tools.membership import Membership
from host_tools.processes import Processes
from tests.clusters import INTERPRETERS, free_cluster, write

PATIENCE_S = 60.0
LOOK_S = 0.05


class Desk:
    """A cluster of processes: what its nodes say, and `raftctl` for it."""

    def __init__(self, cluster: Cluster, processes: Processes, lines: list[tuple[int, str]]):
        self.file = cluster.path
        self.processes = processes
        self.lines = lines
        self.client = Client(self.file, timeout=20.0)

    def raftctl(self, *arguments: str) -> Result:
        command = [arguments[0], "--cluster", str(self.file), *arguments[1:]]
        return CliRunner().invoke(main, command)

    def done(self, *arguments: str) -> str:
        result = self.raftctl(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def until(self, condition: Callable[[Membership], object]) -> Membership:
        """The members, as their leader tells them, once that holds."""
        told = None
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            told = self.client.members()
            if told.leader and condition(told):
                return told
            time.sleep(LOOK_S)
        raise AssertionError(f"not within {PATIENCE_S} s: {told}")

    def has_said(self, node: int, what: str) -> bool:
        return any(n == node and f" {what} " in f"{line} " for n, line in self.lines)

    def wait_for(self, node: int, what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.has_said(node, what):
            assert time.monotonic() < end, f"node {node} has not said {what}: {self.lines[-20:]}"
            time.sleep(LOOK_S)


@contextmanager
def running(file: Path, nodes: int, interpreter: str = CPYTHON, **facts: Any) -> Iterator[Desk]:
    """All nodes of such a cluster, with a leader."""
    cluster = replace(free_cluster(file, nodes), **facts)
    write(cluster)
    lines: list[tuple[int, str]] = []
    with Processes(
        cluster, interpreter, lambda node, line: lines.append((node, line))
    ) as processes:
        for node in cluster.nodes:
            processes.start(node)
        desk = Desk(cluster, processes, lines)
        with desk.client:
            desk.until(lambda told: len(told.voters) == nodes)
            yield desk
        assert not [line for _, line in lines if " alarm " in line or " crash " in line]


def free_ports(tmp_path: Path, nodes: int) -> list[tuple[str, ...]]:
    """Options that tell `raftctl add` where a node may be."""
    members = free_cluster(tmp_path / "free.toml", nodes).nodes.values()
    return [("--port", str(m.port), "--client-port", str(m.client_port)) for m in members]


def roles(told: Membership) -> dict[int, str]:
    return {node: member.role for node, member in told.nodes.items()}


def test_a_node_is_added_the_leader_removed_and_leadership_moved(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml", 3) as desk:
        desk.client.put("lamp", b"on")
        (ports,) = free_ports(tmp_path, 1)

        desk.done("add", "4", *ports)
        desk.processes.start(4)
        told = desk.until(lambda told: 4 in told.voters)

        assert told.voters == [1, 2, 3, 4]
        leader = told.leader
        assert "no member any more" in desk.done("remove", str(leader))
        told = desk.until(lambda told: told.leader != leader)
        assert leader not in told.nodes and len(told.voters) == 3
        desk.wait_for(leader, "out")
        assert leader not in load(desk.file).nodes

        target = next(node for node in told.voters if node != told.leader)
        assert desk.done("transfer", str(target)) == f"Node {target} leads.\n"
        assert desk.client.get("lamp") == b"on"
        desk.client.put("lamp", b"off")
        desk.until(lambda told: told.leader == target)


def test_a_removed_node_is_told_and_disturbs_nobody_and_comes_back_when_added(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "cluster.toml", 3) as desk:
        leader = desk.until(bool).leader
        gone = next(node for node in (1, 2, 3) if node != leader)
        term = desk.client.statuses([leader])[leader]["term"]

        desk.done("remove", str(gone), "--keep")
        desk.wait_for(gone, "out")
        # a restart that finds itself out all the same
        desk.processes.kill(gone)
        desk.lines.clear()
        desk.processes.start(gone)
        desk.wait_for(gone, "out")

        status = desk.client.statuses([leader])[leader]
        assert (status["term"], status["role"]) == (term, "leader")
        assert "out" in desk.raftctl("status").stdout
        desk.done("add", str(gone))
        assert desk.until(lambda told: gone in told.voters).voters == [1, 2, 3]


def test_a_dead_node_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml", 3) as desk:
        desk.client.put("lamp", b"on")
        leader = desk.until(bool).leader
        dead = next(node for node in (1, 2, 3) if node != leader)
        desk.processes.kill(dead)
        (ports,) = free_ports(tmp_path, 1)
        desk.done("add", "4", *ports)
        desk.processes.start(4)

        assert "has taken the place" in desk.done("replace", str(dead), "4")

        assert dead not in load(desk.file).nodes
        told = desk.until(lambda told: len(told.voters) == 3)
        assert set(told.voters) == {1, 2, 3, 4} - {dead}
        # which may lose one more
        other = next(node for node in told.voters if node not in (4, told.leader))
        desk.processes.kill(other)
        desk.client.put("lamp", b"off")


def test_nodes_that_were_written_into_the_file_alone_found_no_second_cluster(
    tmp_path: Path,
) -> None:
    # given three nodes, and a file that is made larger by hand
    with running(tmp_path / "cluster.toml", 3) as desk:
        strangers = list(free_cluster(tmp_path / "other.toml", 7).nodes.values())[3:]
        for stranger in strangers:
            add_node(desk.file, stranger)

        # when the four, which would be a majority of seven, run
        for stranger in strangers:
            desk.processes.start(stranger.id)
            desk.wait_for(stranger.id, "recovered")
        with Client(desk.file, timeout=20.0) as client:
            statuses = client.statuses()

        # then they wait, for as many elections as they could have had
        assert len(statuses) == 7
        waiting = [stranger.id for stranger in strangers]
        assert {statuses[node]["term"] for node in waiting} == {0}
        for node in waiting:
            assert f"node {node} is no member: `raftctl add {node}`" in desk.done("members")
        for node in waiting:
            desk.done("add", str(node), "--wait")
        assert len(desk.until(lambda told: len(told.voters) == 7).voters) == 7
        assert not [node for node in waiting if desk.has_said(node, "leader")]


def test_the_dead_are_named_then_removed_and_come_back_by_themselves(tmp_path: Path) -> None:
    # given five of which four have to stay
    dead = Dead(after_s=1, remove=True, least=4)
    with running(tmp_path / "cluster.toml", 5, dead=dead) as desk:
        leader = desk.until(bool).leader
        first, second = [node for node in range(1, 6) if node != leader][:2]

        # when two die
        desk.processes.kill(first)
        desk.until(lambda told: roles(told)[first] == "dead")
        desk.processes.kill(second)

        # then the second one is named, and stays a voter
        def is_named() -> bool:
            shown = desk.raftctl("status").stdout
            return f"node {second}, a voter, is unheard of for " in shown

        end = time.monotonic() + PATIENCE_S
        while not is_named():
            assert time.monotonic() < end
            time.sleep(LOOK_S)
        told = desk.until(bool)
        assert (roles(told)[first], roles(told)[second]) == ("dead", "voter")
        desk.client.put("lamp", b"on")

        # and both come back as they are started
        desk.processes.start(first)
        desk.processes.start(second)
        assert desk.until(lambda told: len(told.voters) == 5).voters == [1, 2, 3, 4, 5]


def test_a_cluster_without_a_majority_is_recovered_by_hand(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml", 5) as desk:
        desk.client.put("lamp", b"on")
        leader = desk.until(lambda told: all(told.behind(node) == 0 for node in told.nodes)).leader
        assert "leads" in desk.raftctl("recover", "--yes").stderr
        left = [node for node in range(1, 6) if node != leader][:2]
        gone = [node for node in range(1, 6) if node not in left]
        for node in gone:
            desk.processes.kill(node)

        # as long as it is led by nobody else
        end = time.monotonic() + PATIENCE_S
        while (result := desk.raftctl("recover", "--yes", "--timeout", "2")).exit_code:
            assert time.monotonic() < end, result.output
        assert "LOST" in result.stdout
        # and has another key
        assert "  restart nodes " in result.stdout
        desk.processes.stop(*left)
        for node in left:
            desk.processes.start(node)

        assert list(load(desk.file).nodes) == left
        told = desk.until(lambda told: told.voters == left)
        assert told.leader in left
        assert desk.client.get("lamp") == b"on"
        desk.client.put("lamp", b"off")


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_leader_that_is_stopped_lets_another_one_lead(tmp_path: Path, interpreter: str) -> None:
    with running(tmp_path / "cluster.toml", 3, interpreter) as desk:
        leader = desk.until(bool).leader
        term = desk.client.statuses([leader])[leader]["term"]

        assert desk.processes.stop(leader) == {leader: 0}

        told = desk.until(lambda told: told.leader != leader)
        status = desk.client.statuses([told.leader])[told.leader]
        assert status["term"] == term + 1
