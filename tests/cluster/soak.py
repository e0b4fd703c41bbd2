"""A soak: boards as processes, clients, and all that a machine can do wrong, for as long as wanted.

    python -m tests.cluster.soak --minutes 10 --seed 1 --interpreter micropython-i386

Three boards run firmware/main.py with a watchdog and a program that uses what a node gives it
(tests/programs/busy.py). Two clients write and one reads. Meanwhile any function of the firmware
raises something at its next call, tasks of the program do, the program runs into an endless loop or
takes all memory but a few KB, processes are killed or stand still for longer than the watchdog
allows, or for less, and flash can't be programmed or erased. Then that ends, and

- all nodes have all that was committed within SETTLE_S, and the same leader;
- nothing that was acknowledged is lost or done twice, and no read has seen an older value;
- boards have counted as many restarts and failures as they have told since their power came, and
  as many bites of the watchdog as were seen;
- no process has more memory or open files in the second half than in the first, but for a margin.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from host_tools.client import Client, ClusterError
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON
from tests.cluster.test_kill import Writer
from tests.clusters import free_cluster
from tests.host.life import QUICK, Life, environment_of

NODES = 3
WRITERS = 2
WATCHDOG_MS = 3000
FAULT_S = (0.2, 2.0)  # between two faults
DOWN_S = (0.1, 1.0)  # without power
SHORT_S = (0.05, 0.5)  # a pause that the watchdog allows
LONG_S = 1.2 * WATCHDOG_MS / 1000
LOOK_S = 0.02
SAMPLE_S = 0.5
READ_S = 0.05  # between two reads
TIMEOUT_S = 20.0
SETTLE_S = 120.0
KINDS = ("ValueError", "OSError", "MemoryError", "CancelledError")
TASK_KINDS = ("ValueError", "MemoryError", "SystemExit", "KeyError")
LEFT_KB = (1, 24)  # what a program leaves of the heap
FLASH = ("writeblocks", "ioctl", "readblocks")
# Safe mode after three crashes within ten seconds, of which then somebody resets the board.
NUMBERS = {**QUICK, "board.safe_mode:WITHIN_MS": 10_000}
SETTINGS = {"state_kb": 4, "report_ms": 1000, "board": {"led": 2, "watchdog_ms": WATCHDOG_MS}}
MARGIN_KB, MARGIN_FILES = 6 * 1024, 4


class Reader(threading.Thread):
    """Reads a counter again and again: it never goes back."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        super().__init__(daemon=True)
        self.reads = 0
        self.failure: BaseException | None = None
        self._path = cluster.path
        self._key = key
        self._end = threading.Event()

    def run(self) -> None:
        newest = 0
        try:
            with Client(self._path, TIMEOUT_S) as client:
                while not self._end.wait(READ_S):
                    try:
                        value = int(client.get(self._key) or 0)
                    except ClusterError:
                        continue
                    assert value >= newest, f"{self._key} was {newest}, and is {value}"
                    newest = value
                    self.reads += 1
        except BaseException as e:
            self.failure = e

    def end(self) -> None:
        self._end.set()

    def stop(self) -> None:
        self.end()
        self.join()
        if self.failure:
            raise self.failure


