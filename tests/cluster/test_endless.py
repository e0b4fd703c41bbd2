"""What runs simulated clusters without end: which seeds, what it counts, and that it stops."""

import json
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from host_tools.firmware import FIRMWARE
from raft.core import Core
from tests.cluster import endless, simulator
from tests.cluster.coverage import Source, judge
from tests.cluster.endless import BATCH, STEPS, Tally, batches, live
from tests.cluster.invariants import Violation
from tests.cluster.script import parsed
from tests.cluster.scripted import replay
from tests.cluster.simulator import World
from tests.mutants.named import mistake
from tests.options import need

FAILS = 2  # a seed
TIMEOUT_S = 120  # at most, of a command


class WorldThatFails(World):
    """One seed does, at once."""

    def step(self) -> None:
        if self.seed == FAILS:
            raise Violation("as it should")
        super().step()


class CoreAlwaysFresh(Core):
    """It says that its copy is as it is now."""

    def age_ms(self) -> int:
        return 0


def test_a_number_of_seeds_begins_and_ends_where_it_should() -> None:
    assert [seed for batch in batches(7, BATCH + 3) for seed in batch] == [*range(7, 10 + BATCH)]
    assert [batch[0] for batch in islice(batches(7, None), 3)] == [7, 7 + BATCH, 7 + 2 * BATCH]


def test_seeds_with_plans_of_their_own_are_lived_through_and_counted() -> None:
    tally = live([6, 7])

    assert tally.failed is None and tally.seeds == 2
    assert tally.steps >= 2 * STEPS
    assert tally.happened["snapshots"] > 20 and tally.happened["removed"] > 0
    assert tally.figures()["simulator.virtual_per_real"] > 1


def test_the_first_violation_is_the_last_that_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endless, "KINDS", ((WorldThatFails, None),))
    total = Tally()

    total.add(live([FAILS - 1, FAILS, FAILS + 1]))

    assert total.failed == FAILS and total.seeds == 2
    assert total.failure == "Violation: as it should"
    assert total.figures()["simulator.violations"] == 1


def test_seeds_of_more_than_16_bits_are_others() -> None:
    def first_timeout(seed: int) -> Any:
        return World(seed).boards[0].rate

    assert len({first_timeout(1 + (i << 16)) for i in range(20)}) > 10


def test_a_node_that_makes_its_copy_younger_than_it_is_is_found() -> None:
    with pytest.raises(Violation, match="copy is"):
        for seed in range(1, 6):
            simulator.run(seed, 3000, parts={"Core": CoreAlwaysFresh})


def test_a_branch_is_taken_or_explained_and_not_both(tmp_path: Any) -> None:
    # given a function with two branches, and one that is never called
    file = tmp_path / "module.py"
    body = "(a):\n    if a:\n        a = 1\n"
    file.write_text("def f" + body + "    return a\n\n\ndef g" + body)
    source = Source(file)
    taken, missing = [(2, 3)], [(2, 4), (8, 9), (8, -7)]

    # when nothing is explained, then all three are missed
    assert judge(source, {}, {}, taken, missing) == (
        ["f: if a: => return a", "g: if a: => a = 1", "g: if a: => the end"],
        [],
    )
    # when all are, nothing is wrong
    reasons = {"f: if a: => return a": "why", "g": "why"}
    assert judge(source, reasons, {}, taken, missing) == ([], [])
    # when one is taken all the same, its explanation isn't true
    (seldom,) = [reason for reason in reasons if reason != "g"]
    assert judge(source, reasons, {}, [*taken, (2, 4)], missing[1:]) == ([], [seldom])
    assert judge(source, reasons, {}, [*taken, (8, 9)], [(2, 4), (8, -7)]) == ([], ["g"])
    # but of one that is seldom taken it is, either way; unless there is no such branch
    assert judge(source, {"g": "why"}, {seldom: "why"}, taken, missing) == ([], [])
    assert judge(source, {"g": "why"}, {seldom: "why"}, [*taken, (2, 4)], missing[1:]) == ([], [])
    assert judge(source, reasons, {"h: gone": "why"}, taken, missing) == ([], ["h: gone"])


def test_a_seed_that_fails_ends_it_and_leaves_a_script(tmp_path: Path) -> None:
    # given nodes that make a mistake
    name = "WhatWasSentIsCommitted"

    # when seeds of them are run
    done = endless_in(tmp_path, "--steps", "5000", "--seed", "1", "--mistake", name)
    out, _ = done.communicate(timeout=TIMEOUT_S)

    # then it says which seed fails, and how to see that again
    assert done.returncode == 1
    assert " steps of 1 seeds, " in out and "\n0 steps" not in out
    assert "seed 1000000 failed: Violation: entry 3 is committed, and durable on 1 nodes" in out
    assert f"\npython -m tests.cluster.endless --only 1000000 --mistake {name}\n" in out

    # and there is a short script, which fails by the mistake, and not without
    (file,) = (tmp_path / endless.FAILURES).iterdir()
    assert f"\npython -m tests.cluster.scripted {file.relative_to(tmp_path)} --trace\n" in out
    script = parsed(file.read_text())
    assert script.head["mistake"] == name and len(script.lines) < 10
    with pytest.raises(Violation, match="is committed, and durable on 1 nodes"):
        replay(script, mistake(name).parts)
    replay(script)


def test_ctrl_c_ends_it_when_what_is_under_way_is_done(tmp_path: Path) -> None:
    running = endless_in(tmp_path, "--minutes", "10", "--json", "figures.json")
    assert running.stdout and "in 1 processes" in running.stdout.readline()

    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=TIMEOUT_S)

    assert running.returncode == 0, out
    assert out.endswith("no violation\n") and "Traceback" not in out
    assert json.loads((tmp_path / "figures.json").read_text())["simulator.violations"] == 0


def endless_in(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The command, with one process, where it leaves its files in that folder."""
    path = os.pathsep.join([str(FIRMWARE.parent), str(FIRMWARE)])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.endless", "--jobs", "1", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_what_isnt_installed_is_told_before_it_is_needed() -> None:
    need("json")
    with pytest.raises(SystemExit, match="this needs json5000"):
        need("json5000")


@pytest.mark.parametrize(
    "command, wrong",
    [
        ("endless", "--steps 0"),
        ("endless", "--minutes 1 --jobs 0"),
        ("endless", "--steps 1 --mistake None"),
        ("simulator", "--seeds 9-1"),
        ("scripted", "nothing.txt"),
        ("histories", "--check nothing.jsonl"),
        ("histories", "--check README.md"),
        ("shrinking", "--steps 10"),  # which don't fail
        ("histories", "--mutant None"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(command: str, wrong: str) -> None:
    run = [sys.executable, "-m", f"tests.cluster.{command}", *wrong.split()]
    done = subprocess.run(run, cwd=FIRMWARE.parent, capture_output=True, text=True)

    assert done.returncode == 2
    assert "error: " in done.stderr.splitlines()[-1]
