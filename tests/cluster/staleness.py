"""Do reads that may be stale keep what they say of their age?

Such a read must have been right at some time between its call, less the age that it states, and
its return. What is looked at here is necessary, and not all that could be said: a value was there
at the earliest when its write was called, and no longer when a write that began after the end of
that one had returned. Keys that are added to can't be looked at: an addition of unknown outcome
leaves nobody knows what.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable

from tests.cluster.history import Operation, Value


def check(history: Iterable[Operation], slack_s: float = 0.0) -> list[str]:
    """What is wrong with the reads of it that have an age, a line for each.

    slack_s: by so much they may be older than they say.
    """
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    return [line for operations in keys.values() for line in _check_key(operations, slack_s)]


def _check_key(operations: list[Operation], slack_s: float) -> list[str]:
    lives = _lives([o for o in operations if not o.is_observation])
    wrong = []
    for read in operations:
        if read.age is None or read.returned is None:
            continue
        assert not isinstance(read.result, int)
        since = read.called - read.age - slack_s
        known = [life for life in lives.get(read.result, []) if life[0] <= read.returned]
        if not known:
            wrong.append(f"{read}: nobody had written that")
        elif max(end for _, end in known) < since:
            late = since - max(end for _, end in known)
            wrong.append(f"{read}: it was overwritten {late:.3f} s before that")
    return wrong


def _lives(writes: list[Operation]) -> dict[Value, list[tuple[float, float]]]:
    """Of each value: from when to when it may have been there, each time."""
    sure = sorted((o.called, o.returned) for o in writes if o.returned is not None)
    ends = [math.inf]  # of those from each place on, the earliest return
    for _, returned in reversed(sure):
        ends.append(min(ends[-1], returned))
    ends.reverse()

    def end_of(time: float) -> float:
        """When whatever was there at that time is overwritten by what is called later."""
        return ends[bisect_right(sure, (time, math.inf))]

    lives: dict[Value, list[tuple[float, float]]] = {None: [(-math.inf, end_of(-math.inf))]}
    for write in writes:
        until = end_of(write.void_after if write.returned is None else write.returned)
        lives.setdefault(write.written, []).append((write.called, until))
    return lives
