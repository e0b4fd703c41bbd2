"""Reads by lease (dissertation 6.4.1), and reads at followers: nothing old is ever confirmed."""

from raft.core import HEARTBEAT_MS, LEADER
from raft.leading import LEASE
from raft.members import LEARNER, record
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    COMMAND,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_ASK,
    READ_REPLY,
    VOTE,
    Message,
)
from tests.core.group import GRANTED, HIGH_MS, LOW_MS, Group, Member, message, settled_leader

PORTABLE = True

THREE = (1, 2, 3)
CLOCKS = 4, 3  # the fastest clock may run by so much faster than the slowest
LEASE_MS = LOW_MS * LEASE[0] // LEASE[1]


def leader_with_lease() -> Member:
    """Node 1, whose round has just been answered by node 2: no time has gone by since."""
    node = settled_leader(lease=True)
    renew(node)
    return node


def renew(node: Member) -> None:
    for m in node.tick(HEARTBEAT_MS):
        node.hear(APPEND_REPLY, m.dst, node.core.term, m.index + len(m.entries), ctx=m.ctx)


def reads_at_once(node: Member) -> bool:
    """Whether it answers a read without asking anybody."""
    node.reads.clear()
    node.core.read("now")
    node.work()
    node.take()
    return len(node.reads) == 1


def test_a_leader_answers_at_once_while_a_majority_has_just_heard_it() -> None:
    node = leader_with_lease()

    assert reads_at_once(node)
    assert node.reads == [("now", node.core.commit)]


def test_without_a_lease_it_asks() -> None:
    node = settled_leader()
    renew(node)

    assert not reads_at_once(node)


def test_a_lease_ends_before_anybody_may_vote_for_another_one_whatever_clocks_do() -> None:
    fast, slow = CLOCKS
    assert LEASE_MS * fast <= LOW_MS * slow  # as the slowest clock measures the lease ...
    node = leader_with_lease()
    node.core.pass_time(LEASE_MS)
    assert reads_at_once(node)

    node.core.pass_time(1)

    assert not reads_at_once(node)


def test_a_lease_counts_from_when_the_round_was_sent() -> None:
    node = settled_leader(lease=True)
    sent = node.tick(HEARTBEAT_MS)
    node.core.pass_time(LEASE_MS + 1)
    for m in sent:  # the answers take their time
        node.hear(APPEND_REPLY, m.dst, 1, m.index, ctx=m.ctx)

    assert not reads_at_once(node)


def test_late_answers_to_an_earlier_round_renew_no_lease() -> None:
    node = leader_with_lease()
    late = node.tick(HEARTBEAT_MS)
    node.core.pass_time(LEASE_MS)
    renewed = node.tick(HEARTBEAT_MS)
    for m in late:
        node.hear(APPEND_REPLY, m.dst, 1, m.index, ctx=m.ctx)
    assert not reads_at_once(node)

    for m in renewed:
        node.hear(APPEND_REPLY, m.dst, 1, m.index, ctx=m.ctx)
    renew(node)
    assert reads_at_once(node)


def test_learners_answers_give_no_lease() -> None:
    node = settled_leader(lease=True)
    node.core.change(node.core.members.with_member(record(4, LEARNER)))
    node.replicate()
    for _ in range(20):
        for m in node.tick(HEARTBEAT_MS):
            if m.dst == 4:
                node.hear(APPEND_REPLY, 4, 1, m.index + len(m.entries), ctx=m.ctx)
        if node.core.leading is None:
            break
        assert not reads_at_once(node)


def test_no_lease_before_an_entry_of_its_term_is_committed() -> None:
    node = Member(1, THREE, terms=(1, 1), term=1, lease=True)
    node.lead()
    for _ in range(3):
        for m in node.tick(HEARTBEAT_MS):
            node.hear(APPEND_REPLY, m.dst, 2, 2, ctx=m.ctx)  # they hold what was there before

    assert not reads_at_once(node)


def test_who_has_told_another_to_stand_has_no_lease_any_more() -> None:
    """Nor later in that term: a copy of what it said may still be on its way."""
    node = leader_with_lease()
    node.core.transfer(2)
    node.work()
    assert not reads_at_once(node)

    while node.core.leading and node.core.leading.successor:
        renew(node)
    assert node.core.role == LEADER
    for _ in range(5):
        renew(node)
        assert not reads_at_once(node)


def asked_for_vote(node: Member, kind: int, term: int, is_sent: int = 0) -> bool:
    sent = node.hear(kind, 2, term, 9, 9, ctx=is_sent)
    return any([m.index == GRANTED for m in sent])


def test_a_follower_that_has_started_again_gives_no_vote_for_an_election_timeout() -> None:
    """It may have heard a leader just before, who counts on that."""
    node = Member(3, THREE, lease=True)
    node.hear(APPEND, 1, 1)
    node.start()

    for ms in (0, LOW_MS - 1):
        node.core.pass_time(ms)
        assert not asked_for_vote(node, PRE_VOTE, 2)
        assert not asked_for_vote(node, VOTE, 2)
        assert node.core.term == 1
    node.core.pass_time(1)
    assert asked_for_vote(node, PRE_VOTE, 2)
    assert asked_for_vote(node, VOTE, 2)


def test_a_vote_in_a_term_that_has_come_by_another_way_waits_as_well() -> None:
    """A refusal, say, has told the term: the leader that was heard last doesn't know."""
    node = Member(3, THREE, lease=True)
    node.core.pass_time(LOW_MS)
    node.stand()
    node.hear(APPEND, 1, 1, ctx=1)
    node.hear(PRE_VOTE_REPLY, 2, 5)
    assert (node.core.term, node.core.leader) == (5, 0)

    assert not asked_for_vote(node, VOTE, 5)
    assert node.core.vote == 0

    node.core.pass_time(LOW_MS)
    assert asked_for_vote(node, VOTE, 5)


