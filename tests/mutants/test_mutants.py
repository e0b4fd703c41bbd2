"""The simulator must be able to fail: each of these mistakes has been made by somebody."""

import pytest

from tests.mutants import elections, persistence, reads, replication, sessions, snapshots
from tests.mutants.catalogue import MUTANTS, TEN
from tests.mutants.hunting import simulate
from tests.mutants.mutant import Mutant


@pytest.mark.parametrize(
    "mutant",
    elections.MUTANTS + replication.MUTANTS + persistence.MUTANTS + reads.MUTANTS
    + sessions.MUTANTS + snapshots.MUTANTS,
    ids=lambda mutant: mutant.name,
)  # fmt: skip
def test_the_simulator_finds(mutant: Mutant) -> None:
    assert simulate(mutant, mutant.first)


def test_each_mistake_has_a_name_of_its_own_and_says_what_is_wrong() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.breaks.endswith(".") for mutant in MUTANTS)


def test_ten_of_them_break_a_safety_property_of_the_paper_by_the_core_alone() -> None:
    assert len(TEN) == 10
    assert all(mutant.core for mutant in TEN)
