"""Which mistakes are found, what finds them, and how fast.

    python -m tests.mutants             the ten that break a safety property of the paper
    python -m tests.mutants --all       all that are made on purpose

The simulator begins at seed 1, as somebody would who doesn't know what is wrong.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.mutants.catalogue import MUTANTS, TEN
from tests.mutants.hunting import Catch, hunt_all
from tests.mutants.mutant import Mutant

WIDTH = 100  # at least: of a terminal, or a file


def table(mutants: list[Mutant], found: dict[str, Catch | None]) -> Table:
    shown = Table("the mistake", "what the simulator saw of it", box=SIMPLE, show_lines=True)
    for title in ("seeds", "steps", "s"):
        shown.add_column(title, justify="right")
    for mutant in mutants:
        catch = found[mutant.name]
        row = ["[red]nothing[/red]", "", "", ""]
        if catch:
            row = [catch.violation, f"{catch.seeds}", f"{catch.steps:,}", f"{catch.seconds:.1f}"]
        shown.add_row(f"[bold]{mutant.name}[/bold]\n{mutant.breaks}", *row)
    return shown


def figures(found: dict[str, Catch | None]) -> dict[str, float]:
    caught = {name: catch for name, catch in found.items() if catch}
    flat: dict[str, float] = {"mutants.hunted": len(found), "mutants.caught": len(caught)}
    for name, catch in sorted(caught.items()):
        flat[f"mutants.{name}.seeds"] = catch.seeds
        flat[f"mutants.{name}.steps"] = catch.steps
        flat[f"mutants.{name}.seconds"] = round(catch.seconds, 3)
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast mistakes made on purpose are found.")
    parser.add_argument("--all", action="store_true", help="not only the ten")
    parser.add_argument("--seed", type=int, default=1, help="where the simulator begins")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    options = parser.parse_args()
    mutants = MUTANTS if options.all else TEN
    found = hunt_all(mutants, options.seed, options.jobs)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table(mutants, found))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures(found), indent=2) + "\n")
    missed = [name for name, catch in found.items() if not catch]
    print(f"{len(found) - len(missed)} of {len(found)} mistakes are found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
