"""Configurations, and how a leader changes from one to the next."""

from raft.core import HEARTBEAT_MS, Busy, NotLeader, Refused
from raft.leading import OTHERS_AT_ONCE, OTHERS_BEATS
from raft.members import (
    DEAD,
    LEARNER,
    MAX_BYTES,
    MAX_MEMBERS,
    STANDBY,
    VOTER,
    Members,
    founders,
    is_valid,
    record,
)
from raft.messages import APPEND, APPEND_REPLY, COMMAND, DOUBT_REPLY, MAX_NUMBER, Message
from raft.progress import Progress
from tests.core.group import HIGH_MS, Group, Member, settled_leader
from tests.support import raises

PORTABLE = True

THREE = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)


def with_members(node: Member, role: int, *others: int) -> None:
    """Let a settled leader have these members beside its voters, and that committed."""
    data = node.core.members.data
    for other in others:
        data = Members(data).with_member(record(other, role))
    node.core.change(data)
    node.replicate()


def answer(node: Member, sent: list[Message], *peers: int) -> None:
    """Let these answer all that they were sent."""
    for m in sent:
        if m.dst in peers:
            index = m.index + len(m.entries)
            node.hear(APPEND_REPLY, m.dst, node.core.term, index, commit=0, ctx=m.ctx)


