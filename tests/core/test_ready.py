"""What the core hands to its driver, and in which order; what it refuses."""

from raft.core import UNCOMMITTED_BYTES, Busy, NotLeader, TooLong
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    COMMAND,
    MAX_DATA,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    RESCUE,
    VOTE,
    VOTE_REPLY,
)
from raft.sessions import command, entry
from raft.store import RESERVE
from tests.core.group import GRANTED, HIGH_MS, Group, Member, entries, letter, settled_leader
from tests.support import raises

PORTABLE = True

VOTERS = (1, 2, 3)


# Order


def test_votes_and_acknowledgements_leave_only_after_what_they_promise_is_durable() -> None:
    # message; hard state and entries to save first; answers
    session = entry(0, command(9, 1, b"x"))
    for m, save, count, answers in (
        (letter(VOTE, 2, 1, 5, 9, 4), True, 0, [VOTE_REPLY]),
        (letter(PRE_VOTE, 2, 1, 5, 9, 4), False, 0, [PRE_VOTE_REPLY]),
        (letter(APPEND, 2, 1, 4, 2, 1, entries=entries(3, 4)), False, 1, [APPEND_REPLY]),
        (letter(APPEND, 2, 1, 5, 2, 1, entries=entries(3, 5, 5)), True, 2, [APPEND_REPLY]),
        (letter(APPEND, 2, 1, 5, 1, 1, entries=entries(2, 5)), True, 1, [RESCUE, APPEND_REPLY]),
    ):
        node = Member(1, VOTERS, terms=(1,), term=4)
        node.hear(APPEND, 3, 4, 1, 1, entries=[(1, COMMAND, session)])
        node.core.pass_time(HIGH_MS)

        node.core.step(m)
        ready = node.core.ready()

        assert ready is not None
        assert ready.early == []
        assert [answer.kind for answer in ready.after] == answers
        assert (ready.save, len(ready.entries)) == (save, count), m.kind
        assert ready.term == node.core.term
        assert ready.vote == node.core.vote


def test_a_candidate_asks_for_votes_only_after_its_own_is_durable() -> None:
    node = Member(1, VOTERS)
    node.stand()

    node.core.step(letter(PRE_VOTE_REPLY, 2, 1, 1, GRANTED))
    ready = node.core.ready()

    assert ready is not None
    assert (ready.save, ready.term, ready.vote) == (True, 1, 1)
    assert ready.early == []
    assert [m.kind for m in ready.after] == [VOTE, VOTE]


def test_a_leaders_appends_may_leave_before_its_own_log_is_written() -> None:
    node = settled_leader()
    node.core.propose(COMMAND, b"a")

    ready = node.core.ready()

    assert ready is not None
    assert not ready.save
    assert [m.kind for m in ready.early] == [APPEND, APPEND]
    assert ready.after == []
    assert list(ready.entries) == [(1, COMMAND, b"a")]
    assert ready.first == 2


def test_hard_state_and_entries_of_one_ready_are_one_program() -> None:
    node = Member(1, VOTERS, terms=(1,), term=1)
    programs = node.flash.programs

    node.hear(APPEND, 2, 5, 1, 1, entries=entries(2, *([5] * 20)))

    assert node.flash.programs == programs + 1
    assert node.hard_state() == (5, 0)


def test_there_is_nothing_to_do_twice() -> None:
    node = settled_leader()
    node.core.propose(COMMAND, b"a")
    node.work()
    node.take()

    assert node.core.ready() is None
    node.work()
    assert node.out == []


# Refusals


def test_only_a_leader_takes_proposals() -> None:
    node = Member(1, VOTERS)
    raises(NotLeader, node.core.propose, COMMAND, b"a")
    node.stand()
    raises(NotLeader, node.core.propose, COMMAND, b"a")

    assert node.log.last == 0
    assert node.core.ready() is None


