"""Replication over datagrams: batches, flow control, losses, fast back-up, news of commits."""

from raft.core import HEARTBEAT_MS
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    EMPTY_BYTES,
    ENTRIES_BYTES,
    ENTRY_HEADER_BYTES,
    MAX_DATAGRAM,
    ROOM,
    Message,
)
from raft.progress import MAX_IN_FLIGHT, PROBE, REPLICATE
from tests.core.group import Group, Member, carried, frame, message, settled_leader
from tests.dice import Dice

PORTABLE = True

VOTERS = (1, 2, 3)
LONG = bytes(1100)


def settled_group(count: int = 3) -> Group:
    """Node 1 leads, all have all, and all know what is committed."""
    group = Group(count)
    group.elect(1)
    group.beat(1)
    return group


def propose(node: Member, *commands: bytes) -> list[Message]:
    """Propose commands at one time; what the leader sends then."""
    for data in commands:
        node.core.propose(COMMAND, data)
    node.work()
    return node.take()


# What leaves, and when


def test_a_command_leaves_at_once_and_not_with_the_next_heartbeat() -> None:
    node = settled_leader()

    sent = propose(node, b"a")

    assert [(m.kind, m.dst, m.index, len(m.entries)) for m in sent] == [
        (APPEND, 2, 1, 1),
        (APPEND, 3, 1, 1),
    ]


def test_the_news_of_a_commit_leaves_at_once_and_not_with_the_next_heartbeat() -> None:
    group = settled_group()
    group.propose(1, b"a")

    group.deliver_all()  # no time goes by

    assert [m.core.commit for m in group.up()] == [2, 2, 2]
    assert [m.applied for m in group.up()] == [group.committed] * 3


def test_the_news_of_a_commit_wants_no_answer_and_is_sent_once() -> None:
    node = settled_leader()
    propose(node, b"a")

    sent = node.hear(APPEND_REPLY, 2, 1, index=2, ctx=2)
    assert [(m.kind, m.dst, m.commit) for m in sent] == [(COMMIT, 2, 2), (COMMIT, 3, 2)]
    assert node.hear(APPEND_REPLY, 3, 1, index=2, ctx=2) == []


def test_the_news_of_a_commit_rides_on_entries_that_leave_at_the_same_time() -> None:
    node = settled_leader()
    propose(node, b"a")
    node.core.propose(COMMAND, b"b")

    sent = node.hear(APPEND_REPLY, 2, 1, index=2, ctx=2)

    assert [(m.kind, m.dst, m.commit, len(m.entries)) for m in sent] == [
        (APPEND, 2, 2, 1),
        (APPEND, 3, 2, 1),
    ]


def test_commands_proposed_at_one_time_share_datagrams_and_fill_them() -> None:
    node = settled_leader()
    room = ENTRIES_BYTES // (64 + ENTRY_HEADER_BYTES)

    sent = propose(node, *([bytes(64)] * (room + 1)))

    assert [len(m.entries) for m in sent if m.dst == 2] == [room, 1]
    assert len(frame(sent[0])) > MAX_DATAGRAM - ROOM - 64 - ENTRY_HEADER_BYTES


def test_no_datagram_is_longer_than_1400_bytes_whatever_the_entries() -> None:
    for sizes in ((1100, 1100, 1100), (1200, 1200), (1100, 261, 1), (1100, 254, 1), (8,) * 300):
        node = settled_leader()
        waiting = [m for m in propose(node, *[bytes(size) for size in sizes]) if m.dst == 2]
        sent = 0
        while waiting:
            append = waiting.pop(0)
            assert len(frame(append)) <= MAX_DATAGRAM, sizes
            sent += len(append.entries)
            last = append.index + len(append.entries)
            more = node.hear(APPEND_REPLY, 2, 1, index=last, ctx=append.ctx)
            waiting.extend([m for m in more if m.dst == 2 and m.entries])

        assert sent == len(sizes)


