"""Is a history linearizable?

It is if each operation can be given one moment between its call and its return so that, one
after the other in the order of these moments, they do what was recorded of them (Herlihy and
Wing, 1990). Linearizability is local: each key is looked at by itself.

The search is Wing and Gong's with Lowe's memory and just-in-time linearization ("Testing for
linearizability", 2017). The history is followed return by return, together with all that may be
the case by then: each such world is a value, and a set of the operations under way that have had
their moment. None is given its moment before a return needs it. Few worlds are worth keeping:

- An observation (a read, or a cas or delete that changed nothing) has its moment as soon as the
  value fits, for it changes nothing.
- A world makes another one needless if in it at least the same observations have had their
  moment, and at most the same operations of unknown outcome, all else being equal.

When no world is left, the history isn't linearizable, and the operation that returned there ends
the shortest part of it that isn't.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tests.cluster.history import (
    ADD,
    CAS,
    GET,
    LOCK,
    PUT,
    UNLOCK,
    UNSEEN,
    Operation,
    Value,
)

MOST_LINES = 20  # operations in one explanation
MOST_VALUES = 4
BAR = 24  # characters for the time from the first call to the last return

# The operation whose result is impossible, and what the value may have been when it returned
_Failure = tuple[Operation, list[Value]]


@dataclass(frozen=True)
class Violation:
    """A key's operations that can't be ordered.

    operations: as few as show it, in the order of their calls. last: the one whose result was
    impossible when it returned. values: what the key may have been at that time.
    """

    key: str
    operations: list[Operation]
    last: Operation
    values: list[Value]

    def __str__(self) -> str:
        values = " or ".join("none" if v is None else v for v in self.values[:MOST_VALUES])
        if len(self.values) > MOST_VALUES:
            values += f" or one of {len(self.values) - MOST_VALUES} others"
        lines = [f"{self.key}: these operations can't have happened one after the other:"]
        if len(self.operations) > MOST_LINES:
            lines.append(f"  ... {len(self.operations) - MOST_LINES} before these")
        lines += _side_by_side(self.operations[-MOST_LINES:])
        lines += [f"At {self.last.returned:.6f} {self.key} was {values}, so this can't be:"]
        return "\n".join([*lines, f"  {self.last}"])


def _side_by_side(operations: list[Operation]) -> list[str]:
    """A line for each, with a bar that shows when it was under way."""
    first = min(o.called for o in operations)
    last = max((_end(o) for o in operations if _end(o) < math.inf), default=first)
    scale = (BAR - 1) / ((last - first) or 1)

    def bar(operation: Operation) -> str:
        start = int((operation.called - first) * scale)
        end = int((min(_end(operation), last) - first) * scale)
        return (" " * start + "=" * (end - start + 1)).ljust(BAR)

    return [f"  |{bar(operation)}| {operation}" for operation in operations]


def check(history: Iterable[Operation]) -> list[Violation]:
    """What is wrong with it: at most one violation of each key, none if it is linearizable.

    Reads that may be stale are left out: `staleness.py` looks at those.
    """
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        if operation.age is None:
            keys.setdefault(operation.key, []).append(operation)
    violations = (_violation(key, operations) for key, operations in sorted(keys.items()))
    return [violation for violation in violations if violation]


def _violation(key: str, operations: list[Operation]) -> Violation | None:
    failure = _failure(operations)
    if failure is None:
        return None
    last = failure[0]
    before = [o for o in operations if o.called <= _end(last)]
    return Violation(key, _fewest(before, last), *failure)


def _end(operation: Operation) -> float:
    return operation.void_after if operation.returned is None else operation.returned


# As few operations as show what is wrong


def _fewest(operations: list[Operation], last: Operation) -> list[Operation]:
    """As few of them as make `last` impossible, and each as simple.

    A condition doesn't matter if `last` is impossible without it, too. Where a value came from is
    kept, to be read.
    """
    few = _simplified(
        operations,
        lambda o: o.is_conditional and o.kind not in (LOCK, UNLOCK) and o != last,
        _unconditional,
        last,
    )
    few = _latest(sorted(few, key=_called), last)
    few = _simplified(few, lambda o: o.is_observation, _nothing, last)
    seen = _seen(few)
    origins = {o.written: o for o in sorted(few, key=_called) if not o.is_observation}
    few = _simplified(
        few,
        lambda o: o.kind not in UNSEEN and (o.written not in seen or origins.get(o.written) != o),
        _nothing,
        last,
    )
    return sorted(few, key=_called)


def _called(operation: Operation) -> float:
    return operation.called


def _unconditional(write: Operation) -> list[Operation]:
    return [replace(write, kind=PUT, arguments=(write.written,), result=None, how=write.kind)]


def _nothing(operation: Operation) -> list[Operation]:
    return []


def _simplified(
    operations: list[Operation],
    is_candidate: Callable[[Operation], bool],
    simpler: Callable[[Operation], list[Operation]],
    last: Operation,
) -> list[Operation]:
    """With what is `simpler` in place of those candidates of which `last` doesn't need more.

    Many at a time are tried first, then ever fewer (Zeller's delta debugging).
    """
    done = [o for o in operations if not is_candidate(o)]
    left = [o for o in operations if is_candidate(o)]
    size = len(left)
    while size:
        at = 0
        while at < len(left):
            changed = [new for o in left[at : at + size] for new in simpler(o)]
            others = left[:at] + left[at + size :]
            if _shows(done + changed + others, last):
                done, left = done + changed, others
            else:
                at += size
        size //= 2
    return done + left


def _latest(operations: list[Operation], last: Operation) -> list[Operation]:
    """Not many more than are needed of the latest, and where what these saw came from."""
    size = 8
    while size < len(operations):
        latest = operations[-size:]
        seen = _seen(latest)
        some = [o for o in operations[:-size] if o.written in seen and not o.is_observation]
        if _shows(some + latest, last):
            return some + latest
        size *= 2
    return operations


def _seen(operations: list[Operation]) -> set[object]:
    """The values that these operations have met, as far as they tell."""
    seen: set[object] = {o.result for o in operations if o.kind == GET}
    seen |= {o.arguments[0] for o in operations if o.kind == CAS}
    return seen | {_before(o) for o in operations if o.kind == ADD and o.result is not None}


def _before(addition: Operation) -> Value:
    total, delta = addition.result, addition.arguments[0]
    assert isinstance(total, int) and isinstance(delta, int)
    return str(total - delta) if total != delta else None


def _shows(operations: list[Operation], last: Operation) -> bool:
    failure = _failure(operations)
    return failure is not None and failure[0] == last


# The search. Operations under way have a bit each, and sets of them are numbers.

# The value; certain writes, observations and open writes that have had their moment
_World = tuple[Value, int, int, int]

_CALL, _END = 0, 1  # of two at one time, the call goes first: then they are concurrent


def _failure(operations: list[Operation]) -> _Failure | None:
    """Of one key."""
    return _Search().run([o for o in operations if not (o.is_open and o.kind == GET)])


class _Worlds:
    """A set of worlds without the needless ones."""

    def __init__(self) -> None:
        self._found: dict[tuple[Value, int], list[tuple[int, int]]] = {}

    def add(self, world: _World) -> bool:
        """Whether it was worth it."""
        value, done, seen, used = world
        others = self._found.setdefault((value, done), [])
        for other_seen, other_used in others:
            if other_seen & seen == seen and other_used & used == other_used:
                return False
        others[:] = [o for o in others if not (o[0] & seen == o[0] and o[1] & used == used)]
        others.append((seen, used))
        return True

    def worlds(self) -> list[_World]:
        return [(*key, *sets) for key, found in self._found.items() for sets in found]


class _Search:
    """Follows one history of one key."""

    def __init__(self) -> None:
        self._worlds: list[_World] = [(None, 0, 0, 0)]
        self._writes: dict[int, Operation] = {}  # under way, by their bits
        self._dependent: dict[int, Operation] = {}  # of these, which depend on the value
        self._observations: dict[int, Operation] = {}
        self._bits: dict[int, int] = {}  # of those under way, by their place in the history

    def run(self, operations: list[Operation]) -> _Failure | None:
        events = [(o.called, _CALL, i) for i, o in enumerate(operations)]
        events += [(_end(o), _END, i) for i, o in enumerate(operations) if _end(o) < math.inf]
        for _, what, i in sorted(events):
            operation = operations[i]
            if what == _CALL:
                self._call(i, operation)
            else:
                values = self._finish(i, operation)
                if not self._worlds:
                    return operation, values
        return None

    def _call(self, i: int, operation: Operation) -> None:
        taken = sum(self._bits.values())
        bit = self._bits[i] = (taken + 1) & ~taken  # the lowest that is free
        if operation.is_observation:
            self._observations[bit] = operation
            self._worlds = [
                (value, done, seen | self._fitting(value) & bit, used)
                for value, done, seen, used in self._worlds
            ]
        else:
            self._writes[bit] = operation
            if operation.is_conditional or operation.kind in UNSEEN:
                self._dependent[bit] = operation

    def _finish(self, i: int, operation: Operation) -> list[Value]:
        """Go on with the worlds in which it has had its moment, now at last.

        An open one need not have had it. Returns the values that were possible.
        """
        bit = self._bits[i]
        explored, after = _Worlds(), _Worlds()
        ahead = [(world, False) for world in self._worlds if explored.add(world)]
        while ahead:
            world, is_idle = ahead.pop()
            value, done, seen, used = world
            has_happened = (done | seen | used) & bit
            if has_happened or operation.is_open and world in self._worlds:
                after.add((value, done & ~bit, seen & ~bit, used & ~bit))
            if not has_happened:
                nexts = self._nexts(world, self._dependent if is_idle else self._writes)
                ahead += [each for each in nexts if explored.add(each[0])]
        del self._bits[i]
        for operations in (self._writes, self._dependent, self._observations):
            operations.pop(bit, None)
        self._worlds = after.worlds()
        return sorted({value for value, *_ in explored.worlds()}, key=str)

    def _nexts(
        self, world: _World, operations: dict[int, Operation]
    ) -> Iterable[tuple[_World, bool]]:
        """What one of these that has not had its moment makes of the world.

        And whether it was for nothing, unless a conditional write comes next: an open one that
        nothing observes need not have happened if it is overwritten.
        """
        value, done, seen, used = world
        for bit, operation in operations.items():
            if (done | used) & bit:
                continue
            result, new = operation.step(value)
            if operation.is_open:
                if new != value:
                    more = seen | self._fitting(new)
                    yield (new, done, more, used | bit), more == seen
            elif result == operation.result:
                yield (new, done | bit, seen | self._fitting(new), used), False

    def _fitting(self, value: Value) -> int:
        """The observations under way that have the right result with this value."""
        return sum(bit for bit, o in self._observations.items() if o.step(value)[0] == o.result)
