"""Client sessions: each command once, however often it is sent, logged or replayed."""

from raft.sessions import (
    DONE,
    EXPIRED,
    MAX_SESSIONS,
    OPEN,
    Sessions,
    command,
    has_session,
    same_command,
)
from tests.dice import Dice

PORTABLE = True

GONE = bytes((EXPIRED,))


class Recorder:
    """A state machine that keeps what was applied to it."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []

    def apply(self, payload: bytes | memoryview) -> bytes:
        self.applied.append(bytes(payload))
        return b"result %d" % len(self.applied)

    def is_valid(self, payload: bytes | memoryview) -> bool:
        return payload != b"bad"

    def room_for(self, payload: bytes | memoryview) -> bool:
        return payload != b"big"


class Replica:
    """Sessions over a recorder, and the log that they apply."""

    def __init__(self) -> None:
        self.machine = Recorder()
        self.sessions = Sessions(self.machine)
        self.index = 0

    def apply(self, data: bytes) -> bytes:
        self.index += 1
        return self.sessions.apply(self.index, data)

    def open(self) -> int:
        result = self.apply(OPEN)
        assert result[0] == DONE
        return int.from_bytes(result[1:], "little")


def test_a_session_is_known_by_the_index_that_opened_it() -> None:
    replica = Replica()
    replica.index = 41

    assert replica.apply(OPEN) == b"\0\x2a\0\0\0"
    assert replica.apply(OPEN) == b"\0\x2b\0\0\0"


def test_a_command_is_applied_and_its_result_given() -> None:
    replica = Replica()
    session = replica.open()

    assert replica.apply(command(session, 1, b"a")) == b"\0result 1"
    assert replica.apply(command(session, 2, b"b")) == b"\0result 2"

    assert replica.machine.applied == [b"a", b"b"]


def test_a_retried_command_is_applied_once_and_has_the_same_result() -> None:
    replica = Replica()
    session = replica.open()

    results = [replica.apply(command(session, 1, b"a")) for _ in range(4)]

    assert results == [b"\0result 1"] * 4
    assert replica.machine.applied == [b"a"]


def test_a_copy_that_comes_after_the_next_command_has_no_effect() -> None:
    replica = Replica()
    session = replica.open()
    replica.apply(command(session, 1, b"a"))
    replica.apply(command(session, 2, b"b"))

    assert replica.apply(command(session, 1, b"a")) == GONE

    assert replica.machine.applied == [b"a", b"b"]
    assert replica.apply(command(session, 2, b"b")) == b"\0result 2"


def test_numbers_may_be_left_out() -> None:
    replica = Replica()
    session = replica.open()

    assert replica.apply(command(session, 7, b"a")) == b"\0result 1"
    assert replica.apply(command(session, 6, b"b")) == GONE

    assert replica.machine.applied == [b"a"]


def test_sessions_do_not_touch_each_other() -> None:
    replica = Replica()
    first, second = replica.open(), replica.open()

    for session in (first, second):
        assert replica.apply(command(session, 1, b"%d" % session))[0] == DONE

    assert replica.machine.applied == [b"%d" % first, b"%d" % second]


def test_a_session_that_is_not_known_applies_nothing() -> None:
    replica = Replica()
    session = replica.open()

    assert replica.apply(command(session + 1, 1, b"a")) == GONE
    assert replica.apply(command(session, 0, b"a")) == GONE

    assert replica.machine.applied == []


def test_data_too_short_for_a_command_applies_nothing() -> None:
    replica = Replica()
    replica.open()

    for n in range(8):
        assert replica.apply(bytes((1,) * n)) == GONE
        assert not replica.sessions.is_valid(bytes((1,) * n))

    assert replica.machine.applied == []


def test_sessions_are_bounded_and_the_one_unused_longest_goes() -> None:
    replica = Replica()
    opened = [replica.open() for _ in range(MAX_SESSIONS)]
    replica.apply(command(opened[0], 1, b"still here"))

    newest = replica.open()

    assert replica.apply(command(opened[1], 1, b"too late")) == GONE
    for session in (opened[0], opened[2], opened[-1], newest):
        assert replica.apply(command(session, 2, b"x"))[0] == DONE
    for _ in range(MAX_SESSIONS):
        replica.open()
    assert replica.apply(command(opened[0], 3, b"too late")) == GONE


def test_a_retry_keeps_a_session_alive() -> None:
    replica = Replica()
    opened = [replica.open() for _ in range(MAX_SESSIONS)]
    replica.apply(command(opened[0], 1, b"a"))
    for session in opened[1:]:
        replica.apply(command(session, 1, b"b"))

    replica.apply(command(opened[0], 1, b"a"))
    replica.open()

    assert replica.apply(command(opened[0], 1, b"a"))[0] == DONE
    assert replica.apply(command(opened[1], 2, b"c")) == GONE


def test_an_expired_session_does_not_come_back() -> None:
    replica = Replica()
    session = replica.open()
    replica.apply(command(session, 1, b"a"))
    for _ in range(MAX_SESSIONS):
        replica.open()

    for number in (1, 2, 3):
        assert replica.apply(command(session, number, b"a")) == GONE
    assert replica.machine.applied == [b"a"]


def test_all_replicas_keep_and_drop_the_same_sessions() -> None:
    dice = Dice(1)
    replicas = (Replica(), Replica(), Replica())
    log: list[bytes] = []
    for _ in range(MAX_SESSIONS * 6):
        if dice.one_in(2):
            log.append(OPEN)
        else:
            log.append(command(dice.draw(1, len(log) + 1), dice.draw(0, 3), b"x"))

    results = [[replica.apply(data) for data in log] for replica in replicas]

    assert results[0] == results[1] == results[2]
    assert [result[0] for result in results[0]].count(EXPIRED) > MAX_SESSIONS
    assert len(replicas[0].machine.applied) > MAX_SESSIONS // 2


def test_the_leader_knows_the_result_of_the_newest_command_only() -> None:
    replica = Replica()
    session = replica.open()
    for number in (1, 2):
        assert replica.sessions.known_result(command(session, number, b"a")) is None
        replica.apply(command(session, number, b"a"))
        assert replica.sessions.known_result(command(session, number, b"a")) is not None

    assert replica.sessions.known_result(command(session, 1, b"a")) is None
    assert replica.sessions.known_result(command(session + 9, 2, b"a")) is None
    assert replica.sessions.known_result(OPEN) is None


def test_what_the_leader_lets_into_the_log_is_well_formed() -> None:
    sessions = Replica().sessions

    for data, valid in (
        (OPEN, True),
        (command(0, 0, b"x"), False),
        (command(0, 1, b""), False),
        (command(5, 0, b"x"), False),
        (command(5, 1, b"x"), True),
        (command(5, 1, b"bad"), False),
    ):
        assert sessions.is_valid(data) == valid, data
    assert sessions.room_for(OPEN)
    assert sessions.room_for(command(5, 1, b"x"))
    assert not sessions.room_for(command(5, 1, b"big"))


def test_which_commands_a_session_watches_over() -> None:
    assert has_session(command(1, 1, b""))
    assert has_session(command(1 << 29, 1, b"x"))
    assert not has_session(OPEN)
    assert not has_session(b"")
    assert not has_session(bytes((1,) * 7))


def test_copies_of_one_command_are_known_by_session_and_number() -> None:
    assert same_command(command(1, 1, b"a"), command(1, 1, b"a"))
    assert not same_command(command(1, 1, b"a"), command(1, 2, b"a"))
    assert not same_command(command(1, 1, b"a"), command(2, 1, b"a"))