def test_each_command_crosses_the_wire_once_per_follower() -> None:
    group = settled_group(5)
    dice = Dice(1)
    sent = dict.fromkeys(group.members, 0)
    commands = 120
    for i in range(commands):
        group.propose(1, bytes(dice.draw(8, 300)))
        if i % 4 == 3:
            while group.wire:
                datagram = group.wire[0]
                if datagram[1] == APPEND:
                    sent[datagram[3]] += data_entries(datagram)
                group.deliver()

    assert group.members[1].core.commit == commands + 1
    assert [sent[n] for n in (2, 3, 4, 5)] == [commands] * 4


def test_a_quiet_leader_sends_one_datagram_per_follower_and_heartbeat() -> None:
    group = settled_group(5)
    group.tick(1, HEARTBEAT_MS)

    assert [(d[1], d[3], len(d)) for d in group.wire] == [
        (APPEND, peer, EMPTY_BYTES) for peer in (2, 3, 4, 5)
    ]
    group.deliver_all()
    programs = [m.flash.programs for m in group.up()]
    for _ in range(10):
        group.beat(1)
    assert [m.flash.programs for m in group.up()] == programs


# Flow control


def test_a_peer_that_is_probed_gets_one_append_at_a_time() -> None:
    node = Member(1, VOTERS)
    sent = node.lead()
    assert [(m.dst, len(m.entries)) for m in sent] == [(2, 1), (3, 1)]
    assert node.core.peers[2].state == PROBE

    assert propose(node, b"a") == []
    assert propose(node, b"b", b"c") == []
    assert [len(m.entries) for m in node.tick(HEARTBEAT_MS)] == [0, 0]

    (append,) = node.hear(APPEND_REPLY, 2, 1, index=1, ctx=1)
    assert (append.dst, append.index, len(append.entries)) == (2, 1, 3)
    assert node.core.peers[2].state == REPLICATE
    assert node.core.peers[3].state == PROBE


def test_a_peer_that_follows_gets_only_so_many_appends_ahead_of_its_answers() -> None:
    node = settled_leader()
    for i in range(MAX_IN_FLIGHT):
        assert [m.index for m in propose(node, LONG)] == [1 + i, 1 + i]

    assert propose(node, LONG) == []
    assert propose(node, LONG, LONG) == []

    for i in range(2):  # one answered, one sent
        sent = node.hear(APPEND_REPLY, 2, 1, index=2 + i, ctx=2 + i)
        entries = [m for m in sent if m.kind == APPEND]
        assert [(m.dst, m.index) for m in entries] == [(2, 1 + i + MAX_IN_FLIGHT)]
        assert [m.dst for m in sent if m.kind == COMMIT] == [3]


def test_one_answer_to_the_last_append_makes_room_for_all() -> None:
    node = settled_leader()
    propose(node, *([LONG] * 2 * MAX_IN_FLIGHT))
    last = 1 + MAX_IN_FLIGHT
    assert [len(m.entries) for m in node.tick(HEARTBEAT_MS)] == [0, 0]

    sent = node.hear(APPEND_REPLY, 2, 1, index=last, ctx=2)

    assert [m.index for m in sent if m.dst == 2] == list(range(last, last + MAX_IN_FLIGHT))


def test_a_follower_without_room_costs_a_few_datagrams_and_no_commit() -> None:
    voters = (1, 2, 3)
    group = Group.of(*[Member(n, voters, sectors=7 if n == 3 else 32) for n in voters])
    group.elect(1)
    group.beat(1)
    small = group.members[3]

    for _ in range(40):
        group.propose(1, LONG)
        sent = 0
        while group.wire:
            group.deliver()
            sent += 1
        assert sent <= 20, "they answer each other for ever"
        group.beat(1)

    assert [m.core.commit for m in group.up()] == [41, 41, small.log.last]
    assert 10 < small.log.last < 41
    assert small.core.leader == 1
    group.restart(3)
    group.beat(1)
    assert small.applied == group.committed[: small.log.last]


# Losses


