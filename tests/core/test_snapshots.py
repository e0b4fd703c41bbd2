"""Snapshots on their way to followers (section 7): over datagrams, across restarts."""

from raft.core import FOLLOWER, HEARTBEAT_MS, LEADER
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    MAX_PIECE,
    SNAPSHOT,
    Message,
)
from raft.progress import REPLICATE, WINDOW_BYTES
from raft.sector import RECORD_BYTES
from tests.core.group import (
    HIGH_MS,
    Group,
    Member,
    carried,
    far_behind,
    frame,
    letter,
    message,
    offsets,
    snapshot_of,
)
from tests.core.storm import Storm
from tests.dice import Dice
from tests.flash import PowerCut
from tests.store.model import read_snapshot
from tests.support import raises

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable


PORTABLE = True

VOTERS = (1, 2, 3)
LAST = 11  # what the snapshots of `far_behind` stand for


def take_all(m: Message) -> bool:
    return True


def beats(
    group: Group, count: int, leader: int = 1, arrives: "Callable[[Message], bool]" = take_all
) -> list[Message]:
    """So many heartbeats and all that follows upon them, but for what doesn't arrive.

    All that was sent, in order.
    """
    sent = []
    for _ in range(count):
        group.tick(leader, HEARTBEAT_MS)
        while group.wire:
            m = message(group.wire[0])
            sent.append(m)
            if arrives(m):
                group.deliver()
            else:
                group.wire.pop(0)
    return sent


def half_sent(size: int = 4 * MAX_PIECE) -> Group:
    """Node 3 holds the first two pieces of a snapshot, and nothing is under way."""
    group = far_behind(size)
    behind = group.restart(3)
    beats(group, 2, arrives=lambda m: m.kind != SNAPSHOT or m.offset < 2 * MAX_PIECE)
    assert behind.store.coming and behind.store.coming.next == 2 * MAX_PIECE
    return group


# The whole way


def test_a_follower_that_is_too_far_behind_gets_the_snapshot_and_then_the_entries() -> None:
    group = far_behind(2 * MAX_PIECE + 100)
    for data in (b"x", b"y"):
        group.propose(1, data)
        group.deliver_all()
    behind = group.restart(3)

    sent = beats(group, 3)

    assert offsets(sent) == [0, MAX_PIECE, 2 * MAX_PIECE]
    last_piece = max([i for i, m in enumerate(sent) if m.kind == SNAPSHOT])
    with_entries = [(i, m) for i, m in enumerate(sent) if m.dst == 3 and m.entries]
    assert all(i > last_piece for i, m in with_entries)
    assert [data for _, m in with_entries for _, _, data in carried(m)] == [b"x", b"y"]
    leader = group.members[1]
    assert behind.applied == leader.applied == group.committed
    assert (behind.log.last, behind.core.commit) == (LAST + 2, LAST + 2)
    assert leader.core.peers[3].state == REPLICATE
    # all of it is in its flash
    group.restart(3)
    assert behind.core.commit == LAST
    assert (behind.log.last, behind.log.last_term) == (LAST + 2, 1)
    beats(group, 1)
    assert behind.applied == group.committed


def test_a_new_node_gets_all_it_lacks() -> None:
    group = far_behind()
    group.members[3] = Member(3, VOTERS)
    new = group.restart(3)

    beats(group, 3)

    assert new.applied == group.committed
    assert len(new.applied) == LAST


def test_a_snapshot_of_any_length_arrives() -> None:
    for size in (1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, WINDOW_BYTES, 5000, 20000):
        group = far_behind(max(size, len(snapshot_of(far_behind().committed))))
        behind = group.restart(3)

        beats(group, 3)

        assert behind.applied == group.committed, size
        assert read_snapshot(behind.store) == read_snapshot(group.members[1].store)


def test_entries_that_have_left_the_ram_but_not_the_flash_are_sent_from_there() -> None:
    group = Group(3, ram_bytes=200)
    leader = group.elect(1)
    group.beat(1)
    group.crash(3)
    for i in range(20):
        group.propose(1, b"command %d" % i)
        group.deliver_all()
    leader.compact()
    group.propose(1, b"behind the snapshot")
    group.deliver_all()
    behind = group.restart(3)

    sent = beats(group, 3)

    assert offsets(sent) == []
    assert behind.applied == leader.applied == group.committed
    assert len(behind.applied) == 22


