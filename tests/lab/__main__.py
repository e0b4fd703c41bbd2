"""Runs all scenarios of the lab, and tells of each what it took and what it found.

    python -m tests.lab [--seed 1] [--seeds 5] [--jobs N] [--json FILE]

The lines are those of the first seed. With more seeds, all scenarios run with each of them. With
the first one they run under every MicroPython there is, too, where all must happen as here.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from host_tools.micropython import interpreters
from tests.interpreter.portable import HEAP
from tests.lab.lab import HEAD, line
from tests.options import at_least_1, write_figures

ROOT = Path(__file__).resolve().parents[2]
COURSE = "tests/lab/course.py"
PARTS = ("elections", "agreement", "persistence", "snapshots")
CPYTHON = "cpython"
MOST_S = 600  # that one part may take

Figures = dict[str, Any]


def commands() -> dict[str, list[str]]:
    """Of each interpreter."""
    found = {i.name: [*i.argv, "-X", HEAP, COURSE] for i in interpreters()}
    return {CPYTHON: [sys.executable, COURSE], **found}


def run(command: list[str], part: str, seed: int) -> list[Figures]:
    """The figures of all scenarios of one part, or what they have failed with."""
    done = subprocess.run(
        [*command, f"tests.lab.test_{part}", str(seed)],
        cwd=ROOT, timeout=MOST_S, capture_output=True, text=True,
    )  # fmt: skip
    figures = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode:
        figures.append({"failed": f"{part}: {done.stderr}"})
    return figures


def run_all(
    by: dict[str, list[str]], first: int, count: int, jobs: int
) -> Iterator[tuple[str, int, list[Figures]]]:
    """(interpreter, seed, figures) of each part, in order: the first seed goes first."""
    runs = [(name, part, first) for name in by for part in PARTS]
    runs += [(CPYTHON, part, seed) for seed in range(first + 1, first + count) for part in PARTS]
    with ThreadPoolExecutor(jobs) as pool:
        done = pool.map(lambda which: run(by[which[0]], *which[1:]), runs)
        for (name, _, seed), figures in zip(runs, done, strict=True):
            yield name, seed, figures


def main() -> int:
    parser = argparse.ArgumentParser(description="all scenarios of MIT 6.5840's lab 3")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=at_least_1, default=5, help="how many")
    parser.add_argument("--jobs", type=at_least_1, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    told: dict[str, Figures] = {}
    failed: list[str] = []
    runs = 0
    print(HEAD)
    by = commands()
    for interpreter, seed, all_figures in run_all(by, options.seed, options.seeds, options.jobs):
        for figures in all_figures:
            runs += 1
            name = figures.get("name", "")
            if "failed" in figures:
                failed.append(f"{interpreter}, seed {seed}: {figures['failed']}")
            elif interpreter == CPYTHON and seed == options.seed:
                told[name] = figures
                print(line(figures), flush=True)
            elif seed == options.seed and figures != told.get(name):
                failed.append(f"{interpreter}, seed {seed}: not as under {CPYTHON}: {figures}")
    for what in failed:
        print(what)
    print(
        f"{len(told)} scenarios, under {', '.join(by)}, and with {options.seeds} seeds: "
        f"{runs} runs, {len(failed)} failed"
    )
    if options.json:
        numbers = {
            f"lab.{name}.{what}": figure
            for name, figures in told.items()
            for what, figure in figures.items()
            if what not in ("name", "found")
        }
        numbers |= {"lab.scenarios": len(told), "lab.runs": runs, "lab.failed": len(failed)}
        write_figures(numbers, options.json)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
