"""How old a node's own copy may be: for how long there may be commits that it doesn't know of."""

from raft.core import ELECTION_MS, LEADER
from raft.messages import APPEND, APPEND_REPLY, MAX_NUMBER, SNAPSHOT
from tests.core.group import HIGH_MS, Member, entries, settled_leader

PORTABLE = True

UNKNOWN = MAX_NUMBER
VOTERS = (1, 2, 3)


def follower() -> Member:
    """It holds three entries, of which its leader has told that two are committed."""
    node = Member(1, VOTERS)
    node.hear(APPEND, 2, 1, commit=2, entries=entries(1, 1, 1, 1))
    return node


def test_a_follower_goes_by_the_last_word_of_its_leader() -> None:
    node = follower()
    assert node.core.age_ms() == 0

    node.tick(40)
    assert node.core.age_ms() == 40

    node.hear(APPEND, 2, 1, 3, 1, commit=3)
    assert node.core.age_ms() == 0


def test_it_gets_older_without_a_leader() -> None:
    node = follower()
    for _ in range(20):
        node.tick(HIGH_MS)
    assert node.core.age_ms() == 20 * HIGH_MS


def test_it_is_not_known_before_a_leader_was_heard() -> None:
    node = follower()
    node.start()
    assert node.core.age_ms() == UNKNOWN
    node.tick(40)
    assert node.core.age_ms() == UNKNOWN


def test_nor_where_commits_are_told_that_the_node_lacks() -> None:
    node = follower()
    node.hear(APPEND, 2, 1, 3, 1, commit=9)
    assert node.core.commit == 3
    assert node.core.age_ms() == UNKNOWN

    node.hear(SNAPSHOT, 2, 1, 9, 1, commit=9, piece=(0, 1000, 1, bytes(512)))
    assert node.core.age_ms() == UNKNOWN


def test_a_new_leader_does_not_know_what_is_committed() -> None:
    node = Member(1, VOTERS, terms=(1, 1))
    node.lead()
    assert node.core.age_ms() == UNKNOWN

    node.replicate_to(2)
    assert node.core.age_ms() == 0


def test_a_leader_goes_by_the_last_check_of_its_quorum() -> None:
    node = settled_leader()
    node.tick(100)
    assert node.core.age_ms() == 100

    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=2)
    node.tick(HIGH_MS - 100)  # the check: a majority was heard in these 300 ms
    assert node.core.age_ms() == HIGH_MS
    node.tick(50)
    assert node.core.age_ms() == HIGH_MS + 50


def test_a_leader_that_gives_way_does_not_know() -> None:
    node = settled_leader()
    node.tick(HIGH_MS)
    node.tick(HIGH_MS)
    assert node.core.role != LEADER

    assert node.core.age_ms() == UNKNOWN


def test_the_only_node_has_no_other_copy() -> None:
    node = Member(1, (1,))
    node.lead()
    node.tick(ELECTION_MS[0])
    assert node.core.age_ms() == 0
