"""Which branches of the algorithm the simulator takes, and why it doesn't take the others.

    python -m tests.cluster.coverage [--seeds 200] [--seed 1] [--jobs 2]

`uncovered.toml` has a line for each branch that it can't take, or for a whole function, and for
each that it takes in so few seeds that these may not be among them. The exit status is 1 if a
branch is neither taken nor explained there, or if one that is said to be never taken is; or is
gone.
"""

import argparse
import ast
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.cluster.endless import APART, SEEDS, Tally, batches, live
from tests.options import at_least_1, need, write_figures
from tests.pool import processes

RAFT = Path(__file__).parents[2] / "firmware/raft"
MODULES = ("core", "leading", "progress", "members", "log")
ENOUGH = "about 200 (so many unless told) are needed: some branches are seldom taken"
REASONS = Path(__file__).with_name("uncovered.toml")


class Source:
    """One module, to say where a branch is so that it survives edits of other lines."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        self._lines = text.splitlines()
        self._functions = [
            (node.lineno, node.end_lineno or 0, node.name)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef)
        ]

    def function(self, line: int) -> str:
        """The name of the function that a line is in."""
        return [name for first, last, name in self._functions if first <= line <= last][-1]

    def branch(self, line: int, to: int) -> str:
        """A branch from one line to another, or, where that is negative, out of the function."""
        target = self._text(to) if to > 0 else "the end"
        return f"{self.function(line)}: {self._text(line)} => {target}"

    def _text(self, line: int) -> str:
        return self._lines[line - 1].strip()


def new_counter(file: Path) -> Any:
    """coverage.py's, of branches; it keeps what it counts in that file."""
    import coverage  # here: `judge` goes without it

    modules = [str(RAFT / f"{module}.py") for module in MODULES]
    return coverage.Coverage(data_file=str(file), branch=True, config_file=False, include=modules)


def count(seeds: list[int], folder: Path) -> Tally:
    """Run them, and write down in a file of that folder which branches are taken."""
    counter = new_counter(folder / f"{seeds[0]}.coverage")
    with counter.collect():
        tally = live(seeds)
    counter.save()
    return tally


def taken_and_not(
    folder: Path,
) -> Iterator[tuple[str, list[tuple[int, int]], list[tuple[int, int]]]]:
    """(module, branches that were taken, branches that weren't) of each."""
    counter = new_counter(folder / "all.coverage")
    counter.combine([str(path) for path in folder.glob("*.coverage")])
    report = folder / "report.json"
    counter.json_report(outfile=str(report))
    files = json.loads(report.read_text())["files"]
    for name, found in sorted(files.items()):
        yield (
            Path(name).stem,
            [(line, to) for line, to in found["executed_branches"]],
            [(line, to) for line, to in found["missing_branches"]],
        )


def judge(
    source: Source,
    never: dict[str, str],
    seldom: dict[str, str],
    taken: list[tuple[int, int]],
    missing: list[tuple[int, int]],
) -> tuple[list[str], list[str]]:
    """What is neither taken nor explained, and what is explained and no longer true."""
    named = [source.branch(*branch) for branch in missing]
    there = named + [source.branch(*branch) for branch in taken]
    unexplained = [
        name
        for name in named
        if name not in never and name not in seldom and name.split(":")[0] not in never
    ]
    alive = {source.function(line) for line, _ in taken}
    dead = {source.function(line) for line, _ in missing} - alive
    stale = [reason for reason in never if reason not in named and reason not in dead]
    stale += [reason for reason in seldom if reason not in there]
    return unexplained, stale


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Count branches; see the module's text.")
    parser.add_argument("--seeds", type=at_least_1, default=200, help=ENOUGH)
    parser.add_argument("--seed", type=int, default=1, help="begin with those of this number")
    parser.add_argument("--jobs", type=at_least_1, default=os.cpu_count(), help="processes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    need("coverage")
    reasons = tomllib.loads(REASONS.read_text())
    total = Tally()
    figures: dict[str, float] = {}
    unexplained: list[str] = []
    stale: list[str] = []
    table = Table("module", "branches", "taken", "explained", "neither")
    with TemporaryDirectory() as name:
        folder = Path(name)
        parts = list(batches(options.seed * APART % SEEDS, options.seeds))
        with processes(options.jobs) as pool:
            for tally in pool.map(count, parts, [folder] * len(parts)):
                total.add(tally)
        for module, taken, missing in taken_and_not(folder):
            source = Source(RAFT / f"{module}.py")
            never, seldom = (reasons[often].get(module, {}) for often in ("never", "seldom"))
            neither, untrue = judge(source, never, seldom, taken, missing)
            unexplained += [f"{module}.py, {branch}" for branch in neither]
            stale += [f"{module}.py, {reason}" for reason in untrue]
            branches = len(taken) + len(missing)
            explained = len(missing) - len(neither)
            table.add_row(
                f"{module}.py", *map(str, (branches, len(taken), explained, len(neither)))
            )
            figures[f"coverage.{module}.branches"] = branches
            figures[f"coverage.{module}.taken"] = len(taken)
            figures[f"coverage.{module}.explained"] = explained
    print(f"{total.steps:,} steps of {total.seeds} seeds")
    Console().print(table)
    for branch in unexplained:
        print(f"not taken, and nobody says why: {branch}")
    for reason in stale:
        print(f"explained, but taken or gone: {reason}")
    if total.failed is not None:
        print(f"seed {total.failed} failed: {total.failure}")
    write_figures(figures, options.json)
    return int(bool(unexplained or stale or total.failed is not None))


if __name__ == "__main__":
    sys.exit(main())
