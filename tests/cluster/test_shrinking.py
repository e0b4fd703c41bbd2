"""A seed that fails becomes a short script, and each script that is kept shows its mistake."""

from pathlib import Path

import pytest

from tests.cluster.script import Line, Script, parsed
from tests.cluster.scripted import record, replay
from tests.cluster.shrinking import (
    boards_of,
    shrink,
    sort_of,
    with_first_clients,
    without_node,
)
from tests.mutants.named import mistake

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))
LINES = 30  # at most, of a script that is kept


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.stem)
def test_a_script_that_is_kept_shows_its_mistake(file: Path) -> None:
    script = parsed(file.read_text())

    with pytest.raises(Exception) as caught:
        replay(script, mistake(script.head["mistake"]).parts)

    assert str(caught.value) == script.head["shows"]
    assert len(script.lines) <= LINES


def test_a_seed_that_fails_becomes_a_short_script() -> None:
    # given a seed in which a mistake shows
    mutant = mistake("WhatWasSentIsCommitted")
    script, failure = record(1, mutant.steps, mutant.parts)
    assert len(script.lines) > 100

    # when it is reduced
    shrinking = shrink(1, mutant.steps, mutant.parts)

    # then a few lines are left, which the shipped code goes through
    assert len(shrinking.script.lines) < 10
    with pytest.raises(type(failure)) as caught:
        replay(shrinking.script, mutant.parts)
    assert sort_of(caught.value) == sort_of(failure)
    replay(shrinking.script)


def test_a_seed_that_does_not_fail_is_not_reduced() -> None:
    with pytest.raises(ValueError, match="doesn't fail"):
        shrink(1, 100)


def test_nodes_and_clients_that_do_nothing_can_be_left_out() -> None:
    lines = [
        Line(0, "cut", ({(1, 2), (2, 3), (3, 2)},)),
        Line(1, "crash", (2,)),
        Line(2, "crash", (3,)),
        Line(3, "fate", ("n3->n1 append", [])),
        Line(4, "request", (7, "put", "a", 0, 3)),
        Line(5, "asks", (7, 1)),
    ]
    script = Script({"voters": "4", "boards": "4", "clients": "3"}, lines)

    without = without_node(script, 2)
    few = with_first_clients(without)

    assert boards_of(without) == 3
    assert [line.text() for line in few.lines] == [
        "at 0 ms: cut nothing",
        "at 0.002 ms: n2 crashes",
        "at 0.003 ms: n2->n1 append is lost",
        "at 0.004 ms: c4: put a (+0) at n2",
        "at 0.005 ms: c4 turns to n1",
    ]
    assert few.head["clients"] == "1"
