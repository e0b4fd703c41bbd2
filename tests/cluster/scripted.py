"""A script is written down while a seed decides, and decides in its place later; portable.

    python -m tests.cluster.scripted tests/cluster/scripts/FILE.txt [--trace] [--shipped]

replays one, with the mistake that it is about, if there is one, or with the code that ships.
"""

from tests.cluster.chance import Chance
from tests.cluster.churn import ChurnWorld
from tests.cluster.datagrams import describe_kind
from tests.cluster.script import FATE, TYPICAL_US, Line, Script, in_ms, in_us, parsed
from tests.cluster.simulator import Plan, World

KINDS = {"plain": World, "churn": ChurnWorld}
AFTER_ALL = 1 << 30  # beyond all numbers of nodes, clients and links

# What else a plan decides, and what it is where a script doesn't say so. The rest of it is about
# dice that a script doesn't ask.
CALM = {
    "clients": 1, "watchers": 0, "ram_bytes": 4096, "sectors": 128, "eager_at": 0, "forgets": 0,
    "remembers": 0, "uncommitted_bytes": 8192, "mailbox": 100, "joins_datagrams": 0, "old_flash": 0,
    "session_s": 3600,
}  # fmt: skip
CALM_CHURN = {"lease": 0, "remove_dead_ms": 0, "least_voters": 2}
ELECTION_MS = [150, 300]


def datagrams(sender: "tuple[int, int]", to: "tuple[int, int]", data: bytes, nodes: int) -> str:
    """Which datagrams this is one of: "n1->n3 append"; so many are the first that are nodes."""
    ends = ["%s%d" % ("n" if end[0] <= nodes else "c", end[0]) for end in (sender, to)]
    return "->".join(ends) + " " + describe_kind(sender, to, data)


class _InOrder(Chance):
    """Knows the how manieth decision of its sort in this microsecond one is."""

    def __init__(self) -> None:
        self._latest: dict[object, tuple[int, int]] = {}

    def begin(self, world) -> None:  # type: ignore[no-untyped-def]
        self._world = world

    def _nth(self, sort: object) -> int:
        now = self._world.now
        at, nth = self._latest.get(sort, (-1, 0))
        nth = nth + 1 if at == now else 1
        self._latest[sort] = now, nth
        return nth