def test_a_leader_that_was_replaced_confirms_no_read_by_its_lease() -> None:
    """The very timing that a lease stands for, with clocks as far apart as they may be."""
    fast, slow = CLOCKS
    group = Group.of(*[Member(n, THREE, lease=True) for n in THREE])
    for member in group.up():
        member.core.pass_time(LOW_MS)
    old = group.elect(1)
    for _ in range(3):
        group.beat(1)
    assert reads_at_once(old)
    group.isolate(1)
    ms = 0
    while ms < HIGH_MS + LOW_MS:  # of the slow clock
        ms += slow
        old.core.pass_time(slow)
        for node in (2, 3):
            group.tick(node, fast)
        group.deliver_all()
        if group.members[2].core.role == LEADER or group.members[3].core.role == LEADER:
            break
        reads_at_once(old)

    assert ms < HIGH_MS + LOW_MS
    assert not reads_at_once(old)


# Reads that a follower asks its leader for


def asking(node: Member) -> list[Message]:
    node.work()
    return [m for m in node.take() if m.kind == READ_ASK]


def following() -> Member:
    """Node 3 follows node 1."""
    node = Member(3, THREE)
    node.hear(APPEND, 1, 1)
    return node


def test_a_follower_asks_its_leader_once_for_all_reads_that_wait() -> None:
    node = following()
    node.core.read("a")
    node.core.read("b")
    (question,) = asking(node)
    assert question.dst == 1

    node.hear(READ_REPLY, 1, 1, 7, ctx=question.ctx)

    assert node.reads == [("a", 7), ("b", 7)]


def test_a_late_or_doubled_answer_confirms_no_read_asked_for_after_it() -> None:
    """etcd#20418, between a follower and its leader"""
    node = following()
    node.core.read("first")
    (first,) = asking(node)
    node.core.read("later")  # its leader is asked for it when that answer is here
    assert asking(node) == []
    answered = node.hear(READ_REPLY, 1, 1, 7, ctx=first.ctx)
    assert node.reads == [("first", 7)]
    (second,) = [m for m in answered if m.kind == READ_ASK]
    assert second.ctx != first.ctx

    for ctx in (first.ctx, 0, second.ctx + 1):
        node.hear(READ_REPLY, 1, 1, 7, ctx=ctx)
    assert node.reads == [("first", 7)]

    node.hear(READ_REPLY, 1, 1, 8, ctx=second.ctx)
    node.hear(READ_REPLY, 1, 1, 9, ctx=second.ctx)
    assert node.reads == [("first", 7), ("later", 8)]


def test_an_answer_of_another_than_the_leader_or_of_another_term_confirms_nothing() -> None:
    node = following()
    node.core.read("a")
    (question,) = asking(node)

    node.hear(READ_REPLY, 2, 1, 7, ctx=question.ctx)
    node.hear(APPEND, 2, 2)  # node 2 leads, and is asked another question
    node.hear(READ_REPLY, 1, 1, 7, ctx=question.ctx)
    node.hear(READ_REPLY, 2, 2, 7, ctx=question.ctx)

    assert node.reads == []


def test_a_lost_question_is_asked_again_and_a_new_leader_is_asked_anew() -> None:
    node = following()
    node.core.read("a")
    (first,) = asking(node)
    (again,) = [m for m in node.tick(HEARTBEAT_MS) if m.kind == READ_ASK]
    assert (again.dst, again.ctx) == (1, first.ctx)

    (other,) = [m for m in node.hear(APPEND, 2, 2) if m.kind == READ_ASK]

    assert other.dst == 2 and other.ctx != first.ctx
    node.hear(READ_REPLY, 2, 2, 3, ctx=other.ctx)
    assert node.reads == [("a", 3)]


def test_a_question_asked_again_does_not_begin_anew_at_the_leader() -> None:
    """Where answers take longer than a heartbeat's time it would never be confirmed."""
    node = settled_leader()
    sent = node.hear(READ_ASK, 3, 1, ctx=77)
    node.hear(READ_ASK, 3, 1, ctx=77)

    answer = node.hear(APPEND_REPLY, 2, 1, 1, ctx=sent[0].ctx)

    assert [(m.dst, m.index, m.ctx) for m in answer if m.kind == READ_REPLY] == [(3, 1, 77)]


def test_a_leader_answers_a_followers_question_only_after_a_round() -> None:
    """etcd#741: it may have been replaced"""
    group = Group(3)
    old = group.elect(1)
    group.beat(1)
    group.cut = {(1, 2), (2, 1), (2, 3), (3, 2)}
    group.cut |= {(3, 1)}  # its answers to rounds are lost as well ...
    group.members[3].core.read("a")
    group.work(3)
    ask = [d for d in group.wire if message(d).kind == READ_ASK]
    assert len(ask) == 1

    old.core.step(message(ask[0]))  # ... but for the question
    group.wire.clear()
    for _ in range(3):
        group.beat(1)

    assert group.members[3].reads == []


def test_a_follower_reads_what_was_written_before_it_asked() -> None:
    group = Group(3)
    group.elect(1)
    group.beat(1)
    index = group.propose(1, b"x")
    group.deliver_all()

    group.members[3].core.read("a")
    group.work(3)
    group.deliver_all()

    assert group.members[3].reads == [("a", index)]
    assert group.members[3].applied[index - 1][1:] == (COMMAND, b"x")
