"""Leadership is handed over (dissertation 3.10): when asked for, and to whoever should lead."""

from raft.core import FOLLOWER, HEARTBEAT_MS, LEADER, Busy, HandingOver, Refused
from raft.leading import STEADY
from raft.members import LEARNER, VOTER, Members, record
from raft.messages import APPEND, APPEND_REPLY, COMMAND, TRANSFER, VOTE, VOTE_REPLY, Message
from tests.core.group import GRANTED, HIGH_MS, Group, Member, entry, message, settled_leader
from tests.support import raises

PORTABLE = True

THREE = (1, 2, 3)
CHECK_MS = HIGH_MS  # between two checks of the quorum


def told(sent: list[Message]) -> list[int]:
    """Who of them is to stand."""
    return [m.dst for m in sent if m.kind == TRANSFER]


def beat(node: Member, *peers: int) -> list[Message]:
    """Let a heartbeat's time go by, and these answer what they are sent; what that was."""
    sent = node.tick(HEARTBEAT_MS)
    for m in list(sent):
        if m.dst in peers and m.kind == APPEND:
            index = m.index + len(m.entries)
            sent += node.hear(APPEND_REPLY, m.dst, node.core.term, index, ctx=m.ctx)
    return sent


def preferring(priorities: dict[int, int]) -> Member:
    """Node 1 leads these, whose priorities are as given."""
    node = settled_leader()
    node.core.change(b"".join([record(n, VOTER, priorities[n]) for n in sorted(priorities)]))
    node.replicate()
    return node


def test_leadership_is_handed_over_within_a_round_of_messages() -> None:
    group = Group(3)
    group.elect(1)
    group.beat(1)

    group.members[1].core.transfer(3)
    group.work(1)
    group.deliver_all()

    assert [group.members[n].core.role for n in THREE] == [FOLLOWER, FOLLOWER, LEADER]
    assert group.members[3].core.term == 2
    assert group.members[2].core.leader == group.members[1].core.leader == 3


def test_the_successor_is_told_to_stand_when_it_has_all_entries() -> None:
    node = settled_leader()
    index = node.core.propose(COMMAND, b"x")
    node.core.transfer(2)
    node.work()
    sent = node.take()
    assert told(sent) == []
    node.hear(APPEND_REPLY, 3, 1, index=index, ctx=sent[0].ctx)
    assert told(node.take()) == []

    assert told(node.hear(APPEND_REPLY, 2, 1, index=index, ctx=sent[0].ctx)) == [2]


def test_a_lost_word_to_stand_is_sent_again() -> None:
    node = settled_leader()
    node.core.transfer(2)
    node.work()
    assert told(node.take()) == [2]

    for _ in range(3):
        assert told(beat(node, 2, 3)) == [2]


def test_proposals_and_changes_wait_while_leadership_is_handed_over() -> None:
    node = settled_leader()
    node.core.transfer(2)

    raises(HandingOver, node.core.propose, COMMAND, b"x")
    raises(Busy, node.core.change, node.core.members.with_member(record(4, LEARNER)))
    raises(Busy, node.core.transfer, 3)
    assert node.log.last == 1


