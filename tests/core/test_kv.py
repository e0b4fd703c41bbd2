"""The key-value machine: commands, queries, limits, and what it does with nonsense."""

from hashlib import sha256

from raft import kv, requests
from raft.kv import KeyValue
from tests.dice import Dice
from tests.support import raises

PORTABLE = True

ROOM = 100_000
NOTHING = b""
NO = b"\0"
YES = b"\1"
BROKEN = b"\xff"
LONGEST_KEY = b"k" * kv.MAX_KEY
LONGEST_VALUE = b"v" * kv.MAX_VALUE


def filled(**values: bytes) -> KeyValue:
    machine = KeyValue(ROOM)
    for key in values:
        machine.apply(requests.put(key.encode(), values[key]))
    return machine


def get(machine: KeyValue, key: bytes) -> bytes | None:
    return requests.get_answer(machine.query(requests.get_query(key)))


def keys(machine: KeyValue, prefix: bytes = b"", after: bytes = b"") -> tuple[list[bytes], bool]:
    return requests.keys_answer(machine.query(requests.keys_query(prefix, after)))


# Commands


def test_commands_and_queries_have_the_documented_bytes() -> None:
    border, long = bytes(range(32)), bytes(33)
    for made, wanted in (
        (requests.put(b"ab", b"xyz"), b"\1\2abxyz"),
        (requests.put(b"ab", b""), b"\1\2ab"),
        (requests.delete(b"ab"), b"\2\2ab"),
        (requests.cas(b"ab", None, b"new"), b"\3\2ab\0new"),
        (requests.cas(b"ab", b"old", b"new"), b"\3\2ab\1\3oldnew"),
        (requests.cas(b"ab", border, b"new"), b"\3\2ab\1\x20" + border + b"new"),
        (requests.cas(b"ab", long, b"new"), b"\3\2ab\2" + sha256(long).digest() + b"new"),
        (requests.get_query(b"ab"), b"\1ab"),
        (requests.keys_query(b"a"), b"\2\1a"),
        (requests.keys_query(b"a", b"ab"), b"\2\1aab"),
    ):
        assert made == wanted


def test_put_stores_and_replaces() -> None:
    machine = filled(a=b"1")
    assert get(machine, b"a") == b"1"

    assert machine.apply(requests.put(b"a", b"2")) == NOTHING
    assert machine.apply(requests.put(b"b", b"")) == NOTHING

    assert get(machine, b"a") == b"2"
    assert get(machine, b"b") == b""
    assert get(machine, b"c") is None


def test_delete_says_whether_there_was_something() -> None:
    machine = filled(a=b"1")

    assert machine.apply(requests.delete(b"b")) == NO
    assert machine.apply(requests.delete(b"a")) == YES
    assert machine.apply(requests.delete(b"a")) == NO

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
        machine = KeyValue(ROOM)
        if before is not None:
            machine.apply(requests.put(b"a", before))

        result = machine.apply(requests.cas(b"a", expected, b"new"))

        assert result == (YES if changed else NO), (before, expected)
        assert get(machine, b"a") == (b"new" if changed else before)


def test_a_long_expected_value_travels_as_its_digest() -> None:
    assert len(requests.cas(b"a", LONGEST_VALUE, b"")) < 50
    assert len(requests.cas(LONGEST_KEY, LONGEST_VALUE, LONGEST_VALUE)) < 1150


def test_commands_apply_from_a_view_as_from_bytes() -> None:
    machine = KeyValue(ROOM)

    for command in (requests.put(b"a", b"1"), requests.cas(b"a", b"1", b"2")):
        machine.apply(memoryview(b"head" + command)[4:])

    assert get(machine, b"a") == b"2"
    assert machine.apply(memoryview(requests.delete(b"a"))) == YES


# Limits


