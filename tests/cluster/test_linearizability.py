"""The checker of histories finds every classical anomaly, and finds fault with nothing else."""

import random
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster import history
from tests.cluster.history import (
    ADD,
    CAS,
    DELETE,
    GET,
    LOCK,
    PUT,
    UNLOCK,
    Operation,
    Result,
    Value,
)
from tests.cluster.linearizability import Violation, check

CLIENTS = 8
KEYS = 3
MANY = 10_000  # operations
SECONDS = 20.0  # for that many, on a machine that has other things to do
MOMENT_S = 0.001
FEW = 4


def operation(
    called: float,
    returned: float | None,
    kind: str,
    *arguments: str | int | None,
    result: Result = None,
    key: str = "k",
    void_after: float = float("inf"),
) -> Operation:
    return Operation(1, kind, key, arguments, result, called, returned, void_after)


def put(called: float, returned: float | None, value: str, **more: float) -> Operation:
    return operation(called, returned, PUT, value, **more)  # type: ignore[arg-type]


def get(called: float, returned: float, result: Value) -> Operation:
    return operation(called, returned, GET, result=result)


def cas(
    called: float, returned: float | None, expected: Value, new: str, result: Result = None
) -> Operation:
    return operation(called, returned, CAS, expected, new, result=result)


def delete(called: float, returned: float | None, result: Result = None) -> Operation:
    return operation(called, returned, DELETE, result=result)


def add(called: float, returned: float | None, result: Result = None) -> Operation:
    return operation(called, returned, ADD, 1, result=result)


def only(violations: list[Violation]) -> Violation:
    assert len(violations) == 1
    return violations[0]


def test_one_after_the_other_is_linearizable() -> None:
    assert not check(
        [
            get(0, 1, None),
            put(2, 3, "a"),
            get(4, 5, "a"),
            cas(6, 7, "a", "b", True),
            cas(8, 9, "a", "c", False),
            get(10, 11, "b"),
            delete(12, 13, True),
            delete(14, 15, False),
            get(16, 17, None),
        ]
    )


def test_operations_at_one_time_may_have_happened_in_any_order() -> None:
    writes = [put(0, 9, "a"), put(0, 9, "b")]

    assert not check([*writes, get(10, 11, "a")])
    assert not check([*writes, get(10, 11, "b")])
    assert not check([*writes, get(1, 2, "b"), get(3, 4, "a")])
    assert not check([*writes, get(1, 2, None), get(3, 4, "b"), get(5, 6, "a")])
    assert not check([*writes, cas(3, 4, "a", "c", True), get(10, 11, "b")])


def test_a_return_at_the_time_of_a_call_is_at_the_same_time() -> None:
    assert not check([put(0, 1, "a"), get(1, 2, None)])


def test_keys_have_nothing_to_do_with_each_other() -> None:
    other = operation(0, 1, PUT, "b", key="other")

    assert not check([put(0, 1, "a"), other, get(2, 3, "a")])
    assert only(check([put(0, 1, "a"), other, get(2, 3, "b")])).key == "k"


def test_stale_read() -> None:
    violation = only(check([put(0, 1, "a"), put(2, 3, "b"), get(4, 5, "a")]))

    assert violation.last == get(4, 5, "a")
    assert violation.values == ["b"]


def test_reads_that_go_back_in_time() -> None:
    writes = [put(0, 1, "a"), put(2, 9, "b")]

    violation = only(check([*writes, get(3, 4, "b"), get(5, 6, "a")]))

    assert violation.last == get(5, 6, "a")
    assert violation.values == ["b"]


def test_lost_update() -> None:
    lost = [put(0, 1, "a"), cas(2, 5, "a", "b", True), get(6, 7, "a")]

    assert only(check(lost)).last == lost[-1]


def test_cas_that_succeeded_twice_on_one_value() -> None:
    twice = [put(0, 1, "a"), cas(2, 5, "a", "b", True), cas(3, 6, "a", "c", True)]

    assert only(check(twice)).last == twice[-1]


def test_cas_that_failed_on_the_value_it_expected() -> None:
    assert check([put(0, 1, "a"), cas(2, 3, "a", "b", False)])
    assert not check([put(0, 1, "a"), put(2, 5, "c"), cas(2, 3, "a", "b", False)])


