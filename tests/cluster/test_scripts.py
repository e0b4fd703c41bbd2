"""Scripts say what a seed does; what they were made of, mistakes, isn't in the code that ships.

Those in `scripts/` are of mistakes made on purpose (`tests/mutants/`), or of such as were in the
firmware. MicroPython replays some of them, CPython all.
"""

import os
import sys

from tests.cluster import simulator  # first: of MicroPython's stack there isn't enough for more
from tests.cluster.script import Line, Script, parsed
from tests.cluster.scripted import record, replay

PORTABLE = True
TIMEOUT_S = 240

SCRIPTS = __file__.rsplit("/", 1)[0] + "/scripts"
SEED, STEPS = 2, 400
SOME = 1 if sys.implementation.name == "cpython" else 5


def read(name: str) -> Script:
    with open(SCRIPTS + "/" + name) as f:
        return parsed(f.read())


def names() -> list[str]:
    return sorted(os.listdir(SCRIPTS))


def without_comments(text: str) -> str:
    return "\n".join([line for line in text.split("\n") if not line.startswith("#")])


def test_the_shipped_code_goes_through_each_script_and_heals() -> None:
    for name in names()[::SOME]:
        script = read(name)
        script.head["heals"] = "1"
        replay(script)


def test_a_script_is_written_as_it_was_read() -> None:
    for name in names():
        with open(SCRIPTS + "/" + name) as f:
            text = f.read()
        assert parsed(text).text() == without_comments(text), name


def test_a_script_of_all_that_a_seed_has_decided_does_the_same() -> None:
    # given a seed, and what happened by it
    happened: list[str] = []
    world = simulator.World(SEED, happened.append)
    while world.steps < STEPS:
        world.step()
    world.heal()
    script, failure = record(SEED, STEPS)
    assert failure is None

    # when that is written, read and replayed
    again: list[str] = []
    replay(parsed(script.text()), None, again.append)

    # then the same has happened, to the microsecond
    by_whom = (" fault: ", " script: ")
    assert [line for line in again if not any([by in line for by in by_whom])] == [
        line for line in happened if not any([by in line for by in by_whom])
    ]
    assert len(happened) > STEPS // 2


def test_what_cannot_be_understood_is_refused() -> None:
    for line in ("at 1 ms: n1 sleeps", "at 1 ms n1 crashes", "voters 3"):
        try:
            parsed(line + "\n")
        except ValueError:
            continue
        raise AssertionError(line)


def test_a_line_waits_for_what_it_decides_and_counts_once() -> None:
    # given a pre-vote that is lost, whenever the first is sent
    head = {"voters": "2", "until": "400"}
    told: list[str] = []
    replay(Script(head, [Line(0, "fate", ("n1->n2 pre-vote?", []))]), None, told.append)

    # then the second arrives
    asked = [line for line in told if "n2 <- n1 pre-vote?" in line]
    assert len(asked) == 1
    assert float(asked[0].split()[0]) > 200
