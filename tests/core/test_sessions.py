"""Client sessions: each command once, however often it is sent, logged or replayed."""

import struct

from raft.sessions import (
    DONE,
    EXPIRED,
    MAX_OWN_SESSIONS,
    MAX_SESSIONS,
    OPEN,
    SESSION_S,
    Sessions,
    command,
    entry,
    has_session,
    same_command,
)
from tests.dice import Dice

PORTABLE = True

GONE = bytes((EXPIRED,))


class Recorder:
    """A state machine that keeps what was applied to it, and when that was."""

    max_bytes = 0

    def __init__(self) -> None:
        self.applied: list[bytes] = []
        self.times: list[int] = []

    def apply(self, payload: bytes | memoryview, now: int) -> bytes:
        self.applied.append(bytes(payload))
        self.times.append(now)
        return b"result %d" % len(self.applied)

    def is_valid(self, payload: bytes | memoryview) -> bool:
        return payload != b"bad"

    def room_for(self, payload: bytes | memoryview) -> bool:
        return payload != b"big"

    def snapshot(self) -> list[bytes]:
        return []

    def reset(self) -> None:
        self.applied.clear()


class Replica:
    """Sessions over a recorder, and the log that they apply.

    now: the time by which the leader stamps. life: of sessions, as the leader is configured.
    """

    def __init__(self, life: int = SESSION_S) -> None:
        self.machine = Recorder()
        self.sessions = Sessions(self.machine)
        self.index = 0
        self.now = 0
        self.life = life

    def apply(self, command: bytes, credential: int = 0) -> bytes:
        self.index += 1
        data = entry(self.now, command, self.life, credential)
        return self.sessions.apply(self.index, data)

    def open(self, credential: int = 0) -> int:
        result, session, life = struct.unpack("<BII", self.apply(OPEN, credential))
        assert (result, life) == (DONE, self.life)
        return int(session)

    def knows(self, session: int, number: int) -> bool:
        """Whether the session takes the command of that number."""
        return self.apply(command(session, number, b"x"))[0] == DONE


def test_a_session_is_known_by_the_index_that_opened_it() -> None:
    replica = Replica()
    replica.index = 41

    assert replica.apply(OPEN) == b"\0\x2a\0\0\0\x10\x0e\0\0"
    assert replica.apply(OPEN) == b"\0\x2b\0\0\0\x10\x0e\0\0"


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

    for n in range(12):
        assert replica.sessions.apply(2, bytes((1,) * n)) == GONE
        assert replica.sessions.is_valid(bytes((1,) * n)) == (n >= 8)

    assert replica.machine.applied == []


def test_sessions_are_bounded_and_the_one_unused_longest_goes() -> None:
    replica = Replica()
    opened = [replica.open() for _ in range(MAX_SESSIONS)]
    replica.now += 1
    replica.apply(command(opened[0], 1, b"still here"))

    newest = replica.open()

    assert replica.apply(command(opened[1], 1, b"too late")) == GONE
    for session in (opened[0], opened[2], opened[-1], newest):
        assert replica.apply(command(session, 2, b"x"))[0] == DONE
    for _ in range(MAX_SESSIONS):
        replica.open()
    assert replica.apply(command(opened[0], 3, b"too late")) == GONE


def test_who_opens_session_after_session_pushes_out_nobody_elses() -> None:
    replica = Replica()
    owners = [replica.open() for _ in range(10)]
    others = [replica.open(3) for _ in range(10)]

    own = [replica.open(2) for _ in range(3 * MAX_SESSIONS)]

    assert all([replica.knows(session, 1) for session in owners + others])
    assert [replica.knows(s, 1) for s in own[-MAX_OWN_SESSIONS - 1 :]] == (
        [False] + [True] * MAX_OWN_SESSIONS
    )


def test_of_the_sessions_of_a_credential_the_one_unused_longest_goes() -> None:
    replica = Replica()
    own = [replica.open(2) for _ in range(MAX_OWN_SESSIONS)]
    replica.now += 1
    assert replica.knows(own[0], 1)

    replica.open(2)

    assert replica.knows(own[0], 2) and not replica.knows(own[1], 1)


def test_the_owner_may_have_all_sessions() -> None:
    replica = Replica()
    opened = [replica.open() for _ in range(MAX_SESSIONS)]
    assert all([replica.knows(session, 1) for session in opened])


def test_a_snapshot_carries_whose_sessions_they_are() -> None:
    replica, other = Replica(), Replica()
    own = [replica.open(2) for _ in range(MAX_OWN_SESSIONS)]
    assert replica.knows(own[0], 1)
    other.sessions.reset()
    for chunk in replica.sessions.snapshot():
        other.sessions.restore(bytes(chunk))
    other.index = replica.index

    for one in (replica, other):
        one.open(2)

    assert list(other.sessions.snapshot()) == list(replica.sessions.snapshot())
    assert not other.knows(own[0], 2)


def test_a_retry_keeps_a_session_alive() -> None:
    replica = Replica()
    opened = [replica.open() for _ in range(MAX_SESSIONS)]
    replica.apply(command(opened[0], 1, b"a"))
    for session in opened[1:]:
        replica.apply(command(session, 1, b"b"))

    replica.now += 1
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