def test_read_of_a_value_never_written() -> None:
    violation = only(check([put(0, 1, "a"), get(2, 3, "b")]))

    assert violation.operations == [get(2, 3, "b")]
    assert violation.values == ["a"]


def test_read_of_a_value_before_it_was_written() -> None:
    assert check([get(0, 1, "a"), put(2, 3, "a")])


def test_write_that_failed_for_certain_and_is_read() -> None:
    # It has no place in a history: its value was never written.
    assert check([get(2, 3, "refused")])


def test_double_effect_of_a_write_that_was_sent_again() -> None:
    violation = only(check([put(0, 1, "a"), put(2, 3, "b"), get(4, 5, "b"), get(6, 7, "a")]))

    assert violation.last == get(6, 7, "a")
    assert only(check([add(0, 1, 1), add(2, 3, 3)])).values == ["1"]
    assert check([put(0, 1, "a"), delete(2, 3, True), delete(4, 5, True)])


def test_counter() -> None:
    assert not check([add(0, 5, 2), add(1, 6, 1), add(7, 8, 3), get(9, 10, "3")])
    assert check([add(0, 5, 1), add(1, 6, 1)])

    long = [add(i, i + 0.5, i + 1) for i in range(100)]
    violation = only(check([*long, add(200, 201, 102)]))
    assert [o.written for o in violation.operations] == ["102"]
    assert violation.values == ["100"]


def test_lock() -> None:
    def lock(called: float, owner: str, result: int) -> Operation:
        return operation(called, called + 1, LOCK, owner, result=result)

    taken = [lock(0, "x", 1), lock(2, "y", 0), lock(4, "x", 1)]
    free = [*taken, operation(6, 7, UNLOCK, "x", result=True), lock(8, "y", 2)]

    assert not check(free)
    assert check([*taken, operation(6, 7, UNLOCK, "y", result=True)])
    # Two owners at a time, or a number that was given before
    assert check([*taken, lock(6, "y", 2)])
    assert check([*free, lock(10, "x", 1)])
    assert check([*free, operation(10, 11, UNLOCK, "y", result=True), lock(12, "x", 2)])


def test_write_of_unknown_outcome_may_have_an_effect_at_any_later_time_or_none() -> None:
    unknown = put(2, None, "b")

    for reads in (["a", "a"], ["a", "b"], ["b", "b"]):
        assert not check([put(0, 1, "a"), unknown, get(3, 4, reads[0]), get(50, 51, reads[1])])
    assert check([put(0, 1, "a"), unknown, get(3, 4, "b"), get(50, 51, "a")])


def test_write_of_unknown_outcome_has_no_effect_before_its_call() -> None:
    assert check([put(0, 1, "a"), get(2, 3, "b"), put(4, None, "b")])


def test_write_of_unknown_outcome_has_one_effect() -> None:
    violation = only(check([put(2, None, "b"), get(3, 4, "b"), put(5, 6, "c"), get(7, 8, "b")]))

    assert violation.last == get(7, 8, "b")
    assert check([add(0, None), add(1, 2, 3)])


def test_write_of_unknown_outcome_has_none_after_the_time_that_ends_it() -> None:
    unknown = put(2, None, "b", void_after=6)

    assert not check([put(0, 1, "a"), unknown, get(5, 7, "b")])
    assert not check([put(0, 1, "a"), unknown, get(5, 7, "b"), get(8, 9, "b")])
    late = [put(0, 1, "a"), unknown, get(7, 8, "a"), get(9, 10, "b")]
    assert only(check(late)).values == ["a"]


def test_cas_of_unknown_outcome_has_an_effect_on_its_value_alone() -> None:
    unknown = cas(2, None, "a", "b")

    assert not check([put(0, 1, "a"), unknown, get(3, 4, "b")])
    assert check([put(0, 1, "x"), unknown, get(3, 4, "b")])


def test_many_writes_of_unknown_outcome_are_no_burden() -> None:
    many = [put(i, None, f"lost-{i}") for i in range(200)]
    seen = [get(1000 + i, 1000.5 + i, f"lost-{199 - i}") for i in range(200)]

    assert not check([*many, *seen])
    assert check([*many, *seen, get(2000, 2001, "lost-7")])


