"""What is searched from beginning to end, by name."""

from raft.core import Core
from tests.model.bounds import Bounds
from tests.model.search import Result, Search

PROGRESS_S = 20.0

INSTANCES = {
    "all together": Bounds(terms=2, commands=2, crashes=1),  # takes longest: the first to begin
    "pre-votes": Bounds(terms=2, commands=0, crashes=1, pre_votes=1),
    "three terms": Bounds(terms=3, elections=3, commands=2, crashes=1, letters=1, copies=0),
    "four terms": Bounds(terms=4, elections=4, commands=0, crashes=1, beats=1, letters=1, copies=0),
    "lost quorum": Bounds(terms=2, commands=1, beats=1),
    "handing over": Bounds(terms=2, elections=1, commands=1, transfers=1),
}


def search(name: str, bounds: Bounds, seconds: float) -> tuple[str, Result]:
    shown = [0.0]

    def progress(result: Result) -> None:
        if result.seconds - shown[0] >= PROGRESS_S:
            shown[0] = result.seconds
            print(f"{name}: {result.states:,} states, depth {result.depth}", flush=True)

    return name, Search(Core, bounds).run(seconds, progress)
