"""Bugs that other projects had, or this one: members that come and go."""

from raft.core import HEARTBEAT_MS, LEADER, NOBODY, Busy
from raft.leading import STEADY
from raft.members import LEARNER, STANDBY, VOTER, Members, founders, record
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    COMMAND,
    CONFIG,
    DOUBT_REPLY,
    NOOP,
    OUT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    SNAPSHOT,
    TRANSFER,
    TRUST,
    VOTE,
    VOTE_REPLY,
)
from tests.core.group import (
    GRANTED,
    HIGH_MS,
    Group,
    Member,
    entries,
    frame,
    letter,
    message,
    pieces,
    settled_leader,
    snapshot_of,
)
from tests.support import raises

PORTABLE = True

THREE = (1, 2, 3)
FOUR = (1, 2, 3, 4)


def settled(count: int) -> Group:
    """Node 1 leads so many, who all know what is committed."""
    group = Group(count)
    group.elect(1)
    group.beat(1)
    return group


def change(group: Group, leader: int, data: bytes) -> int:
    """Let a leader change the members, and all of it arrive."""
    index = group.members[leader].core.change(data)
    group.work(leader)
    group.deliver_all()
    group.beat(leader)
    return index


def join(group: Group, node: int) -> Member:
    """One more node, which waits to be added."""
    group.members[node] = Member(node, ())
    group._commits[node] = 0
    return group.members[node]


def with_fifth_voter_on(group: Group) -> None:
    """Node 1 makes node 5 a voter, which only those two get to know."""
    join(group, 5)
    leader = group.members[1]
    change(group, 1, leader.core.members.with_member(record(5, STANDBY)))
    for _ in range(20):
        group.beat(1)
        if leader.core.peers[5].match == leader.log.last:
            break
    group.isolate(1, 5)
    leader.core.change(leader.core.members.with_role(5, VOTER))
    group.work(1)
    group.deliver_all()
    assert group.members[5].core.members.voters == (1, 2, 3, 4, 5)
    group.restart(1)


def test_a_single_server_change_before_an_entry_of_the_current_term_is_committed() -> None:
    """Ongaro on raft-dev, 2015: two majorities that don't overlap

    Node 1 adds 5 and fails; 2 leads, removes 1, commits that by {2, 3}, and fails; then 1 leads by
    {1, 4, 5}, and knows nothing of it.
    """
    group = settled(4)
    with_fifth_voter_on(group)
    second = group.win(2)
    assert second.core.members.voters == FOUR
    group.isolate(4)
    group.deliver_all()  # its first entry, to node 3 alone

    error = raises(Busy, second.core.change, second.core.members.without(1))
    assert "under way" in str(error)

    # so it was not too much that the others elect node 1: nothing is lost
    committed = list(group.committed)
    group.heal()
    group.isolate(2, 3)
    group.elect(1)
    for _ in range(3):
        group.beat(1)
    assert group.committed[: len(committed)] == committed
    assert group.members[1].core.commit == group.members[1].log.last


def test_once_that_entry_is_committed_the_change_is_safe() -> None:
    """Ongaro on raft-dev, 2015: whoever has that entry doesn't vote for one without it"""
    group = settled(4)
    with_fifth_voter_on(group)
    second = group.win(2)
    group.deliver_all()  # its first entry, to 3 and 4
    assert second.core.commit == second.log.last
    group.isolate(4)
    change(group, 2, second.core.members.without(1))
    assert second.core.commit == second.core.members_index  # by 2 and 3

    group.heal()
    group.isolate(2, 3)
    raises(AssertionError, group.win, 1)


def test_a_removed_node_with_a_high_term_that_stands_is_told_that_it_is_out() -> None:
    """hashicorp/raft#524"""
    group = settled(3)
    group.isolate(3)
    index = change(group, 1, founders((1, 2)).data)
    removed = group.members[3]
    removed.store.append(True, 99, NOBODY, 0, ())
    group.restart(3)
    group.heal()

    group.tick(3, HIGH_MS)
    assert [message(d).kind for d in group.wire] == [PRE_VOTE, PRE_VOTE]
    for _ in range(2):
        group.deliver()
    assert [(message(d).kind, message(d).index) for d in group.wire] == [(OUT, index)] * 2
    group.deliver_all()

    assert removed.core.role_name() == "out"
    assert [group.members[n].core.term for n in (1, 2)] == [1, 1]
    for _ in range(20):
        assert removed.stand() == []
    group.restart(3)  # it has forgotten, and is told again
    group.tick(3, HIGH_MS)
    group.deliver_all()
    assert (removed.core.role_name(), group.members[1].core.role) == ("out", LEADER)