def test_whatever_is_lost_is_made_good_by_the_next_heartbeat() -> None:
    # which of the datagrams that follow upon six long commands are lost
    for lost in ((0,), (3,), (0, 1, 2, 3), (1, 2), (4,), (5,), (4, 5, 6, 7), tuple(range(12))):
        group = settled_group(2)
        for _ in range(6):
            group.members[1].core.propose(COMMAND, LONG)
        group.work(1)
        number = 0
        while group.wire:
            if number in lost:
                group.wire.pop(0)
            else:
                group.deliver()
            number += 1

        group.beat(1)
        group.beat(1)

        assert [m.core.commit for m in group.up()] == [7, 7], lost


def test_appends_that_arrive_in_any_order_end_in_the_same_log() -> None:
    for seed in range(20):
        dice = Dice(seed)
        group = settled_group()
        for _ in range(6):
            group.members[1].core.propose(COMMAND, LONG)
        group.work(1)
        while group.wire:
            i = dice.below(len(group.wire))
            if dice.one_in(5):
                group.wire.append(group.wire[i])
            group.deliver(i)

        group.beat(1)
        group.beat(1)

        assert [m.core.commit for m in group.up()] == [7, 7, 7], seed
        assert [m.log.last for m in group.up()] == [7, 7, 7]


def test_an_old_rejection_moves_nothing() -> None:
    node = settled_leader(terms=(1, 1, 1))
    rejection = (APPEND_REJECT, 2, 2, 1, 1)
    node.hear(APPEND_REJECT, 2, 2, index=4, log_term=2, ctx=1)
    ctx = node.tick(HEARTBEAT_MS)[0].ctx
    node.hear(APPEND_REPLY, 2, 2, index=4, ctx=ctx)
    assert node.core.peers[2].state == REPLICATE

    assert node.hear(*rejection, ctx=1) == []

    assert node.core.peers[2].state == REPLICATE
    assert node.core.peers[2].next == 5


def test_a_rejection_is_followed_once_however_often_it_arrives() -> None:
    node = Member(1, VOTERS, terms=(1,) * 30, term=1)
    node.lead()

    first = node.hear(APPEND_REJECT, 2, 2, index=10, log_term=1, ctx=1)
    again = node.hear(APPEND_REJECT, 2, 2, index=10, log_term=1, ctx=1)

    assert [(m.dst, m.index) for m in first] == [(2, 10)]
    assert again == []


# Fast back-up


def test_logs_that_differ_by_50_entries_agree_after_few_rejections() -> None:
    # the leader's log, the follower's, the most rejections
    ten = (1,) * 10
    for leaders, followers, most in (
        (ten + (1,) * 50, ten, 1),
        (ten + (3,) * 50, ten + (2,) * 50, 2),
        (ten + (3,) * 50, ten + (2,) * 5, 2),
        (ten + (2,) * 50, ten + (3,) * 50, 2),
        (ten, ten + (2,) * 50, 0),
        ((3,) * 50, (2,) * 50, 1),
        (ten + stairs(3, 5, 7, 9, 11), ten + stairs(2, 4, 6, 8, 10), 5),
        (ten + stairs(2, 4, 6, 8, 10), ten + stairs(3, 5, 7, 9, 11), 5),
        (ten + (12,) * 50, ten + stairs(2, 4, 6, 8, 10), 1),
        (ten + stairs(2, 4, 6, 8, 10), ten + (12,) * 50, 1),
    ):
        group = Group.of(
            Member(1, VOTERS, terms=leaders, term=20),
            Member(2, VOTERS, terms=followers, term=20),
        )
        group.down.add(3)
        group.members[1].lead()
        group.tick(1, HEARTBEAT_MS)
        rejections = 0
        while group.wire:
            rejections += group.wire[0][1] == APPEND_REJECT
            group.deliver()

        leader, follower = group.up()
        assert follower.terms() == leader.terms()
        assert leader.core.commit == leader.log.last
        assert rejections <= most, (leaders, followers, rejections)


def stairs(*terms: int) -> tuple[int, ...]:
    """Ten entries of each term."""
    return tuple([term for term in terms for _ in range(10)])


def data_entries(datagram: bytes) -> int:
    """How many entries with data an append carries."""
    return len([1 for _, _, data in carried(message(datagram)) if data])
