"""All states that a small cluster can reach, each held against the paper's five safety properties.

Breadth first, so that what is found has as few steps as there can be.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from raft.core import Core
from tests.model.bounds import Bounds
from tests.model.space import Space, State
from tests.model.symmetry import Symmetry

LOOKS_AT_CLOCK = 1024  # states


@dataclass
class Result:
    """Of a search. depth: the most steps from the beginning to a state; broken: the property that
    was, or ""; script: how, line by line; complete: whether there is no state left."""

    bounds: Bounds
    states: int = 0
    steps: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = False
    broken: str = ""
    script: list[str] = field(default_factory=list)


class Search:
    """One search. progress: called after each level; symmetric: whether by canonical states."""

    def __init__(self, core_class: type[Core], bounds: Bounds, symmetric: bool = True) -> None:
        self.space = Space(core_class, bounds)
        self.symmetry = Symmetry(self.space, symmetric)
        self.result = Result(bounds)
        self.parents: dict[int, int] = {}  # of each state the one that it was reached from first
        first = self.symmetry.canonical(self.space.start())
        self.parents[first] = -1
        self._level = [first]  # the states that were found last
        self.is_over = False

    def run(
        self, seconds: float = float("inf"), progress: Callable[[Result], None] | None = None
    ) -> Result:
        """Until all is known, a property is broken, or the time is over."""
        end = time.monotonic() + seconds
        while not self.is_over:
            self.advance(end)
            if progress:
                progress(self.result)
        return self.result

    def advance(self, end: float = float("inf")) -> None:
        """Look at the states that are one step further than all before, until that time."""
        began = time.monotonic()
        result = self.result
        found = self._next_level(end)
        result.depth += bool(found)
        result.complete = found == []
        result.states = len(self.parents)
        result.seconds += time.monotonic() - began
        self._level = found or []
        self.is_over = not found

    def _next_level(self, end: float) -> list[int] | None:
        """The states one step further; None if it comes to an end before."""
        parents, result = self.parents, self.result
        canonical, steps = self.symmetry.canonical, self.space.steps
        found: list[int] = []
        for i, packed in enumerate(self._level):
            for after, broken, _, _ in steps(self.symmetry.state_of(packed)):
                result.steps += 1
                number = canonical(after)
                if broken:
                    result.broken = broken
                    result.script = self._script(packed, after)
                    return None
                if number not in parents:
                    parents[number] = packed
                    found.append(number)
            if i % LOOKS_AT_CLOCK == 0 and time.monotonic() > end:
                return None
        return found

    def _script(self, packed: int, last: State) -> list[str]:
        """The steps that lead to a state, by name: in one and the same naming of nodes."""
        canonical = self.symmetry.canonical
        path = [canonical(last)]
        while packed >= 0:
            path.append(packed)
            packed = self.parents[packed]
        path.reverse()
        state = self.space.start()
        script = []
        for i, goal in enumerate(path[1:], 2):
            is_last = i == len(path)
            state, _, node, label = next(
                step
                for step in self.space.steps(state)
                if canonical(step[0]) == goal and bool(step[1]) == is_last
            )
            script.append(f"n{node} {label}")
        return script


@dataclass(frozen=True)
class Catch:
    """What a hunt has caught. prop: the property that was broken; states, seconds: it took."""

    prop: str
    bounds: Bounds
    states: int
    depth: int
    seconds: float
    script: list[str]


# Small instances in which mistakes show
HUNTS = (
    Bounds(terms=1, commands=0, copies=0, pre_votes=1),
    Bounds(terms=2, commands=1, letters=1, copies=0),
    Bounds(terms=3, elections=3, commands=1, letters=1, copies=0),
    Bounds(terms=2, commands=0, crashes=1),
    Bounds(terms=2, elections=3, commands=0, crashes=1),
    Bounds(terms=2, commands=2),
    Bounds(terms=4, elections=4, commands=0, crashes=1, beats=1, letters=1, copies=0),
)


def hunt(core_class: type[Core], seconds: float) -> Catch | None:
    """The first property that a core is seen to break.

    All instances are searched side by side, so that none has many more states than the others.
    """
    began = time.monotonic()
    searches = [Search(core_class, bounds) for bounds in HUNTS]
    while open_ones := [search for search in searches if not search.is_over]:
        smallest = min(open_ones, key=lambda search: len(search.parents))
        smallest.advance(began + seconds)
        result = smallest.result
        if result.broken:
            states = sum(len(search.parents) for search in searches)
            took = time.monotonic() - began
            script = result.script
            return Catch(result.broken, result.bounds, states, len(script), took, script)
    return None
