"""What finds a mistake, and how fast: the simulator, or a search through all states."""

import time
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Any

from rich.progress import track

from raft.store import StoreError
from tests.cluster import simulator
from tests.cluster.invariants import Violation
from tests.cluster.simulator import World
from tests.model import search
from tests.mutants.catalogue import MODELLED
from tests.mutants.mutant import Mutant
from tests.mutants.named import mistake
from tests.pool import processes

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


@dataclass(frozen=True)
class Found:
    """What both have found of a mutant; None: nothing, or it can't be seen there."""

    simulated: Catch | None
    searched: search.Catch | None

    def __bool__(self) -> bool:
        return bool(self.simulated or self.searched)


def hunt_all(mutants: list[Mutant], first: int, seconds: float, jobs: int) -> dict[str, Found]:
    """What is found of each, by its name; in so many processes. seconds: of each search."""
    rarest_first = sorted(mutants, key=lambda mutant: -mutant.first)
    modelled = [mutant for mutant in mutants if mutant in MODELLED]
    with processes(jobs) as pool:
        searches = {m.name: pool.submit(_search, m.name, seconds) for m in modelled}
        hunts = {m.name: pool.submit(_simulate, m.name, first) for m in rarest_first}
        all_of_them: list[Future[Any]] = [*searches.values(), *hunts.values()]
        for _ in track(as_completed(all_of_them), "Hunting", len(all_of_them), transient=True):
            pass
    return {
        name: Found(hunt.result(), searches[name].result() if name in searches else None)
        for name, hunt in hunts.items()
    }


# A core that is made for a mutant can't be sent to another process: its name can.


def _simulate(name: str, first: int) -> Catch | None:
    return simulate(mistake(name), first)


def _search(name: str, seconds: float) -> search.Catch | None:
    core = mistake(name).core
    assert core
    return search.hunt(core, seconds)
