"""Search all states of small clusters, with the shipped core.

    python -m tests.model                     the instances that `make proof` searches
    python -m tests.model --terms 3 --elections 3 --commands 1 --letters 1

Each state is held against the five properties of the paper's figure 3.
"""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.model.bounds import Bounds
from tests.model.instances import INSTANCES, search
from tests.model.search import Result
from tests.options import at_least_1, write_figures
from tests.pool import processes

WIDTH = 100  # at least: of a terminal, or a file


def table(found: dict[str, Result]) -> Table:
    shown = Table("instance", "at most", box=SIMPLE, show_lines=True)
    for title in ("states", "steps", "depth", "s", ""):
        shown.add_column(title, justify="right")
    for name, result in found.items():
        verdict = "[green]all searched[/green]" if result.complete else "[yellow]cut short[/yellow]"
        if result.broken:
            verdict = f"[red]{result.broken}[/red]"
        shown.add_row(
            name, str(result.bounds), f"{result.states:,}", f"{result.steps:,}",
            f"{result.depth}", f"{result.seconds:.0f}", verdict,
        )  # fmt: skip
    return shown


def figures(found: dict[str, Result]) -> dict[str, float]:
    flat: dict[str, float] = {"model.states": sum(result.states for result in found.values())}
    for name, result in found.items():
        key = f"model.{name.replace(' ', '_')}"
        flat[f"{key}.states"] = result.states
        flat[f"{key}.steps"] = result.steps
        flat[f"{key}.depth"] = result.depth
        flat[f"{key}.seconds"] = round(result.seconds, 1)
    return flat


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search all states of small clusters.")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each instance")
    parser.add_argument("--jobs", type=at_least_1, default=os.cpu_count(), help="processes")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    for field in fields(Bounds):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, help="of one instance")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    own = {field.name: getattr(chosen, field.name) for field in fields(Bounds)}
    own = {name: most for name, most in own.items() if most is not None}
    instances = {"your own": Bounds(**own)} if own else INSTANCES
    with processes(chosen.jobs) as pool:
        searches = [
            pool.submit(search, name, bounds, chosen.seconds) for name, bounds in instances.items()
        ]
        found = dict(each.result() for each in searches)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table(found))
    for result in found.values():
        if result.broken:
            print(f"{result.broken} is broken by:", *result.script, sep="\n  ")
    write_figures(figures(found), chosen.json)
    return 0 if all(result.complete for result in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
