"""Runs whose traces are held to the specification, and what is counted of them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track

from host_tools.processes import PROJECT
from tests.cluster.churn import ChurnWorld
from tests.cluster.simulator import World
from tests.pool import processes
from tests.specification import real, simulated
from tests.specification.refine import Broken, Refinement
from tests.specification.trace import Event

KEPT = PROJECT / "build" / "proof"
NAMES = {False: "simulated", True: "churn"}


@dataclass
class Tally:
    """What was held to the specification. broken: texts for people."""

    name: str
    events: int = 0
    steps: int = 0  # of the simulator
    kills: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.events += other.events
        self.steps += other.steps
        self.taken.update(other.taken)
        self.said.update(other.said)
        self.broken += other.broken

    def take(self, refinement: Refinement) -> None:
        self.events += refinement.events
        self.taken.update(refinement.spec.taken)
        self.said.update(refinement.spec.said)

    @property
    def actions(self) -> int:
        return sum(self.taken.values())


def simulate(seed: int, steps: int, churn: bool) -> Tally:
    """One cluster's life."""
    world, error = simulated.recorded(seed, steps, ChurnWorld if churn else World)
    tally = Tally(NAMES[churn], steps=world.steps)
    option = " --churn" * churn
    again = f"python -m tests.specification --seeds {seed}-{seed} --steps {steps}{option}"
    try:
        tally.take(simulated.refined(world))
    except Broken as e:
        tally.broken.append(f"{e}\nagain: {again}")
    if error:
        tally.broken.append(f"seed {seed}: {error!r}\nagain: {again}")
    return tally


def simulate_all(seeds: range, steps: int, churn: bool, jobs: int) -> Tally:
    tally = Tally(NAMES[churn])
    with processes(jobs) as pool:
        runs = [pool.submit(simulate, seed, steps, churn) for seed in seeds]
        for run in track(runs, f"{tally.name}, {len(seeds)} seeds", console=Console(stderr=True)):
            tally.add(run.result())
    return tally


def run_real(seconds: float, seed: int, interpreter: str) -> Tally:
    events, kills = real.recorded(seconds, seed, interpreter)
    tally = Tally(interpreter, kills=kills)
    try:
        tally.take(real.refined(events))
    except Broken as e:
        tally.broken.append(f"{e}\nall that happened: {keep(events, seed)}")
    return tally


def keep(events: list[Event], seed: int) -> Path:
    """Where these are to be read: processes never do the same again."""
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"specification-{seed}.txt"
    path.write_text("".join(f"{event}\n" for event in events))
    return path
