"""Counters and locks in the key-value store."""

from raft import kv, requests
from raft.kv import KeyValue
from raft.machines import Machines
from tests.support import raises

PORTABLE = True

BROKEN = b"\xff"
NOW = 1000  # the cluster's time, in s
MOST = (1 << 63) - 1


class Store:
    """A store, and the time of the cluster."""

    def __init__(self, value: bytes | None = None) -> None:
        self.machine = Machines(KeyValue(10_000))
        self.now = NOW
        if value is not None:
            self.machine.apply(requests.put(b"k", value), NOW)

    def add(self, delta: int) -> int:
        return requests.add_result(self.machine.apply(requests.add(b"k", delta), self.now))

    def lock(self, owner: bytes, ttl_s: int) -> tuple[int, int]:
        result = self.machine.apply(requests.lock(b"k", owner, ttl_s), self.now)
        assert len(result) <= 16
        return requests.lock_result(result)

    def unlock(self, owner: bytes) -> bool:
        return self.machine.apply(requests.unlock(b"k", owner), self.now) == b"\1"

    def value(self) -> bytes | None:
        value: bytes | None = requests.get_answer(self.machine.query(requests.get_query(b"k")))
        return value

    def is_counted(self) -> bool:
        """Whether the store knows how much of its room is in use."""
        value = self.value()
        room = 0 if value is None else kv.KEY_RAM_BYTES + len(b"k") + len(value)
        return bool(self.machine.default.used == room)


# Counters


def test_a_counter_begins_at_nought_and_is_a_number_for_people() -> None:
    store = Store()

    assert [store.add(delta) for delta in (5, -7, 0, 300)] == [5, -2, -2, 298]

    assert store.value() == b"298"
    assert store.is_counted()


def test_a_counter_goes_on_from_what_was_put() -> None:
    for value, total in ((b"0", 1), (b"-1", 0), (b"007", 8), (b"%d" % (MOST - 1), MOST)):
        store = Store(value)
        assert store.add(1) == total
        assert store.value() == b"%d" % total


def test_what_is_no_number_is_left_alone() -> None:
    # of some of them, `int` makes a number in one interpreter or the other
    for value in (b"", b"x", b"1 ", b" 1", b"+1", b"1_0", b"0x1", b"-", b"--1", b"1.0", b"9" * 20):
        store = Store(value)
        raises(ValueError, store.add, 1)
        assert store.value() == value


def test_a_counter_has_64_bits() -> None:
    for value, delta in ((MOST, 1), (-MOST, -2), (-MOST - 1, -1)):
        store = Store(b"%d" % value)
        raises(ValueError, store.add, delta)
        assert store.value() == b"%d" % value
    assert Store(b"%d" % MOST).add(-MOST) == 0
    assert Store().add(-MOST) == -MOST
    for delta in (MOST + 1, -MOST - 1):
        raises(ValueError, requests.add, b"k", delta)


# Locks


def test_a_lock_belongs_to_one_owner_until_its_time_is_over() -> None:
    store = Store()

    assert store.lock(b"a", 10) == (1, 10)
    assert store.value() == b"1 a 1010"
    store.now += 3
    assert store.lock(b"b", 10) == (0, 7)
    store.now += 6
    assert store.lock(b"b", 10) == (0, 1)
    store.now += 1
    assert store.lock(b"b", 10) == (2, 10)
    assert store.lock(b"a", 10) == (0, 10)
    assert store.is_counted()


def test_its_owner_keeps_a_lock_under_the_same_number() -> None:
    store = Store()
    store.lock(b"a", 10)

    store.now += 9
    assert store.lock(b"a", 10) == (1, 10)
    store.now += 9
    assert store.lock(b"b", 10) == (0, 1)


def test_whoever_takes_it_again_after_its_time_gets_another_number() -> None:
    store = Store()
    store.lock(b"a", 10)

    store.now += 10
    assert store.lock(b"a", 10) == (2, 10)


def test_a_lock_that_is_given_back_is_free_and_its_numbers_go_on() -> None:
    store = Store()
    store.lock(b"a", 10)

    assert not store.unlock(b"b")
    assert store.unlock(b"a")
    assert store.value() == b"1"
    assert not store.unlock(b"a")
    assert store.lock(b"b", 10) == (2, 10)
    assert store.is_counted()


def test_a_lock_can_be_given_back_late_unless_another_one_has_it() -> None:
    store = Store()
    store.lock(b"a", 10)
    store.now += 10
    assert store.unlock(b"a")

    store.lock(b"a", 10)
    store.now += 10
    store.lock(b"b", 10)
    assert not store.unlock(b"a")
    assert store.value() == b"3 b 1030"


def test_an_owner_may_have_any_bytes() -> None:
    for owner in (b" ", b"a b", b" 9 ", bytes(kv.MAX_OWNER), b"\xff", b"7"):
        store = Store()
        assert store.lock(owner, 10) == (1, 10)
        assert store.lock(b"other", 10) == (0, 10)
        assert store.lock(owner, 20) == (1, 20)
        assert store.unlock(owner)


def test_what_is_no_lock_is_left_alone() -> None:
    for value in (b"", b"x", b"-1", b"1 a", b"1 a x", b"x a 1", b"1 a -1", b"9" * 10, b"1 a " * 9):
        store = Store(value)
        raises(ValueError, store.lock, b"a", 10)
        assert not store.unlock(b"a")
        assert store.value() == value


def test_a_lock_is_held_for_a_time_that_can_be_said() -> None:
    for ttl_s in (0, -1, 1 << 16):
        raises(ValueError, requests.lock, b"k", b"a", ttl_s)


# Both


def test_they_want_room_as_any_value_does() -> None:
    store = Store()
    store.machine.default.max_bytes = 0

    assert not store.machine.room_for(requests.add(b"k", 1))
    assert not store.machine.room_for(requests.lock(b"k", b"a", 1))
    assert store.machine.room_for(requests.unlock(b"k", b"a"))


def test_no_room_is_promised_that_they_do_not_keep_to() -> None:
    for command in (
        requests.add(b"k", -MOST),
        requests.lock(b"k", b"a", 0xFFFF),
        requests.lock(b"k", bytes(kv.MAX_OWNER), 1),
    ):
        store = Store()
        store.now = 900_000_000  # as many digits as it will ever have
        store.machine.apply(command, store.now)
        used = store.machine.default.used
        store.machine.default.max_bytes = used - 1
        store.machine.reset()
        assert not store.machine.room_for(command)
