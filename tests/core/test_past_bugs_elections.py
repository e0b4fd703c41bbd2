"""Bugs that other projects had: elections."""

from raft.core import CANDIDATE, FOLLOWER, HEARTBEAT_MS, LEADER, NOBODY, PRE_CANDIDATE
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    DOUBT_REJECT,
    DOUBT_REPLY,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_ASK,
    RESCUE,
    SNAPSHOT_REPLY,
    VOTE,
    VOTE_REPLY,
)
from tests.core.group import GRANTED, HIGH_MS, Group, Member
from tests.dice import Dice

PORTABLE = True

VOTERS = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)
SETTLED_MS = 2000


def test_a_pre_vote_that_clears_the_vote() -> None:
    """canonical/raft#196"""
    node = Member(1, VOTERS, term=3, vote=2)

    (reply,) = node.hear(PRE_VOTE, 3, 4)

    assert (reply.kind, reply.index) == (PRE_VOTE_REPLY, GRANTED)
    assert (node.core.term, node.core.vote) == (3, 2)
    assert node.hard_state() == (3, 2)
    (reply,) = node.hear(VOTE, 3, 3)
    assert reply.index == 0


def test_answers_to_a_pre_vote_that_are_counted_as_votes() -> None:
    """canonical/raft#196"""
    node = Member(1, FIVE, term=3)
    node.stand()
    node.hear(PRE_VOTE_REPLY, 2, 4, GRANTED)
    node.hear(PRE_VOTE_REPLY, 3, 4, GRANTED)
    assert (node.core.role, node.core.term) == (CANDIDATE, 4)

    for voter in (2, 3, 4, 5):  # late, and with the very term that it stands in now
        node.hear(PRE_VOTE_REPLY, voter, 4, GRANTED)

    assert node.core.role == CANDIDATE


def test_votes_that_are_counted_as_answers_to_a_pre_vote() -> None:
    """canonical/raft#196, the other way round"""
    node = Member(1, FIVE, term=3)
    node.stand()

    for voter in (2, 3, 4, 5):
        node.hear(VOTE_REPLY, voter, 3, GRANTED)

    assert (node.core.role, node.core.term) == (PRE_CANDIDATE, 3)


def test_answers_to_an_earlier_pre_vote_that_are_counted_again() -> None:
    """A pre-vote is for one term; an answer of a term before says nothing of this one."""
    node = Member(1, FIVE, term=3)
    node.stand()
    node.hear(VOTE_REPLY, 4, 4)  # a refusal shows a higher term
    node.stand()
    assert (node.core.role, node.core.term) == (PRE_CANDIDATE, 4)

    for voter in (2, 3, 4, 5):
        node.hear(PRE_VOTE_REPLY, voter, 4, GRANTED)

    assert node.core.role == PRE_CANDIDATE


def test_a_pre_vote_that_never_raises_a_lagging_term() -> None:
    """canonical/raft#279"""
    for lagging in (3, 7, 8):
        group = Group.of(*[Member(n, VOTERS, term=9 if n != 1 else lagging) for n in VOTERS])
        group.down.add(3)

        group.elect(1)

        assert group.members[1].core.term == 10


def test_a_pre_vote_in_a_lagging_term_is_answered_with_the_higher_one() -> None:
    """canonical/raft#279"""
    for asks_for in (4, 8, 9):
        node = Member(2, VOTERS, term=9)

        (reply,) = node.hear(PRE_VOTE, 1, asks_for)

        assert (reply.kind, reply.term, reply.index) == (PRE_VOTE_REPLY, 9, 0)


def test_pre_vote_and_check_quorum_that_block_each_other() -> None:
    """etcd#8501: the one with the newer term can't win, and the others don't hear of it"""
    for seed in range(5):
        dice = Dice(seed)
        group = Group.of(
            Member(1, VOTERS, terms=(1, 1), term=1, draw=dice.draw),
            Member(2, VOTERS, terms=(1, 1), term=1, draw=dice.draw),
            Member(3, VOTERS, terms=(1,), term=9, draw=dice.draw),
        )
        group.cut = {(1, 3), (3, 1), (2, 3), (3, 2)}
        group.run(SETTLED_MS)
        leader = group.leader()
        assert leader is not None and leader.core.term < 9

        group.heal()
        group.run(SETTLED_MS)

        leader = group.leader()
        assert leader is not None and leader.core.term > 9
        assert [m.core.leader for m in group.up()] == [leader.node] * 3
        assert [m.core.commit for m in group.up()] == [leader.log.last] * 3


def test_a_higher_term_on_a_node_that_may_not_vote_blocks_two_others() -> None:
    """etcd#8501, with only the node of the higher term and one other alive"""
    for terms, winner in (((1,), 1), ((1, 1, 1), 3)):
        dice = Dice(winner)
        group = Group.of(
            Member(1, VOTERS, terms=(1, 1), term=1, draw=dice.draw),
            Member(2, VOTERS, terms=(1, 1), term=1, draw=dice.draw),
            Member(3, VOTERS, terms=terms, term=9, draw=dice.draw),
        )
        group.crash(2)

        group.run(SETTLED_MS)

        leader = group.leader()
        assert leader is not None and leader.node == winner
        assert [m.core.commit for m in group.up()] == [leader.log.last] * 2


