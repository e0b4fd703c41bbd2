"""Holds the shipped core to Ongaro's TLA+ specification, step by step.

python -m tests.specification                           all of what follows
python -m tests.specification --seeds 1-40 --steps 5000
python -m tests.specification --seeds 1-40 --churn      members change meanwhile
python -m tests.specification --real 30                 real processes, for so many seconds
python -m tests.specification --real 30 --interpreter micropython
python -m tests.specification --tla build/proof/tla     a trace as a module for TLC
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from host_tools import micropython
from host_tools.desk import CPYTHON, MICROPYTHON
from tests.options import at_least_1, interpreter, range_of_seeds, write_figures
from tests.specification import tla
from tests.specification.actions import ACTIONS
from tests.specification.extensions import EXTENSIONS
from tests.specification.running import Tally, run_real, simulate_all

SEEDS = range(1, 41)
STEPS = 5000
REAL_S = 20.0  # of each interpreter, where nothing else is said
ACTIONS_OF_A_MODULE = 400


def table_of(tallies: list[Tally]) -> Table:
    table = Table("action")
    for tally in tallies:
        table.add_column(tally.name, justify="right")

    def add(name: str, counts: Iterable[int]) -> None:
        table.add_row(name, *(f"{count:,}" if count else "" for count in counts))

    for name in ACTIONS:
        add(name, [tally.taken[name] for tally in tallies])
    for extension, names in EXTENSIONS.items():
        table.add_section()
        table.add_row(f"[dim]{extension}")
        for name in names:
            add(f"  {name}", [tally.taken[name] for tally in tallies])
    said = sorted({name for tally in tallies for name in tally.said})
    for name in said:
        add(f"    {name}", [tally.said[name] for tally in tallies])
    return table


def figures_of(tallies: list[Tally], seconds: float) -> dict[str, float]:
    figures: dict[str, float] = {"specification.seconds": round(seconds, 1)}
    for tally in tallies:
        name = f"specification.{tally.name.replace(' ', '_')}"
        figures[f"{name}.events"] = tally.events
        figures[f"{name}.actions"] = tally.actions
        figures[f"{name}.broken"] = len(tally.broken)
        figures[f"{name}.steps"] = tally.steps
        figures[f"{name}.kills"] = tally.kills
        for action, count in sorted(tally.taken.items()):
            figures[f"{name}.taken.{action}"] = count
    return figures


def export(folder: Path, seed: int, actions: int) -> None:
    taken = tla.export(folder, seed, actions)
    ours = sum(count for name, count in taken.items() if name not in ACTIONS)
    print(
        f"{folder}/Trace.tla: {sum(taken.values())} actions of seed {seed}, {ours} of them "
        "extensions.\nPut raft.tla (github.com/ongardie/raft.tla) and tla2tools.jar "
        "(github.com/tlaplus/tlaplus) beside it; then\n"
        f"cd {folder} && java -XX:+UseParallelGC -cp tla2tools.jar tlc2.TLC -workers 1 "
        "-config Trace.cfg Trace.tla"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=range_of_seeds, help="of simulated clusters, such as 1-40")
    parser.add_argument("--steps", type=at_least_1, default=STEPS, help="of each, before it heals")
    parser.add_argument("--churn", action="store_true", help="their members change")
    parser.add_argument("--real", type=float, metavar="SECONDS", help="real processes")
    parser.add_argument(
        "--interpreter", type=interpreter, default=CPYTHON, help="of real processes"
    )
    parser.add_argument("--tla", type=Path, metavar="FOLDER", help="write a trace down for TLC")
    parser.add_argument(
        "--actions", type=at_least_1, default=ACTIONS_OF_A_MODULE, help="in that trace"
    )
    parser.add_argument("--seed", type=int, default=1, help="of real processes, or of that trace")
    parser.add_argument("--jobs", type=at_least_1, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if options.tla:
        export(options.tla, options.seed, options.actions)
        return 0
    began = time.monotonic()
    tallies = list(tallies_of(options))
    seconds = time.monotonic() - began
    write_figures(figures_of(tallies, seconds), options.json)
    return tell(tallies, seconds)


def tallies_of(options: argparse.Namespace) -> Iterable[Tally]:
    is_all = not (options.seeds or options.churn or options.real)
    seeds, steps, jobs = options.seeds or SEEDS, options.steps, options.jobs
    if is_all or options.seeds and not options.churn:
        yield simulate_all(seeds, steps, False, jobs)
    if is_all or options.churn:
        yield simulate_all(seeds, steps, True, jobs)
    if options.real:
        yield run_real(options.real, options.seed, options.interpreter)
    elif is_all:
        yield run_real(REAL_S, options.seed, CPYTHON)
        if micropython.interpreters():
            yield run_real(REAL_S, options.seed, MICROPYTHON)


def tell(tallies: list[Tally], seconds: float) -> int:
    """For people; what this program ends with."""
    Console().print(table_of(tallies))
    for tally in tallies:
        for text in tally.broken:
            print(text, file=sys.stderr)
        where = f"{tally.steps:,} steps" if tally.steps else f"{tally.kills} leaders killed"
        verdict = f"{len(tally.broken)} broken" if tally.broken else "each is enabled"
        print(
            f"{tally.name}: {where}, {tally.events:,} events, {tally.actions:,} actions: {verdict}"
        )
    print(f"in {seconds:.0f} s")
    return 1 if any(tally.broken for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