def test_a_follower_that_answers_entries_after_all_needs_no_snapshot() -> None:
    """It has them: the leader only didn't know."""
    group = half_sent()
    blank = Member(3, VOTERS)
    blank.store.append(True, 1, 1, 1, group.committed)
    group.members[3] = blank
    group.restart(3)

    sent = beats(group, 2)

    assert offsets(sent) == []
    assert group.members[1].core.peers[3].state == REPLICATE
    assert group.members[3].applied == group.committed


# Flow control


def test_heartbeats_are_answered_while_a_snapshot_comes() -> None:
    """A slow transfer neither deposes the leader nor lets the follower stand."""
    group = far_behind(30 * MAX_PIECE)
    group.restart(3)
    group.crash(2)  # the leader needs node 3 for its quorum
    left = 0

    def one_piece(m: Message) -> bool:
        nonlocal left
        left -= m.kind == SNAPSHOT
        return m.kind != SNAPSHOT or left >= 0

    for _ in range(4 * HIGH_MS // HEARTBEAT_MS):
        left = 1
        group.members[3].core.tick(HEARTBEAT_MS)
        beats(group, 1, arrives=one_piece)
        assert group.members[1].core.role == LEADER
        assert (group.members[3].core.role, group.members[3].core.leader) == (FOLLOWER, 1)

    assert group.members[3].core.commit == 0
    coming = group.members[3].log.coming
    assert coming and coming.next >= 10 * MAX_PIECE
    beats(group, 5)
    assert group.members[3].applied == group.committed


# Losses


def test_whichever_datagram_is_lost_the_snapshot_arrives() -> None:
    number = lost = 0

    def arrives(m: Message) -> bool:
        nonlocal number
        number += 3 in (m.src, m.dst)
        return number != lost

    while number >= lost:
        group = far_behind(6 * MAX_PIECE)
        behind = group.restart(3)
        lost += 1
        number = 0

        beats(group, 6, arrives=arrives)

        assert behind.applied == group.committed, lost
    assert lost > 20


def test_pieces_that_are_lost_doubled_and_reordered_make_the_same_snapshot() -> None:
    for seed in range(15):
        dice = Dice(seed)
        group = far_behind(7 * MAX_PIECE + 5)
        behind = group.restart(3)
        for _ in range(40):
            group.tick(1, HEARTBEAT_MS)
            group.wire.extend([dice.pick(group.wire) for _ in range(dice.below(3))])
            for _ in range(len(group.wire) * 3):
                if group.wire and dice.one_in(6):
                    group.wire.pop(dice.below(len(group.wire)))
                elif group.wire:
                    group.deliver(dice.below(len(group.wire)))
        group.deliver_all()
        group.beat(1)

        assert behind.applied == group.committed, seed
        assert read_snapshot(behind.store) == read_snapshot(group.members[1].store)


# Durability


def test_a_snapshot_of_which_only_the_end_is_missing_after_a_power_cut() -> None:
    """Whoever holds all of its bytes, and doesn't count them, would never be sent any again."""
    group = half_sent(3 * MAX_PIECE)
    behind = group.members[3]
    behind.flash.power_bytes = MAX_PIECE + RECORD_BYTES  # for the last piece, and no more
    raises(PowerCut, beats, group, 2)
    group.wire.clear()
    group.restart(3)
    assert behind.core.commit == 0

    beats(group, 6)

    assert behind.applied == group.committed


def test_a_follower_goes_on_after_a_restart_from_what_its_flash_holds() -> None:
    group = half_sent(6 * MAX_PIECE)

    behind = group.restart(3)
    assert behind.log.coming and behind.log.coming.next == 2 * MAX_PIECE
    sent = beats(group, 3)

    assert offsets(sent) == [at * MAX_PIECE for at in (2, 3, 4, 5)]
    assert behind.applied == group.committed


def test_a_new_leader_with_the_same_snapshot_goes_on_with_it() -> None:
    group = half_sent(6 * MAX_PIECE)
    behind = group.members[3]
    written = behind.flash.bytes
    group.crash(1)

    group.win(2)
    beats(group, 4, leader=2)

    assert behind.applied == group.members[2].applied == group.committed
    assert behind.flash.bytes - written < 5 * MAX_PIECE  # the first two weren't written again


def test_a_new_leader_with_another_snapshot_begins_with_it() -> None:
    for other in (0, 1):  # of the same entries, of more
        group = half_sent(6 * MAX_PIECE)
        for _ in range(other):
            group.propose(1, b"more")
            group.cut = {(1, 3)}
            group.deliver_all()
            group.beat(1)
            group.heal()
        group.members[2].compact(6 * MAX_PIECE, fill=9)
        group.members[2].forget()
        group.crash(1)
        behind = group.members[3]

        group.win(2)
        sent = beats(group, 4, leader=2)

        assert offsets(sent)[:1] == [0]
        assert behind.store.snapshot.index == LAST + other
        assert read_snapshot(behind.store) == read_snapshot(group.members[2].store)
        assert behind.applied == group.members[2].applied == group.committed


def test_a_newer_snapshot_takes_over() -> None:
    group = far_behind(4 * MAX_PIECE)
    behind = group.restart(3)
    beats(group, 2, arrives=lambda m: m.kind != SNAPSHOT or m.offset < 2 * MAX_PIECE)
    old = [m for m in beats(group, 3, arrives=lambda m: m.kind != SNAPSHOT) if m.kind == SNAPSHOT]
    assert behind.log.coming and behind.log.coming.next == 2 * MAX_PIECE
    assert 2 * MAX_PIECE in offsets(old)
    group.cut = {(1, 3), (3, 1)}
    group.propose(1, b"more")
    group.deliver_all()
    group.heal()
    leader = group.members[1]
    leader.compact(4 * MAX_PIECE, fill=9)
    leader.forget()

    # the old one's pieces arrive among those of the new one
    for _ in range(6):
        group.tick(1, HEARTBEAT_MS)
        group.wire.extend([frame(m) for m in old])
        group.deliver_all()
    beats(group, 3)

    assert read_snapshot(behind.store) == read_snapshot(leader.store)
    assert behind.applied == leader.applied == group.committed
    assert behind.core.commit == LAST + 1


# The log behind it


def test_the_commit_index_is_never_below_the_snapshot() -> None:
    group = far_behind(2 * MAX_PIECE)
    behind = group.restart(3)
    beats(group, 3)
    for member in group.up():
        group.restart(member.node)
        assert member.core.commit == LAST
        assert len(member.applied) == LAST

    late = letter(APPEND, 1, 3, 1, index=LAST, log_term=1, commit=4)
    behind.core.step(late)
    behind.work()
    assert behind.core.commit == LAST


def test_a_follower_whose_log_ends_before_the_leaders_begins_is_not_asked_for_more() -> None:
    """One rejection says so, and not one for each entry that it lacks."""
    for terms in ((), (1,), (1,) * 5, (1, 2, 2, 2)):
        group = far_behind()
        group.members[3] = Member(3, VOTERS, terms=terms, term=2)
        group.pass_term(3)
        leader = group.win(2)
        group.restart(3)

        sent = beats(group, 3, leader=2)

        assert len([m for m in sent if m.kind == APPEND_REJECT]) <= 3, terms
        assert offsets(sent) == [0]
        assert group.members[3].applied == leader.applied == group.committed


# All of it at one time


class Sent:
    """The pieces of snapshots that were seen on a group's wire."""

    def __init__(self) -> None:
        self.pieces: set[bytes] = set()

    def look(self, group: Group) -> None:
        self.pieces.update([datagram for datagram in group.wire if datagram[1] == SNAPSHOT])


def test_state_machine_safety_in_a_storm_with_snapshots() -> None:
    """The group checks all that is applied, out of a snapshot or not."""
    for seed, nodes in ((12, 5), (13, 3), (14, 3)):
        storm = Storm(seed, nodes, compacts=True)
        sent = Sent()

        storm.blow(3000, sent.look)

        assert len(sent.pieces) > 1
        storm.calm(3000)
        members = list(storm.group.members.values())
        assert len(members[0].applied) == members[0].log.last >= 10
        for member in members:
            assert member.applied == members[0].applied
