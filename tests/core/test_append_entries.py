"""Figure 2, AppendEntries RPC, receiver implementation: its five rules."""

from raft.core import FOLLOWER, NOBODY
from raft.messages import APPEND, APPEND_REJECT, APPEND_REPLY, COMMIT
from tests.core.group import Member, entries

PORTABLE = True

VOTERS = (1, 2, 3)


def follower(*terms: int, term: int = 0) -> Member:
    """Node 1 with a log of these terms."""
    return Member(1, VOTERS, terms=terms, term=term)


def test_rule_1_an_append_of_an_older_term_is_refused_and_changes_nothing() -> None:
    for kind in (APPEND, COMMIT):
        node = follower(1, 1, term=3)
        node.core.tick(100)
        due = node.core.due_ms()

        more = entries(3, 2) if kind == APPEND else ()
        (reply,) = node.hear(kind, 2, term=2, index=2, log_term=1, commit=2, ctx=7, entries=more)

        assert (reply.kind, reply.dst, reply.term, reply.ctx) == (APPEND_REJECT, 2, 3, 0)
        assert node.terms() == [1, 1]
        assert node.core.commit == 0
        assert node.core.leader == NOBODY
        assert node.core.due_ms() == due  # such a leader doesn't hold off an election


def test_rule_2_an_append_behind_an_entry_that_is_missing_or_of_another_term_is_refused() -> None:
    for index, log_term in ((3, 2), (9, 2), (2, 3), (2, 1), (1, 2)):
        node = follower(1, 2, term=3)

        (reply,) = node.hear(APPEND, 2, 3, index, log_term, entries=entries(index + 1, 3))

        assert reply.kind == APPEND_REJECT, (index, log_term)
        # the hint: an entry of its own, from where the two logs may agree
        assert reply.index <= index
        assert reply.log_term == node.log.term(reply.index) <= log_term
        assert node.terms() == [1, 2]


def test_rule_2_an_append_behind_an_entry_that_matches_is_accepted() -> None:
    for index, log_term in ((0, 0), (1, 1), (2, 2)):
        node = follower(1, 2, term=3)

        (reply,) = node.hear(APPEND, 2, 3, index, log_term, ctx=5)

        assert (reply.kind, reply.index, reply.ctx) == (APPEND_REPLY, index, 5)
        assert node.core.role == FOLLOWER
        assert node.core.leader == 2


def test_rule_3_a_conflicting_entry_goes_and_all_that_follow_it() -> None:
    node = follower(1, 1, 1, 1)

    (reply,) = node.hear(APPEND, 2, 2, index=1, log_term=1, entries=entries(2, 2))

    assert (reply.kind, reply.index) == (APPEND_REPLY, 2)
    assert node.terms() == [1, 2]
    node.start()  # and in flash as well
    assert node.terms() == [1, 2]


def test_rule_3_entries_before_the_conflict_stay() -> None:
    node = follower(1, 1, 2, 2)

    node.hear(APPEND, 2, 3, index=1, log_term=1, entries=entries(2, 1, 2, 3))

    assert node.terms() == [1, 1, 2, 3]


def test_rule_4_entries_that_are_not_yet_in_the_log_are_appended() -> None:
    for first, new in ((3, (2, 3)), (2, (1, 2, 3)), (1, (1, 1, 2, 3))):
        node = follower(1, 1)

        more = entries(first, *new)
        (reply,) = node.hear(APPEND, 2, 3, first - 1, 1 if first > 1 else 0, entries=more)

        assert (reply.kind, reply.index) == (APPEND_REPLY, 4)
        assert node.terms() == [1, 1, 2, 3]
        assert node.log.entry(4) == more[-1]


def test_rule_5_the_commit_index_follows_the_leaders_up_to_the_last_new_entry() -> None:
    # leader's commit index, prev index, entries sent, commit index wanted
    for leaders, prev, new, wanted in (
        (1, 3, 0, 1),
        (3, 3, 0, 3),
        (4, 3, 0, 3),
        (4, 3, 1, 4),
        (9, 3, 2, 5),
        (3, 1, 0, 1),  # what stands behind entry 1 isn't known to be the leader's
        (3, 1, 1, 2),
    ):
        node = follower(1, 1, 1)

        more = entries(prev + 1, *([1] * new))
        node.hear(APPEND, 2, 1, prev, 1, commit=leaders, entries=more)

        assert node.core.commit == wanted, (leaders, prev, new)
        assert len(node.applied) == wanted


def test_rule_5_holds_for_the_news_of_a_commit_too() -> None:
    node = follower(1, 1, 1)

    assert node.hear(COMMIT, 2, 1, index=2, log_term=1, commit=3) == []
    assert node.core.commit == 2
