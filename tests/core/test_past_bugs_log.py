"""Bugs that other projects had: the log, and what counts as committed."""

from raft.core import LEADER
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    PRE_VOTE,
    VOTE,
)
from tests.core.group import GRANTED, HIGH_MS, Group, Member, entries

PORTABLE = True

VOTERS = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)


def test_an_entry_of_an_earlier_term_that_is_committed_by_counting() -> None:
    """logcabin#44, canonical/raft#220, async-raft#108"""
    node = Member(1, FIVE, terms=(1, 2), term=3)
    node.lead()

    for peer in (2, 3, 4, 5):
        node.hear(APPEND_REPLY, peer, 4, index=2, ctx=1)
    assert node.core.commit == 0

    node.hear(APPEND_REPLY, 2, 4, index=3, ctx=1)
    assert node.core.commit == 0
    node.hear(APPEND_REPLY, 3, 4, index=3, ctx=1)
    assert node.core.commit == 3


def figure_8_c() -> Group:
    """S1 to S5 up to (b), and S1 the leader again; its messages wait on the wire.

    Its entries of term 2 are three, so long that they don't leave in one datagram.
    """
    group = Group.of(*[Member(n, FIVE, terms=(1,), term=1) for n in FIVE])
    group.win(1)
    group.isolate(1, 2)
    group.deliver_all()
    for data in (bytes(1100), bytes(1101)):
        group.propose(1, data)
        group.deliver_all()
    assert [m.terms() for m in group.up()] == [[1, 2, 2, 2], [1, 2, 2, 2], [1], [1], [1]]
    group.crash(1)
    group.heal()
    group.win(5)
    group.isolate(5)
    group.deliver_all()
    assert group.members[5].terms() == [1, 3]
    group.crash(5)
    group.heal()
    group.restart(1)
    group.win(1)
    return group


def test_entries_that_a_majority_has_and_a_later_leader_overwrites() -> None:
    """The paper's figure 8, (a) to (d)"""
    group = figure_8_c()
    leader, third = group.members[1], group.members[3]
    group.cut = {(1, 4), (4, 1)}
    while third.log.last == 1:
        group.deliver()
    group.cut.add((1, 3))  # it gets the first datagram of entries, and no more
    group.deliver_all()
    assert third.terms() == [1, 2, 2]
    assert leader.core.peers[2].match == 5
    assert leader.core.peers[3].match == 3
    assert leader.core.commit == 0  # though three of five have entry 3

    group.crash(1)
    group.heal()
    group.restart(5)
    winner = group.elect(5)
    group.beat(5)
    group.beat(5)

    assert winner.terms() == [1, 3, winner.core.term]
    for member in group.up():
        assert member.applied == winner.applied == group.committed
        assert len(member.applied) == 3


def test_entries_that_are_committed_by_one_of_the_new_term_stay() -> None:
    """The paper's figure 8, (e)"""
    group = figure_8_c()
    leader = group.members[1]
    group.cut = {(1, 4), (4, 1)}
    group.deliver_all()
    assert leader.core.commit == leader.log.last == 5

    group.crash(1)
    group.heal()
    fifth = group.restart(5)
    for _ in range(4):
        fifth.core.pass_time(HIGH_MS)
        for member in group.up():
            member.core.pass_time(HIGH_MS)
        group.tick(5)
        group.deliver_all()
        assert fifth.core.role != LEADER

    group.elect(2)
    group.beat(2)
    group.beat(2)
    assert fifth.applied == group.committed
    assert [term for term, _, _ in fifth.applied[:5]] == [1, 2, 2, 2, leader.core.term]


def test_a_followers_commit_index_that_goes_back() -> None:
    """PySyncObj#166"""
    for kind in (APPEND, COMMIT):
        node = Member(1, VOTERS, terms=(1, 1, 1, 1), term=1)
        node.hear(APPEND, 2, 1, 4, 1, commit=4, ctx=9)

        for commit, index in ((3, 4), (0, 4), (1, 1), (0, 0)):  # older news, overtaken
            node.hear(kind, 2, 1, index, 1 if index else 0, commit=commit, ctx=5)

        assert node.core.commit == 4
        assert len(node.applied) == 4


def test_committed_entries_that_an_append_takes_away() -> None:
    """No append is right that differs from what is committed, whoever sends it."""
    node = Member(1, VOTERS, terms=(1, 1, 1, 1), term=1)
    node.hear(APPEND, 2, 1, 3, 1, commit=3)

    for index, log_term in ((0, 0), (1, 1), (2, 1)):
        (reply,) = node.hear(APPEND, 3, 2, index, log_term, entries=entries(index + 1, 2, 2, 2))

        assert (reply.kind, reply.index) == (APPEND_REPLY, 3)
        assert node.terms() == [1, 1, 1, 1]
        assert node.core.commit == 3


