"""Elections over datagrams: pre-vote, the leader's lease, check-quorum, timeouts, repetition."""

from raft.core import CANDIDATE, FOLLOWER, HEARTBEAT_MS, LEADER, NOBODY, PRE_CANDIDATE
from raft.leading import OTHERS_BEATS
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    MAX_NUMBER,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    VOTE,
    VOTE_REPLY,
)
from tests.core.group import GRANTED, HIGH_MS, LOW_MS, Group, Member
from tests.dice import Dice

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable

PORTABLE = True

VOTERS = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)
SETTLED_MS = 2000


def always(ms: int) -> "Callable[[int, int], int]":
    """Draws this election timeout each time."""
    return lambda low, high: ms


# Pre-vote


def test_before_an_election_a_node_only_asks_and_changes_no_term() -> None:
    node = Member(1, VOTERS, terms=(1, 2), term=4, vote=2)

    sent = node.stand()

    assert [(m.kind, m.dst, m.term, m.index, m.log_term) for m in sent] == [
        (PRE_VOTE, 2, 5, 2, 2),
        (PRE_VOTE, 3, 5, 2, 2),
    ]
    assert (node.core.role, node.core.term) == (PRE_CANDIDATE, 4)
    assert node.hard_state() == (4, 2)


def test_a_majority_must_say_that_it_would_vote() -> None:
    node = Member(1, FIVE, term=1)
    node.stand()

    node.hear(PRE_VOTE_REPLY, 2, 2, GRANTED)
    node.hear(PRE_VOTE_REPLY, 2, 2, GRANTED)
    node.hear(PRE_VOTE_REPLY, 3, 1)
    node.hear(PRE_VOTE_REPLY, 4, 1)
    assert node.core.role == PRE_CANDIDATE
    node.hear(PRE_VOTE_REPLY, 3, 2, GRANTED)  # it has changed its mind: its leader is silent now

    assert node.core.role == CANDIDATE


def test_a_node_says_it_would_vote_only_for_a_later_term_and_an_up_to_date_log() -> None:
    for term, index, log_term, granted in (
        (4, 2, 2, True),
        (9, 9, 3, True),
        (3, 2, 2, False),
        (4, 1, 2, False),
        (4, 9, 1, False),
    ):
        node = Member(1, VOTERS, terms=(1, 2), term=3)

        (reply,) = node.hear(PRE_VOTE, 2, term, index, log_term)

        assert reply.kind == PRE_VOTE_REPLY
        assert (reply.index == GRANTED) == granted, (term, index, log_term)
        assert reply.term == (term if granted else 3)


def test_a_node_without_a_vote_believes_in_a_leader_that_it_hears_seldom() -> None:
    learner = Member(4, VOTERS)
    learner.hear(APPEND, 1, 1)

    for _ in range(3):
        learner.tick(HEARTBEAT_MS * OTHERS_BEATS)  # all of these were lost but the first
    assert learner.core.leader == 1

    for _ in range(OTHERS_BEATS):
        learner.tick(HIGH_MS)
    assert learner.core.leader == NOBODY


def test_a_node_that_was_cut_off_comes_back_without_raising_the_term() -> None:
    dice = Dice(1)
    group = Group(3, draw=dice.draw)
    group.run(SETTLED_MS)
    leader = group.leader()
    assert leader is not None
    term = leader.core.term
    other = 1 if leader.node != 1 else 2

    group.isolate(other)
    group.run(SETTLED_MS)
    group.heal()
    group.run(SETTLED_MS)

    assert [m.core.term for m in group.up()] == [term] * 3
    assert group.leader() is leader
    assert group.members[other].core.leader == leader.node


# The leader's lease


