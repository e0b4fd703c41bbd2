"""Restarts of all nodes in turn, while clients write: what that costs these."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator

from host_tools.client import Client
from host_tools.cluster import Cluster
from host_tools.processes import Processes

WRITERS = 4
PAUSE_S = 0.005  # between two writes of one client
TIMEOUT_S = 20.0
SETTLE_S = 60.0
LOOK_S = 0.02


class Writer(threading.Thread):
    """Writes one value after the other, each as soon as it was told that the last one is in.

    took: how long each of them took (s). last: the latest that is in. failure: what one has failed
    with, after which it ends.
    """

    def __init__(self, cluster: Cluster, number: int) -> None:
        super().__init__(daemon=True)
        self.key = f"writer-{number}"
        self.took: list[float] = []
        self.last = b""
        self.failure: Exception | None = None
        self._cluster = cluster
        self._end = threading.Event()

    def run(self) -> None:
        try:
            with Client(self._cluster.path, TIMEOUT_S) as client:
                while not self._end.wait(PAUSE_S):
                    value = b"%d" % time.monotonic_ns()
                    began = time.perf_counter()
                    client.put(self.key, value)
                    self.took.append(time.perf_counter() - began)
                    self.last = value
        except Exception as e:
            self.failure = e

    def stop(self) -> None:
        self._end.set()
        self.join()


class Writers:
    """Some of them; a context manager. Whoever enters has seen each write once."""

    def __init__(self, cluster: Cluster) -> None:
        self._all = [Writer(cluster, number) for number in range(WRITERS)]

    def __enter__(self) -> "Writers":
        for writer in self._all:
            writer.start()
        end = time.monotonic() + SETTLE_S
        while not all(writer.took for writer in self._all):
            assert time.monotonic() < end, self.failures or "nothing can be written"
            time.sleep(LOOK_S)
        for writer in self._all:
            writer.took.clear()  # until there was a leader
        return self

    def __exit__(self, *exc_info: object) -> None:
        for writer in self._all:
            writer.stop()

    def __iter__(self) -> Iterator[Writer]:
        return iter(self._all)

    @property
    def failures(self) -> list[Exception]:
        return [writer.failure for writer in self._all if writer.failure]

    @property
    def count(self) -> int:
        return sum(len(writer.took) for writer in self._all)

    def pause_ms(self) -> float:
        """The longest that any write has taken."""
        return 1000 * max(max(writer.took) for writer in self._all)

    def usual_ms(self) -> float:
        return 1000 * statistics.median(s for writer in self._all for s in writer.took)


def restart_in_turn(
    processes: Processes, client: Client, nodes: list[int], end: Callable[[int], object]
) -> int:
    """Each of them, ended so, and started again once all others have what it may have had.

    Gives how often the leader was the one.
    """
    led = 0
    for node in nodes:
        leader = wait_until_level(client, nodes)
        led += leader == node
        end(node)
        processes.start(node)
    wait_until_level(client, nodes)
    return led


def wait_until_level(client: Client, nodes: list[int]) -> int:
    """Until all nodes run, and have applied what was committed; the leader."""
    end = time.monotonic() + SETTLE_S
    goal = None
    while time.monotonic() < end:
        statuses = client.statuses(nodes)
        leaders = {status["leader"] for status in statuses.values()}
        if len(statuses) == len(nodes) and len(leaders) == 1 and leaders != {0}:
            if goal is None:
                goal = max(status["commit"] for status in statuses.values())
            if min(status["applied"] for status in statuses.values()) >= goal:
                return int(leaders.pop())
        time.sleep(LOOK_S)
    reached = {i: (status["leader"], status["applied"]) for i, status in statuses.items()}
    raise AssertionError(f"not all of {nodes} have reached {goal} in {SETTLE_S} s: {reached}")