def pass_checks(node: Member, count: int, *peers: int) -> None:
    """Let a leader check its quorum so often, while only these are heard."""
    for _ in range(count * HIGH_MS // HEARTBEAT_MS):
        answer(node, node.tick(HEARTBEAT_MS), *peers)


# Configurations


def test_a_configuration_says_who_its_members_are() -> None:
    data = record(2, VOTER, 7, "10.0.0.2", 7002, 7102) + record(5, LEARNER) + record(9, VOTER)
    members = Members(data)

    assert is_valid(data)
    assert (members.ids, members.voters, members.others) == ((2, 5, 9), (2, 9), (5,))
    assert members.quorum == 2
    assert [members.role(node) for node in (2, 5, 9, 3)] == [VOTER, LEARNER, VOTER, 0]
    assert [members.priority(node) for node in (2, 5, 3)] == [7, 0, 0]
    assert members.place(2) == ("10.0.0.2", 7002, 7102)


def test_another_configuration_differs_in_one_member() -> None:
    members = founders(THREE)

    assert members.with_member(record(4, VOTER)) == founders((1, 2, 3, 4)).data
    assert Members(members.without(1)).with_member(record(1, VOTER)) == members.data
    assert members.without(2) == founders((1, 3)).data
    assert members.without(9) == members.data
    assert Members(members.with_role(2, STANDBY)).others == (2,)
    moved = Members(members.with_member(record(2, VOTER, 5, "192.168.1.20", 1, 2)))
    assert (moved.ids, moved.place(2)) == (THREE, ("192.168.1.20", 1, 2))
    assert members.data == founders(THREE).data  # it stays what it was


def test_bytes_that_are_no_configuration() -> None:
    data = founders(THREE).data
    assert is_valid(data)

    for wrong in (
        b"", data[:-1], data + b"\1", data + record(3, VOTER), record(2, VOTER) + record(1, VOTER),
        record(1, 0), record(1, DEAD + 1), record(0, VOTER), record(255, VOTER),
        record(1, VOTER, host="x" * 20)[:-1],
        b"".join([record(n, VOTER) for n in range(1, MAX_MEMBERS + 2)]),
        b"".join([record(n, VOTER, host="x" * 200) for n in range(1, 6)]),
    ):  # fmt: skip
        assert not is_valid(wrong), wrong
    most = b"".join([record(n, VOTER) for n in range(1, MAX_MEMBERS + 1)])
    assert is_valid(most) and len(most) <= MAX_BYTES


def test_a_majority_of_all_voters_whoever_else_is_a_member() -> None:
    values = {1: 9, 2: 5, 3: 7, 4: 100, 5: 100}
    data = founders(THREE).data

    assert Members(data).agreed(values.get) == 7
    for role in (STANDBY, LEARNER, DEAD):
        others = Members(data + record(4, role) + record(5, role))
        assert (others.quorum, others.agreed(values.get)) == (2, 7)
    assert founders((1, 2)).agreed(values.get) == 5
    assert founders((1, 2, 3, 4)).agreed(values.get) == 7
    assert founders(FIVE).agreed(values.get) == 9


# Changes


def test_only_a_leader_changes_the_members() -> None:
    node = Member(1, THREE)

    raises(NotLeader, node.core.change, founders((1, 2)).data)
    raises(NotLeader, node.core.transfer, 2)


def test_a_change_takes_effect_when_it_is_appended() -> None:
    node = settled_leader((1, 2, 3, 4))

    index = node.core.change(node.core.members.without(4))

    assert (node.core.members.voters, node.core.members_index) == (THREE, index)
    node.work()
    assert [m.dst for m in node.take()] == [2, 3]
    node.hear(APPEND_REPLY, 2, 1, index=index, ctx=3)
    assert node.core.commit == index  # by two of three


def test_two_changes_at_once_are_refused() -> None:
    node = settled_leader()
    index = node.core.change(node.core.members.with_member(record(4, LEARNER)))
    before = node.log.last

    error = raises(Busy, node.core.change, node.core.members.with_member(record(5, LEARNER)))

    assert "under way" in str(error)
    assert (node.log.last, node.core.members.ids) == (before, (1, 2, 3, 4))
    node.replicate()
    assert node.core.commit == index
    node.core.change(node.core.members.with_member(record(5, LEARNER)))


def test_a_change_of_more_than_one_voter_is_refused() -> None:
    node = settled_leader()

    for voters in ((1,), (1, 2, 3, 4, 5), (1, 2, 4), (2, 4)):
        error = raises(Refused, node.core.change, founders(voters).data)
        assert "one voter at a time" in str(error)
    assert node.core.members.voters == THREE


def test_any_number_of_members_without_a_vote_come_and_go_at_one_time() -> None:
    node = settled_leader()

    with_members(node, LEARNER, 4, 5, 6, 7)
    assert node.core.members.others == (4, 5, 6, 7)

    node.core.change(founders(THREE).data)
    assert node.core.members.others == ()


def test_the_last_voter_stays() -> None:
    node = settled_leader((1,))
    with_members(node, LEARNER, 2)

    for data in (node.core.members.without(1), node.core.members.with_role(1, LEARNER)):
        raises(Refused, node.core.change, data)


def test_a_voter_stays_if_no_majority_would_be_heard_without_it() -> None:
    # given five of which two are silent
    node = settled_leader(FIVE)
    pass_checks(node, 3, 2, 3)

    # then none of the others can go, and those two can
    error = raises(Refused, node.core.change, node.core.members.without(3))
    assert "no majority is heard" in str(error)
    raises(Refused, node.core.change, node.core.members.without(1))
    node.core.change(node.core.members.without(5))


def test_a_voter_stays_if_another_one_cannot_trust_its_flash() -> None:
    """Of two that would be left, the one would wait for the other for ever."""
    node = settled_leader()
    node.hear(DOUBT_REPLY, 2, 1, index=1, commit=77, ctx=2)

    raises(Refused, node.core.change, node.core.members.without(3))


# Members without a vote


def test_a_learner_is_not_counted() -> None:
    node = settled_leader()
    with_members(node, LEARNER, 4, 5, 6)
    node.core.propose(COMMAND, b"x")
    last = node.log.last
    node.work()
    node.take()
    assert node.core.leading
    round = node.core.leading.round

    for learner in (4, 5, 6):
        node.hear(APPEND_REPLY, learner, 1, index=last, ctx=round)
    assert node.core.commit == last - 1

    node.hear(APPEND_REPLY, 2, 1, index=last, ctx=round)
    assert node.core.commit == last
    node.tick(HIGH_MS)
    for _ in range(HIGH_MS // HEARTBEAT_MS):
        answer(node, node.tick(HEARTBEAT_MS), 4, 5, 6)
    assert node.core.leading is None  # nor does it make a quorum


def test_a_standby_that_has_caught_up_becomes_a_voter_by_itself_and_stays_one() -> None:
    node = settled_leader()
    with_members(node, STANDBY, 4)
    pass_checks(node, 2, 2, 3)
    assert node.core.members.role(4) == STANDBY  # not a word of it yet

    pass_checks(node, 3, 2, 3, 4)

    assert node.core.members.voters == (1, 2, 3, 4)
    assert node.core.commit == node.core.members_index
    pass_checks(node, 10, 2, 3)  # it is gone again
    assert node.core.members.voters == (1, 2, 3, 4)


def test_a_standby_that_cannot_trust_its_flash_has_to_wait() -> None:
    node = settled_leader()
    with_members(node, STANDBY, 4)

    for _ in range(20):
        sent = node.tick(HEARTBEAT_MS)
        answer(node, sent, 2, 3)
        for m in sent:
            if m.dst == 4:
                node.hear(DOUBT_REPLY, 4, 1, m.index + len(m.entries), commit=7, ctx=m.ctx)

    assert node.core.members.role(4) == STANDBY


def test_a_permanent_learner_never_becomes_a_voter() -> None:
    node = settled_leader()
    with_members(node, LEARNER, 4)

    pass_checks(node, 20, 2, 3, 4)

    assert node.core.members.role(4) == LEARNER


def test_members_without_a_vote_are_sent_to_a_few_at_a_time() -> None:
    learners = tuple(range(11, 31))
    node = settled_leader()
    with_members(node, LEARNER, *learners)
    pass_checks(node, 2, 2, 3, *learners)
    node.core.propose(COMMAND, b"x")
    node.work()
    node.take()
    node.replicate()
    leading = node.core.leading
    assert leading and leading.others_wait

    sent = []
    ticks = 0
    while leading.others_wait:
        now = [m.dst for m in node.tick(0) if m.dst in learners]
        assert len(now) <= OTHERS_AT_ONCE
        sent += now
        ticks += 1
        assert ticks < 100

    assert sorted(sent) == list(learners)


def test_members_without_a_vote_are_sent_heartbeats_more_seldom() -> None:
    node = settled_leader()
    with_members(node, LEARNER, 4)
    pass_checks(node, 2, 2, 3, 4)

    beats = {2: 0, 4: 0}
    for _ in range(10 * OTHERS_BEATS):
        for m in node.tick(HEARTBEAT_MS):
            if m.kind == APPEND and m.dst in beats:
                beats[m.dst] += 1
            answer(node, [m], 2, 3, 4)

    assert beats[2] == 10 * OTHERS_BEATS
    assert 8 <= beats[4] <= 11


# The dead


def test_a_voter_unheard_of_for_long_loses_its_vote_while_a_majority_is_alive() -> None:
    node = settled_leader(FIVE, remove_dead_ms=2000, least_voters=3)
    pass_checks(node, 6, 2, 3, 4)
    assert node.core.members.voters == FIVE  # not so long yet

    pass_checks(node, 2, 2, 3, 4)

    assert node.core.members.voters == (1, 2, 3, 4)
    assert node.core.members.role(5) == DEAD
    assert node.core.commit == node.core.members_index


def test_the_dead_are_never_removed_below_what_the_user_wants() -> None:
    node = settled_leader(FIVE, remove_dead_ms=1000, least_voters=4)

    pass_checks(node, 20, 2, 3)

    assert node.core.members.voters in ((1, 2, 3, 4), (1, 2, 3, 5))


def test_the_dead_stay_voters_if_the_user_has_not_asked_for_their_removal() -> None:
    node = settled_leader()

    pass_checks(node, 50, 2)

    assert node.core.members.voters == THREE


def test_no_majority_and_nobody_is_removed() -> None:
    node = settled_leader(FIVE, remove_dead_ms=1000)

    pass_checks(node, 20, 2)

    assert node.core.leading is None
    assert node.core.members.voters == FIVE


def dead_five() -> Member:
    """A leader that has taken node 5 for dead."""
    node = settled_leader(FIVE, remove_dead_ms=1000)
    pass_checks(node, 8, 2, 3, 4)
    assert node.core.members.role(5) == DEAD
    return node


def test_a_dead_member_that_is_heard_again_becomes_a_standby_and_then_a_voter() -> None:
    node = dead_five()
    while node.core.members.role(5) == DEAD:
        pass_checks(node, 1, 2, 3, 4, 5)
    assert node.core.members.role(5) == STANDBY

    pass_checks(node, 10, 2, 3, 4, 5)

    assert node.core.members.voters == FIVE


def test_a_new_leader_does_not_take_the_dead_for_alive() -> None:
    """It hasn't heard them, though nor has it been without a word of them for long."""
    node = dead_five()
    node.core.give_way()
    node.lead()
    node.replicate()

    pass_checks(node, 10, 2, 3, 4)

    assert node.core.members.role(5) == DEAD


# A node that waits to be added


def test_the_silence_of_one_that_is_never_switched_on_again_can_always_be_told() -> None:
    peer = Progress(2, 1)
    peer.check(HIGH_MS)

    for _ in range(10):
        peer.check(MAX_NUMBER >> 1)

    assert peer.silent == MAX_NUMBER


def test_a_node_without_founders_does_not_stand_nor_ask_anybody() -> None:
    node = Member(4, ())

    for _ in range(20):
        assert node.stand() == []
    assert node.core.role_name() == "learner"


def test_a_node_is_added_catches_up_and_votes() -> None:
    group = Group(3)
    group.members[4] = Member(4, ())
    group._commits[4] = 0
    leader = group.elect(1)
    group.beat(1)
    leader.core.change(leader.core.members.with_member(record(4, STANDBY)))
    group.run(3000)

    new = group.members[4]
    assert new.core.members.voters == (1, 2, 3, 4)
    assert (new.core.doubt, new.applied) == (0, leader.applied)
    group.crash(1)
    group.crash(2)
    raises(AssertionError, group.win, 3)  # with two votes of four
    group.restart(2)
    group.elect(4)