def test_soon_after_a_leader_was_heard_nobody_else_gets_a_vote() -> None:
    for kind in (PRE_VOTE, VOTE):
        node = Member(1, VOTERS)
        node.hear(APPEND, 2, 1)
        for ms in (0, LOW_MS // 2, LOW_MS // 2 - 1):
            node.tick(ms)

            assert node.hear(kind, 3, 9) == []
            assert (node.core.term, node.core.vote) == (1, NOBODY)

        node.tick(1)
        (reply,) = node.hear(kind, 3, 9)
        assert reply.index == GRANTED


def test_a_leader_gives_no_vote() -> None:
    for kind in (PRE_VOTE, VOTE):
        node = Member(1, VOTERS)
        node.lead()
        for _ in range(2 * HIGH_MS // HEARTBEAT_MS):
            node.tick(HEARTBEAT_MS)
            node.hear(APPEND_REPLY, 2, 1, index=1, ctx=1)

            assert node.hear(kind, 3, 9) == []

        assert (node.core.role, node.core.term) == (LEADER, 1)


def test_the_leader_itself_may_ask_those_that_have_just_heard_it() -> None:
    for kind in (PRE_VOTE, VOTE):
        node = Member(1, VOTERS)
        node.hear(APPEND, 2, 1)

        (reply,) = node.hear(kind, 2, 2)

        assert reply.index == GRANTED


# Check-quorum


def test_a_leader_that_hears_no_majority_gives_way() -> None:
    for heard, role in (((), FOLLOWER), ((2,), FOLLOWER), ((2, 3), LEADER)):
        node = Member(1, FIVE)
        node.lead()
        node.tick(HIGH_MS)  # so long everybody counts as heard

        for peer in heard:
            node.hear(APPEND_REPLY, peer, 1, index=0, ctx=1)
        node.tick(HIGH_MS)

        assert node.core.role == role, heard
        assert node.core.leader == (1 if role == LEADER else NOBODY)
        assert node.core.term == 1
        if role == FOLLOWER:  # and waits as long as any other before it stands
            assert node.core.due_ms() == HIGH_MS


def test_a_leader_that_stood_still_hears_what_has_come_before_it_counts() -> None:
    node = Member(1, VOTERS)
    node.lead()
    node.tick(HIGH_MS)

    node.core.pass_time(10 * HIGH_MS)  # a sector erase, say
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=1)
    node.tick(0)

    assert node.core.role == LEADER


def test_a_follower_that_stood_still_hears_what_has_come_before_it_stands() -> None:
    node = Member(1, VOTERS)
    node.hear(APPEND, 2, 1)

    node.core.pass_time(10 * HIGH_MS)
    node.hear(APPEND, 2, 1)

    assert node.tick(0) == []
    assert node.core.role == FOLLOWER


def test_a_leader_cut_off_from_the_majority_gives_way_and_the_others_elect() -> None:
    group = Group(5, draw=Dice(1).draw)
    group.run(SETTLED_MS)
    old = group.leader()
    assert old is not None
    companion = old.node % 5 + 1

    group.isolate(old.node, companion)
    group.run(SETTLED_MS)

    assert old.core.role != LEADER
    new = group.leader()
    assert new is not None and new.node not in (old.node, companion)
    assert new.core.commit == new.log.last


# Timeouts


def test_each_election_draws_its_timeout_anew_from_the_whole_range() -> None:
    drawn = []

    def draw(low: int, high: int) -> int:
        drawn.append((low, high))
        return low + 7 * len(drawn)

    node = Member(1, VOTERS, draw=draw)
    elections = []
    for ms in range(1, 1000):
        draws = len(drawn)
        node.tick(1)
        if len(drawn) > draws:
            elections.append(ms)

    assert elections == [157, 157 + 164, 157 + 164 + 171, 157 + 164 + 171 + 178, 855]
    assert drawn == [(LOW_MS, HIGH_MS)] * 6


def test_a_timeout_is_what_was_drawn_to_the_millisecond() -> None:
    for ms in (LOW_MS, LOW_MS + 1, 200, HIGH_MS):
        node = Member(1, VOTERS, draw=always(ms))

        assert node.core.due_ms() == ms
        node.tick(ms - 1)
        assert node.core.role == FOLLOWER
        assert node.core.due_ms() == 1
        node.tick(1)
        assert node.core.role == PRE_CANDIDATE


def test_two_that_stand_at_the_same_moment_do_not_split_the_vote() -> None:
    for count in (2, 3, 4, 5):
        group = Group(count)
        group.run(HIGH_MS + 50)  # all have drawn the same timeout

        leader = group.leader()
        assert leader is not None
        assert leader.core.term == 1


def test_who_gave_way_once_does_so_again_after_it_has_heard_a_leader() -> None:
    node = Member(3, VOTERS)
    for term in (1, 2, 3):
        node.stand()
        node.hear(PRE_VOTE, 1, term)
        assert node.core.role == FOLLOWER
        node.hear(APPEND, 1, term)


def test_a_vote_once_given_counts_whatever_else_its_giver_says() -> None:
    node = Member(1, FIVE)
    node.stand()
    for voter in (2, 3):
        node.hear(PRE_VOTE_REPLY, voter, 1, GRANTED)
    assert node.core.role == CANDIDATE

    node.hear(VOTE_REPLY, 2, 1, GRANTED)
    node.hear(VOTE_REPLY, 2, 1)  # refused before it was granted, and late
    node.hear(VOTE_REPLY, 3, 1, GRANTED)

    assert node.core.role == LEADER


def test_a_split_vote_is_followed_by_an_election_in_the_next_term() -> None:
    group = Group(4, draw=Dice(3).draw)
    for node in (1, 2):
        member = group.members[node]
        member.stand()
        for peer in (3, 4):
            member.hear(PRE_VOTE_REPLY, peer, 1, GRANTED)
        assert member.core.role == CANDIDATE
    for voter, candidate in ((3, 1), (4, 2)):
        (reply,) = group.members[voter].hear(VOTE, candidate, 1)
        group.members[candidate].hear(VOTE_REPLY, voter, 1, reply.index)
    assert group.leader() is None

    group.run(SETTLED_MS)

    leader = group.leader()
    assert leader is not None and leader.core.term == 2
    assert group.leaders == {2: leader.node}


# Repetition, for datagrams get lost


def test_requests_are_repeated_with_each_heartbeat_until_they_are_granted() -> None:
    node = Member(1, FIVE, term=1)
    node.stand()
    node.hear(PRE_VOTE_REPLY, 2, 2, GRANTED)
    node.hear(PRE_VOTE_REPLY, 3, 1)
    assert node.tick(HEARTBEAT_MS - 1) == []
    assert [(m.kind, m.dst) for m in node.tick(1)] == [(PRE_VOTE, p) for p in (3, 4, 5)]

    node.hear(PRE_VOTE_REPLY, 4, 2, GRANTED)
    node.hear(VOTE_REPLY, 5, 2, GRANTED)
    node.hear(VOTE_REPLY, 4, 2)
    assert node.tick(HEARTBEAT_MS - 1) == []
    assert [(m.kind, m.dst) for m in node.tick(1)] == [(VOTE, p) for p in (2, 3, 4)]


def test_a_repeated_request_gets_the_same_answer() -> None:
    for kind in (PRE_VOTE, VOTE):
        node = Member(1, VOTERS)

        answers = [node.hear(kind, 2, 1)[0].index for _ in range(3)]

        assert answers == [GRANTED] * 3


def test_an_election_succeeds_though_every_other_datagram_is_lost() -> None:
    for seed in range(6):
        dice = Dice(seed)
        group = Group(5, draw=dice.draw)
        for _ in range(400):
            for member in group.up():
                group.tick(member.node, 5)
            while group.wire:
                if dice.one_in(2):
                    group.wire.pop(0)
                else:
                    group.deliver()
            if group.leader() is not None:
                break
        assert group.leader() is not None, seed


def test_two_nodes_need_each_other() -> None:
    group = Group(2, draw=Dice(1).draw)
    group.run(SETTLED_MS)
    leader = group.leader()
    assert leader is not None and leader.core.commit == 1

    group.crash(3 - leader.node)
    group.run(SETTLED_MS)
    assert leader.core.role != LEADER
    group.restart(3 - leader.node)
    group.run(SETTLED_MS)

    assert group.leader() is not None
    assert [m.core.commit for m in group.up()] == [2, 2]


# Time


def test_what_a_follower_counts_stays_a_small_integer_for_weeks() -> None:
    node = Member(2, VOTERS)
    node.hear(APPEND, 1, 1)

    for _ in range(10):
        node.core.pass_time(MAX_NUMBER >> 1)
        node.hear(APPEND, 1, 1)

    counts = node.core.__dict__
    assert [n for n in counts if isinstance(counts[n], int) and counts[n] > MAX_NUMBER] == []