def test_a_successor_that_is_not_elected_in_time_is_given_up() -> None:
    node = settled_leader()
    node.core.transfer(2)

    for _ in range(HIGH_MS // HEARTBEAT_MS):
        beat(node, 2, 3)

    assert (node.core.role, node.core.term) == (LEADER, 1)
    assert told(beat(node, 2, 3)) == []
    node.core.propose(COMMAND, b"x")


def test_a_late_copy_of_the_word_to_stand_harms_nobody() -> None:
    # given a group in which it has done its work, with one datagram doubled
    group = Group(3)
    group.elect(1)
    group.beat(1)
    group.members[1].core.transfer(2)
    group.work(1)
    copies = [d for d in group.wire if message(d).kind == TRANSFER]
    group.deliver_all()
    assert group.members[2].core.role == LEADER
    group.beat(2)

    # when the copy comes, to the leader and, after another election, to a follower
    group.wire += copies
    group.deliver_all()
    assert (group.members[2].core.role, group.members[2].core.term) == (LEADER, 2)
    group.elect(3)
    group.beat(3)
    group.wire += copies
    group.deliver_all()

    # then the leader leads on
    assert (group.members[3].core.role, group.members[3].core.term) == (LEADER, 3)


def test_only_the_leader_of_its_term_tells_a_node_to_stand() -> None:
    node = Member(1, THREE, terms=(1,), term=3)
    node.hear(APPEND, 2, 3, 1, 1)

    assert node.hear(TRANSFER, 3, 3) == []
    assert [m.kind for m in node.hear(TRANSFER, 2, 2)] == []
    assert node.core.role == FOLLOWER

    assert [(m.kind, m.term, m.ctx) for m in node.hear(TRANSFER, 2, 3)] == [(VOTE, 4, 1)] * 2


def test_a_node_without_a_vote_does_not_stand_when_it_is_told_to() -> None:
    node = Member(4, ())
    data = Members(b"").with_member(record(1, VOTER)) + record(4, LEARNER)
    node.hear(APPEND, 1, 1, 1, 1, 1)
    node.hear(APPEND, 1, 1, 0, 0, 1, entries=[(1, 2, data)])
    assert node.core.doubt == 0

    assert node.hear(TRANSFER, 1, 1) == []


def test_who_hears_a_leader_votes_for_whom_that_leader_has_sent() -> None:
    """dissertation 4.2.3: what is said for healthy leaders isn't said against them"""
    for is_sent in (0, 1):
        node = Member(3, THREE)
        node.hear(APPEND, 1, 1, entries=[entry(1, 1)])
        sent = node.hear(VOTE, 2, 2, 1, 1, ctx=is_sent)
        assert [(m.kind, m.index) for m in sent] == [(VOTE_REPLY, GRANTED)] * is_sent


def test_leadership_goes_only_to_a_voter_that_is_heard() -> None:
    node = settled_leader()
    node.core.change(node.core.members.with_member(record(4, LEARNER)))
    node.replicate()
    for wrong in (1, 4, 9):
        assert "no other voter" in str(raises(Refused, node.core.transfer, wrong))

    for _ in range(3 * CHECK_MS // HEARTBEAT_MS):
        beat(node, 2)
    assert "isn't fit" in str(raises(Refused, node.core.transfer, 3))
    node.core.transfer()
    assert node.core.leading and node.core.leading.successor == 2


def test_a_single_node_has_nobody_to_hand_over_to() -> None:
    raises(Refused, settled_leader((1,)).core.transfer)


def test_reads_that_wait_are_asked_for_again_by_the_next_leader() -> None:
    group = Group(3)
    old = group.elect(1)
    group.beat(1)
    old.core.read("a")
    old.core.transfer(2)
    group.work(1)
    group.deliver_all()
    group.beat(2)
    for _ in range(3):
        group.tick(1, HEARTBEAT_MS)
        group.deliver_all()
        group.beat(2)

    assert [token for token, _ in old.reads] == ["a"]


def test_whoever_has_a_higher_priority_leads_as_soon_as_it_has_been_steady() -> None:
    node = preferring({1: 1, 2: 0, 3: 9})
    checks = 0
    while not node.core.leading.successor:  # type: ignore[union-attr]
        for _ in range(CHECK_MS // HEARTBEAT_MS):
            sent = beat(node, 2, 3)
        checks += 1
        assert checks < 3 * STEADY

    assert told(sent + beat(node, 2, 3))[0] == 3
    assert checks >= STEADY


def test_one_that_comes_and_goes_is_not_preferred() -> None:
    node = preferring({1: 1, 2: 0, 3: 9})

    for _ in range(4):
        for peers in ((2, 3), (2,)):
            for _ in range(STEADY // 2 * CHECK_MS // HEARTBEAT_MS):
                assert told(beat(node, *peers)) == []


def test_the_one_with_the_highest_priority_keeps_leading() -> None:
    """no ping-pong: who is preferred isn't asked to hand over to the one before"""
    node = preferring({1: 9, 2: 9, 3: 5})

    for _ in range(3 * STEADY * CHECK_MS // HEARTBEAT_MS):
        assert told(beat(node, 2, 3)) == []


def test_a_successor_is_not_tried_again_at_once() -> None:
    node = preferring({1: 1, 2: 0, 3: 9})
    tries = 0
    for _ in range(3 * (STEADY + 2) * CHECK_MS // HEARTBEAT_MS):
        before = node.core.leading.successor  # type: ignore[union-attr]
        beat(node, 2, 3)
        tries += node.core.leading.successor > before  # type: ignore[union-attr]

    assert 1 <= tries <= 3
