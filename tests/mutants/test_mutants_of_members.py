"""The simulator must be able to fail: mistakes with members, leases and who may lead."""

import pytest

from tests.mutants.hunting import simulate
from tests.mutants.members import MUTANTS
from tests.mutants.mutant import Mutant

SEEDS = 400  # at most


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulator_finds(mutant: Mutant) -> None:
    assert simulate(mutant, mutant.first, SEEDS)
