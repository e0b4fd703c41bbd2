"""The demonstration: a cluster that loses its leader again and again, and nothing else."""

# mypy: allow-untyped-calls

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from host_tools import events, view
from host_tools.client import Client, NotCommitted, Unknown
from host_tools.cluster import Cluster
from host_tools.desk import FLASH_FILE, state_folder
from host_tools.firmware import requests
from host_tools.processes import Processes
from host_tools.replay import Replay, ReplayError, replay

WRITE_PAUSE_S = 0.01
WRITE_KEYS = 64  # written in turn
WRITE_TIMEOUT_S = 5.0
POLL_S = 0.2  # between two looks at all nodes, and the longest wait for an answer
STEADY_S = 1.0  # of undisturbed work before each thing that happens
ROUND_S = 4.0  # what one round of the demonstration takes, about
UP_S = 20.0  # for a node to come up, and a leader to be elected
FAIL_OVER_S = 10.0
STALLED_S = 10.0  # a node that applies nothing for so long won't catch up


class DemoError(Exception):
    """The cluster did not do what it must."""


class Screen(Protocol):
    """What the demonstration shows itself on."""

    def say(self, node: int | None, text: str) -> None:
        """One thing that has happened, at a node or (None) done by the demonstration."""

    def show(self, statuses: dict[int, dict[str, Any]], result: "Result") -> None:
        """How things stand."""

    def wants_to_quit(self) -> bool: ...


@dataclass(frozen=True)
class Write:
    """An acknowledged write: what, when (monotonic s), and by which leader."""

    key: bytes
    number: int  # its value; each is written once, and greater than those before
    at: float
    leader: int

    @property
    def value(self) -> bytes:
        return str(self.number).encode()

    @property
    def command(self) -> bytes:
        command: bytes = requests.put(self.key, self.value)
        return command


@dataclass
class Result:
    """What the summary tells. Each lost or doubled write counts once per node."""

    elections: int = 0
    fail_overs_ms: list[float] = field(default_factory=list)
    writes: int = 0
    lost: int = 0
    doubled: int = 0

    def compare(self, writes: list[Write], replayed: Replay) -> None:
        """Count what a node lacks, or has twice, whose flash holds that.

        A command that has left the flash shows in the snapshot alone: its key has its value
        there, or that of a later write.
        """
        for write in writes:
            times = replayed.applied[write.command]
            times += int(replayed.before.get(write.key, b"0")) >= write.number
            self.lost += times == 0
            self.doubled += times > 1

    @property
    def is_good(self) -> bool:
        return self.lost == 0 and self.doubled == 0

    def fail_overs(self) -> str:
        if not self.fail_overs_ms:
            return "none"
        median, worst = statistics.median(self.fail_overs_ms), max(self.fail_overs_ms)
        return f"median {median:.0f} ms, worst {worst:.0f} ms, of {len(self.fail_overs_ms)}"


class Writer(threading.Thread):
    """Writes steadily, each value once, and remembers what was acknowledged."""

    def __init__(self, cluster_file: Path) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[Write] = []
        self.failure = ""  # why the last write that failed did so
        self._cluster_file = cluster_file
        self._stop_now = threading.Event()

    def run(self) -> None:
        number = 0
        with Client(self._cluster_file, WRITE_TIMEOUT_S) as client:
            while not self._stop_now.wait(WRITE_PAUSE_S):
                number += 1
                key = b"key-%d" % (number % WRITE_KEYS)
                try:
                    client.put(key, str(number).encode())
                except (NotCommitted, Unknown) as e:
                    self.failure = str(e)
                else:
                    write = Write(key, number, time.monotonic(), client.leader)
                    self.acknowledged.append(write)

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


