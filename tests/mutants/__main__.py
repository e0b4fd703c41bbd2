"""Which mistakes are found, what finds them, and how fast.

    python -m tests.mutants             the ten that break a safety property of the paper
    python -m tests.mutants --all       all that are made on purpose

The simulator begins at seed 1, as somebody would who doesn't know what is wrong; the search goes
through small instances (tests/model), and looks at the paper's properties alone.
"""

import argparse
import os
import sys
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.mutants.catalogue import MODELLED, MUTANTS, TEN
from tests.mutants.hunting import Found, hunt_all
from tests.mutants.mutant import Mutant
from tests.options import at_least_1, write_figures

WIDTH = 100  # at least: of a terminal, or a file


def table(mutants: list[Mutant], found: dict[str, Found]) -> Table:
    shown = Table("the mistake", "in the simulator", "among all states", box=SIMPLE)
    for mutant in mutants:
        name = f"[bold]{mutant.name}[/bold]\n{mutant.breaks}\n"
        shown.add_row(name, simulated(found[mutant.name]), searched(mutant, found[mutant.name]))
    return shown


def simulated(found: Found) -> str:
    catch = found.simulated
    if not catch:
        return "[red]not found[/red]"
    return f"{catch.violation}\n{catch.seeds} seeds, {catch.steps:,} steps, {catch.seconds:.1f} s"


def searched(mutant: Mutant, found: Found) -> str:
    catch = found.searched
    if not catch:
        return "not found" if mutant in MODELLED else ""
    return f"{catch.prop}\n{catch.states:,} states, {catch.depth} steps deep, {catch.seconds:.1f} s"


def figures(found: dict[str, Found]) -> dict[str, float]:
    flat: dict[str, float] = {
        "mutants.hunted": len(found),
        "mutants.found": sum(map(bool, found.values())),
        "mutants.found_by_simulator": sum(bool(each.simulated) for each in found.values()),
        "mutants.found_by_search": sum(bool(each.searched) for each in found.values()),
    }
    for name, each in sorted(found.items()):
        if each.simulated:
            flat[f"mutants.{name}.simulator.seeds"] = each.simulated.seeds
            flat[f"mutants.{name}.simulator.steps"] = each.simulated.steps
            flat[f"mutants.{name}.simulator.seconds"] = round(each.simulated.seconds, 3)
        if each.searched:
            flat[f"mutants.{name}.search.states"] = each.searched.states
            flat[f"mutants.{name}.search.depth"] = each.searched.depth
            flat[f"mutants.{name}.search.seconds"] = round(each.searched.seconds, 3)
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast mistakes made on purpose are found.")
    parser.add_argument("--all", action="store_true", help="not only the ten")
    parser.add_argument("--seed", type=int, default=1, help="where the simulator begins")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each search, at most")
    parser.add_argument(
        "--jobs", type=at_least_1, default=os.cpu_count(), help="processes at a time"
    )
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    options = parser.parse_args()
    mutants = MUTANTS if options.all else TEN
    found = hunt_all(mutants, options.seed, options.seconds, options.jobs)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table(mutants, found))
    write_figures(figures(found), options.json)
    seen = sum(map(bool, found.values()))
    print(f"{seen} of {len(found)} mistakes are found")
    return int(seen < len(found))


if __name__ == "__main__":
    sys.exit(main())
