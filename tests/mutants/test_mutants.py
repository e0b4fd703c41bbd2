"""The simulator must be able to fail: each of these mistakes has been made by somebody."""

import pytest

from tests.cluster import simulator
from tests.cluster.simulator import World
from tests.mutants import elections, persistence, reads, replication, sessions, snapshots
from tests.mutants.catalogue import MUTANTS, TEN
from tests.mutants.hunting import simulate
from tests.mutants.mutant import Mutant

# Others live in worlds as any seed has
SPECIAL = {
    (mutant.kind, mutant.adapt, mutant.first, mutant.steps): mutant
    for mutant in MUTANTS
    if mutant.adapt or mutant.kind is not World
}


@pytest.mark.parametrize(
    "mutant",
    elections.MUTANTS + replication.MUTANTS + persistence.MUTANTS + reads.MUTANTS
    + sessions.MUTANTS + snapshots.MUTANTS,
    ids=lambda mutant: mutant.name,
)  # fmt: skip
def test_the_simulator_finds(mutant: Mutant) -> None:
    assert simulate(mutant, mutant.first)


@pytest.mark.parametrize("mutant", SPECIAL.values(), ids=lambda mutant: mutant.name)
def test_worlds_that_are_made_for_a_mistake_are_well_without_it(mutant: Mutant) -> None:
    simulator.run(mutant.first, mutant.steps, None, None, mutant.kind, mutant.adapt)


def test_each_mistake_has_a_name_of_its_own_and_says_what_is_wrong() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.breaks.endswith(".") for mutant in MUTANTS)


def test_ten_of_them_break_a_safety_property_of_the_paper_by_the_core_alone() -> None:
    assert len(TEN) == 10
    assert all(mutant.core for mutant in TEN)