class Demo:
    """Runs on `processes` of `cluster` until `seconds` are over, or the screen says quit."""

    def __init__(self, cluster: Cluster, interpreter: str, seconds: float, screen: Screen) -> None:
        self.result = Result()
        self._cluster = cluster
        self._screen = screen
        self._end = time.monotonic() + seconds
        self._processes = Processes(cluster, interpreter, self._take_line)
        self._writer = Writer(cluster.path)
        self._watcher = Client(cluster.path, POLL_S)
        self._statuses: dict[int, dict[str, Any]] = {}
        self._counting = threading.Lock()
        self._contents: dict[bytes, bytes] | None = None  # of a node's flash, in the end

    def run(self) -> Result:
        """Raises DemoError if the cluster doesn't work."""
        with self._processes, self._watcher:
            for node in self._cluster.nodes:
                self._processes.start(node)
            self._until(self._is_complete, UP_S, "nodes or leader did not come up")
            self._writer.start()
            try:
                self._wait(STEADY_S)
                while True:
                    self._lose_leader()
                    if self._is_over():
                        break
            finally:
                self._writer.stop()
            self._check()
        return self.result

    def _lose_leader(self) -> None:
        leader = self._leader()
        killed_at = time.monotonic()
        count = len(self._writer.acknowledged)
        self._processes.kill(leader)
        self._screen.say(None, f"killed node {leader}, the leader (kill -9)")

        def successors_write() -> Write | None:
            writes = self._writer.acknowledged[count:]
            return next((write for write in writes if write.leader != leader), None)

        self._until(successors_write, FAIL_OVER_S, "no write was acknowledged after the kill")
        write = successors_write()
        assert write
        ms = 1000 * (write.at - killed_at)
        self.result.fail_overs_ms.append(ms)
        self._screen.say(None, f"node {write.leader} took a write {ms:.0f} ms after the kill")
        self._wait(STEADY_S)
        self._processes.start(leader)
        self._screen.say(None, f"started node {leader} again, with the flash it had")
        self._catch_up({leader})
        self._wait(STEADY_S)

    def _catch_up(self, nodes: set[int]) -> None:
        """Until these have applied all that is committed now."""
        self._look()
        self._until(self._is_complete, UP_S, "not all nodes came up again")
        commit = max(status["commit"] for status in self._statuses.values())
        best, deadline = -1, 0.0
        while (applied := min(self._statuses[node]["applied"] for node in nodes)) < commit:
            if applied > best:
                best, deadline = applied, time.monotonic() + STALLED_S
            if time.monotonic() > deadline:
                raise DemoError(f"stuck at entry {applied} of {commit}: {nodes}")
            self._look()
            self._until(self._is_complete, UP_S, "not all nodes stayed up")
        names = " and ".join(str(node) for node in sorted(nodes))
        self._screen.say(None, f"applied all {commit} entries: {names}")

    def _check(self) -> None:
        """What was acknowledged must stand in every node's flash log, and be applied once."""
        writes = self._writer.acknowledged
        self.result.writes = len(writes)
        self._screen.say(None, f"stopped writing after {len(writes)} acknowledged writes")
        self._catch_up(self._processes.nodes)
        self._until(self._is_settled, UP_S, "the nodes do not agree on the end of the log")
        commit = self._statuses[self._leader()]["commit"]
        for node, status in self._processes.stop().items():
            if status != 0:
                raise DemoError(f"node {node} ended with status {status} at SIGTERM")
        self._screen.say(None, f"stopped all nodes; reading their flash up to entry {commit}")
        for node in self._cluster.nodes:
            self._check_flash(node, commit, writes)

    def _check_flash(self, node: int, commit: int, writes: list[Write]) -> None:
        try:
            replayed = replay(state_folder(self._cluster, node) / FLASH_FILE, node, commit)
        except ReplayError as e:
            raise DemoError(f"node {node}: {e}") from e
        if replayed.base:
            self._screen.say(node, f"its snapshot stands for the first {replayed.base} entries")
        self.result.compare(writes, replayed)
        if self._contents not in (None, replayed.after):
            raise DemoError(f"node {node} has other keys and values than those before it")
        self._contents = replayed.after

    # Waiting, with an eye on everything

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._screen.wants_to_quit():
            self._look()

    def _until(self, condition: Callable[[], object], seconds: float, problem: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                reason = f" ({self._writer.failure})" if self._writer.failure else ""
                raise DemoError(f"{problem} within {seconds:g} s{reason}")
            self._look()

    def _look(self) -> None:
        """Ask all running nodes how they are, and show it; takes about POLL_S."""
        for node, status in self._processes.ended().items():
            raise DemoError(f"node {node} ended by itself with status {status}")
        until = time.monotonic() + POLL_S
        self._statuses = self._watcher.statuses(self._processes.nodes)
        self.result.writes = len(self._writer.acknowledged)
        self._screen.show(self._statuses, self.result)
        time.sleep(max(0.0, until - time.monotonic()))

    def _leader(self) -> int:
        self._until(lambda: view.leader_of(self._statuses), UP_S, "no leader was elected")
        return view.leader_of(self._statuses)

    def _is_complete(self) -> bool:
        """Whether all nodes answer, and agree on a leader."""
        leaders = {status["leader"] for status in self._statuses.values()}
        return len(self._statuses) == len(self._cluster.nodes) and len(leaders - {0}) == 1

    def _is_settled(self) -> bool:
        """Whether all that is in any log is committed and applied everywhere."""
        ends = {status[name] for status in self._statuses.values() for name in ("applied", "last")}
        return self._is_complete() and len(ends) == 1

    def _is_over(self) -> bool:
        return self._screen.wants_to_quit() or time.monotonic() + ROUND_S > self._end

    def _take_line(self, node: int, line: str) -> None:
        event = events.parse(line)
        if event is None:
            self._screen.say(node, f"| {line}")
        elif event.what != "stat":
            with self._counting:  # each node has a thread that reads its lines
                self.result.elections += event.what == "leader"
            facts = " ".join(f"{name}={value}" for name, value in event.facts.items())
            self._screen.say(node, f"{event.what} {facts}".rstrip())
