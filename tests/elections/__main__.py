"""Measures elections as the paper's figure 16 does, and what its authors left open.

    python -m tests.elections [--trials 1000] [--jobs 2] [--seed 1] [--json FILE] [--out FOLDER]

A leader is crashed again and again, and it is timed how long its cluster is without one: with the
paper's timeouts beside the paper's figures, then with messages lost, clocks wrong, and flash that
stalls. Prints tables, writes pictures (SVG), and exits with 1 if a claim doesn't hold.
"""

import argparse
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.elections.experiments import Experiment, experiments, measure, range_name, wanted
from tests.elections.paper import PAPER, RANGES
from tests.options import at_least_1, need, write_figures

PROJECT = Path(__file__).resolve().parent.parent.parent
MODEL_PERCENT = 15  # by so much a median of plain Raft may differ from the paper's
RANDOM_MS = 5  # between the ends of the timeouts from where on that is asked for


def claims() -> list[tuple[str, float]]:
    """What is claimed of the shipped core: a figure, and what it is at most."""
    at_most = [
        ("paper.150_155.median", 287),
        ("paper.150_200.p99", 513),  # not the worst: see "Elections" in tests/README.md
        ("paper.12_24.mean", 35),
        ("paper.12_24.worst", 152),
        ("slow_disks.150_155.median", 287),
    ]
    return [(f"elections.{name}_ms", bound) for name, bound in at_most]


def broken(figures: dict[str, float]) -> list[str]:
    """Which claims don't hold, and where the model isn't the paper's cluster; as people read it."""
    found = [
        f"{name} is {figures[name]:.0f}, not at most {bound:.0f}"
        for name, bound in claims()
        if figures[name] > bound
    ]
    for low, high in RANGES:
        if high - low >= RANDOM_MS:
            name = f"elections.plain.{low}_{high}.median_ms"
            median = PAPER[low, high].median
            if abs(figures[name] - median) > median * MODEL_PERCENT / 100:
                found.append(f"{name} is {figures[name]:.0f}, in the paper {median}")
    return found


def figures_of(made: list[Experiment]) -> dict[str, float]:
    """All of them, flat."""
    flat: dict[str, float] = {}
    for experiment in made:
        prefix = f"elections.{experiment.group}.{experiment.name}"
        for name, value in asdict(experiment.figures()).items():
            flat[f"{prefix}.{name}_ms"] = round(value, 1)
        flat[f"{prefix}.trials"] = len(experiment.trials)
        flat[f"{prefix}.more_rounds_percent"] = round(experiment.percent(lambda t: t.rounds > 1), 1)
        flat[f"{prefix}.more_terms_percent"] = round(experiment.percent(lambda t: t.terms > 1), 1)
        flat[f"{prefix}.false_per_hour"] = round(experiment.false_per_hour(), 1)
    return flat


def _row(experiment: Experiment) -> list[str]:
    """A cell for each of COLUMNS; the last one: in how many trials a server had to ask again."""
    f = experiment.figures()
    times = [f"{x:,.0f}" for x in (f.least, f.median, f.mean, f.p99, f.worst)]
    return [*times, f"{experiment.percent(lambda t: t.rounds > 1):.1f}%"]


COLUMNS = ("least", "median", "mean", "p99", "worst", "again")


def paper_table(made: list[Experiment]) -> Table:
    """The shipped core, plain Raft in the same model, and what the paper's cluster did."""
    table = Table(
        title="Time without leader, ms, with the paper's timeouts",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("timeouts")
    table.add_column("what", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    by = {(e.group, e.name): e for e in made}
    for timeout_ms in RANGES:
        name = range_name(timeout_ms)
        p = PAPER[timeout_ms]
        paper = [f"{x:,.0f}" for x in (p.least, p.median, p.mean, p.p99, p.worst)]
        table.add_row("%d-%d" % timeout_ms, "shipped", *_row(by["paper", name]))
        table.add_row("", "plain", *_row(by["plain", name]))
        table.add_row("", "paper", *paper, "", end_section=True)
    return table


def other_table(made: list[Experiment]) -> Table:
    """What the paper doesn't have."""
    table = Table(title="The shipped core beyond the paper", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    table.add_column("timeouts", no_wrap=True)
    for column in (*COLUMNS[1:], "false/h"):
        table.add_column(column, justify="right")
    for e in made:
        if e.group in ("paper", "plain"):
            continue
        low, high = e.conditions.timeout_ms
        table.add_row(_what(e), f"{low}-{high}", *_row(e)[1:], f"{e.false_per_hour():.0f}")
    return table


def _what(e: Experiment) -> str:
    if e.group == "loss":
        return f"{e.conditions.loss} % lost"
    if e.group == "drift":
        return f"clocks ±{e.conditions.drift} %"
    return {
        "slow_disks": "14 ms writes",
        "boards": "boards",
        "stalls": "+ erases",
        "worn": "+ worst erases",
    }[e.group]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure elections; see the module's text.")
    parser.add_argument("--trials", type=at_least_1, default=1000, help="crashes for each setting")
    parser.add_argument("--jobs", type=at_least_1, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--out", type=Path, default=PROJECT / "build" / "proof", help="of pictures")
    options = parser.parse_args()
    need("matplotlib")
    from tests.elections.charts import draw  # here: that imports it

    console = Console()
    start = time.monotonic()
    made = experiments()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("crashing leaders", total=wanted(made, options.trials))
        for done in measure(made, options.trials, options.seed, options.jobs):
            progress.advance(task, done)
    console.print(paper_table(made), other_table(made))
    figures = figures_of(made)
    write_figures(figures, options.json)
    options.out.mkdir(parents=True, exist_ok=True)
    for path in draw(made, options.out):
        console.print(f"{path}: {path.stat().st_size // 1024} KB", highlight=False)
    failed = broken(figures)
    for line in failed:
        console.print(f"broken: {line}", style="red")
    crashes = sum(len(e.trials) for e in made)
    console.print(f"{crashes} crashes ({time.monotonic() - start:.0f} s)")
    if not failed:
        console.print("All claims hold: no slower than the paper's figures.", style="green")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
