"""A power cut at every program and at every erase of whole lives: `make test-power`.

    python -m tests.store.power                             all of them
    python -m tests.store.power --life faults --operation 812    one, as a failure names it

Each process leads the same lives, and checks its share of their operations: all power cuts that
are worth a look (cuts.py), and after one of a few what the next power cut does soon after.
"""

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.dice import Dice
from tests.store.cuts import Operation
from tests.store.life import Life, check, check_again

AGAIN = 41  # operations from one with a second power cut to the next
PIECES = 24  # into which a life is cut, so that all processes end at one time

# Name: seed, commands, what kind of a life it is
LIVES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "quiet": (3, 3000, {}),
    "busy": (3, 1000, {"is_busy": True}),
    "cuts": (5, 1000, {"cuts": 50}),
    "faults": (2, 1000, {"faults": 25}),
}
COMMANDS_PER_COMPACTION = 150  # at most
EVENTS = (
    "installs that keep", "installs that drop", "broken off", "truncations", "hard states",
    "starts",
)  # fmt: skip


class Failure(Exception):
    """Something was lost by a power cut."""


def lead(name: str, look: Callable[[Life, Operation], None] | None = None) -> Life:
    """Lead that life."""
    seed, commands, kind = LIVES[name]
    life = Life(seed, look, **kind)
    while life.seen.get("commands", 0) < commands:
        life.turn()
    return life


class Share:
    """Of one life, the operations whose number is `piece` modulo `pieces`."""

    def __init__(self, name: str, piece: int, pieces: int) -> None:
        self.name = name
        self.piece = piece
        self.pieces = pieces
        self.checked = Counter[str]()

    def look(self, life: Life, operation: Operation) -> None:
        if life.operations % self.pieces != self.piece:
            return
        cuts = operation.cuts()
        self.checked["operations"] += 1
        try:
            for page, variant in cuts:
                check(life, operation, page, variant)
                self.checked["cuts"] += 1
            if life.operations % AGAIN == 0:
                page, variant = Dice(life.operations).pick(cuts)
                self.checked["second cuts"] += check_again(life, operation, page, variant)
        except Exception as e:
            raise Failure(
                "power cut in page %d (way %d) of operation %d, the %s:\n%s\n"
                "again: python -m tests.store.power --life %s --operation %d"
                % (
                    page, variant, life.operations, operation, traceback.format_exc(),
                    self.name, life.operations,
                )
            ) from e  # fmt: skip


def run(task: tuple[str, int, int]) -> tuple[str, Counter[str]]:
    share = Share(*task)
    lead(share.name, share.look)
    return share.name, share.checked


def tell(name: str, checked: Counter[str]) -> None:
    """Tell what was seen of a life, all of whose operations must have been visited."""
    seen = lead(name).seen
    assert checked["operations"] == seen["programs"] + seen["erases"], "operations are missing"
    assert seen["compactions"] * COMMANDS_PER_COMPACTION >= seen["commands"], "too few compactions"
    assert all(seen.get(what) for what in EVENTS), "only %r" % seen
    facts = {"commands": seen["commands"], "programs": seen["programs"], "erases": seen["erases"]}
    facts["compactions"] = seen["compactions"]
    facts["installs"] = seen["installs that keep"] + seen["installs that drop"]
    facts["power cuts"] = checked["cuts"]
    facts["second ones"] = checked["second cuts"]
    print(name + ": " + ", ".join("%d %s" % (n, what) for what, n in facts.items()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="a power cut at every operation of a flash")
    parser.add_argument("--life", choices=LIVES, help="only this one")
    parser.add_argument("--operation", type=int, help="only this one of it")
    args = parser.parse_args()
    lives = [args.life] if args.life else list(LIVES)
    if args.operation is not None:
        run((lives[0], args.operation, 1 << 30))
        return 0
    began = time.monotonic()
    tasks = [(name, piece, PIECES) for name in lives for piece in range(PIECES)]
    checked: dict[str, Counter[str]] = {name: Counter() for name in lives}
    done = Counter[str]()
    with multiprocessing.Pool() as pool:
        try:
            for name, counts in pool.imap_unordered(run, tasks):
                checked[name] += counts
                done[name] += 1
                if done[name] == PIECES:
                    tell(name, checked[name])
        except Failure as e:
            print(e, file=sys.stderr)
            return 1
    print("Nothing was lost. (%d s)" % (time.monotonic() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main())
