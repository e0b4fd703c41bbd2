"""A board whose functions fail, each once, at its first call: it lives on, and loses nothing.

    python -m tests.host.failing --interpreter micropython

All of them that are called at all, in as many lives as that takes; `make test` has some of them.
What they raise is what a function of a program may, want of memory, what the outside may be the
reason of, and in coroutines the cancellation of another task (host_tools/desktop/failures.py).
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools.client import Client, ClusterError
from host_tools.desk import CPYTHON
from host_tools.desktop.failures import FAIL
from tests.clusters import free_cluster, tells
from tests.host.life import QUICK, TELLING, WIFI, Life, environment_of

BOARD = {"led": 2, "led_kind": "rgb", "watchdog_ms": 8000}
ALL = "0/1"
QUIET_S = 2.0  # without a failure: those that are left aren't called
ASK_S = 1.0  # for the status, which the node may fail to tell
PATIENCE_S = 60.0  # for an answer while nothing fails, on a busy machine


@dataclass(frozen=True)
class Outcome:
    """failed: names of functions; the rest is what the board has told and counted."""

    failed: list[str]
    restarts: int
    failures: int
    restarts_told: int
    failures_told: int
    lost: str  # what of the writes, empty if nothing is

    @property
    def untold(self) -> int:
        """How many restarts and failures may not have been told, or counted, because of others."""
        return sum(name.startswith(TELLING) for name in self.failed)

    @property
    def line(self) -> str:
        return (
            f"{len(self.failed)} functions have failed: {self.restarts} restarts of the node, "
            f"{self.failures} of tasks beside it"
        )


def live(folder: Path, interpreter: str, share: str) -> Outcome:
    """Let that share of the functions fail, until no more of them do."""
    cluster = free_cluster(folder / "cluster.toml", 1)
    settings: dict[str, Any] = {"state_kb": 4, "board": BOARD, "wifi": WIFI}
    with (
        Life(cluster, 1, interpreter, settings, {FAIL: share} | environment_of(QUICK)) as life,
        Client(cluster.path, PATIENCE_S) as client,
        Client(cluster.path, ASK_S) as asking,
    ):
        added = asked = 0
        failed: list[str] = []
        quiet_since = None
        while quiet_since is None or time.monotonic() - quiet_since < QUIET_S:
            life.look()
            asked += 1
            try:
                added = client.add("n")
            except ClusterError as e:
                assert life.faults != failed, f"{e}; {life.lines[-30:]}"
            asking.statuses()
            if life.faults != failed or quiet_since is None:
                failed = life.faults
                quiet_since = time.monotonic()
        status = client.statuses()[1]
        value = int(client.get("n") or 0)
        assert life.stop() == 0, life.lines[-10:]
    assert not any(tells(line) for line in life.lines), "the cluster's key was told"
    lost = "" if added <= value <= asked else f"{added} of {asked} were added, and {value} is there"
    return Outcome(
        failed, status["restarts"], status["failures"],
        life.count("restarted"), life.count("failure"), lost,
    )  # fmt: skip


def check(outcome: Outcome) -> None:
    """Nothing is lost, and everything counted and told that could be."""
    assert not outcome.lost, outcome.lost
    told = outcome.restarts_told, outcome.failures_told
    for counted, number in zip((outcome.restarts, outcome.failures), told, strict=True):
        assert abs(counted - number) <= outcome.untold, outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interpreter", default=CPYTHON)
    parser.add_argument("--share", default=ALL, help="of the functions: such as 3/16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raft-failing-") as folder:
        outcome = live(Path(folder), arguments.interpreter, arguments.share)
    check(outcome)
    print(f"{arguments.interpreter}: {outcome.line}; nothing was lost")


if __name__ == "__main__":
    main()