def test_a_node_that_is_out_and_added_again() -> None:
    group = settled(3)
    group.isolate(3)
    index = change(group, 1, founders((1, 2)).data)
    again = group.members[3]
    again.hear(OUT, 2, 1, index)
    assert again.core.is_out

    group.heal()
    change(group, 1, group.members[1].core.members.with_member(record(3, STANDBY)))
    for _ in range(20):
        group.beat(1)

    assert again.core.role_name() == "follower"
    assert group.members[1].core.members.voters == THREE


def test_a_late_word_that_a_node_is_out_when_it_has_been_added_again() -> None:
    node = Member(3, THREE)
    node.hear(APPEND, 1, 1, entries=[(1, CONFIG, founders(THREE).data)])

    for index in (0, 1):
        node.hear(OUT, 2, 1, index)

    assert not node.core.is_out
    assert node.core.leader == 1


def test_a_removed_node_that_never_had_a_vote_asks_when_it_hears_nobody() -> None:
    group = settled(3)
    learner = join(group, 4)
    change(group, 1, group.members[1].core.members.with_member(record(4, LEARNER)))
    for _ in range(20):
        group.beat(1)
    assert learner.core.members.role(4) == LEARNER
    group.isolate(4)
    change(group, 1, founders(THREE).data)
    group.heal()

    for _ in range(10):
        group.tick(4, HIGH_MS)
        group.deliver_all()
        group.beat(1)

    assert learner.core.role_name() == "out"
    assert group.members[1].core.term == 1


def test_a_removed_nodes_vote_that_a_new_flash_gives_away_to_others_who_were_removed() -> None:
    """Those who were removed and a blank node under an old number would be a second cluster."""
    old = Member(1, (1, 4), terms=(1,), term=1)
    blank = Member(4, ())

    sent = old.stand()
    assert [m.dst for m in sent] == [4]
    for m in sent:
        blank.core.step(m)
        (reply,) = blank.core.after
        assert (reply.kind, reply.index) == (PRE_VOTE_REPLY, 0)
        blank.core.after.clear()
    (reply,) = blank.hear(VOTE, 1, 9, 1, 1)
    assert (reply.kind, reply.index) == (VOTE_REPLY, 0)


def test_a_new_node_has_no_vote_until_it_has_all_that_its_leader_had() -> None:
    """What it is sent first may be of a time when its number was another node's."""
    log = entries(1, 1, 1, 1, 1, 1)
    log[0] = (1, CONFIG, founders((1, 2, 4)).data)
    node = Member(4, ())
    assert node.hear(APPEND, 1, 2, 5, 1, 5) == []
    (reply,) = node.hear(APPEND, 1, 2, 0, 0, 5, ctx=2, entries=log[:3])
    assert reply.kind == DOUBT_REPLY
    assert node.core.members.voters == (1, 2, 4)

    node.start()
    for index in (4, 9):
        (refusal,) = node.hear(VOTE, 2, 3 + index, index, 2)
        assert refusal.index == 0

    (reply,) = node.hear(APPEND, 1, 20, 3, 1, 5, ctx=3, entries=log[3:])
    assert reply.kind == APPEND_REPLY
    node.stand()
    (granted,) = node.hear(VOTE, 2, 21, 9, 2)
    assert granted.index == GRANTED


# A leader that removes itself


def test_a_leader_that_removes_itself_does_not_count_itself_and_hands_over() -> None:
    """dissertation 4.2.2"""
    node = settled_leader()
    index = node.core.change(node.core.members.without(1))
    node.work()
    sent = node.take()
    assert [m.dst for m in sent] == [2, 3]

    answered = node.hear(APPEND_REPLY, 2, 1, index=index, ctx=sent[0].ctx)
    assert node.core.commit == index - 1  # one of two: its own copy doesn't count
    assert node.core.role == LEADER

    answered = node.hear(APPEND_REPLY, 3, 1, index=index, ctx=sent[0].ctx)
    assert node.core.commit == index
    assert [(m.kind, m.dst) for m in answered if m.kind == TRANSFER] == [(TRANSFER, 2)]
    node.hear(VOTE, 2, 2, index, 1, ctx=1)
    assert (node.core.leading, node.core.term) == (None, 2)


def test_a_leader_that_removed_itself_is_gone_and_says_so() -> None:
    group = settled(3)

    change(group, 1, founders((2, 3)).data)
    for _ in range(60):
        group.tick(1, HEARTBEAT_MS)
        group.deliver_all()

    leader = group.leader()
    assert leader is not None and leader.node in (2, 3)
    assert leader.core.commit == leader.log.last
    assert group.members[1].core.role_name() == "out"