class Machine:
    """What goes wrong, to which of the boards, and when, by the seed."""

    def __init__(self, lives: Sequence[Life], seed: int, faults: Sequence[str]) -> None:
        self.happened = Counter[str]()
        self._lives = lives
        self._dice = random.Random(seed)
        self._faults = faults
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}  # node -> when what ends

    def step(self, may_fault: bool) -> None:
        """One thing may happen, and what was to end by now does."""
        now = time.monotonic()
        for node, (end, call) in list(self._due.items()):
            if now >= end:
                del self._due[node]
                call()
        for life in self._lives:
            if life.node not in self._due:
                life.look()
        free = [life for life in self._lives if life.node not in self._due and life.is_ready]
        if may_fault and free:
            name = self._dice.choice(self._faults)
            self.happened[name] += 1
            getattr(self, "_" + name)(self._dice.choice(free))

    def next_in(self) -> float:
        return self._dice.uniform(*FAULT_S)

    @property
    def is_over(self) -> bool:
        """Whether all boards are as they are by themselves."""
        return not self._due

    def _function(self, life: Life) -> None:
        number, kind = self._dice.randrange(1 << 16), self._dice.choice(KINDS)
        life.order("fail_any", str(number), kind)

    def _task(self, life: Life) -> None:
        life.order("raise", self._dice.choice(TASK_KINDS))

    def _loop(self, life: Life) -> None:
        life.order("loop")

    def _memory(self, life: Life) -> None:
        life.order("leave", str(self._dice.randint(*LEFT_KB)))

    def _flash(self, life: Life) -> None:
        function = self._dice.choice(FLASH)
        life.order("fail", f"host_tools.desktop.flash:Flash.{function}", "OSError")

    def _kill(self, life: Life) -> None:
        life.cut_power()
        self._until(self._dice.uniform(*DOWN_S), life, life.power_on)

    def _pause(self, life: Life) -> None:
        life.pause()
        self._until(self._dice.uniform(*SHORT_S), life, life.resume)

    def _long_pause(self, life: Life) -> None:
        life.pause()
        self._until(LONG_S, life, life.resume)

    def _until(self, seconds: float, life: Life, call: Callable[[], None]) -> None:
        self._due[life.node] = time.monotonic() + seconds, call


FAULTS = ("function",) * 6 + ("task", "loop", "kill", "pause", "long_pause", "flash")
ALL_FAULTS = (*FAULTS, "memory", "memory")  # where a heap has a bound


