"""What runs simulated clusters without end: which seeds, what it counts, and that it stops."""

from itertools import islice
from typing import Any

import pytest

from raft.core import Core
from tests.cluster import endless, simulator
from tests.cluster.endless import BATCH, STEPS, Tally, batches, live
from tests.cluster.invariants import Violation
from tests.cluster.simulator import World

FAILS = 2  # a seed


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

    assert total.failed == FAILS and total.seeds == 1
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
    pytest.importorskip("coverage")
    from tests.cluster.coverage import Source, judge

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