def test_a_new_leader_that_knows_of_less_takes_no_commit_back() -> None:
    """PySyncObj#166, after a change of leaders"""
    node = Member(1, VOTERS, terms=(1, 1, 1), term=1)
    node.hear(APPEND, 2, 1, 3, 1, commit=3)

    (reply,) = node.hear(APPEND, 3, 2, 3, 1, commit=0)

    assert node.core.commit == 3
    assert (reply.kind, reply.commit) == (APPEND_REPLY, 3)


def test_a_log_that_is_cut_behind_prev_and_not_at_the_conflict() -> None:
    """openraft 9540c904; with datagrams, an old append would drop what a newer one brought"""
    node = Member(1, VOTERS)
    node.hear(APPEND, 2, 1, ctx=1, entries=entries(1, 1, 1))
    node.hear(APPEND, 2, 1, 2, 1, ctx=2, entries=entries(3, 1, 1))
    assert node.log.last == 4

    # the first one again, a part of it, a heartbeat behind it, and an empty one at the start
    for index, more in ((0, entries(1, 1, 1)), (0, entries(1, 1)), (2, ()), (1, ()), (0, ())):
        (reply,) = node.hear(APPEND, 2, 1, index, 1 if index else 0, ctx=1, entries=more)

        assert (reply.kind, reply.index) == (APPEND_REPLY, index + len(more))
        assert node.terms() == [1, 1, 1, 1]
    assert node.store.last == 4


def test_an_append_at_the_start_of_the_log_that_is_doubled_and_appends_again() -> None:
    """willemt/raft#118"""
    node = Member(1, VOTERS)
    for commit in (0, 2, 2):
        (reply,) = node.hear(APPEND, 2, 1, commit=commit, entries=entries(1, 1, 1, 1))

        assert node.log.last == 3
        assert node.applied == entries(1, 1, 1, 1)[:commit]
        assert reply.kind == APPEND_REPLY


def test_logs_that_are_compared_by_length_and_term_in_the_wrong_order() -> None:
    """openraft a48a3282: by the last term first, by the length only if the terms are equal"""
    for kind in (VOTE, PRE_VOTE):
        for terms, index, log_term, granted in (
            ((1, 1, 1, 1), 1, 2, True),
            ((1, 2), 900, 1, False),
            ((2,), 1, 2, True),
            ((2, 2), 1, 2, False),
        ):
            node = Member(1, VOTERS, terms=terms, term=4)

            (reply,) = node.hear(kind, 2, 5, index, log_term)

            assert (reply.index == GRANTED) == granted, (kind, terms, index, log_term)


def test_the_index_of_a_reply_that_is_out_of_bounds() -> None:
    """willemt/raft#127"""
    for kind in (APPEND_REPLY, APPEND_REJECT):
        for index in (3, 4, 900, (1 << 30) - 1):
            node = Member(1, VOTERS, terms=(1,), term=1)
            node.lead()
            assert node.log.last == 2

            sent = node.hear(kind, 2, 2, index=index, log_term=2, ctx=1)

            assert sent == []
            assert node.core.commit == 0
            assert (node.core.peers[2].match, node.core.peers[2].next) == (0, 2)


def test_a_reply_to_what_was_never_sent() -> None:
    """willemt/raft#127: rounds the leader hasn't reached, and nodes it doesn't know"""
    node = Member(1, VOTERS, terms=(1,), term=1)
    node.lead()

    node.hear(APPEND_REPLY, 2, 2, index=2, ctx=2)
    node.hear(APPEND_REPLY, 9, 2, index=2, ctx=1)

    assert node.core.commit == 0
    assert node.core.peers[2].match == 0


def test_a_commit_index_that_does_not_come_from_match_indexes() -> None:
    """willemt/raft#15: by how many answers there were, or by the newest of them"""
    node = Member(1, FIVE)
    node.lead()
    for data in (b"a", b"b", b"c"):
        node.core.propose(COMMAND, data)
    node.work()

    for _ in range(3):
        node.hear(APPEND_REPLY, 2, 1, index=4, ctx=1)
    assert node.core.commit == 0
    node.hear(APPEND_REPLY, 3, 1, index=2, ctx=1)
    assert node.core.commit == 2
    node.hear(APPEND_REPLY, 4, 1, index=1, ctx=1)
    assert node.core.commit == 2
    node.hear(APPEND_REPLY, 5, 1, index=3, ctx=1)
    assert node.core.commit == 3
    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=1)
    assert node.core.commit == 3


def test_a_follower_that_commits_what_it_has_and_the_leader_has_not() -> None:
    """A leader's commit index is worth only as far as the follower's log is known to match."""
    node = Member(1, VOTERS, terms=(1, 1, 1, 1), term=1)  # 3 and 4 are of a dead leader

    node.hear(APPEND, 2, 2, 2, 1, commit=4)
    assert node.applied == entries(1, 1, 1)
    node.hear(APPEND, 2, 2, 2, 1, commit=4, entries=entries(3, 2, 2))

    assert node.applied == entries(1, 1, 1) + entries(3, 2, 2)
