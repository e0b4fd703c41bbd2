"""Which conditions are measured, and the measuring, on all cores."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.elections.conditions import Conditions, boards, lab, slow_disks
from tests.elections.cores import Plain
from tests.elections.figures import Figures, figures_of
from tests.elections.paper import RANGES
from tests.elections.trial import Trial, run
from tests.pool import processes

CHUNK = 25  # trials of one task
SEEDS = 1_000_000  # more than there are trials under one seed
ERASES_MS = 1000  # between two erases of a board; that many no board does for long


@dataclass
class Experiment:
    """Trials under the same conditions.

    group, name: what it is among. share: percent of the trials that are asked for. needs_all:
    whether it is timed until all others have heard the new leader, as in the paper; else until a
    majority has.
    """

    group: str
    name: str
    conditions: Conditions
    share: int = 100
    needs_all: bool = False
    trials: list[Trial] = field(default_factory=list)

    def times(self) -> list[float]:
        """In ms."""
        return [t.all_ms if self.needs_all else t.majority_ms for t in self.trials]

    def figures(self) -> Figures:
        return figures_of(self.times())

    def percent(self, holds: Callable[[Trial], bool]) -> float:
        """Of how many trials that holds."""
        return 100 * sum(map(holds, self.trials)) / len(self.trials)

    def false_per_hour(self) -> float:
        """Terms begun while there was a healthy leader."""
        hours = sum(t.healthy_ms for t in self.trials) / 3_600_000
        return sum(t.false for t in self.trials) / hours


def range_name(timeout_ms: tuple[int, int]) -> str:
    return "%d_%d" % timeout_ms


# Without much randomness plain Raft takes minutes of virtual time.
PLAIN_SHARES = {(150, 150): 1, (150, 151): 20}
LOSSES = (0, 5, 10, 20, 30)
DRIFTS = (0, 10, 30)
BOARD_RANGES = ((75, 150), (150, 300), (300, 600))


def experiments() -> list[Experiment]:
    made = []
    for timeout_ms in RANGES:
        name = range_name(timeout_ms)
        made.append(Experiment("paper", name, lab(timeout_ms), needs_all=True))
        plain = lab(timeout_ms, core=Plain)
        share = PLAIN_SHARES.get(timeout_ms, 100)
        made.append(Experiment("plain", name, plain, share, needs_all=True))
    for timeout_ms in ((150, 155), (150, 200), (150, 300)):
        name = range_name(timeout_ms)
        made.append(Experiment("slow_disks", name, slow_disks(timeout_ms), needs_all=True))
    for timeout_ms in ((150, 155), (150, 300)):
        name = range_name(timeout_ms)
        for loss in LOSSES:
            made.append(Experiment("loss", f"{name}.{loss}", lab(timeout_ms, loss=loss)))
    for drift in DRIFTS:
        made.append(Experiment("drift", f"150_300.{drift}", lab((150, 300), drift=drift)))
    for timeout_ms in BOARD_RANGES:
        name = range_name(timeout_ms)
        made.append(Experiment("boards", name, boards(timeout_ms)))
        made.append(Experiment("stalls", name, boards(timeout_ms, ERASES_MS)))
        made.append(Experiment("worn", name, boards(timeout_ms, ERASES_MS, slow=1)))
    return made


def _run_all(conditions: Conditions, seeds: range) -> list[Trial]:
    return [run(conditions, seed) for seed in seeds]


def measure(made: list[Experiment], trials: int, seed: int, jobs: int) -> Iterator[int]:
    """Run that many trials of each; yields how many have been run, again and again.

    What comes out is the same however many jobs there are.
    """
    tasks = []
    for experiment in made:
        wanted = max(1, trials * experiment.share // 100)
        for first in range(0, wanted, CHUNK):
            begin = seed * SEEDS + first
            tasks.append((experiment, range(begin, begin + min(CHUNK, wanted - first))))
    with processes(jobs) as pool:
        running = [
            (experiment, pool.submit(_run_all, experiment.conditions, seeds))
            for experiment, seeds in tasks
        ]
        for experiment, future in running:
            done = future.result()
            experiment.trials += done
            yield len(done)


def wanted(made: list[Experiment], trials: int) -> int:
    """How many trials `measure` will run."""
    return sum(max(1, trials * experiment.share // 100) for experiment in made)