# Time


def test_time_is_the_greatest_stamp_and_never_falls() -> None:
    replica = Replica()
    session = replica.open()
    for number, stamp in enumerate((0, 5, 7, 6, 0, 7, 9)):
        replica.now = stamp
        replica.apply(command(session, number + 1, b"x"))

    assert replica.machine.times == [0, 5, 7, 7, 7, 7, 9]
    assert replica.sessions.time == 9


def test_a_session_that_is_not_used_expires() -> None:
    for unused, known in ((59, True), (60, False), (1000, False)):
        replica = Replica(life=60)
        session = replica.open()
        replica.now += unused
        assert replica.knows(session, 1) == known
        assert len(replica.machine.applied) == known


def test_each_use_of_a_session_counts_and_a_copy_is_one() -> None:
    replica = Replica(life=60)
    session = replica.open()
    for number in (1, 1, 2, 2):
        replica.now += 59
        assert replica.knows(session, number)
    replica.now += 60
    assert not replica.knows(session, 3)


def test_a_command_stamped_earlier_and_logged_later_brings_no_session_back() -> None:
    # rescued by a new leader, whose own stamps are further on
    replica = Replica(life=60)
    session = replica.open()
    replica.now = 100
    replica.open()

    replica.now = 10
    assert not replica.knows(session, 1)


def test_expired_sessions_take_no_room_once_another_is_opened() -> None:
    replica = Replica(life=60)
    for _ in range(MAX_SESSIONS - 1):
        replica.open()
    replica.now += 59
    used = replica.open()
    assert len(replica.sessions._sessions) == MAX_SESSIONS

    replica.now += 1
    replica.open()

    assert len(replica.sessions._sessions) == 2
    assert replica.knows(used, 1)


def test_of_sessions_last_used_in_one_second_the_first_opened_goes() -> None:
    replica = Replica()
    opened = [replica.open() for _ in range(MAX_SESSIONS)]
    for session in reversed(opened):
        replica.knows(session, 1)

    replica.open()

    assert [replica.knows(session, 2) for session in opened[:3]] == [False, True, True]


def test_how_long_sessions_live_is_what_the_log_says() -> None:
    # while a change of the configuration is rolled out, leaders have different ones
    replica = Replica(life=60)
    session = replica.open()
    replica.life = 10
    replica.now += 5
    assert replica.knows(session, 1)
    other = replica.open()
    replica.now += 10

    assert not replica.knows(session, 2)
    assert not replica.knows(other, 1)


def test_a_snapshot_carries_the_time_and_how_long_sessions_live() -> None:
    replica = Replica(life=60)
    old = replica.open()
    replica.now = 50
    new = replica.open()

    chunks = list(replica.sessions.snapshot())
    restored = Replica()
    restored.sessions.reset()
    for chunk in chunks:
        restored.sessions.restore(chunk)

    assert restored.sessions.time == 50
    restored.index, restored.now = replica.index, 60
    assert not restored.knows(old, 1)
    assert restored.knows(new, 1)
    assert sum([2 + len(chunk) for chunk in chunks]) <= restored.sessions.max_bytes


def test_all_replicas_keep_and_drop_the_same_sessions() -> None:
    dice = Dice(1)
    log: list[bytes] = []
    now = 0
    for _ in range(MAX_SESSIONS * 6):
        now += dice.below(4)
        stamp = max(0, now - dice.below(20))
        if dice.one_in(2):
            log.append(entry(stamp, OPEN, dice.pick((300, 300, 300, 2000))))
        else:
            session = max(1, len(log) - dice.below(2 * MAX_SESSIONS))
            log.append(entry(stamp, command(session, dice.draw(0, 3), b"x")))
    replicas = (Sessions(Recorder()), Sessions(Recorder()), Sessions(Recorder()))

    results = [[replica.apply(i + 1, data) for i, data in enumerate(log)] for replica in replicas]

    assert results[0] == results[1] == results[2]
    assert replicas[0]._sessions == replicas[1]._sessions == replicas[2]._sessions
    assert [result[0] for result in results[0]].count(EXPIRED) > MAX_SESSIONS
    assert len(replicas[0].machine.applied) > MAX_SESSIONS // 2


# What the leader asks


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
    for stamp in (0, 1 << 29):
        assert has_session(entry(stamp, command(1, 1, b"")))
        assert has_session(entry(stamp, command(1 << 29, 1, b"x")))
        assert not has_session(entry(stamp, OPEN))
    assert not has_session(b"")
    assert not has_session(bytes((1,) * 11))


def test_copies_of_one_command_are_known_by_session_and_number() -> None:
    one = entry(7, command(1, 1, b"a"))
    assert same_command(one, entry(7, command(1, 1, b"a")))
    assert same_command(one, entry(8, command(1, 1, b"a")))  # two leaders have stamped it
    assert not same_command(one, entry(7, command(1, 2, b"a")))
    assert not same_command(one, entry(7, command(2, 1, b"a")))
