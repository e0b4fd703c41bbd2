"""Boards as processes: firmware/main.py around tests/programs/busy.py, in folders of their own."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from host_tools import desk
from host_tools.cluster import Cluster
from host_tools.desktop.failures import SET
from host_tools.events import parse
from tests.clusters import KEYS
from tests.host.test_node import PATIENCE_S, PROJECT, Process

FAULT = "[fault] "
RUN = PROJECT / "host_tools" / "desktop" / "run.py"
PROGRAMS = PROJECT / "tests" / "programs"
# Where a failure may keep another from being told, or counted
TELLING = ("raft.events:", "raft.interpreter:", "board.safe_mode:", "board.tasks:")
# Failures of tasks that find no memory to be told: of each, and again after its pause, until the
# node fails as well
UNTOLD = 8
FLASH_KB = 256
LOOK_S = 0.01
TERM_S = 1.0  # between one SIGTERM and the next
WIFI = {"ssid": "home", "password": "secret"}
WDT_RESET = {"RAFT_DESK_RESET": "3"}
# Numbers of the firmware that let a life begin and end sooner than people would like it
QUICK = {
    "board.safe_mode:RESTART_S": 0, "board.safe_mode:WITHIN_MS": 0, "board.tasks:PAUSE_MS": 10,
    "board.wifi:STABLE_MS": 1, "board.wifi:RETRY_MS": 120, "board.wifi:POLL_MS": 20,
}  # fmt: skip


class Life:
    """A board that lives as node `node` of a cluster: from its power on until that is cut.

    A bite of its watchdog ends the process, and another one goes on; in safe mode it is reset by
    hand. Call `look` often. lines: of all processes; bites, safe_modes: how many there were. heap:
    of MicroPython, such as 420k; empty: as it is by default.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        interpreter: str,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        heap: str = "",
    ) -> None:
        self.node = node
        self.folder = cluster.path.parent / f"board-{node}"
        self.lines: list[str] = []
        self.bites = self.safe_modes = 0
        self._bites_since = self._lines_since = 0  # power came
        limit = ["-X", f"heapsize={heap}"] if heap else []
        self._argv = [*desk.interpreter_command(interpreter), *limit]
        self._environment = dict(environment)
        self.folder.mkdir()
        config = {**cluster.config(node, KEYS), "desk": {"apps": str(PROGRAMS)}, "report_ms": 200}
        config |= {"app": {"name": "busy"}, **settings}
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.folder / "raft.flash").write_bytes(b"\xff" * FLASH_KB * 1024)
        self.process = self._start({})

    def _start(self, environment: Mapping[str, str]) -> Process:
        command = [*self._argv, str(RUN), str(self.folder), "0", *self._argv]
        return Process(command, lines=self.lines, environment={**self._environment, **environment})

    def order(self, *words: str) -> None:
        """Let its program do that."""
        new = self.folder.parent / f"order-{self.node}"
        new.write_text(" ".join(words))
        new.rename(self.folder / "order")

    def until(self, condition: Callable[[], object]) -> None:
        """Look until that is so."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.lines[-30:]
            self.look()
            time.sleep(LOOK_S)

    @property
    def is_ready(self) -> bool:
        """Whether its program has done what it was ordered last, or is about to."""
        return not (self.folder / "order").exists()

    def look(self) -> None:
        """Start it anew if its watchdog has bitten, or it is in safe mode."""
        status = self.process.ended()
        if status is None:
            return
        self.process.wait()
        if status == -signal.SIGALRM:
            self.bites += 1
            self._bites_since += 1
            self.process = self._start(WDT_RESET)
        else:
            end = self.lines[-30:]
            is_safe = any(" safe_mode reason=crashes" in line for line in end[-3:])
            assert status == 0 and is_safe, f"node {self.node} has ended ({status}): {end}"
            self.safe_modes += 1
            self.power_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.ended() is None:
            self.cut_power()

    def stop(self) -> int:
        """Its exit status after SIGTERM, of which one may get lost when what handles it fails."""
        end = time.monotonic() + PATIENCE_S
        while self.process.ended() is None and time.monotonic() < end:
            self.process.send(signal.SIGTERM)
            time.sleep(TERM_S)
        return self.process.wait()

    def cut_power(self) -> None:
        self.process.end(signal.SIGKILL)

    def power_on(self) -> None:
        self._bites_since = 0
        self._lines_since = len(self.lines)
        self.process = self._start({})

    def pause(self) -> None:
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send(signal.SIGCONT)

    def count(self, what: str) -> int:
        """How many events of that name it has told."""
        return len(self.process.events(what))

    def told_since_power(self) -> dict[str, int]:
        """`restarts` and `failures` as told and seen, since power came.

        doubtful: so many of either may not have been told, or counted, because that failed, or
        found no memory.
        """
        lines = self.lines[self._lines_since :]
        events = [event.what for event in map(parse, lines) if event]
        faults = [line.split()[1] for line in lines if line.startswith(FAULT)]
        return {
            "restarts": events.count("reset") + self._bites_since,
            "failures": events.count("failure"),
            "doubtful": sum(name.startswith(TELLING) for name in faults)
            + UNTOLD * sum(" order=leave_" in line for line in lines),
        }

    @property
    def faults(self) -> list[str]:
        """The names of functions that have failed on purpose."""
        return [line.split()[1] for line in self.lines if line.startswith(FAULT)]


def environment_of(numbers: Mapping[str, int]) -> dict[str, str]:
    """What gives the firmware other numbers."""
    return {SET: " ".join(f"{name}={number}" for name, number in numbers.items())}
