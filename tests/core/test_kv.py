"""The key-value machine: commands, queries, limits, and what it does with nonsense."""

from hashlib import sha256

from raft import kv, requests
from raft.kv import KeyValue
from raft.machines import Machines
from tests.dice import Dice
from tests.support import raises

PORTABLE = True

ROOM = 100_000
NOW = 1000  # the cluster's time, in s
NOTHING = b""
NO = b"\0"
YES = b"\1"
BROKEN = b"\xff"
LONGEST_KEY = b"k" * kv.MAX_KEY
LONGEST_VALUE = b"v" * kv.MAX_VALUE


def empty(max_bytes: int = ROOM) -> Machines:
    """A store under the empty name, which `requests` puts in front of commands and queries."""
    return Machines(KeyValue(max_bytes))


def filled(**values: bytes) -> Machines:
    machine = empty()
    for key in values:
        machine.apply(requests.put(key.encode(), values[key]), NOW)
    return machine


def get(machine: Machines, key: bytes) -> bytes | None:
    return requests.get_answer(machine.query(requests.get_query(key)))


def keys(machine: Machines, prefix: bytes = b"", after: bytes = b"") -> tuple[list[bytes], bool]:
    return requests.keys_answer(machine.query(requests.keys_query(prefix, after)))


# Commands


def test_commands_and_queries_have_the_documented_bytes() -> None:
    border, long = bytes(range(32)), bytes(33)
    for made, wanted in (
        (requests.put(b"ab", b"xyz"), b"\0\1\2abxyz"),
        (requests.put(b"ab", b""), b"\0\1\2ab"),
        (requests.delete(b"ab"), b"\0\2\2ab"),
        (requests.cas(b"ab", None, b"new"), b"\0\3\2ab\0new"),
        (requests.cas(b"ab", b"old", b"new"), b"\0\3\2ab\1\3oldnew"),
        (requests.cas(b"ab", border, b"new"), b"\0\3\2ab\1\x20" + border + b"new"),
        (requests.cas(b"ab", long, b"new"), b"\0\3\2ab\2" + sha256(long).digest() + b"new"),
        (requests.add(b"ab", -2), b"\0\4\2ab\xfe" + b"\xff" * 7),
        (requests.lock(b"ab", b"me", 258), b"\0\5\2ab\2me\2\1"),
        (requests.unlock(b"ab", b"me"), b"\0\6\2ab\2me"),
        (requests.get_query(b"ab"), b"\0\1ab"),
        (requests.keys_query(b"a"), b"\0\2\1a"),
        (requests.keys_query(b"a", b"ab"), b"\0\2\1aab"),
    ):
        assert made == wanted


def test_put_stores_and_replaces() -> None:
    machine = filled(a=b"1")
    assert get(machine, b"a") == b"1"

    assert machine.apply(requests.put(b"a", b"2"), NOW) == NOTHING
    assert machine.apply(requests.put(b"b", b""), NOW) == NOTHING

    assert get(machine, b"a") == b"2"
    assert get(machine, b"b") == b""
    assert get(machine, b"c") is None


def test_delete_says_whether_there_was_something() -> None:
    machine = filled(a=b"1")

    assert machine.apply(requests.delete(b"b"), NOW) == NO
    assert machine.apply(requests.delete(b"a"), NOW) == YES
    assert machine.apply(requests.delete(b"a"), NOW) == NO

    assert get(machine, b"a") is None


def test_compare_and_set_stores_only_over_what_was_expected() -> None:
    short, border, long = b"s" * 31, b"b" * 32, b"l" * 1000
    # value before, expected, changed
    for before, expected, changed in (
        (None, None, True),
        (b"", None, False),
        (b"1", None, False),
        (None, b"", False),
        (None, b"1", False),
        (b"", b"", True),
        (b"1", b"1", True),
        (b"1", b"2", False),
        (b"1", b"11", False),
        (b"11", b"1", False),
        (short, short, True),
        (border, border, True),
        (border, border + b"b", False),
        (border + b"b", border + b"b", True),
        (border + b"b", border, False),
        (long, long, True),
        (long, long[:-1] + b"x", False),
        (None, long, False),
        (short, long, False),
        (LONGEST_VALUE, LONGEST_VALUE, True),
    ):
        machine = empty()
        if before is not None:
            machine.apply(requests.put(b"a", before), NOW)

        result = machine.apply(requests.cas(b"a", expected, b"new"), NOW)

        assert result == (YES if changed else NO), (before, expected)
        assert get(machine, b"a") == (b"new" if changed else before)


