"""Figure 2, RequestVote RPC, receiver implementation: its two rules."""

from raft.core import NOBODY
from raft.messages import APPEND, VOTE, VOTE_REPLY
from tests.core.group import HIGH_MS, Member

PORTABLE = True

VOTERS = (1, 2, 3)


def test_rule_1_a_candidate_of_an_older_term_is_refused() -> None:
    node = Member(1, VOTERS, terms=(1,), term=4)

    (reply,) = node.hear(VOTE, 2, term=3, index=9, log_term=3)

    assert (reply.kind, reply.dst, reply.term, reply.index) == (VOTE_REPLY, 2, 4, 0)
    assert node.hard_state() == (4, NOBODY)


def test_rule_2_one_vote_in_a_term_first_come_first_served() -> None:
    for vote, candidate, granted in ((NOBODY, 2, True), (2, 2, True), (3, 2, False), (1, 2, False)):
        node = Member(1, VOTERS, term=4, vote=vote)

        (reply,) = node.hear(VOTE, candidate, term=4)

        assert (reply.kind, reply.index == 1) == (VOTE_REPLY, granted), (vote, candidate)
        assert node.hard_state() == (4, candidate if granted else vote)


def test_rule_2_a_new_term_brings_a_new_vote() -> None:
    node = Member(1, VOTERS, term=4, vote=3)

    (reply,) = node.hear(VOTE, 2, term=5)

    assert reply.index == 1
    assert node.hard_state() == (5, 2)


def test_rule_2_the_candidates_log_must_be_at_least_as_up_to_date() -> None:
    # own log; the candidate's last index and its term; granted
    for terms, index, log_term, granted in (
        ((), 0, 0, True),
        ((), 1, 1, True),
        ((1,), 0, 0, False),
        ((1,), 1, 1, True),
        ((1,), 2, 1, True),
        ((1, 1), 1, 1, False),
        ((1, 1), 1, 2, True),
        ((1, 1), 3, 2, True),
        ((2,), 2, 1, False),
        ((2,), 1, 1, False),
    ):
        node = Member(1, VOTERS, terms=terms, term=4)

        (reply,) = node.hear(VOTE, 2, 5, index, log_term)

        assert (reply.index == 1) == granted, (terms, index, log_term)
        assert node.hard_state() == (5, 2 if granted else NOBODY)


def test_a_vote_given_resets_the_election_timeout_and_a_vote_refused_does_not() -> None:
    for log_term, granted in ((3, True), (0, False)):
        node = Member(1, VOTERS, terms=(1,), term=4)
        node.core.tick(HIGH_MS - 10)

        node.hear(VOTE, 2, 5, index=log_term and 1, log_term=log_term)

        assert node.core.due_ms() == (HIGH_MS if granted else 10)


def test_a_term_that_has_a_leader_has_no_vote_left() -> None:
    node = Member(1, VOTERS, term=4)
    node.hear(APPEND, 2, term=4)

    (reply,) = node.hear(VOTE, 3, term=4)

    assert reply.index == 0
    assert node.hard_state() == (4, NOBODY)