def test_the_longest_key_and_value_are_taken_and_longer_ones_refused() -> None:
    machine = KeyValue(ROOM)
    machine.apply(requests.put(LONGEST_KEY, LONGEST_VALUE))
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
        lambda: requests.get_query(b""),
        lambda: requests.get_query(LONGEST_KEY + b"k"),
    ):
        error = raises(ValueError, make)
        assert "at most" in str(error) or "1 to" in str(error)


def test_what_it_holds_is_counted_down_to_nothing() -> None:
    machine = KeyValue(ROOM)
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
            )
        )
        held = [(k, get(machine, k) or b"") for k in keys(machine)[0]]
        assert machine.used == sum([kv.KEY_RAM_BYTES + len(k) + len(v) for k, v in held])

    for key in names:
        machine.apply(requests.delete(key))
    assert machine.used == 0


def test_a_full_machine_has_room_for_deletes_only_until_something_is_deleted() -> None:
    machine = KeyValue(1000)
    count = 0
    while machine.room_for(requests.put(b"%d" % count, bytes(40))):
        machine.apply(requests.put(b"%d" % count, bytes(40)))
        count += 1

    assert 5 < count < 12
    assert machine.used <= machine.max_bytes
    assert not machine.room_for(requests.cas(b"x", None, bytes(40)))
    assert not machine.room_for(memoryview(requests.put(b"x", bytes(40))))
    assert machine.room_for(requests.delete(b"0"))
    machine.apply(requests.delete(b"0"))
    assert machine.room_for(requests.put(b"x", bytes(40)))


def test_what_is_committed_is_applied_even_beyond_the_limit() -> None:
    machine = KeyValue(10)

    machine.apply(requests.put(b"a", bytes(500)))

    assert get(machine, b"a") == bytes(500)


# Queries


def test_keys_come_in_order_and_by_prefix() -> None:
    machine = filled(b1=b"", a=b"", b=b"", c=b"", b2=b"", bb=b"")

    assert keys(machine) == ([b"a", b"b", b"b1", b"b2", b"bb", b"c"], False)
    assert keys(machine, b"b") == ([b"b", b"b1", b"b2", b"bb"], False)
    assert keys(machine, b"b", after=b"b1") == ([b"b2", b"bb"], False)
    assert keys(machine, b"x") == ([], False)
    assert keys(KeyValue(ROOM)) == ([], False)


def test_many_keys_come_page_by_page_each_once() -> None:
    machine = KeyValue(ROOM)
    wanted = [b"key/%03d/" % i + b"x" * (i % 56) for i in range(150)]
    for key in wanted:
        machine.apply(requests.put(key, b""))
    machine.apply(requests.put(b"other", b""))

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
        command[:5],
        command[:6],
    ):
        machine = filled(a=b"1", ab=b"12")
        used = machine.used

        assert not machine.is_valid(payload), payload
        assert machine.apply(payload) == BROKEN

        assert machine.used == used
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
    ):
        assert KeyValue(ROOM).is_valid(payload)
        assert KeyValue(ROOM).is_valid(memoryview(payload))


def test_a_malformed_query_has_no_answer() -> None:
    machine = filled(a=b"1")

    for payload in (b"", b"\1", b"\2", b"\0a", b"\3aa", b"\2\5ab"):
        assert machine.query(payload) is None, payload


def test_no_payload_raises_and_all_replicas_agree() -> None:
    dice = Dice(2)
    good = (
        requests.put(b"abc", b"1"),
        requests.cas(b"abc", b"1", b"2"),
        requests.cas(b"abc", bytes(40), b"2"),
    )
    one, other = KeyValue(ROOM), KeyValue(ROOM)
    for i in range(2000):
        payload = bytearray(dice.pick(good) if i % 2 else dice.bytes(dice.below(12)))
        for _ in range(dice.below(3)):
            if payload:
                payload[dice.below(len(payload))] = dice.below(8)
        payload = payload[: len(payload) - dice.below(3)]

        one.query(bytes(payload))
        assert one.apply(bytes(payload)) == other.apply(memoryview(payload))

    assert keys(one) == keys(other)
    assert one.used == other.used
