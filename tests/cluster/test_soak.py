"""Boards live through faults of the machine; for longer: `python -m tests.cluster.soak`."""

from pathlib import Path

import pytest

from host_tools.desk import CPYTHON
from tests.cluster.soak import FAULTS, soak
from tests.clusters import INTERPRETERS

SOAK_S = 7.0
SEED = 11
# Where a heap has a bound it is the memory that fails, and what fails by it.
WHAT_FAILS = {CPYTHON: FAULTS}
MEMORY = ("memory", "memory", "function", "kill")
HEAPS = {"micropython-i386": "420k"}  # hardly more than the firmware takes from its sources


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_boards_live_through_faults_of_the_machine(interpreter: str, tmp_path: Path) -> None:
    faults, heap = WHAT_FAILS.get(interpreter, MEMORY), HEAPS.get(interpreter, "")

    soak(tmp_path, SEED, SOAK_S, interpreter, faults, heap)