def test_what_is_told_of_a_violation_is_what_matters() -> None:
    # given a long history in which one read is stale
    told = [put(10 * i, 10 * i + 1, f"v{i}") for i in range(50)]
    told += [get(10 * i + 2, 10 * i + 3, f"v{i}") for i in range(50)]
    stale = get(305, 306, "v28")

    # when it is checked
    violation = only(check([*told, stale]))

    # then the value was written, then another one was, and then it was read
    assert violation.last == stale
    written, overwritten, read = violation.operations
    assert (written.arguments, read) == (("v28",), stale)
    assert written.called < overwritten.called < stale.called
    lines = str(violation).splitlines()
    assert lines[0] == "k: these operations can't have happened one after the other:"
    assert lines[-2] == "At 306.000000 k was v30, so this can't be:"
    assert lines[-1] == "  305.000000 - 306.000000 client 1: get k -> v28"


def test_operations_that_cannot_be_are_shown_side_by_side() -> None:
    violation = only(check([put(0, 1, "a"), put(2, 3, "b"), get(6, 8, "a")]))

    bars = [line.split("|")[1] for line in str(violation).splitlines() if "|" in line]
    assert bars == [
        "===                     ",
        "     ====               ",
        "                 =======",
    ]


# Against all orders there are

STORE = st.sampled_from(["a", "b"])
VALUE = st.one_of(st.none(), STORE)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    called = draw(st.integers(0, 8))
    returned = draw(st.one_of(st.none(), st.integers(0, 5)))
    returned = None if returned is None else called + returned
    kind = draw(st.sampled_from([PUT, DELETE, CAS, GET]))
    arguments: tuple[Value, ...] = ()
    result: Result = None
    if kind == PUT:
        arguments = (draw(STORE),)
    elif kind == CAS:
        arguments = (draw(VALUE), draw(STORE))
    if returned is not None:
        if kind == GET:
            result = draw(VALUE)
        elif kind != PUT:
            result = draw(st.booleans())
    void_after = float("inf")
    if returned is None and draw(st.booleans()):
        void_after = called + draw(st.integers(0, 5))
    return Operation(1, kind, "k", arguments, result, called, returned, void_after)


@st.composite
def operations_on_a_counter(draw: st.DrawFn) -> Operation:
    called = draw(st.integers(0, 8))
    returned = draw(st.one_of(st.none(), st.integers(called, called + 5)))
    kind = draw(st.sampled_from([ADD, ADD, GET, DELETE]))
    result: Result = None
    if returned is not None:
        if kind == ADD:
            result = draw(st.integers(1, 4))
        elif kind == GET:
            result = draw(st.sampled_from([None, "1", "2", "3"]))
        else:
            result = draw(st.booleans())
    arguments = (draw(st.integers(1, 2)),) if kind == ADD else ()
    return Operation(1, kind, "k", arguments, result, called, returned)


@st.composite
def operations_on_a_lock(draw: st.DrawFn) -> Operation:
    called = draw(st.integers(0, 8))
    returned = draw(st.one_of(st.none(), st.integers(called, called + 5)))
    kind = draw(st.sampled_from([LOCK, LOCK, UNLOCK]))
    result: Result = None
    if returned is not None:
        result = draw(st.integers(0, 3) if kind == LOCK else st.booleans())
    owner = draw(st.sampled_from(["x", "y"]))
    return Operation(1, kind, "k", (owner,), result, called, returned)


@st.composite
def nearly_linearizable(draw: st.DrawFn, each: st.SearchStrategy[Operation]) -> list[Operation]:
    """What a store would have answered, but for at most one answer."""
    some = draw(st.lists(each, max_size=6))
    liar = draw(st.integers(0, 2 * len(some)))
    moments = [draw(st.integers(int(o.called), last(o))) for o in some]
    value: Value = None
    for _, i in sorted(zip(moments, range(len(some)))):
        if some[i].is_open:
            if draw(st.booleans()):
                value = some[i].step(value)[1]
        elif i != liar:
            result, value = some[i].step(value)
            some[i] = replace(some[i], result=result)
    return some


def last(o: Operation) -> int:
    """The latest moment that it may have had, as far as the others go."""
    end = o.void_after if o.returned is None else o.returned
    return int(min(end, 14))


