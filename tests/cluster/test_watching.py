"""Watching real processes: each change once and in order, whatever node dies meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_tools.client import Client, ClusterError, Gone
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON
from host_tools.processes import PROJECT, Processes
from host_tools.watching import Change, Watch
from tests.clusters import INTERPRETERS, free_cluster

PATIENCE_S = 60.0
WRITES = 60
LAG = 15  # writes that the watcher hasn't seen yet: a node remembers some 80 of these
VALUE = bytes(900)


@contextmanager
def running(file: Path, interpreter: str = CPYTHON) -> Iterator[tuple[Cluster, Processes, Client]]:
    """Three nodes, and a client."""
    cluster = free_cluster(file, 3)
    with Processes(cluster, interpreter, lambda node, line: None) as processes:
        for node in cluster.nodes:
            processes.start(node)
        with Client(cluster.path, PATIENCE_S) as client:
            yield cluster, processes, client


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never is"
        time.sleep(0.01)


class Watcher(threading.Thread):
    """Notes what a watch tells, until it has told `count` changes."""

    def __init__(self, watch: Watch, count: int) -> None:
        super().__init__(daemon=True)
        self.changes: list[Change] = []
        self._watch = watch
        self._count = count
        self.start()

    def run(self) -> None:
        while len(self.changes) < self._count:
            self.changes.append(next(self._watch))

    def values(self) -> list[bytes | None]:
        return [change.value for change in self.changes]


def write(client: Client, key: str, value: bytes) -> None:
    """As its only writer, until it is certainly there."""
    while True:
        try:
            client.put(key, value)
            return
        except ClusterError:
            continue


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_watch_goes_on_over_the_death_of_each_node(interpreter: str, tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml", interpreter) as (_, processes, client):
        client.put("other", b"")
        with client.watch("w/") as watch:
            watcher = Watcher(watch, WRITES)
            for i in range(WRITES):
                until(lambda i=i: len(watcher.changes) >= i - LAG)  # type: ignore[misc]
                write(client, f"w/{i % 3}", b"%d" % i)
                write(client, "other", b"%d" % i)
                if i % 20 == 10:  # the one that is asked: it dies, and is back
                    asked = watch._nodes[0]
                    processes.kill(asked)
                    processes.start(asked)
            watcher.join(PATIENCE_S)
            assert not watcher.is_alive()

    # a write that was done twice would be told twice, with another index and the same value
    values = [b"%d" % i for i in range(WRITES)]
    assert watcher.values() == values
    assert [change.key for change in watcher.changes] == [f"w/{i % 3}" for i in range(WRITES)]
    indexes = [change.index for change in watcher.changes]
    assert indexes == sorted(set(indexes))


def test_a_watch_begins_where_it_is_told_or_says_that_this_is_forgotten(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml") as (_, _, client):
        client.put("a", b"1")
        client.put("a", b"2")
        client.delete("a")
        with client.watch("a", 0) as watch:
            first = [next(watch) for _ in range(3)]
        assert [change.value for change in first] == [b"1", b"2", None]
        with client.watch(b"a", first[0].index) as again:
            assert next(again) == Change(first[1].index, b"a", b"2")

        for _ in range(6):  # more than a node keeps of them
            client.put("b", VALUE)
        with client.watch("", first[0].index) as late, pytest.raises(Gone) as gone:
            next(late)
        index = gone.value.index
        assert index > first[2].index
        with client.watch("", index) as resumed:
            change = next(resumed)
            assert change.index > index and (change.key, change.value) == ("b", VALUE)


def test_a_node_that_is_cut_off_tells_how_old_its_copy_may_be(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml") as (cluster, processes, client):
        client.put("k", b"v")
        for node in cluster.nodes:
            until(lambda node=node: client.local("k", node).value == b"v")  # type: ignore[misc]
            age = client.local("k", node).age_s
            assert age is not None and age < 30
        leader = client.leader
        for node in set(cluster.nodes) - {leader}:
            processes.kill(node)
        began = time.monotonic()

        until(lambda: client.local("k", leader).age_s is None)  # it has given way
        assert client.local("k", leader).value == b"v"
        with pytest.raises(ValueError, match="no node 9"):
            client.local("k", 9)
        for node in set(cluster.nodes) - {leader}:
            processes.start(node)
        until(lambda: client.local("k", leader).age_s is not None)
        assert time.monotonic() - began < PATIENCE_S


def test_the_command_prints_changes_until_it_is_interrupted(tmp_path: Path) -> None:
    with running(tmp_path / "cluster.toml") as (cluster, _, client):
        command = [sys.executable, "-m", "host_tools.cli", "watch", "lamp", "--after", "0"]
        client.put("lamp", b"on")
        client.delete("lamp")
        client.put("other", b"x")
        client.put("lamp/2", b"off")
        # Ctrl-C is heard where tests run in the background, too.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [*command, "--cluster", str(cluster.path)], cwd=PROJECT, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PROJECT)}, text=True,
        )  # fmt: skip
        signal.signal(signal.SIGINT, before)
        bound = threading.Timer(PATIENCE_S, process.kill)
        bound.start()
        with process:
            assert process.stdout
            lines = [process.stdout.readline().split() for _ in range(3)]
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == ""
        bound.cancel()

        assert process.returncode == 0
        assert [line[1:] for line in lines] == [["lamp", "on"], ["lamp", "-"], ["lamp/2", "off"]]
        indexes = [int(line[0]) for line in lines]
        assert indexes == sorted(set(indexes))