def test_a_proposal_that_no_datagram_could_carry_is_refused() -> None:
    node = settled_leader()

    error = raises(TooLong, node.core.propose, COMMAND, bytes(MAX_DATA + 1))

    assert str(MAX_DATA) in str(error)
    assert node.log.last == 1
    node.core.propose(COMMAND, bytes(MAX_DATA))
    node.replicate()
    assert node.core.commit == 2


def test_proposals_are_refused_while_too_many_bytes_wait_for_commit() -> None:
    node = settled_leader()
    proposed = 0
    while proposed + 1000 <= UNCOMMITTED_BYTES:
        node.core.propose(COMMAND, bytes(1000))
        proposed += 1000
    last = node.log.last

    error = raises(Busy, node.core.propose, COMMAND, bytes(1000))
    assert str(proposed) in str(error)
    assert node.log.last == last
    node.core.propose(COMMAND, bytes(UNCOMMITTED_BYTES - proposed))  # what just fits

    node.replicate()
    assert node.core.commit == node.log.last
    for _ in range(UNCOMMITTED_BYTES // 1000):
        node.core.propose(COMMAND, bytes(1000))
    raises(Busy, node.core.propose, COMMAND, bytes(1000))


def test_a_new_leader_does_not_count_its_predecessors_bytes() -> None:
    group = Group(3)
    group.elect(1)
    for _ in range(8):
        group.members[1].core.propose(COMMAND, bytes(1000))
    group.cut = {(2, 1), (3, 1)}
    group.work(1)
    group.deliver_all()
    group.crash(1)
    group.heal()
    leader = group.win(2)

    for _ in range(8):
        leader.core.propose(COMMAND, bytes(1000))
    raises(Busy, leader.core.propose, COMMAND, bytes(1000))
    group.work(2)
    group.deliver_all()
    group.beat(2)
    assert leader.core.commit == leader.log.last >= 10
    leader.core.propose(COMMAND, bytes(1000))


def test_a_leader_elected_again_does_not_count_what_it_proposed_before() -> None:
    node = settled_leader()
    while True:
        try:
            node.core.propose(COMMAND, bytes(1000))
        except Busy:
            break
    node.hear(VOTE_REPLY, 2, 2)  # a higher term ends its leadership

    node.lead()

    for _ in range(UNCOMMITTED_BYTES // 1000):
        node.core.propose(COMMAND, bytes(1000))
    raises(Busy, node.core.propose, COMMAND, bytes(1000))


def test_a_full_log_refuses_proposals_and_says_so() -> None:
    node = settled_leader(sectors=8)

    for _ in range(100):
        try:
            node.core.propose(COMMAND, bytes(1000))
        except Busy as e:
            error = e
            break
        node.replicate()

    assert "being compacted" in str(error)
    assert node.core.commit == node.log.last > 8
    assert node.core.ready() is None


def test_a_full_log_still_takes_terms_votes_and_the_first_entries_of_leaders() -> None:
    node = settled_leader(sectors=8, voters=(1, 2))
    while node.log.has_room(1000, RESERVE):
        node.core.propose(COMMAND, bytes(1000))
        node.replicate()

    for _ in range(50):
        node.hear(VOTE_REPLY, 2, node.core.term + 1)  # a higher term ends its leadership
        node.lead()
        assert node.hard_state() == (node.core.term, 1)


def test_proposals_at_one_time_never_fill_the_log_beyond_what_is_kept_for_terms() -> None:
    for before in range(0, 24):
        node = settled_leader(sectors=8)
        for _ in range(before):
            if node.log.has_room(MAX_DATA, RESERVE):
                node.core.propose(COMMAND, bytes(MAX_DATA))
            node.replicate()

        try:
            for _ in range(UNCOMMITTED_BYTES // 64):
                node.core.propose(COMMAND, bytes(64))
            for _ in range(6):
                node.core.propose(COMMAND, bytes(MAX_DATA))
        except Busy:
            pass
        node.replicate()  # the store doesn't overflow

        assert node.core.commit == node.log.last
        assert node.store.used_sectors() <= 8 - RESERVE, before