class Recorder(_InOrder):
    """Writes down what the dice decide, as far as it isn't typical. lines: of the script."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def decides(self, who: str, what: str, typical: int, drawn: int) -> int:
        number = int(who[1:])
        nth = self._nth((what, number))
        if drawn != typical:
            self.lines.append(Line(self._world.now, what, (number, drawn), nth))
        return drawn

    def fate(self, sender, to, data, drawn):  # type: ignore[no-untyped-def]
        name = datagrams(sender, to, data, len(self._world.boards))
        nth = self._nth((FATE, name))
        if drawn != [(TYPICAL_US, None)]:
            self.lines.append(Line(self._world.now, FATE, (name, drawn), nth))
        return drawn

    def happens(self, what: str, facts) -> None:  # type: ignore[no-untyped-def]
        self.lines.append(Line(self._world.now, what, facts))


class Calm(Recorder):
    """Dice decide on faults and requests, and on lost datagrams if `loses`; all else is typical."""

    def __init__(self, loses: bool) -> None:
        super().__init__()
        self._loses = loses

    def decides(self, who: str, what: str, typical: int, drawn: int) -> int:
        return typical

    def fate(self, sender, to, data, drawn):  # type: ignore[no-untyped-def]
        is_lost = self._loses and not drawn
        return super().fate(sender, to, data, [] if is_lost else [(TYPICAL_US, None)])


class Scripted(_InOrder):
    """Lets happen what a script says, and else what is typical."""

    is_free = False

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script
        self._left: dict[object, list[Line]] = {}
        for line in script.lines:
            if not line.is_deed():
                self._left.setdefault(line.sort(), []).append(line)

    def begin(self, world) -> None:  # type: ignore[no-untyped-def]
        super().begin(world)
        for line in self._script.lines:
            if line.is_deed():
                world.at(line.at, self._order(line), self._let, line)

    def _order(self, line: Line) -> int:
        """Its place among all that happens in the same microsecond: that which it had."""
        if line.what == "repeat":
            return AFTER_ALL  # what it repeats may have been said just now
        return int(line.facts[0]) if line.what == "request" else 0

    def _let(self, line: Line) -> None:
        self._world.note("script: %s", line.text())
        self._world.does(line.what, *line.facts)

    def decides(self, who: str, what: str, typical: int, drawn: int) -> int:
        line = self._due((what, int(who[1:])))
        return line.facts[1] if line else typical

    def fate(self, sender, to, data, drawn):  # type: ignore[no-untyped-def]
        line = self._due((FATE, datagrams(sender, to, data, len(self._world.boards))))
        return line.facts[1] if line else [(TYPICAL_US, None)]

    def _due(self, sort: object) -> "Line | None":
        """The latest line that is about this decision."""
        nth = self._nth(sort)
        found = None
        left = self._left.get(sort)
        while left and (left[0].at, left[0].nth) <= (self._world.now, nth):
            found = left.pop(0)
        return found


def record(  # type: ignore[no-untyped-def]
    seed: int, steps: int, parts=None, kind=World, adapt=None, recorder: "Recorder | None" = None
):
    """Run one seed as `simulator.run` does: (Script, what it failed with, or None)."""
    recorder = recorder or Recorder()
    world = kind(seed, None, parts, adapt, recorder)
    head = _head_of(world)
    failure = None
    try:
        while world.steps < steps:
            world.step()
        head["until"] = in_ms(world.now)
        head["heals"] = "1"
        world.heal()
    except Exception as e:  # whatever a node raises is what is looked for
        failure = e
        if "heals" not in head:
            head["until"] = in_ms(world.now)
    return Script(head, recorder.lines), failure


def _head_of(world: World) -> "dict[str, str]":
    plan = world.plan
    head = {
        "world": next(name for name in KINDS if type(world) is KINDS[name]),
        "seed": "%d" % world.seed,
        "voters": "%d" % len(plan.voters),
        "boards": "%d" % len(world.boards),
    }
    calm = dict(CALM)
    if isinstance(world, ChurnWorld):
        calm.update(CALM_CHURN)
    for name in calm:
        if int(getattr(plan, name)) != calm[name]:
            head[name] = "%d" % getattr(plan, name)
    if plan.election_ms != ELECTION_MS:
        head["election_ms"] = "%d %d" % tuple(plan.election_ms)
    if world.outsider.permille:
        head["replayed"] = "1"
    return head


def replay(script: Script, parts=None, trace=None) -> World:  # type: ignore[no-untyped-def]
    """Let happen what the script says. Raises what the seed that it was made of has raised."""
    head = script.head

    def adapt(plan: Plan) -> None:
        plan.voters = list(range(1, int(head["voters"]) + 1))
        plan.boards = int(head.get("boards", 0))
        plan.election_ms = [int(ms) for ms in head.get("election_ms", "150 300").split()]
        plan.replayed = int(head.get("replayed", 0))
        calm = dict(CALM)
        calm.update(CALM_CHURN)
        for name in calm:
            setattr(plan, name, int(head.get(name, calm[name])))

    kind = KINDS[head.get("world", "plain")]
    world: World = kind(int(head.get("seed", 1)), trace, parts, adapt, Scripted(script))
    until = in_us(head["until"])
    while world.soonest() <= until:
        world.step()
    if "heals" in head:
        world.heal()
    return world


def main() -> int:
    import argparse
    from pathlib import Path

    from tests.mutants.named import parts_of

    parser = argparse.ArgumentParser(description="Replay a script; see the module's text.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--shipped", action="store_true", help="without the mistake")
    options = parser.parse_args()
    try:
        script = parsed(options.file.read_text())
        parts = None if options.shipped else parts_of(script.head.get("mistake"))
    except (OSError, ValueError) as e:
        parser.error(str(e))
    try:
        replay(script, parts, print if options.trace else None)
    except Exception as e:  # as in `record`
        print("%s: %s" % (type(e).__name__, e))
        return 1
    print("all is well")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
