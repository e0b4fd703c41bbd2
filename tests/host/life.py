"""Boards as processes: firmware/main.py around tests/programs/busy.py, in folders of their own."""

import json
import signal
from collections.abc import Mapping
from typing import Any, Self

from host_tools import desk
from host_tools.cluster import Cluster
from tests.host.test_node import PROJECT, Process

FAIL, SET = "RAFT_DESK_FAIL", "RAFT_DESK_SET"  # host_tools/desktop/failures.py
FAULT = "[fault] "
RUN = PROJECT / "host_tools" / "desktop" / "run.py"
PROGRAMS = PROJECT / "tests" / "programs"
FLASH_KB = 256
WIFI = {"ssid": "home", "password": "secret"}
WDT_RESET = {"RAFT_DESK_RESET": "3"}
# Numbers of the firmware that let a life begin and end sooner than people would like it
QUICK = {
    "board.safe_mode:RESTART_S": 0, "board.safe_mode:WITHIN_MS": 0, "board.tasks:PAUSE_MS": 10,
    "board.wifi:STABLE_MS": 1, "board.wifi:RETRY_MS": 120, "board.wifi:POLL_MS": 20,
}  # fmt: skip


class Life:
    """A board that lives as node `node` of a cluster: from its power on until that is cut.

    A bite of its watchdog ends the process, and another one goes on: call `look` often. lines: of
    all of them; bites: how many there were. options: of MicroPython.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        interpreter: str,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        options: tuple[str, ...] = (),
    ) -> None:
        self.node = node
        self.folder = cluster.path.parent / f"board-{node}"
        self.lines: list[str] = []
        self.bites = 0
        self._argv = [*desk.interpreter_command(interpreter), *options]
        self._environment = dict(environment)
        self.folder.mkdir()
        config = {**cluster.config(node), "desk": {"apps": str(PROGRAMS)}, "report_ms": 200}
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

    def look(self) -> None:
        """Start it anew if its watchdog has bitten."""
        status = self.process.ended()
        if status == -signal.SIGALRM:
            self.bites += 1
            self.process.wait()
            self.process = self._start(WDT_RESET)
        else:
            assert status is None, f"node {self.node} has ended ({status}): {self.lines[-30:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.ended() is None:
            self.cut_power()

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        return self.process.end()

    def cut_power(self) -> None:
        self.process.end(signal.SIGKILL)

    def power_on(self) -> None:
        self.process = self._start({})

    def count(self, what: str) -> int:
        """How many events of that name it has told."""
        return len(self.process.events(what))

    @property
    def faults(self) -> list[str]:
        """The names of functions that have failed on purpose."""
        return [line.split()[1] for line in self.lines if line.startswith(FAULT)]


def environment_of(numbers: Mapping[str, int]) -> dict[str, str]:
    """What gives the firmware other numbers."""
    return {SET: " ".join(f"{name}={number}" for name, number in numbers.items())}
