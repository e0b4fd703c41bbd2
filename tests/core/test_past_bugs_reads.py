"""Bugs that other projects had: reads that return what is no longer true."""

from raft.core import HEARTBEAT_MS, LEADER, NotLeader
from raft.messages import APPEND, APPEND_REJECT, APPEND_REPLY
from tests.core.group import HIGH_MS, Group, Member, settled_leader
from tests.support import raises

PORTABLE = True

VOTERS = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)


def test_a_read_that_a_leader_answers_without_asking_the_others() -> None:
    """etcd#741"""
    group = Group(3)
    old = group.elect(1)
    group.beat(1)
    group.isolate(1)
    group.elect(2)
    group.propose(2, b"new")
    group.deliver_all()
    assert old.core.role == LEADER  # it doesn't know yet

    old.core.read("stale")
    for _ in range(4):
        group.beat(1)
    assert old.reads == []

    group.heal()
    for _ in range(4):
        group.beat(1)
    assert old.core.role != LEADER
    assert old.reads == []


def test_a_read_is_answered_after_a_round_of_messages_that_a_majority_has_answered() -> None:
    """etcd#741"""
    node = settled_leader(FIVE)

    node.core.read("a")
    node.work()
    sent = node.take()
    assert [(m.kind, m.dst, len(m.entries)) for m in sent] == [(APPEND, p, 0) for p in FIVE[1:]]
    assert node.reads == []
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=sent[0].ctx)
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=sent[0].ctx)
    assert node.reads == []
    node.hear(APPEND_REPLY, 5, 1, index=1, ctx=sent[0].ctx)

    assert node.reads == [("a", 1)]


def test_a_read_index_taken_before_an_entry_of_the_current_term_is_committed() -> None:
    """etcd#7331: a new leader doesn't know yet how far its predecessor has committed"""
    node = Member(1, VOTERS, terms=(1, 1, 1), term=1)
    node.lead()
    node.core.read("a")
    node.work()
    node.take()

    for _ in range(3):  # all that it sends is answered, but its own entry isn't stored yet
        (ctx,) = {m.ctx for m in node.tick(HEARTBEAT_MS)}
        for peer in (2, 3):
            node.hear(APPEND_REPLY, peer, 2, index=3, ctx=ctx)
    assert node.reads == []

    node.hear(APPEND_REPLY, 2, 2, index=4, ctx=ctx)
    assert node.core.commit == 4
    (ctx,) = {m.ctx for m in node.tick(HEARTBEAT_MS)}
    node.hear(APPEND_REPLY, 2, 2, index=4, ctx=ctx)

    assert node.reads == [("a", 4)]


def test_a_late_or_doubled_answer_that_confirms_a_read_asked_for_after_it() -> None:
    """etcd#20418: a read is confirmed only by answers to what was sent after it"""
    node = settled_leader()
    node.core.read("first")
    node.work()
    (early,) = {m.ctx for m in node.take()}
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=early)
    assert node.reads == [("first", 1)]

    node.core.read("again")  # the same client has asked again
    node.work()
    (late,) = {m.ctx for m in node.take()}
    assert late > early
    for peer in (2, 3):
        for kind in (APPEND_REPLY, APPEND_REJECT):
            for ctx in (0, 1, early):
                node.hear(kind, peer, 1, index=1, log_term=1, ctx=ctx)
    assert node.reads == [("first", 1)]

    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=late)
    assert node.reads == [("first", 1), ("again", 1)]


def test_a_late_answer_to_an_earlier_leadership_that_confirms_a_read_of_this_one() -> None:
    """etcd#20418: each term counts its rounds anew"""
    follower = Member(2, VOTERS, term=5)
    (late,) = follower.hear(APPEND, 1, 4, ctx=3)  # of node 1's leadership of term 4
    node = Member(1, VOTERS, term=4)
    node.lead()
    for peer in (2, 3):
        node.hear(APPEND_REPLY, peer, 5, index=1, ctx=1)
    for _ in range(2):
        node.tick(HEARTBEAT_MS)
    node.core.read("a")
    node.work()
    assert late.term == node.core.term

    node.hear(late.kind, 2, late.term, late.index, late.log_term, late.commit, late.ctx)

    assert node.reads == []


def test_an_answer_to_a_round_that_was_never_sent_confirms_nothing() -> None:
    """etcd#20418"""
    node = settled_leader()
    node.core.read("a")
    node.work()
    (ctx,) = {m.ctx for m in node.take()}

    for peer in (2, 3):
        node.hear(APPEND_REPLY, peer, 1, index=1, ctx=ctx + 1)

    assert node.reads == []


def test_a_lost_round_that_leaves_a_read_waiting_for_ever() -> None:
    """The next heartbeats confirm it as well."""
    node = settled_leader()
    node.core.read("a")
    node.work()
    node.take()

    (ctx,) = {m.ctx for m in node.tick(HEARTBEAT_MS)}
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=ctx)

    assert node.reads == [("a", 1)]


def test_reads_asked_for_at_one_time_share_a_round_and_keep_their_order() -> None:
    node = settled_leader()
    for token in ("a", "b", "c"):
        node.core.read(token)
    node.work()
    sent = node.take()
    assert len(sent) == 2

    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=sent[0].ctx)

    assert node.reads == [("a", 1), ("b", 1), ("c", 1)]


def test_a_read_that_waits_beside_commands_is_confirmed_by_their_appends() -> None:
    node = settled_leader()
    node.core.propose(1, b"x")
    node.core.read("a")
    node.work()
    sent = node.take()
    assert [len(m.entries) for m in sent] == [1, 1]

    node.hear(APPEND_REPLY, 2, 1, index=2, ctx=sent[0].ctx)

    assert node.reads == [("a", 1)]  # what was committed when it was asked for
    assert node.core.commit == 2


def test_late_answers_to_an_earlier_leadership_confirm_no_read() -> None:
    node = settled_leader()
    node.core.read("a")
    node.work()
    (ctx,) = {m.ctx for m in node.take()}
    node.tick(HIGH_MS)
    node.tick(HIGH_MS)
    assert node.core.role != LEADER

    raises(NotLeader, node.core.read, "b")
    node.lead()
    node.hear(APPEND_REPLY, 2, node.core.term, index=node.log.last, ctx=1)
    assert node.core.commit == node.log.last
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=ctx)
    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=ctx)
    assert node.reads == []

    # it is asked for again in the new term, and confirmed by a round of that
    sent = node.tick(HEARTBEAT_MS)
    node.hear(APPEND_REPLY, 2, node.core.term, index=node.log.last, ctx=sent[0].ctx)
    assert node.reads == [("a", node.log.last)]


def test_a_single_node_and_a_pair_answer_reads() -> None:
    alone = Member(1, (1,))
    alone.lead()
    alone.core.read("a")
    alone.work()
    assert alone.reads == [("a", 1)]

    pair = settled_leader((1, 2))
    pair.core.read("b")
    pair.work()
    (request,) = pair.take()
    assert pair.reads == []
    pair.hear(APPEND_REPLY, 2, 1, index=1, ctx=request.ctx)
    assert pair.reads == [("b", 1)]