class Usage:
    """The most memory (KB) and open files of any process, in each half of the time."""

    def __init__(self, end: float) -> None:
        self._half = (time.monotonic() + end) / 2
        self._next = 0.0
        self.kb = [0, 0]
        self.files = [0, 0]

    def sample(self, lives: Sequence[Life]) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SAMPLE_S
        half = int(now > self._half)
        for life in lives:
            try:
                pages = int(Path(f"/proc/{life.process.pid}/statm").read_text().split()[1])
                files = len(os.listdir(f"/proc/{life.process.pid}/fd"))
            except (OSError, IndexError):
                continue  # it has no power
            self.kb[half] = max(self.kb[half], pages * os.sysconf("SC_PAGE_SIZE") // 1024)
            self.files[half] = max(self.files[half], files)

    def check(self) -> None:
        assert self.kb[1] <= self.kb[0] + MARGIN_KB, f"memory grows: {self.kb} KB"
        assert self.files[1] <= self.files[0] + MARGIN_FILES, f"files stay open: {self.files}"


def soak(
    folder: Path,
    seed: int,
    seconds: float,
    interpreter: str,
    faults: Sequence[str],
    heap: str = "",
) -> list[str]:
    """Lines for people, of what has happened. Raises AssertionError."""
    cluster = free_cluster(folder / "cluster.toml", NODES, state_kb=4)
    lives: list[Life] = []
    try:
        for node in cluster.nodes:
            life = Life(cluster, node, interpreter, SETTINGS, environment_of(NUMBERS), heap)
            lives.append(life)
        machine = Machine(lives, seed, faults)
        _wait_until_up(cluster)
        end = time.monotonic() + seconds
        usage = Usage(end)
        writers = [Writer(cluster, number) for number in range(WRITERS)]
        reader = Reader(cluster, writers[0].key)
        for thread in (*writers, reader):
            thread.start()
        next_fault = time.monotonic() + machine.next_in()
        while time.monotonic() < end or not machine.is_over:
            is_due = next_fault <= time.monotonic() < end
            machine.step(is_due)
            if is_due:
                next_fault = time.monotonic() + machine.next_in()
            usage.sample(lives)
            time.sleep(LOOK_S)
        _check(cluster, lives, writers, reader, machine)
        usage.check()
        return _told(machine, lives, writers, reader, usage)
    finally:
        for life in lives:
            life.__exit__()
            (folder / f"board-{life.node}.log").write_text("\n".join(life.lines))


def _wait_until_up(cluster: Cluster) -> None:
    deadline = time.monotonic() + SETTLE_S
    with Client(cluster.path, 1.0) as client:
        while len(client.statuses()) < NODES:
            assert time.monotonic() < deadline, "not all nodes come up"


def _check(
    cluster: Cluster, lives: list[Life], writers: list[Writer], reader: Reader, machine: Machine
) -> None:
    clients: list[Writer | Reader] = [*writers, reader]
    for thread in clients:
        thread.end()
    while any(thread.is_alive() for thread in clients):
        machine.step(False)
        time.sleep(LOOK_S)
    for thread in clients:
        thread.stop()
    deadline = time.monotonic() + SETTLE_S
    with Client(cluster.path, 1.0) as client:
        wrong, goal = "nobody was asked", 0
        while wrong:
            assert time.monotonic() < deadline, f"it doesn't heal: {wrong}"
            machine.step(False)
            statuses = client.statuses()
            # Their programs go on, and commit more meanwhile.
            goal = goal or max((status["commit"] for status in statuses.values()), default=0)
            wrong = _unsettled(statuses, goal, lives)
        client.timeout = TIMEOUT_S
        for writer in writers:
            assert client.get(writer.key) == writer.value, f"{writer.key} isn't as it was left"


def _unsettled(statuses: Mapping[int, Mapping[str, Any]], goal: int, lives: list[Life]) -> str:
    """What isn't yet as it should be; empty if all is. goal: an index that all are to reach."""
    applied = {node: status["applied"] for node, status in statuses.items()}
    if len(applied) < NODES or min(applied.values()) < goal:
        return f"of {goal} entries nodes have applied {applied}"
    leaders = {status["leader"] for status in statuses.values()}
    if len(leaders) > 1 or 0 in leaders:
        return f"nodes {leaders} lead"
    for life in lives:
        counted = {name: statuses[life.node][name] for name in ("restarts", "failures")}
        told = life.told_since_power()
        for name in counted:
            if abs(counted[name] - told[name]) > told["doubtful"]:
                return f"node {life.node} has counted {counted}, and told {told}"
    return ""


def _told(
    machine: Machine, lives: list[Life], writers: list[Writer], reader: Reader, usage: Usage
) -> list[str]:
    crashes = sum(life.count("reset") for life in lives)
    failures = sum(life.count("failure") for life in lives)
    bites = sum(life.bites for life in lives)
    safe_modes = sum(life.safe_modes for life in lives)
    writes = sum(len(writer.acknowledged) for writer in writers)
    happened = ", ".join(f"{count} {what}" for what, count in sorted(machine.happened.items()))
    return [
        f"faults: {happened.replace('_', ' ')}",
        f"restarts: {crashes} after a crash, {bites} by the watchdog, {safe_modes} out of safe "
        f"mode; {failures} failures of tasks beside nodes",
        f"{writes} writes acknowledged, {reader.reads} reads; memory at most "
        f"{usage.kb[0]} KB in the first half, {usage.kb[1]} KB in the second; open files "
        f"{usage.files[0]}, {usage.files[1]}",
        "all healed, and nothing was lost",
    ]


def faults_for(interpreter: str) -> tuple[str, ...]:
    return FAULTS if interpreter == CPYTHON else ALL_FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(description="real boards' processes under faults")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--interpreter", default=CPYTHON)
    parser.add_argument("--heap", default="", help="of MicroPython: such as 420k")
    parser.add_argument("--faults", nargs="+", choices=sorted(set(ALL_FAULTS)), help="no others")
    options = parser.parse_args()
    print(f"seed {options.seed}: {NODES} nodes, {options.interpreter}, {options.minutes:g} min")
    folder = Path(tempfile.mkdtemp(prefix="raft-soak-"))
    faults = options.faults or faults_for(options.interpreter)
    try:
        told = soak(
            folder, options.seed, options.minutes * 60, options.interpreter, faults, options.heap
        )
    except AssertionError as e:
        print(f"FAILED: {e}\nwhat the boards have said: {folder}/board-*.log")
        return 1
    print("\n".join(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
