"""A seed that fails is reduced to a short script that fails in the same way.

    python -m tests.cluster.shrinking --seed 123 --steps 5000 [--churn]
    python -m tests.cluster.shrinking --mistake VoteErasedAtStepDown     of tests/mutants/

What the seed's dice have decided is written down as a script (`scripted.py`): thousands of lines,
most of them about delays. So for some seconds others are tried without those, which a mistake that
shows now and then doesn't need; a rare one goes on with all. Then lines are left out as long as
what is left fails alike: first all of a sort at once, then by delta debugging (Zeller and
Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002); nodes are left out, and
whatever else of the plan isn't as in a calm cluster; at last times become round ones. Each attempt
is a replay of its own: the script that is left fails.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from re import sub
from typing import Any

from tests.cluster import simulator
from tests.cluster.script import CUT, DECISIONS, DEEDS, FATE, Line, Script
from tests.cluster.scripted import KINDS, Calm, record, replay
from tests.cluster.simulator import World
from tests.mutants.mutant import Mutant
from tests.mutants.named import mistake

MOST_SEEDS = 600  # of a mistake, to look for one that shows it
AT_MOST_S = 60  # after so long, what is left is good enough
CALMER_S = 5  # of these, to look for seeds that fail alike without delays, or but for losses
CALMER = 5  # of such seeds are enough: of what they do the shortest is taken
NEEDED = ("voters", "until", "world", "heals")
ROUND_US = (100_000, 10_000, 1000)


def sort_of(failure: BaseException) -> str:
    """What has failed, whichever node, term, index or time it was."""
    said = str(failure).partition(" ms after the last fault: ")[2] or str(failure)
    return f"{type(failure).__name__}: {sub('[0-9]+', '#', said)}"


def shrink(
    seed: int, steps: int, parts: Any = None, kind: type[World] = World, adapt: Any = None,
    seconds: float = AT_MOST_S,
) -> "Shrinking":  # fmt: skip
    """Reduce what that seed fails with. Raises ValueError if it doesn't fail, or not as a script
    of what its dice have decided."""
    begun = time.monotonic()
    script, failure = record(seed, steps, parts, kind, adapt)
    if failure is None:
        raise ValueError(f"seed {seed} doesn't fail")
    shrinking = Shrinking(script, parts, failure, begun + seconds)
    is_exact = shrinking.take(script)
    for loses in (False, True):
        for calm in calmer(seed, steps, parts, kind, adapt, loses, sort_of(failure)):
            if len(calm.lines) < len(shrinking.script.lines) or not is_exact:
                is_exact = shrinking.take(calm) or is_exact
    if not is_exact:
        raise ValueError(f"seed {seed} fails, and not as a script: {failure}")
    shrinking.run()
    return shrinking


def calmer(
    seed: int, steps: int, parts: Any, kind: type[World], adapt: Any, loses: bool, sort: str
) -> Iterator[Script]:
    """Scripts without most of the noise, of this seed or of later ones, that fail alike."""
    until = time.monotonic() + CALMER_S
    found = 0
    while found < CALMER and time.monotonic() < until:
        script, failure = record(seed, steps, parts, kind, adapt, Calm(loses))
        if failure and sort_of(failure) == sort:
            found += 1
            yield script
        seed += 1


class Shrinking:
    """Of one script. parts: as `World` takes them. failure: what it must go on to fail with.
    until: the time (of time.monotonic) to be content with what there is.

    lines: of the script in the beginning. replays: how many attempts there were. shown: by the
    script that is left.
    """

    def __init__(
        self, script: Script, parts: dict[str, type] | None, failure: BaseException, until: float
    ) -> None:
        self.script = script
        self.lines = len(script.lines)
        self.replays = 0
        self.shown = str(failure)
        self._parts = parts
        self._wanted = sort_of(failure)
        self._until = until

    def take(self, script: Script) -> bool:
        """That one from now on, if it fails alike and there is time to see."""
        if time.monotonic() > self._until:
            return False
        self.replays += 1
        try:
            replay(script, self._parts)
        except Exception as e:  # as in `record`
            if sort_of(e) == self._wanted:
                self.script = script
                self.shown = str(e)
                return True
        return False

    def run(self) -> None:
        """Make it as short as can be."""
        self._without_sorts()
        before = ""
        while before != self.script.text():
            before = self.script.text()
            self._without_lines()
            self._lower()
        self._plainer()
        self._round()

    def _with(self, lines: list[Line]) -> Script:
        return Script(self.script.head, lines)

    def _without_sorts(self) -> None:
        lines = self.script.lines
        if self.take(self._with([line for line in lines if line.is_deed()])):
            return
        for what in [*DECISIONS, FATE, *DEEDS]:
            self.take(self._with([line for line in self.script.lines if line.what != what]))

    def _without_lines(self) -> None:
        """Delta debugging: leave out one of n parts; if none can be, one of twice as many."""
        parts = 2
        while self.script.lines:
            lines = self.script.lines
            size = -(-len(lines) // parts)
            for at in reversed(range(0, len(lines), size)):
                if self.take(self._with(lines[:at] + lines[at + size :])):
                    lines = self.script.lines
                    parts = max(2, parts - 1)
            if size == 1:
                break
            parts = min(len(self.script.lines), parts * 2)

    # The plan

    def _lower(self) -> None:
        for simpler in self._simpler():
            self.take(simpler)

    def _simpler(self) -> Iterator[Script]:
        for key in [key for key in self.script.head if key not in NEEDED]:
            head = {k: v for k, v in self.script.head.items() if k != key}
            yield Script(head, self.script.lines)
        yield with_first_clients(self.script)
        for node in reversed(range(1, int(self.script.head["voters"]) + 1)):
            if node <= int(self.script.head["voters"]) > 1:
                yield without_node(self.script, node)

    # What is left, said more simply

    def _plainer(self) -> None:
        for i, line in enumerate(self.script.lines):
            if line.what == CUT:
                for a, b in sorted({(min(link), max(link)) for link in line.facts[0]}):
                    links = self.script.lines[i].facts[0] - {(a, b), (b, a)}
                    self._replace(i, Line(line.at, CUT, (links,)))
            elif line.what == "request":
                client, what, key, _, node = line.facts
                self._replace(i, Line(line.at, line.what, (client, what, key, 0, node)))

    def _replace(self, i: int, line: Line) -> None:
        if line.text() != self.script.lines[i].text():
            lines = self.script.lines
            self.take(self._with([*lines[:i], line, *lines[i + 1 :]]))

    def _round(self) -> None:
        for us in ROUND_US:
            for i in range(len(self.script.lines)):
                lines = list(self.script.lines)
                line = lines[i]
                rounded = (line.at + us // 2) // us * us
                lines[i] = Line(rounded, line.what, line.facts)
                lines.sort(key=lambda line: line.at)
                if rounded != line.at:
                    self.take(self._with(lines))


def boards_of(script: Script) -> int:
    return max(int(script.head["voters"]), int(script.head.get("boards", 0)))


def without_node(script: Script, node: int) -> Script:
    """The same with one founder less. Those behind it, and all clients, have other numbers."""
    boards = boards_of(script)
    head = dict(script.head, voters=str(int(script.head["voters"]) - 1))
    if "boards" in head:
        head["boards"] = str(boards - 1)

    def moved(number: int) -> int:
        return number - (number > node)

    lines = []
    for line in script.lines:
        facts = _moved(line, node, moved)
        if facts is not None:
            lines.append(Line(line.at, line.what, facts, line.nth))
    return Script(head, lines)


def with_first_clients(script: Script) -> Script:
    """The same with the clients that ask for something, and no others."""
    nodes = boards_of(script)
    asking = sorted({line.facts[0] for line in script.lines if line.what == "request"})
    numbers = {client: nodes + 1 + i for i, client in enumerate(asking)}
    head = dict(script.head, clients=str(len(asking)))
    lines = []
    for line in script.lines:
        facts = _moved(line, 0, lambda number: numbers.get(number, number))
        assert facts is not None
        lines.append(Line(line.at, line.what, facts, line.nth))
    return Script(head, lines)


# Which of the facts of a deed are nodes or clients
_WHOM = {"request": (0, 4), "repeat": (0, 2, 5), "add": (0, 1), "tell": (0, 2)}


def _moved(line: Line, gone: int, moved: Callable[[int], int]) -> tuple[object, ...] | None:
    """The facts of a line, with the numbers that nodes and clients have now; None: it goes."""
    facts = list(line.facts)
    if line.what == CUT:
        links = {(moved(a), moved(b)) for a, b in facts[0] if gone not in (a, b)}
        return (links,)
    if line.what == FATE:
        ends, _, kind = facts[0].partition(" ")
        numbers = [(end[0], int(end[1:])) for end in ends.split("->")]
        if gone in [number for _, number in numbers]:
            return None
        return "->".join(f"{k}{moved(n)}" for k, n in numbers) + " " + kind, facts[1]
    whom = (0, 1) if line.what == "asks" else _WHOM.get(line.what, (0,))
    for i in whom:
        if facts[i] == gone:
            return None
        facts[i] = moved(facts[i])
    return tuple(facts)


def main() -> int:
    parser = argparse.ArgumentParser(description="Reduce a seed that fails to a script.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--churn", action="store_true")
    parser.add_argument(
        "--mistake", type=mistake, help="made on purpose; the seed is one that it shows in"
    )
    parser.add_argument("--seconds", type=float, default=AT_MOST_S)
    parser.add_argument("--file", type=Path, help="write the script to it")
    options = parser.parse_args()
    begun = time.monotonic()
    seed, steps = options.seed, options.steps
    kind = KINDS["churn" if options.churn else "plain"]
    parts: Any = None
    adapt: Any = None
    mutant = options.mistake
    try:
        if mutant:
            seed = first_that_fails(mutant)
            kind, steps, parts, adapt = mutant.kind, mutant.steps, mutant.parts, mutant.adapt
        found = time.monotonic()
        shrinking = shrink(seed, steps, parts, kind, adapt, options.seconds)
    except ValueError as e:
        parser.error(str(e))
    text = told(shrinking, mutant and mutant.name)
    print(text)
    print(
        f"seed {seed}: {shrinking.lines} lines became {len(shrinking.script.lines)} by "
        f"{shrinking.replays} replays, in {time.monotonic() - found:.0f} s"
        + (f", and {found - begun:.0f} s to find the seed" if mutant else "")
    )
    if options.file:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        options.file.write_text(text)
    return 0


def first_that_fails(mutant: Mutant) -> int:
    """A seed that shows it. Raises ValueError if none of MOST_SEEDS does."""
    for seed in range(mutant.first, mutant.first + MOST_SEEDS):
        try:
            simulator.run(seed, mutant.steps, None, mutant.parts, mutant.kind, mutant.adapt)
        except Exception:  # as in `record`
            return seed
    raise ValueError(f"no seed from {mutant.first} on shows {mutant.name}")


def told(shrinking: Shrinking, wrong: str | None) -> str:
    """The script that is left, with what it shows, and by which mistake made on purpose."""
    head = {"shows": shrinking.shown} | shrinking.script.head
    about = ""
    if wrong:
        head["mistake"] = wrong
        about = f"# {mistake(wrong).breaks}\n"
    return about + Script(head, shrinking.script.lines).text()


if __name__ == "__main__":
    sys.exit(main())