def is_linearizable(operations: list[Operation]) -> bool:
    """By the definition: some order of all that returned, and of any that didn't."""
    certain = [o for o in operations if not o.is_open]
    unknown = [o for o in operations if o.is_open]
    for chosen in range(1 << len(unknown)):
        some = certain + [o for i, o in enumerate(unknown) if chosen >> i & 1]
        if any(is_possible(order) for order in permutations(some)):
            return True
    return False


def is_possible(order: tuple[Operation, ...]) -> bool:
    value: Value = None
    moment = -1.0
    for o in order:
        moment = max(moment, o.called)
        if moment > (o.void_after if o.returned is None else o.returned):
            return False
        result, value = o.step(value)
        if not o.is_open and result != o.result:
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.lists(operations(), max_size=6),
        nearly_linearizable(operations()),
        nearly_linearizable(operations_on_a_counter()),
        nearly_linearizable(operations_on_a_lock()),
    )
)
def test_the_checker_says_what_the_definition_says(some: list[Operation]) -> None:
    violations = check(some)

    assert is_linearizable(some) == (not violations)
    for violation in violations:
        assert not is_linearizable(violation.operations)


# Long histories


def long_history(seed: int) -> list[Operation]:
    """What clients of a store on one machine would record, a few of them without an answer."""
    dice = random.Random(seed)
    values: dict[str, Value] = {}
    free = [0.0] * CLIENTS  # when each client has its next turn
    told = []
    for number in range(MANY):
        client = min(range(CLIENTS), key=free.__getitem__)
        key = f"key-{dice.randrange(KEYS)}"
        called = free[client] + dice.random() * MOMENT_S
        returned = called + dice.expovariate(1 / MOMENT_S)
        kind = dice.choice([PUT, PUT, CAS, CAS, DELETE, GET, GET, GET, GET])
        arguments: tuple[Value, ...] = ()
        if kind == PUT:
            arguments = (f"{client}.{number}",)
        elif kind == CAS:
            arguments = (values.get(key), f"{client}.{number}")
        free[client] = returned
        told.append(Operation(client, kind, key, arguments, None, called, returned))
    return [settled(o, values, dice) for o in sorted(told, key=lambda o: moment(o, dice))]


def moment(o: Operation, dice: random.Random) -> float:
    assert o.returned is not None
    return dice.uniform(o.called, o.returned)


def settled(o: Operation, values: dict[str, Value], dice: random.Random) -> Operation:
    if dice.random() < 0.002:
        if dice.random() < 0.5:
            values[o.key] = o.step(values.get(o.key))[1]
        return replace(o, returned=None)
    result, values[o.key] = o.step(values.get(o.key))
    return replace(o, result=result)


def test_a_long_history_is_checked_in_seconds_and_one_stale_read_in_it_is_found() -> None:
    told = long_history(1)
    began = time.monotonic()

    assert check(told) == []

    assert time.monotonic() - began < SECONDS
    stale = tampered(told)
    violation = only(check([stale if o.called == stale.called else o for o in told]))
    assert violation.last == stale
    assert len(violation.operations) <= FEW


def tampered(told: list[Operation]) -> Operation:
    """One of its last reads, with the result of an earlier one."""
    reads = [o for o in told if o.kind == GET and o.key == "key-1" and o.result and not o.is_open]
    return replace(reads[-5], result=reads[-200].result)


def test_what_is_not_known_of_an_operation_is_told() -> None:
    assert str(put(2, None, "b")) == "  2.000000 -       open client 1: put k b, or never"
    assert str(put(2, None, "b", void_after=6)) == (
        "  2.000000 -   6.000000 client 1: put k b, or never"
    )


def test_conditions_that_do_not_matter_are_not_told() -> None:
    told = [cas(0, 1, None, "a", True), delete(2, 3, True), put(4, 5, "b"), get(6, 7, "a")]

    violation = only(check(told))

    assert violation.operations == [
        replace(put(0, 1, "a"), how=CAS),
        put(4, 5, "b"),
        get(6, 7, "a"),
    ]


def test_a_history_is_read_from_its_file_as_it_was_written(tmp_path: Path) -> None:
    told = [
        put(0, 0.125, "a"),
        put(2, None, "b", void_after=7.5),
        replace(get(3, 4, None), how="stale"),
        cas(5, 6, None, "c", True),
        add(7, None),
    ]

    history.save(tmp_path / "history.jsonl", told)

    assert history.load(tmp_path / "history.jsonl") == told
