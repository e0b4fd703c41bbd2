"""Virtual boards with all habits, and with each (hour.py, each_habit.py)."""

import json
import subprocess
from pathlib import Path

import pytest

from host_tools import desk
from host_tools.desktop.habits import HABITS
from host_tools.processes import PROJECT
from tests.cluster import hour
from tests.clusters import ALL_INTERPRETERS, INTERPRETERS

EACH_HABIT = "tests/cluster/each_habit.py"
SECONDS = 60
PACE = 10
SEED = 1
ELECTION_MS = 300  # the shortest election timeout of these boards
TIMEOUT_S = 300.0


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_boards_with_all_habits_lose_nothing_and_have_a_leader(interpreter: str) -> None:
    figures = hour.run(interpreter, SECONDS, SEED, PACE)

    no_majority = figures.get("no leader: no majority was there", 0)
    assert figures["leader"] + no_majority > 0.93
    assert figures["acknowledged"] > SECONDS
    assert figures["power failures"] > 0 and figures["links lost"] > 0
    assert figures["sockets reopened"] > 10
    assert figures["longest deaf, ms, flash apart"] < ELECTION_MS / 3


FORGETFUL = """
import sys
from tests.cluster import virtual_world

virtual_world.value = lambda number: b"what nobody wrote"
virtual_world.main(sys.argv[1:])
"""


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_command_fails_if_something_acknowledged_is_not_there(
    interpreter: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # given a world that wants to find something else than what was written
    script = tmp_path / "forgetful.py"
    script.write_text(FORGETFUL)
    monkeypatch.setattr(hour, "SCRIPT", str(script))
    options = ["--minutes", "0.1", "--interpreter", interpreter]
    monkeypatch.setattr("sys.argv", ["hour.py", *options])

    assert hour.main() == 1

    assert "has lost what board" in "".join(capfd.readouterr())


def test_a_seed_decides_everything() -> None:
    found = [name for name in ALL_INTERPRETERS if name != desk.CPYTHON] or [desk.CPYTHON]

    # under interpreters whose words differ, if there are two
    first, second = (hour.run(name, 20, 7, 2 * PACE) for name in (found[0], found[-1]))

    assert first == second


@pytest.mark.parametrize("interpreter", INTERPRETERS[-1:])
def test_boards_live_on_with_each_habit_and_not_without_the_remedy(interpreter: str) -> None:
    command = desk.interpreter_command(interpreter)
    if interpreter != desk.CPYTHON:
        command += hour.HEAP
    done = subprocess.run(
        [*command, EACH_HABIT], cwd=PROJECT, env=hour.ENVIRONMENT, capture_output=True,
        text=True, timeout=TIMEOUT_S,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["with"] == dict.fromkeys(HABITS, True)
    assert told["without"] == dict.fromkeys(("empty", "enomem", "powersave"), False)
