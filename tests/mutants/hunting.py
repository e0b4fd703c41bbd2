"""How the simulator finds a mistake, and how fast."""

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from rich.progress import track

from raft.store import StoreError
from tests.cluster import simulator
from tests.cluster.invariants import Violation
from tests.cluster.simulator import World
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

SEEDS = 600  # at most, of one mutant; most mistakes show in one of the first five
FOUND = (Violation, AssertionError, StoreError)  # what a world says of a mistake


@dataclass(frozen=True)
class Catch:
    """A mistake that was found. violation: what must never be, and was. seeds: as many worlds it
    took, the last one included; steps: in all of these."""

    violation: str
    seeds: int
    steps: int
    seconds: float


class _Lives:
    """Worlds of one kind, and how many steps were made in them."""

    def __init__(self, kind: type[World]) -> None:
        self._kind = kind
        self._before = 0
        self._world: World | None = None

    def __call__(self, *how: object) -> World:
        self._before = self.steps
        self._world = None
        self._world = self._kind(*how)  # type: ignore[arg-type]
        return self._world

    @property
    def steps(self) -> int:
        return self._before + (self._world.steps if self._world else 0)


def simulate(mutant: Mutant, first: int, seeds: int = SEEDS) -> Catch | None:
    """What is found of it in so many worlds, from the seed `first` on."""
    lives = _Lives(mutant.kind)
    began = time.monotonic()
    for count in range(seeds):
        try:
            simulator.run(first + count, mutant.steps, None, mutant.parts, lives, mutant.adapt)
        except FOUND as e:
            seconds = time.monotonic() - began
            return Catch(str(e), count + 1, lives.steps, seconds)
    return None


def hunt_all(mutants: list[Mutant], first: int, jobs: int) -> dict[str, Catch | None]:
    """What is found of each, by its name; in so many processes."""
    rarest_first = sorted(mutants, key=lambda mutant: -mutant.first)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as processes:
        hunts = [processes.submit(_hunt, mutant.name, first) for mutant in rarest_first]
        done = track(as_completed(hunts), "Hunting", len(hunts), transient=True)
        return dict(each.result() for each in done)


def _hunt(name: str, first: int) -> tuple[str, Catch | None]:
    # A core that is made for a mutant can't be sent to another process: its name can.
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]
    return name, simulate(mutant, first)
