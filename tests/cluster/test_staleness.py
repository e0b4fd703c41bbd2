"""Reads that may be stale: old is allowed, older than they say is found."""

import math

from tests.cluster import linearizability, staleness
from tests.cluster.history import DELETE, GET, PUT, Operation, Value


def put(called: float, returned: float | None, value: str, until: float = math.inf) -> Operation:
    return Operation(1, PUT, "k", (value,), None, called, returned, until)


def delete(called: float, returned: float) -> Operation:
    return Operation(1, DELETE, "k", (), True, called, returned)


def stale(called: float, returned: float, value: Value, age: float) -> Operation:
    return Operation(1, GET, "k", (), value, called, returned, how="local", age=age)


WRITES = [put(1, 2, "a"), put(3, 4, "b"), delete(5, 6)]


def test_a_stale_read_is_no_violation_of_linearizability() -> None:
    assert linearizability.check([*WRITES, stale(10, 11, "a", 9)]) == []


def test_a_value_may_be_as_old_as_the_read_says() -> None:
    for read in (
        stale(10, 11, "a", 6),
        stale(10, 11, "b", 4),
        stale(10, 11, None, 0),
        stale(10, 11, None, math.inf),
        stale(10, 11, "a", math.inf),
        stale(3.5, 3.6, "a", 0),
        stale(3.5, 3.6, "b", 0),
    ):
        assert staleness.check([*WRITES, read]) == []


def test_a_value_is_not_older_than_the_read_says_and_the_slack_allows() -> None:
    history = [*WRITES, stale(10, 11, "a", 5.5)]

    (line,) = staleness.check(history)

    assert line.endswith(
        "get k (local) (at most 5.500 s old) -> a: it was overwritten 0.500 s before that"
    )
    assert staleness.check(history, slack_s=0.5) == []


def test_a_value_that_nobody_had_written_is_found_however_old_the_read_may_be() -> None:
    for read in (stale(10, 11, "c", math.inf), stale(0, 0.5, "a", math.inf)):
        (line,) = staleness.check([*WRITES, read])
        assert line.endswith("nobody had written that")


def test_a_write_of_unknown_outcome_is_overwritten_by_what_comes_after_its_last_moment() -> None:
    for until, wrong in ((math.inf, 0), (2.5, 1)):
        history = [put(1, None, "x", until), put(3, 4, "b"), stale(10, 11, "x", 0)]
        assert len(staleness.check(history)) == wrong