def test_a_long_expected_value_travels_as_its_digest() -> None:
    assert len(requests.cas(b"a", LONGEST_VALUE, b"")) < 50
    assert len(requests.cas(LONGEST_KEY, LONGEST_VALUE, LONGEST_VALUE)) < 1150


def test_commands_apply_from_a_view_as_from_bytes() -> None:
    machine = empty()

    for command in (requests.put(b"a", b"1"), requests.cas(b"a", b"1", b"2")):
        machine.apply(memoryview(b"head" + command)[4:], NOW)

    assert get(machine, b"a") == b"2"
    assert machine.apply(memoryview(requests.delete(b"a")), NOW) == YES


# Limits


def test_the_longest_key_and_value_are_taken_and_longer_ones_refused() -> None:
    machine = empty()
    machine.apply(requests.put(LONGEST_KEY, LONGEST_VALUE), NOW)
    assert get(machine, LONGEST_KEY) == LONGEST_VALUE

    for make in (
        lambda: requests.put(LONGEST_KEY + b"k", b""),
        lambda: requests.put(b"a", LONGEST_VALUE + b"v"),
        lambda: requests.put(b"", b""),
        lambda: requests.delete(LONGEST_KEY + b"k"),
        lambda: requests.delete(b""),
        lambda: requests.cas(LONGEST_KEY + b"k", None, b""),
        lambda: requests.cas(b"a", LONGEST_VALUE + b"v", b""),
        lambda: requests.cas(b"a", b"", LONGEST_VALUE + b"v"),
        lambda: requests.add(b"", 1),
        lambda: requests.lock(LONGEST_KEY + b"k", b"me", 1),
        lambda: requests.unlock(b"a", b""),
        lambda: requests.unlock(b"a", bytes(kv.MAX_OWNER + 1)),
        lambda: requests.get_query(b""),
        lambda: requests.get_query(LONGEST_KEY + b"k"),
    ):
        error = raises(ValueError, make)
        assert "at most" in str(error) or "1 to" in str(error)


def test_what_it_holds_is_counted_down_to_nothing() -> None:
    machine = empty()
    dice = Dice(1)
    names = [b"%d" % i * (i + 1) for i in range(8)]
    for _ in range(400):
        key, value = dice.pick(names), bytes(dice.below(60))
        machine.apply(
            dice.pick(
                (
                    requests.put(key, value),
                    requests.cas(key, get(machine, key), value),
                    requests.delete(key),
                )
            ),
            NOW,
        )
        held = [(k, get(machine, k) or b"") for k in keys(machine)[0]]
        assert machine.default.used == sum([kv.KEY_RAM_BYTES + len(k) + len(v) for k, v in held])

    for key in names:
        machine.apply(requests.delete(key), NOW)
    assert machine.default.used == 0


def test_a_full_machine_has_room_for_deletes_only_until_something_is_deleted() -> None:
    machine = empty(1000)
    count = 0
    while machine.room_for(requests.put(b"%d" % count, bytes(40))):
        machine.apply(requests.put(b"%d" % count, bytes(40)), NOW)
        count += 1

    assert 5 < count < 12
    assert machine.default.used <= machine.max_bytes
    assert not machine.room_for(requests.cas(b"x", None, bytes(40)))
    assert not machine.room_for(memoryview(requests.put(b"x", bytes(40))))
    assert machine.room_for(requests.delete(b"0"))
    machine.apply(requests.delete(b"0"), NOW)
    assert machine.room_for(requests.put(b"x", bytes(40)))


def test_what_is_committed_is_applied_even_beyond_the_limit() -> None:
    machine = empty(10)

    machine.apply(requests.put(b"a", bytes(500)), NOW)

    assert get(machine, b"a") == bytes(500)


# Queries


def test_keys_come_in_order_and_by_prefix() -> None:
    machine = filled(b1=b"", a=b"", b=b"", c=b"", b2=b"", bb=b"")

    assert keys(machine) == ([b"a", b"b", b"b1", b"b2", b"bb", b"c"], False)
    assert keys(machine, b"b") == ([b"b", b"b1", b"b2", b"bb"], False)
    assert keys(machine, b"b", after=b"b1") == ([b"b2", b"bb"], False)
    assert keys(machine, b"x") == ([], False)
    assert keys(empty()) == ([], False)