def test_a_pre_vote_of_an_ex_leader_that_is_always_refused() -> None:
    """hashicorp/raft#605: its followers still count it as the leader they have heard"""
    group = Group(3)
    group.elect(1)
    group.beat(1)
    group.restart(1)
    assert group.members[2].core.leader == group.members[3].core.leader == 1

    group.tick(1, HIGH_MS)  # the others have just heard it
    group.deliver_all()

    assert group.members[1].core.role == LEADER
    assert group.members[1].core.term == 2


def test_a_removed_node_with_a_high_term_that_disturbs_the_cluster() -> None:
    """hashicorp/raft#524"""
    # all but what only an elected leader sends, which may be one that this node doesn't know yet
    for kind in (PRE_VOTE, PRE_VOTE_REPLY, VOTE, VOTE_REPLY, APPEND_REPLY, APPEND_REJECT, RESCUE,
                 SNAPSHOT_REPLY, DOUBT_REPLY, DOUBT_REJECT, READ_ASK):  # fmt: skip
        follower = Member(1, VOTERS, terms=(1,), term=3)
        follower.hear(APPEND, 2, 3, 1, 1)
        leader = Member(1, VOTERS, terms=(1,), term=3)
        leader.lead()
        for node in (follower, leader):
            before = (node.core.role, node.core.term, node.core.leader, node.core.commit)

            assert node.hear(kind, 9, 99, index=1, log_term=1, commit=1) == []

            assert before == (node.core.role, node.core.term, node.core.leader, node.core.commit)
            assert node.terms()[0] == 1


def test_a_vote_that_is_erased_when_its_giver_steps_down() -> None:
    """In one term there is one vote, whatever role the node has in it."""
    # a leader that no longer hears from a majority
    leader = Member(1, VOTERS, term=3)
    leader.lead()
    leader.tick(HIGH_MS)
    leader.tick(HIGH_MS)
    assert leader.core.role == FOLLOWER
    # a candidate that finds a leader of its term
    candidate = Member(1, VOTERS, term=3)
    candidate.stand()
    candidate.hear(PRE_VOTE_REPLY, 2, 4, GRANTED)
    candidate.hear(APPEND, 3, 4)
    assert candidate.core.role == FOLLOWER

    for node in (leader, candidate):
        assert (node.core.term, node.core.vote) == (4, 1)
        assert node.hard_state() == (4, 1)
        node.tick(HIGH_MS)  # and one that stands again and hears a rival of the old term
        (reply,) = node.hear(VOTE, 2, 4, index=9, log_term=4)
        assert reply.index == 0
        assert node.core.vote == 1


def test_a_vote_that_is_erased_by_a_message_of_the_same_term() -> None:
    """In one term there is one vote, whatever is heard in it."""
    for kind in range(PRE_VOTE, PRE_VOTE + 9):
        node = Member(1, VOTERS, term=3, vote=2)

        node.hear(kind, 3, 3)

        assert node.core.vote == 2
        assert node.hard_state() == (3, 2)


def test_a_pre_candidate_that_votes_and_yet_goes_on_to_unseat_whom_it_voted_for() -> None:
    """Its questions before an election would raise the term of a leader just elected."""
    node = Member(1, FIVE, term=3)
    node.stand()

    (reply,) = node.hear(VOTE, 2, 3)

    assert reply.index == GRANTED
    assert node.core.role == FOLLOWER
    for voter in (3, 4, 5):
        node.hear(PRE_VOTE_REPLY, voter, 4, GRANTED)
    assert (node.core.role, node.core.term, node.core.vote) == (FOLLOWER, 3, 2)


def test_a_node_that_hears_nobody_and_holds_off_all_others_by_asking() -> None:
    """Who asks at the same time lets the lower id go first; one that is deaf can't win."""
    node = Member(3, FIVE)
    node.stand()
    node.hear(PRE_VOTE, 1, 1)
    assert node.core.role == FOLLOWER  # goes second, this time

    node.stand()
    for _ in range(HIGH_MS // HEARTBEAT_MS):
        (reply,) = node.hear(PRE_VOTE, 1, 1)
        assert reply.index == GRANTED
        assert node.core.role == PRE_CANDIDATE

    node.hear(PRE_VOTE_REPLY, 2, 1, GRANTED)
    node.hear(PRE_VOTE_REPLY, 4, 1, GRANTED)
    assert node.core.role == CANDIDATE


def test_a_leader_that_refuses_to_know_that_its_term_is_over() -> None:
    """It ignores candidates while it leads, but no answer to its own messages."""
    node = Member(1, VOTERS)
    node.lead()
    assert node.hear(VOTE, 2, 9) == []
    assert node.core.role == LEADER

    node.hear(APPEND_REJECT, 2, 9, ctx=1)

    assert (node.core.role, node.core.term, node.core.leader) == (FOLLOWER, 9, NOBODY)
