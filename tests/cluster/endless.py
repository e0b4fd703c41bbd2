"""Simulated clusters without end, on all cores: seeds that nobody has run before.

    make soak MINUTES=10                                     fresh seeds, drawn by the system
    python -m tests.cluster.endless --steps 10000000 --seed 1      the same ones each time

    python -m tests.cluster.endless --only 1000001                 one of them, and all that happens

    python -m tests.cluster.endless --steps 5000 --seed 1 --mistake WhatWasSentIsCommitted
                                                      what a failure looks like (tests/mutants/)

Every other seed is one of `churn.py`; one in four has a plan of its own, so that more often happens
what otherwise is rare. The first violation ends it: the seed is reduced to a short script
(`shrinking.py`), which is written to build/failures/, and the exit status is 1. Ctrl-C
ends it, too, as soon as the seeds that are under way are done.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from tests.cluster import simulator
from tests.cluster.board import US
from tests.cluster.churn import ChurnPlan, ChurnWorld
from tests.cluster.shrinking import shrink, told
from tests.cluster.simulator import Plan, World
from tests.mutants.named import mistake, parts_of
from tests.options import at_least_1, write_figures

STEPS = 5000  # of one seed, before all faults end
BATCH = 10  # seeds that a process is given at a time
SEEDS = 1 << 32  # there are; the simulator's dice know no more
APART = 1_000_000  # seeds between those of --seed 1 and of --seed 2
REPORT_S = 30
SHRINKING_S = 300  # a mistake that is as rare as these needs many attempts
FAILURES = Path("build/failures")


def crowded(plan: Plan) -> None:
    """Flash that is nearly full, and snapshots that are sent again and again."""
    plan.sectors = 22
    plan.clients = 8
    plan.reads = 1
    plan.value_bytes = 700
    plan.uncommitted_bytes = 8192
    plan.doubled = 200
    plan.late = 50
    plan.faults = ["cut_off_one", "crash_one", "stall", "restore", "flash_fault", "flash_fault"]
    plan.fault_ms = 300


def restless(plan: ChurnPlan) -> None:
    """Leaders that are removed and handed over while they are cut off."""
    plan.voters = [1, 2, 3]
    plan.changes = ["add", "add", "remove", "remove_leader", "remove_leader", "transfer", "promote"]
    plan.change_ms = 100
    plan.late = 50
    plan.doubled = 20
    plan.faults = ["cut_off_one", "cut_one_way", "crash_one", "restore", "restore"]
    plan.fault_ms = 300


# What the seeds are, in turn; and what adapts their plans
KINDS: tuple[tuple[type[World], Any], ...] = (
    (World, None), (ChurnWorld, None), (World, None), (ChurnWorld, None),
    (World, None), (ChurnWorld, None), (World, crowded), (ChurnWorld, restless),
)  # fmt: skip


class Tally:
    """What some seeds have come to. cpu_s: of one core. failed: a seed that did, or None."""

    def __init__(self) -> None:
        self.seeds = 0
        self.steps = 0
        self.virtual_us = 0
        self.cpu_s = 0.0
        self.happened: Counter[str] = Counter()
        self.failed: int | None = None
        self.failure = ""

    def add(self, other: "Tally") -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.virtual_us += other.virtual_us
        self.cpu_s += other.cpu_s
        self.happened += other.happened
        if other.failed is not None and self.failed is None:
            self.failed, self.failure = other.failed, other.failure

    def figures(self) -> dict[str, float]:
        return {
            "simulator.steps": self.steps,
            "simulator.seeds": self.seeds,
            "simulator.violations": int(self.failed is not None),
            "simulator.virtual_hours": round(self.virtual_us / US / 3_600_000, 2),
            "simulator.steps_per_second_per_core": round(self.steps / self.cpu_s),
            "simulator.virtual_per_real": round(self.virtual_us / US / 1000 / self.cpu_s, 1),
        } | {f"simulator.happened.{what.replace(' ', '_')}": n for what, n in self.happened.items()}


class Born:
    """A kind of worlds that keeps those of it: one that fails is still there to be counted."""

    def __init__(self, kind: type[World]) -> None:
        self.worlds: list[World] = []
        self._kind = kind

    def __call__(self, *how: Any) -> World:
        self.worlds.append(self._kind(*how))
        return self.worlds[-1]


def kind_of(seed: int) -> tuple[type[World], Any]:
    """What world it is one of, and what adapts its plan."""
    return KINDS[seed % len(KINDS)]


def live(seeds: list[int], wrong: str | None = None) -> Tally:
    """Run them one after the other, to the first that fails. wrong: a mistake that nodes make."""
    tally = Tally()
    begun = time.process_time()
    for seed in seeds:
        kind, adapt = kind_of(seed)
        born = Born(kind)
        try:
            simulator.run(seed, STEPS, None, parts_of(wrong), born, adapt)
        except Exception as e:  # whatever a node raises is a failure of it
            tally.failed = seed
            tally.failure = f"{type(e).__name__}: {e}"
        tally.seeds += 1
        for world in born.worlds:
            tally.steps += world.steps
            tally.virtual_us += world.now
            tally.happened.update(world.watch.happened)
        if tally.failed is not None:
            break
    tally.cpu_s = time.process_time() - begun
    return tally


def batches(first: int, count: int | None) -> Iterator[list[int]]:
    """The seeds from `first` on, so many of them or no end."""
    at = 0
    while count is None or at < count:
        size = BATCH if count is None else min(BATCH, count - at)
        yield [(first + at + i) % SEEDS for i in range(size)]
        at += size


def run(first: int, count: int | None, until: float | None, jobs: int, wrong: str | None) -> Tally:
    """Run seeds in so many processes, up to that time (of time.monotonic), or to a violation, or
    to Ctrl-C. wrong: as for `live`."""
    total = Tally()
    todo = batches(first, count)
    reported = begun = time.monotonic()
    context = multiprocessing.get_context("spawn")

    def end(*_: object) -> None:
        nonlocal until
        until = 0
        signal.signal(signal.SIGINT, signal.default_int_handler)  # if it is pressed once more

    # Ctrl-C reaches all processes, and is for this one alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(jobs, context) as pool:
        under_way: set[Future[Tally]] = {pool.submit(live, b, wrong) for b in islice(todo, jobs)}
        signal.signal(signal.SIGINT, end)
        print(f"seeds from {first} on, in {jobs} processes", flush=True)
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            if total.failed is None and (until is None or time.monotonic() < until):
                under_way |= {pool.submit(live, b, wrong) for b in islice(todo, len(done))}
            if time.monotonic() - reported >= REPORT_S:
                reported = time.monotonic()
                print(
                    f"  {reported - begun:5.0f} s: {total.seeds:,} seeds, {total.steps:,} steps",
                    flush=True,
                )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return total


def reduce(seed: int, wrong: str | None) -> None:
    """Write a short script that fails as this seed does, and say how to see it fail."""
    kind, adapt = kind_of(seed)
    by_mistake = f" --mistake {wrong}" if wrong else ""
    print(f"python -m tests.cluster.endless --only {seed}{by_mistake}", flush=True)
    try:
        shrinking = shrink(seed, STEPS, parts_of(wrong), kind, adapt, SHRINKING_S)
    except ValueError as e:
        print(e)
        return
    file = FAILURES / f"seed_{seed}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(told(shrinking, wrong))
    print(f"reduced from {shrinking.lines} lines to {len(shrinking.script.lines)}:")
    print(f"python -m tests.cluster.scripted {file} --trace")
    if not wrong:
        print("If it is a mistake in firmware/, keep the file in tests/cluster/scripts/.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate clusters; see the module's text.")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--only", type=int, metavar="SEED", help="run it, and print what happens")
    length.add_argument("--steps", type=at_least_1, help="at least, of all seeds together")
    parser.add_argument("--seed", type=int, help="begin with those that belong to this number")
    parser.add_argument("--jobs", type=at_least_1, default=os.cpu_count(), help="processes")
    parser.add_argument("--mistake", type=mistake, help="made on purpose, by all nodes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    wrong = options.mistake and options.mistake.name
    if options.only is not None:
        kind, adapt = kind_of(options.only)
        simulator.run(options.only, STEPS, print, parts_of(wrong), kind, adapt)
        return 0
    fresh = random.SystemRandom().randrange(SEEDS)
    first = fresh if options.seed is None else options.seed * APART % SEEDS
    count = None if options.steps is None else -(-options.steps // STEPS)
    until = None if options.minutes is None else time.monotonic() + options.minutes * 60
    total = run(first, count, until, options.jobs, wrong)

    figures = total.figures()
    print(
        f"{total.steps:,} steps of {total.seeds:,} seeds, "
        f"{figures['simulator.virtual_hours']:,} virtual hours; on each core "
        f"{figures['simulator.steps_per_second_per_core']:,} steps a second, "
        f"{figures['simulator.virtual_per_real']} times as fast as real time"
    )
    print("happened:", ", ".join(f"{n:,} {what}" for what, n in sorted(total.happened.items())))
    write_figures(figures, options.json)
    if total.failed is None:
        print("no violation")
        return 0
    print(f"seed {total.failed} failed: {total.failure}")
    reduce(total.failed, wrong)
    return 1


if __name__ == "__main__":
    sys.exit(main())
