"""Members come and go, take turns and die while all sorts of faults happen, and all heals.

What may happen is in `churn.py`, what is checked at each step in `invariants.py`. MicroPython runs
one seed, CPython all of them.
"""

import sys

from tests.cluster.churn import ChurnWorld
from tests.cluster.simulator import check

PORTABLE = True
TIMEOUT_S = 240

IS_CPYTHON = sys.implementation.name == "cpython"
SEEDS = 12 if IS_CPYTHON else 1  # of each test
STEPS = 5000  # of each seed


def live_through_changes(first_seed: int) -> dict[str, int]:
    """How often happened what is worth counting."""
    happened: dict[str, int] = {}
    for seed in range(first_seed, first_seed + SEEDS):
        for what, count in check(seed, STEPS, ChurnWorld).watch.happened.items():
            happened[what] = happened.get(what, 0) + count
    return happened


def test_no_rule_is_broken_while_members_change_and_all_heals() -> None:
    live_through_changes(1)


def test_no_rule_is_broken_while_members_change_and_changes_do_happen() -> None:
    happened = live_through_changes(101)

    if not IS_CPYTHON:
        return  # one seed brings a part of it
    for what in ("added", "became voter", "removed", "handed over", "reads at followers"):
        assert happened.get(what, 0) > 5, "%s: %s" % (what, happened)
    for what in ("promoted", "erased", "refused", "dead", "back"):
        assert happened.get(what, 0) > 0, "%s: %s" % (what, happened)