def test_many_keys_come_page_by_page_each_once() -> None:
    machine = empty()
    wanted = [b"key/%03d/" % i + b"x" * (i % 56) for i in range(150)]
    for key in wanted:
        machine.apply(requests.put(key, b""), NOW)
    machine.apply(requests.put(b"other", b""), NOW)

    found: list[bytes] = []
    pages, more = 0, True
    while more:
        answer = machine.query(requests.keys_query(b"key/", found[-1] if found else b""))
        assert len(answer) <= kv.MAX_ANSWER
        page, more = requests.keys_answer(answer)
        found.extend(page)
        pages += 1

    assert found == wanted
    assert pages > 3


# Nonsense


def test_a_malformed_command_changes_nothing_and_says_so() -> None:
    command = requests.cas(b"ab", b"12", b"new")
    for payload in (
        b"",
        b"\1",
        b"\1\1",
        b"\1\0a",
        b"\0\1a",
        b"\4\1a",
        b"\1\2a",
        b"\1\x41" + b"k" * 65,
        b"\1\1a" + LONGEST_VALUE + b"v",
        b"\2\1ab",
        b"\3\1a",
        b"\3\1a\3",
        b"\3\1a\1",
        b"\3\1a\1\2x",
        b"\3\1a\1\x21" + b"x" * 33,
        b"\3\1a\2" + b"x" * 31,
        b"\3\1a\0" + LONGEST_VALUE + b"v",
        command[1:6],
        command[1:7],
        b"\4\1a1234567",
        b"\4\1a123456789",
        b"\5\1a",
        b"\5\1a\0\1\0",
        b"\5\1a\1x\1",
        b"\5\1a\x21" + bytes(35),
        b"\6\1a\1",
        b"\6\1a\1xy",
    ):
        payload = b"\0" + payload
        machine = filled(a=b"1", ab=b"12")
        used = machine.default.used

        assert not machine.is_valid(payload), payload
        assert machine.apply(payload, NOW) == BROKEN

        assert machine.default.used == used
        assert keys(machine) == ([b"a", b"ab"], False)
        assert (get(machine, b"a"), get(machine, b"ab")) == (b"1", b"12")


def test_a_well_formed_command_is_valid() -> None:
    for payload in (
        requests.put(b"a", b""),
        requests.put(LONGEST_KEY, LONGEST_VALUE),
        requests.delete(b"a"),
        requests.cas(b"a", None, b""),
        requests.cas(b"a", b"", b""),
        requests.cas(b"a", bytes(32), b""),
        requests.cas(LONGEST_KEY, LONGEST_VALUE, LONGEST_VALUE),
        requests.add(b"a", -1),
        requests.lock(LONGEST_KEY, bytes(kv.MAX_OWNER), 1),
        requests.unlock(b"a", b"me"),
    ):
        assert empty().is_valid(payload)
        assert empty().is_valid(memoryview(payload))


def test_a_malformed_query_has_no_answer() -> None:
    machine = filled(a=b"1")

    for payload in (b"", b"\1", b"\2", b"\0a", b"\3aa", b"\2\5ab"):
        assert machine.query(b"\0" + payload) is None, payload


def test_what_is_for_no_machine_is_neither_taken_nor_answered() -> None:
    machine = filled(a=b"1")

    for payload in (b"", b"\1", b"\xff"):
        assert not machine.is_valid(payload)
        assert machine.apply(payload, NOW) == BROKEN
        assert machine.query(payload) is None


def test_no_payload_raises_and_all_replicas_agree() -> None:
    dice = Dice(2)
    good = (
        requests.put(b"abc", b"1"),
        requests.cas(b"abc", b"1", b"2"),
        requests.cas(b"abc", bytes(40), b"2"),
        requests.add(b"abc", 1),
        requests.lock(b"abc", b"me", 1),
        requests.unlock(b"abc", b"me"),
    )
    one, other = empty(), empty()
    for i in range(2000):
        payload = bytearray(dice.pick(good)[1:] if i % 2 else dice.bytes(dice.below(12)))
        for _ in range(dice.below(3)):
            if payload:
                payload[dice.below(len(payload))] = dice.below(8)
        payload = bytearray(1) + payload[: len(payload) - dice.below(3)]

        one.query(bytes(payload))
        assert one.apply(bytes(payload), NOW) == other.apply(memoryview(payload), NOW)

    assert keys(one) == keys(other)
    assert one.default.used == other.default.used
