"""What fails in one interpreter can be looked at in another."""

import subprocess

import pytest

from host_tools.micropython import Interpreter
from tests.cluster import simulator
from tests.cluster.invariants import Violation
from tests.interpreter import portable

STEPS = 2000
SEEDS = range(1, 4)
SCRIPT = f"""
import sys
sys.path[:1] = [".", "firmware"]
from tests.cluster import simulator
from tests.cluster.invariants import Violation
for seed in range({SEEDS.start}, {SEEDS.stop}):
    print(simulator.fingerprint(seed, {STEPS}))
"""


@pytest.mark.parametrize("interpreter", portable.machine_survey()[0], ids=lambda i: i.name)
def test_a_seed_gives_the_same_trace_in_every_interpreter(interpreter: Interpreter) -> None:
    command = [*interpreter.argv, "-X", portable.HEAP, "-c", SCRIPT]

    done = subprocess.run(command, cwd=portable.ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    expected = [simulator.fingerprint(seed, STEPS) for seed in SEEDS]
    assert [int(line) for line in done.stdout.split()] == expected


def test_a_failing_seed_shows_its_last_steps_and_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a cluster that can't heal in time
    monkeypatch.setattr(simulator, "HEAL_MS", -1)

    with pytest.raises(Violation):
        simulator.check(3, STEPS)

    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].startswith("replay: python -m tests.cluster.simulator --seed 3 --steps 2000")
    assert "all faults end" in "\n".join(shown)
    assert len(shown) == simulator.TRACE_LINES + 1
