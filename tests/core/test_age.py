"""How old a node's own copy may be: for how long there may be commits that it doesn't know of."""

from raft.core import ELECTION_MS, HEARTBEAT_MS, LEADER
from raft.messages import APPEND, APPEND_REPLY, MAX_NUMBER, SNAPSHOT
from tests.core.group import HIGH_MS, STEP_MS, Group, Member, entries, settled_leader
from tests.dice import Dice

PORTABLE = True

UNKNOWN = MAX_NUMBER
VOTERS = (1, 2, 3)
BLIND_MS = 2 * (HIGH_MS + HEARTBEAT_MS)  # as long a leader may not know that another was elected
SEEDS = 10


def follower() -> Member:
    """It holds three entries, of which its leader has told that two are committed."""
    node = Member(1, VOTERS)
    node.hear(APPEND, 2, 1, commit=2, entries=entries(1, 1, 1, 1))
    return node


def test_a_follower_goes_by_the_last_word_of_its_leader() -> None:
    node = follower()
    assert node.core.age_ms() == BLIND_MS

    node.tick(40)
    assert node.core.age_ms() == BLIND_MS + 40

    node.hear(APPEND, 2, 1, 3, 1, commit=3)
    assert node.core.age_ms() == BLIND_MS


def test_a_leader_that_has_committed_nothing_itself_does_not_know_what_is_committed() -> None:
    node = follower()

    node.hear(APPEND, 3, 2, 3, 1, commit=2, entries=entries(4, 2))
    assert node.core.age_ms() == UNKNOWN

    node.hear(APPEND, 3, 2, 4, 2, commit=4)
    assert node.core.age_ms() == BLIND_MS


def test_a_follower_of_a_leader_that_was_deposed_may_not_know_either() -> None:
    for seed in range(SEEDS):
        # given a leader that is cut off together with one follower
        group = Group(5, draw=Dice(seed).draw)
        group.elect(1)
        group.beat(1)
        group.isolate(1, 2)
        left = group.members[2].core

        # when the others elect another one, and commit
        missed_ms, steps = 0, 0
        while missed_ms < 2 * BLIND_MS:
            group.run(STEP_MS)
            steps += 1
            assert steps < 1000, "no other leader was elected"
            if max(member.core.commit for member in group.up()) > left.commit:
                missed_ms += STEP_MS

            # then its age is at least the time for which it has missed that
            assert left.age_ms() >= missed_ms, "seed %d" % seed


def test_it_gets_older_without_a_leader() -> None:
    node = follower()
    for _ in range(20):
        node.tick(HIGH_MS)
    assert node.core.age_ms() == BLIND_MS + 20 * HIGH_MS


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