def test_a_leader_that_removed_itself_and_finds_no_successor_tries_again() -> None:
    node = settled_leader()
    index = node.core.change(node.core.members.without(1))
    node.work()
    for peer in (2, 3):
        node.core.peers[peer].silent = HIGH_MS  # just now none of them was heard
        node.hear(APPEND_REPLY, peer, 1, index=index, ctx=3)
    assert node.core.commit == index
    assert node.core.leading and node.core.leading.successor == 0

    sent = []
    for _ in range(HIGH_MS // HEARTBEAT_MS + 1):
        for m in node.tick(HEARTBEAT_MS):
            sent.append(m.kind)
            node.hear(APPEND_REPLY, m.dst, 1, index=index, ctx=m.ctx)

    assert TRANSFER in sent


def test_a_leader_that_removed_itself_and_gives_up_if_no_successor_is_elected() -> None:
    node = settled_leader()
    index = node.core.change(node.core.members.without(1))
    node.work()
    for peer in (2, 3):
        node.hear(APPEND_REPLY, peer, 1, index=index, ctx=3)

    for _ in range(HIGH_MS // HEARTBEAT_MS + 1):
        node.tick(HEARTBEAT_MS)

    assert node.core.leading is None


def test_a_removed_leader_is_needed_until_its_removal_is_committed() -> None:
    """dissertation 4.2.2, figure 4.6: the only one that has the entry, and none votes for others"""
    group = settled(2)
    leader = group.members[1]
    group.isolate(1)
    leader.core.change(founders((2,)).data)
    group.work(1)
    group.deliver_all()
    group.restart(1)  # nobody leads now
    group.heal()
    raises(AssertionError, group.win, 2)

    group.elect(1)
    group.beat(1)

    assert leader.core.commit >= 2
    assert group.members[2].core.members.voters == (2,)


# Configurations that go and come again


def test_a_configuration_that_was_dropped_with_its_entry_still_counts() -> None:
    """PySyncObj#133: the configuration that counts is the last one in the log"""
    group = settled(3)
    leader = group.members[1]
    group.isolate(1)
    leader.core.change(founders((1, 2)).data)
    group.work(1)
    assert leader.core.members.voters == (1, 2)

    group.elect(2)
    group.heal()
    group.beat(2)

    for _ in range(2):
        assert leader.core.members.voters == THREE
        assert leader.core.members_index == 1
        leader.start()


def test_a_dropped_configuration_is_not_found_again_after_a_restart() -> None:
    """The entry may lie in the flash still, behind what replaced it."""
    node = Member(2, THREE)
    two, one = founders((1, 2)).data, founders((2, 3)).data
    node.hear(APPEND, 1, 1, entries=[(1, CONFIG, founders(THREE).data), (1, CONFIG, two)])
    assert node.core.members.voters == (1, 2)
    node.hear(APPEND, 3, 2, 1, 1, entries=[(2, NOOP, b"")])
    assert node.core.members.voters == THREE
    node.start()
    assert (node.core.members.voters, node.core.members_index) == (THREE, 1)

    node.hear(APPEND, 3, 2, 2, 2, entries=[(2, CONFIG, one)])
    node.start()
    assert (node.core.members.voters, node.core.members_index) == ((2, 3), 3)
    node.hear(APPEND, 1, 3, 2, 2, entries=[(3, NOOP, b"")])
    assert node.core.members.voters == THREE


def test_the_configuration_is_found_again_after_a_restart() -> None:
    # of a node that has none in its log: the founders
    node = Member(2, THREE)
    node.start()
    assert (node.core.members.voters, node.core.members_index) == (THREE, 0)
    # in its log
    log = [(1, CONFIG, founders(THREE).data), (1, NOOP, b""), (1, CONFIG, founders(FOUR).data)]
    node.hear(APPEND, 1, 1, commit=3, entries=log)
    node.start()
    assert (node.core.members.voters, node.core.members_index) == (FOUR, 3)
    # in the snapshot, when the entry is gone
    node.hear(APPEND, 1, 1, 3, 1, 4, entries=[(1, COMMAND, b"x")])
    node.compact()
    node.forget()
    node.start()
    assert not node.log.store.reaches(2)
    assert (node.core.members.voters, node.core.members_index) == (FOUR, 3)
    # behind the snapshot
    node.hear(APPEND, 1, 1, 4, 1, 4, entries=[(1, CONFIG, founders(THREE).data)])
    node.start()
    assert (node.core.members.voters, node.core.members_index) == (THREE, 5)
    assert node.core.members_at(4) is not None


def test_a_power_cut_leaves_the_old_configuration_or_the_new_one() -> None:
    for power in range(0, 300, 20):
        node = Member(2, THREE)
        node.hear(APPEND, 1, 1, entries=[(1, CONFIG, founders(THREE).data)])
        node.flash.power_bytes = power
        try:
            node.hear(APPEND, 1, 1, 1, 1, entries=[(1, CONFIG, founders(FOUR).data)])
        except Exception as e:
            assert type(e).__name__ == "PowerCut"
        node.start()
        held = (1, THREE) if node.log.last == 1 else (2, FOUR)
        assert (node.core.members_index, node.core.members.voters) == held


def test_a_configuration_behind_a_snapshot_that_comes_in_the_same_moment() -> None:
    """PySyncObj#133: that of the snapshot doesn't override it, nor is it lost by a conflict"""
    log = entries(1, 1, 1, 1)
    log[0] = (1, CONFIG, founders(THREE).data)
    node = Member(2, THREE)
    for m in [letter(SNAPSHOT, 1, 2, 1, 3, 1, piece=piece) for piece in pieces(snapshot_of(log))]:
        node.core.step(message(frame(m)))
    later = [(1, CONFIG, founders((1, 2)).data)]
    node.core.step(message(frame(letter(APPEND, 1, 2, 1, 3, 1, entries=later))))
    node.work()

    assert (node.core.members.voters, node.core.members_index) == ((1, 2), 4)
    node.hear(APPEND, 3, 2, 3, 1, entries=[(2, NOOP, b"")])
    assert (node.core.members.voters, node.core.members_index) == (THREE, 1)


# Votes


def test_a_voter_that_lacks_the_configuration_votes_for_a_candidate_it_does_not_know() -> None:
    """dissertation 4.1: or else a majority may be there and none of it can be elected"""
    group = settled(3)
    new = join(group, 4)
    leader = group.members[1]
    change(group, 1, leader.core.members.with_member(record(4, STANDBY)))
    for _ in range(3):
        group.beat(1)
    group.isolate(3)
    for _ in range(20):
        group.beat(1)
    assert new.core.members.voters == FOUR
    stranger = group.members[3]
    assert 4 not in stranger.core.members.voters

    group.crash(1)
    group.heal()
    group.elect(4)

    assert stranger.core.vote == 4
    assert stranger.core.members.voters == FOUR


def test_a_learner_votes_for_a_candidate_that_knows_it_as_a_voter() -> None:
    node = Member(4, ())
    log = [(1, CONFIG, Members(founders(THREE).data).with_member(record(4, STANDBY)))]
    node.hear(APPEND, 1, 1, 1, 1, 1)
    node.hear(APPEND, 1, 1, 0, 0, 1, entries=log)
    node.stand()

    (reply,) = node.hear(VOTE, 2, 2, 2, 1)

    assert reply.index == GRANTED


def test_a_vote_of_one_that_is_no_voter_is_not_counted() -> None:
    data = founders(THREE).data + record(4, LEARNER) + record(5, STANDBY)
    node = Member(1, THREE)
    node.hear(APPEND, 2, 1, commit=1, entries=[(1, CONFIG, data)])
    node.stand()
    for other in (4, 5):
        node.hear(PRE_VOTE_REPLY, other, 2, GRANTED)
    assert node.core.term == 1

    node.hear(PRE_VOTE_REPLY, 2, 2, GRANTED)
    assert node.core.term == 2
    for other in (4, 5):
        node.hear(VOTE_REPLY, other, 2, GRANTED)
    assert node.core.role != LEADER


# Flash that is wiped while members change


def test_a_node_in_doubt_is_not_vouched_for_while_a_change_is_not_committed() -> None:
    """It may have voted for one who has a voice in the last configuration only."""
    node = settled_leader(FOUR)
    index = node.core.change(node.core.members.without(4))
    node.work()
    for _ in range(5):
        ctx = node.tick(HEARTBEAT_MS)[0].ctx
        node.hear(DOUBT_REPLY, 3, 1, index=index, commit=77, ctx=ctx)
        sent = node.hear(APPEND_REPLY, 2, 1, index=index - 1, ctx=ctx)
        assert TRUST not in [m.kind for m in sent]
    ctx = node.tick(HEARTBEAT_MS)[0].ctx
    node.hear(APPEND_REPLY, 2, 1, index=index, ctx=ctx)
    assert node.core.commit == index

    sent = node.hear(DOUBT_REPLY, 3, 1, index=index, commit=77, ctx=ctx)

    assert TRUST in [m.kind for m in sent]


# Who leads


def test_leaders_of_one_rank_do_not_play_ping_pong() -> None:
    data = b"".join([record(n, VOTER, priority=5) for n in THREE])
    node = settled_leader()
    node.core.change(data)
    node.replicate()

    for _ in range(3 * STEADY * HIGH_MS // HEARTBEAT_MS):
        for m in node.tick(HEARTBEAT_MS):
            assert m.kind != TRANSFER
            node.hear(APPEND_REPLY, m.dst, 1, m.index + len(m.entries), ctx=m.ctx)

    assert node.core.role == LEADER
