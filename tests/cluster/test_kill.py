"""Real processes under `kill -9`: what was acknowledged stays, and nothing is done twice."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host_tools import micropython
from host_tools.client import Client, NotCommitted, Unknown
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON, FLASH_FILE, state_folder
from host_tools.firmware import requests
from host_tools.processes import Processes
from host_tools.replay import Replay, replay
from tests.clusters import free_cluster

NODES = 5
WRITERS = 3
WRITE_PAUSE_S = 0.01
WRITE_TIMEOUT_S = 20.0
ALIVE = 3  # at least, at any time: a majority
LIFE_S = 0.6  # between two kills, at most
RESPITE = 1.1  # by so much it is longer for each kill beyond those wanted
SLOW_LIFE_S = 1.5  # the same where flash is slow, and with it all that a node does
SETTLE_S = 120.0
PATIENCE_S = 120.0
VALUE_BYTES = 600  # so that a small flash is soon compacted
SMALL_FLASH = {"flash_kb": 88, "state_kb": 3}
SMALL_FLASH_WRITES = 180  # more than it has room for: some were erased


class Writer(threading.Thread):
    """Counts its own key up, each step a cas on the value before it.

    A command that took effect twice, or was lost after its acknowledgement, makes a later
    cas fail: nobody else writes the key.
    """

    def __init__(self, cluster: Cluster, number: int) -> None:
        super().__init__(daemon=True)
        self.key = f"counter-{number}"
        self.acknowledged: dict[int, bytes] = {}  # step: its command
        self.value: bytes | None = None
        self.failure: BaseException | None = None
        self._doubtful: bytes | None = None  # what may have become the value
        self._cluster = cluster
        self._end = threading.Event()

    def run(self) -> None:
        try:
            with Client(self._cluster.path, WRITE_TIMEOUT_S) as client:
                while not self._end.wait(WRITE_PAUSE_S) or self._doubtful:
                    self._resolve(client) if self._doubtful else self._step(client)
        except BaseException as e:
            self.failure = e

    def end(self) -> None:
        """Let it end soon."""
        self._end.set()

    def stop(self) -> None:
        self.end()
        self.join(SETTLE_S)
        assert not self.is_alive(), f"{self.key} can't be read"
        if self.failure:
            raise self.failure

    def _step(self, client: Client) -> None:
        new = (b"%d" % (int(self.value or b"0") + 1)).ljust(VALUE_BYTES)
        try:
            assert client.cas(self.key, self.value, new), f"{self.key} was not {self.value!r}"
        except NotCommitted:
            return
        except Unknown:
            self._doubtful = new
            return
        self.acknowledged[int(new)] = requests.cas(self.key.encode(), self.value, new)
        self.value = new

    def _resolve(self, client: Client) -> None:
        try:
            client.delete("nothing")  # once this is done, a late copy of that one does nothing
            found = client.get(self.key)
        except (NotCommitted, Unknown):
            return
        may_be = self.value, self._doubtful
        assert found in may_be, f"{self.key} is {found!r}, and not one of {may_be!r}"
        self.value, self._doubtful = found, None


def kill_at_random(
    processes: Processes,
    kills: int,
    life_s: float,
    is_enough: Callable[[], bool],
    dice: random.Random,
) -> None:
    """`kill -9` on any node at any moment; the dead come back after a while.

    So many kills, and more until it is enough: ever later ones, for a busy machine starts nodes
    more slowly than these kill them.
    """
    dead: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while kills > 0 or not is_enough():
        kills -= 1
        if kills < 0:
            life_s *= RESPITE
        assert time.monotonic() < deadline, "too little was written"
        time.sleep(dice.uniform(0, life_s))
        while dead and (len(processes.nodes) <= ALIVE or dice.random() < 0.6):
            processes.start(dead.pop(dice.randrange(len(dead))))
        assert not processes.ended()
        victim = dice.choice(sorted(processes.nodes))
        processes.kill(victim)
        dead.append(victim)
    for node in dead:
        processes.start(node)


def settled_commit(cluster: Cluster) -> int:
    """The commit index, once all nodes have applied all that any log holds."""
    deadline = time.monotonic() + SETTLE_S
    with Client(cluster.path) as client:
        while time.monotonic() < deadline:
            statuses = client.statuses().values()
            ends = {status[name] for status in statuses for name in ("applied", "last")}
            if len(statuses) == len(cluster.nodes) and len(ends) == 1:
                return int(ends.pop())
            time.sleep(0.05)
    raise AssertionError(f"no common end of the logs within {SETTLE_S} s: {statuses}")


def lacks_or_repeats(replayed: Replay, writer: Writer) -> list[bytes]:
    """The acknowledged commands of the writer that the node has not applied exactly once.

    Each of its steps was possible only once, behind the one before it. So the value in the
    snapshot tells which of them the snapshot stands for, and that it has them once.
    """
    reached = int(replayed.before.get(writer.key.encode(), b"0"))
    return [
        command
        for step, command in writer.acknowledged.items()
        if (step <= reached) + replayed.applied[command] != 1
    ]


@pytest.mark.parametrize(
    ("interpreter", "kills", "desk"),
    [
        (CPYTHON, 50, {}),
        (CPYTHON, 20, {**SMALL_FLASH, "habits": ("flash",)}),
        ("micropython", 15, SMALL_FLASH),
    ],
    ids=["cpython", "cpython-compacts-slow-flash", "micropython-compacts"],
)
def test_no_acknowledged_write_is_lost_or_applied_twice(
    interpreter: str, kills: int, desk: dict[str, Any], tmp_path: Path
) -> None:
    if interpreter != CPYTHON and not micropython.interpreters():
        pytest.skip("no MicroPython: make micropython")
    cluster = free_cluster(tmp_path / "cluster.toml", NODES, **desk)
    life_s = SLOW_LIFE_S if cluster.habits else LIFE_S
    enough = SMALL_FLASH_WRITES if "flash_kb" in desk else kills * WRITERS
    lines: list[str] = []
    writers = [Writer(cluster, number) for number in range(WRITERS)]
    with Processes(cluster, interpreter, lambda node, line: lines.append(line)) as processes:
        for node in cluster.nodes:
            processes.start(node)
        for writer in writers:
            writer.start()

        def is_enough() -> bool:
            return sum(len(writer.acknowledged) for writer in writers) > enough

        kill_at_random(processes, kills, life_s, is_enough, random.Random(kills))

        for writer in writers:
            writer.stop()
        commit = settled_commit(cluster)
        with Client(cluster.path, SETTLE_S) as client:
            assert [client.get(writer.key) for writer in writers] == [w.value for w in writers]
        assert set(processes.stop().values()) == {0}

    for node in cluster.nodes:
        replayed = replay(state_folder(cluster, node) / FLASH_FILE, node, commit)
        assert [lacks_or_repeats(replayed, writer) for writer in writers] == [[]] * WRITERS
        assert replayed.after == {writer.key.encode(): writer.value for writer in writers}
        # the comparison covers every command, or as many as a small flash still has
        assert (replayed.base > 0) == ("flash_kb" in desk)
    words = ("alarm", "damage", "wiped", "swapped", "learner", "crash", "flash_fault")
    assert not [line for line in lines if any(f" {word} " in line for word in words)]
