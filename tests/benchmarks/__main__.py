"""Runs all benchmarks, prints a table and writes build/bench.json: `make bench`."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from host_tools import micropython
from tests.benchmarks import elections, flash, fleet, heap, hour, processes, rolling, seals, wire
from tests.cluster import flood

PROJECT = Path(__file__).resolve().parent.parent.parent
OUTPUT = PROJECT / "build" / "bench.json"
SCRIPTS = Path(__file__).parent / "micropython"
SCRIPT_TIMEOUT_S = 300

# What each figure should be at most.
TARGETS = {
    "flash.erases_per_command.batch1": 1 / 40,
    "flash.programs_per_command.batch1": 1.5,
    "wire.heartbeat_bytes": 48,
    "flash.erase_spread": 1.1,
    "elections.false_per_hour.idle": 0,
    "hour.without_leader": 0.01,
    "hour.longest_deaf_ms_flash_apart": 100,
    "heap.i386.leader_bytes": 64_000,
    "heap.i386.follower_bytes": 64_000,
    "cpu.heartbeat_leader.loops": 500,
    "cpu.heartbeat_follower.loops": 500,
    "failover.median_ms": 300,
    "failover.p99_ms": 450,
    "commit.cpython.round_trips": 6,
    "rolling.failed": 0,
    "rolling.pause_ms.kill": 600,
    "rolling.pause_ms.transfer": 100,
    "fleet.commit_ratio": 1.5,
    "flood.cpython.worst": flood.TIMES_SLOWER,
    "flood.micropython.worst": flood.TIMES_SLOWER,
}


def on_micropython(script: str) -> dict[str, float]:
    """What a script prints as JSON under MicroPython, of 32 bits if there is one."""
    found = micropython.interpreters()
    if not found:
        return {}
    run = subprocess.run(
        [*found[0].argv, "-X", "heapsize=1m", str(SCRIPTS / script)],
        env={**os.environ, "MICROPYPATH": f".frozen:{PROJECT / 'firmware'}:{PROJECT}"},
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
    )
    if run.returncode:
        raise RuntimeError(f"{script} failed under {found[0]}:\n{run.stdout}{run.stderr}")
    figures: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return figures


def littlefs() -> dict[str, float]:
    return on_micropython("littlefs.py")


def cpu() -> dict[str, float]:
    return on_micropython("cpu.py")


def aged() -> dict[str, float]:
    return on_micropython("aged.py")


BENCHMARKS: dict[str, Callable[[], dict[str, float]]] = {
    "flash": flash.measure,
    "littlefs": littlefs,
    "wire": wire.measure,
    "cpu": cpu,
    "aged": aged,
    "elections": elections.measure,
    "hour": hour.measure,
    "heap": heap.measure,
    "processes": processes.measure,
    "rolling": rolling.measure,
    "fleet": fleet.measure,
    "seals": seals.measure,
    "flood": flood.measure,
}


def table(figures: dict[str, float]) -> Table:
    rows = Table("figure", "value", "at most", box=None, header_style="bold")
    rows.columns[1].justify = rows.columns[2].justify = "right"
    for name, value in sorted(figures.items()):
        target = TARGETS.get(name)
        style = "red" if target is not None and value > target else ""
        rows.add_row(name, f"{value:,.4g}", "" if target is None else f"{target:g}", style=style)
    return rows


def arguments() -> argparse.Namespace:
    names = " ".join(BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"these alone, of {names}")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {' '.join(unknown)}; there are {names}")
    return options


def main() -> int:
    names = arguments().names
    progress = Console(stderr=True)
    figures: dict[str, float] = {}
    for name in names or BENCHMARKS:
        progress.print(f"measuring {name} ...")
        figures.update(BENCHMARKS[name]())
    figures |= commit_in_round_trips(figures)
    if not micropython.interpreters():
        progress.print("No MicroPython: some figures are missing. Run `make micropython`.")
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    Console(width=None if sys.stdout.isatty() else 100).print(table(figures))
    print(f"written to {OUTPUT.relative_to(PROJECT)}")
    return 0


def commit_in_round_trips(figures: dict[str, float]) -> dict[str, float]:
    """A sequential write, less its flash program, in bare UDP round trips of the same run."""
    if "commit.cpython.p50_ms" not in figures:
        return {}
    network = figures["commit.cpython.p50_ms"] - figures["commit.flash_program_ms"]
    return {"commit.cpython.round_trips": network / figures["commit.udp_round_trip_ms"]}


sys.exit(main())
