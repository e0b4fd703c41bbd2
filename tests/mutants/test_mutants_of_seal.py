"""What the simulator finds of mistakes in who is let in, made on purpose."""

import pytest

from tests.cluster import simulator
from tests.mutants.hunting import simulate
from tests.mutants.mutant import Mutant
from tests.mutants.seal import MUTANTS, STEPS, replaying

SEEDS = 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulator_finds(mutant: Mutant) -> None:
    assert simulate(mutant, mutant.first, SEEDS)


def test_it_finds_nothing_without_them() -> None:
    for seed in range(1, 4):
        world = simulator.run(seed, STEPS, adapt=replaying)
        assert world.watch.happened["replays"] > 50
