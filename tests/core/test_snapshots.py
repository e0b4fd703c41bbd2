"""Snapshots on their way to followers (section 7): in pieces, over datagrams, across restarts."""

from raft.core import FOLLOWER, HEARTBEAT_MS, LEADER
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    MAX_DATAGRAM,
    MAX_PIECE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    Message,
)
from raft.progress import REPLICATE, WINDOW_BYTES
from raft.progress import SNAPSHOT as SENDING_SNAPSHOT
from raft.sector import RECORD_BYTES
from tests.core.group import (
    HIGH_MS,
    Group,
    Member,
    carried,
    entries,
    far_behind,
    frame,
    letter,
    message,
    pieces,
    settled_leader,
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
END_RECORD_BYTES = RECORD_BYTES + 8


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


def offsets(sent: list[Message], dst: int = 3) -> list[int]:
    """Where the pieces begin that were sent to a node."""
    return [m.offset for m in sent if m.kind == SNAPSHOT and m.dst == dst]


def half_sent(size: int = 4 * MAX_PIECE) -> Group:
    """Node 3 holds the first two pieces of a snapshot, and nothing is under way."""
    group = far_behind(size)
    behind = group.restart(3)
    beats(group, 2, arrives=lambda m: m.kind != SNAPSHOT or m.offset < 2 * MAX_PIECE)
    assert behind.store.coming and behind.store.coming.next == 2 * MAX_PIECE
    return group


def sending_leader(size: int) -> Member:
    """Node 1, which leads and has a snapshot for node 2, which hasn't answered since."""
    node = settled_leader()
    node.compact(size)
    node.forget()
    node.start()
    node.lead()
    node.replicate_to(3)
    node.hear(APPEND_REJECT, 2, node.core.term, index=0, ctx=1)
    assert node.core.peers[2].state == SENDING_SNAPSHOT
    return node


def answer_heartbeat(node: Member) -> list[Message]:
    """A heartbeat leaves, and node 2 answers that it lacks what is before; what follows."""
    (heartbeat,) = [m for m in node.tick(HEARTBEAT_MS) if m.dst == 2]
    assert (heartbeat.kind, len(heartbeat.entries)) == (APPEND, 0)
    return node.hear(APPEND_REJECT, 2, node.core.term, index=0, ctx=heartbeat.ctx)


def answer_piece(node: Member, held: int, ctx: int) -> list[Message]:
    """Node 2 says how many bytes it holds; what follows."""
    index = node.log.snapshot.index
    return node.hear(SNAPSHOT_REPLY, 2, node.core.term, index, log_term=held, ctx=ctx)


def follower(*terms: int) -> Member:
    """Node 1 in term 5, which node 2 leads."""
    node = Member(1, VOTERS, terms=terms, term=5)
    node.hear(APPEND, 2, 5, index=900, log_term=5)
    return node


def receive(node: Member, data: bytes) -> None:
    """It is sent a snapshot of the entries 1 to 3."""
    for piece in pieces(data):
        node.hear(SNAPSHOT, 2, 5, 3, 1, piece=piece)


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


def test_no_datagram_of_a_snapshot_is_longer_than_1400_bytes() -> None:
    node = sending_leader(5000)

    sent = answer_heartbeat(node)

    assert all(len(m.data) <= MAX_PIECE for m in sent if m.kind == SNAPSHOT)
    assert max([len(frame(m)) for m in sent]) <= MAX_DATAGRAM


def test_pieces_leave_only_so_far_ahead_of_what_the_follower_holds() -> None:
    node = sending_leader(5000)

    sent = answer_heartbeat(node)
    assert offsets(sent, 2) == list(range(0, WINDOW_BYTES, MAX_PIECE))
    ctx = sent[0].ctx

    # no more without an answer, and as many as it says then
    node.core.propose(COMMAND, b"a")
    node.work()
    assert [(m.kind, m.dst) for m in node.take()] == [(APPEND, 3)]
    assert offsets(answer_piece(node, MAX_PIECE, ctx), 2) == [WINDOW_BYTES]
    held = 3 * MAX_PIECE
    assert offsets(answer_piece(node, held, ctx), 2) == [
        WINDOW_BYTES + MAX_PIECE,
        4 * MAX_PIECE + MAX_PIECE,
    ]
    assert node.core.peers[2].offset - held <= WINDOW_BYTES


def test_a_follower_that_does_not_answer_gets_heartbeats_and_no_pieces() -> None:
    node = sending_leader(5000)

    for _ in range(5):
        assert [m.kind for m in node.tick(HEARTBEAT_MS) if m.dst == 2] == [APPEND]
        node.hear(APPEND_REPLY, 3, node.core.term, index=node.log.last, ctx=node.core._round)
    assert len(offsets(answer_heartbeat(node), 2)) == 3
    # and if it falls silent now, then nothing leaves again
    for _ in range(5):
        assert [m.kind for m in node.tick(HEARTBEAT_MS) if m.dst == 2] == [APPEND]
        node.hear(APPEND_REPLY, 3, node.core.term, index=node.log.last, ctx=node.core._round)


def test_pieces_that_are_lost_leave_again_when_the_follower_answers() -> None:
    node = sending_leader(5000)
    answer_heartbeat(node)

    sent = answer_heartbeat(node) + answer_heartbeat(node) + answer_heartbeat(node)

    assert offsets(sent, 2)[:3] == [0, MAX_PIECE, 2 * MAX_PIECE]


def test_an_old_answer_moves_nothing_back() -> None:
    node = sending_leader(5000)
    ctx = answer_heartbeat(node)[0].ctx
    assert offsets(answer_piece(node, 2 * MAX_PIECE, ctx), 2) == [
        WINDOW_BYTES,
        WINDOW_BYTES + MAX_PIECE,
    ]

    for held in (MAX_PIECE, 0, 2 * MAX_PIECE):
        assert offsets(answer_piece(node, held, ctx), 2) == []

    assert node.core.peers[2].held == 2 * MAX_PIECE
    assert offsets(answer_piece(node, WINDOW_BYTES, ctx), 2) == [WINDOW_BYTES + 2 * MAX_PIECE]


def test_answers_that_can_not_be_move_nothing() -> None:
    node = sending_leader(1000)
    ctx = answer_heartbeat(node)[0].ctx
    term, index = node.core.term, node.log.snapshot.index
    for m in (
        letter(SNAPSHOT_REPLY, 2, 1, term, index, 1001, ctx=ctx),  # more than there is
        letter(SNAPSHOT_REPLY, 2, 1, term, index, 512, ctx=ctx + 9),  # to what wasn't sent yet
        letter(SNAPSHOT_REPLY, 2, 1, term, index + 1, 512, ctx=ctx),  # of another one
        letter(SNAPSHOT_REPLY, 2, 1, term - 1, index, 512, ctx=ctx),  # of another term
        letter(SNAPSHOT_REPLY, 3, 1, term, index, 512, ctx=ctx),  # of who gets none
        letter(SNAPSHOT_REPLY, 9, 1, term, index, 512, ctx=ctx),  # of a stranger
    ):
        node.core.step(m)
        node.work()

    assert node.core.peers[2].held == 0
    assert node.core.peers[3].state == REPLICATE


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


def test_a_piece_that_does_not_fit_is_answered_with_what_is_held() -> None:
    first, second, third = pieces(snapshot_of(entries(1, 1, 1, 1), 3 * MAX_PIECE))
    node = follower()

    for piece, held in (
        (second, 0),  # the first one isn't there yet
        (first, MAX_PIECE),
        (first, MAX_PIECE),
        (third, MAX_PIECE),
        (second, 2 * MAX_PIECE),
        (second, 2 * MAX_PIECE),
        (first, 2 * MAX_PIECE),
    ):
        (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 1, ctx=4, piece=piece)

        assert (reply.kind, reply.index, reply.log_term) == (SNAPSHOT_REPLY, 3, held)
        assert reply.ctx == 4
    (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 1, ctx=4, piece=third)

    assert (reply.kind, reply.index, reply.ctx) == (APPEND_REPLY, 3, 4)
    assert node.applied == entries(1, 1, 1, 1)
    for piece in (first, second, third):  # doubled, when all is over
        (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 1, ctx=4, piece=piece)
        assert (reply.kind, reply.index) == (APPEND_REPLY, 3)
    assert node.log.coming is None


def test_a_snapshot_whose_crc_is_wrong_begins_again() -> None:
    data = snapshot_of(entries(1, 1, 1, 1), MAX_PIECE + 100)
    good = pieces(data)
    at, size, crc, tail = good[1]
    node = follower(1)

    for wrong in (
        [good[0], (at, size, crc, bytes([1] * len(tail)))],
        [(0, size, 77, good[0][3]), (at, size, 77, tail)],
    ):
        (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 1, ctx=4, piece=wrong[0])
        assert reply.log_term == MAX_PIECE
        (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 1, ctx=5, piece=wrong[1])

        assert (reply.kind, reply.log_term, reply.ctx) == (SNAPSHOT_REPLY, 0, 5)
        assert (node.core.commit, node.log.last, node.store.snapshot.index) == (0, 1, 0)

    for piece in good:
        node.hear(SNAPSHOT, 2, 5, 3, 1, ctx=6, piece=piece)
    assert read_snapshot(node.store) == data


def test_a_leader_that_is_told_so_begins_again() -> None:
    node = sending_leader(2 * MAX_PIECE)
    ctx = answer_heartbeat(node)[0].ctx
    answer_piece(node, MAX_PIECE, ctx)
    (heartbeat,) = [m for m in node.tick(HEARTBEAT_MS) if m.dst == 2]

    sent = answer_piece(node, 0, heartbeat.ctx)

    assert offsets(sent, 2) == [0, MAX_PIECE]


# Durability


def test_what_is_held_is_durable_before_it_is_told() -> None:
    first, second = pieces(snapshot_of(entries(1, 1, 1, 1), MAX_PIECE + 9))
    node = follower()
    for piece in (first, second):
        node.core.step(letter(SNAPSHOT, 2, 1, 6, 3, 1, ctx=4, piece=piece))
        ready = node.core.ready()

        assert ready is not None
        assert ready.early == []
        assert len(ready.after) == 1
        assert [(offset, data) for _, offset, data in ready.chunks] == [(piece[0], piece[3])]
        assert (ready.installed is not None) == (piece is second)
        node.work()
        node.take()
    assert node.core.ready() is None
    assert node.hard_state() == (6, 0)


def test_power_that_fails_while_a_snapshot_is_written() -> None:
    """Wherever it does: the old log or the snapshot is there, and the rest comes again."""
    data = snapshot_of(entries(1, 1, 1, 1), MAX_PIECE + 200)
    whole = follower(1, 1)
    before = whole.flash.bytes
    receive(whole, data)
    size = whole.flash.bytes - before
    results = set()
    for cut in list(range(0, size, 61)) + list(range(size - 4 * END_RECORD_BYTES, size, 3)):
        node = follower(1, 1)
        node.flash.power_bytes = cut
        raises(PowerCut, receive, node, data)
        node.take()
        node.start()
        results.add((node.core.commit, node.log.last))
        assert node.applied == entries(1, 1, 1, 1)[: node.core.commit]

        receive(node, data)
        receive(node, data)

        assert read_snapshot(node.store) == data, cut
        assert (node.core.commit, node.log.last) == (3, 3)
    assert results == {(0, 2), (3, 3)}


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


def test_pieces_of_two_snapshots_of_the_same_entries_are_not_mixed() -> None:
    """Two nodes need not write the same state in the same way."""
    data = snapshot_of(entries(1, 1, 1, 1), 3 * MAX_PIECE)
    one = pieces(data)
    for other in (
        pieces(snapshot_of(entries(1, 1, 1, 1), 3 * MAX_PIECE, fill=9)),
        pieces(data + b"9"),
    ):
        node = follower()
        for piece, held in (
            (one[0], MAX_PIECE),
            (other[1], 0),
            (one[1], 2 * MAX_PIECE),
            (other[0], MAX_PIECE),
            (one[2], 0),
            (other[1], 2 * MAX_PIECE),
        ):
            (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 1, piece=piece)
            assert (reply.kind, reply.log_term) == (SNAPSHOT_REPLY, held)
        for piece in other[2:]:
            node.hear(SNAPSHOT, 2, 5, 3, 1, piece=piece)

        assert read_snapshot(node.store) == b"".join([piece[3] for piece in other])


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


def test_a_snapshot_that_is_whole_is_durable_before_another_one_begins() -> None:
    """Both in one batch of datagrams: or else the beginning of one has the end of the other."""
    one = pieces(snapshot_of(entries(1, 1, 1, 1), MAX_PIECE + 9))
    data = snapshot_of(entries(1, 1, 1, 1, 1), 2 * MAX_PIECE)
    node = follower()
    node.hear(SNAPSHOT, 2, 5, 3, 1, piece=one[0])

    node.core.step(letter(SNAPSHOT, 2, 1, 5, 3, 1, piece=one[1]))
    node.core.step(letter(SNAPSHOT, 2, 1, 5, 4, 1, piece=pieces(data)[0]))
    node.work()

    assert (node.core.commit, node.store.snapshot.index) == (3, 3)
    assert node.applied == entries(1, 1, 1, 1)
    for piece in pieces(data):
        node.hear(SNAPSHOT, 2, 5, 4, 1, piece=piece)
    assert read_snapshot(node.store) == data


# The log behind it


def test_a_log_that_conflicts_with_the_snapshot_is_dropped() -> None:
    data = snapshot_of(entries(1, 1, 3, 3))
    for terms in ((1, 2, 2, 2, 2), (1, 3, 4, 4), (1,), (1, 2), (1, 3)):
        node = follower(*terms)

        (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 3, piece=pieces(data)[0])

        assert (reply.kind, reply.index) == (APPEND_REPLY, 3)
        for _ in range(2):
            assert (node.log.last, node.log.last_term, node.core.commit) == (3, 3, 3), terms
            node.start()
        (reply,) = node.hear(APPEND, 2, 5, 3, 3, entries=entries(4, 5))
        assert (reply.kind, reply.index) == (APPEND_REPLY, 4)
        node.start()
        assert (node.log.last, node.log.term(4)) == (4, 5)


def test_a_log_that_goes_on_behind_the_snapshot_is_kept() -> None:
    data = snapshot_of(entries(1, 1, 3, 3))
    node = follower(1, 3, 3, 4, 4)

    (reply,) = node.hear(SNAPSHOT, 2, 5, 3, 3, piece=pieces(data)[0])

    assert (reply.kind, reply.index) == (APPEND_REPLY, 3)  # the leader may not have the rest
    assert node.core.commit == 3
    for _ in range(2):
        assert (node.log.last, node.log.term(4), node.log.entry(5)) == (5, 4, entries(5, 4)[0])
        node.start()
    (reply,) = node.hear(APPEND, 2, 5, 5, 4, commit=5)
    assert (reply.kind, reply.index) == (APPEND_REPLY, 5)
    assert node.applied == entries(1, 1, 3, 3, 4, 4)


def test_entries_that_are_acknowledged_with_the_snapshots_end_are_not_lost() -> None:
    """Both in one batch: what the answer says is in the flash when it leaves."""
    one = pieces(snapshot_of(entries(1, 1, 1, 1), MAX_PIECE + 9))
    for terms, index, log_term, more in (
        ((), 0, 0, entries(1, 1, 1, 1, 1, 5)),
        ((1, 1, 1, 2, 2, 2), 3, 1, entries(4, 5, 5)),
        ((1, 1, 2, 2, 2, 2), 2, 1, entries(3, 1, 5, 5)),
    ):
        node = follower(*terms)
        node.hear(SNAPSHOT, 2, 5, 3, 1, piece=one[0])

        node.core.step(letter(APPEND, 2, 1, 5, index, log_term, entries=more))
        node.core.step(letter(SNAPSHOT, 2, 1, 5, 3, 1, piece=one[1]))
        node.work()
        told = max([m.index for m in node.take() if m.kind == APPEND_REPLY])
        node.start()

        assert node.log.last >= told
        assert told < 5 or node.log.term(5) == 5


def test_entries_that_come_with_the_snapshots_end_follow_upon_it() -> None:
    (piece,) = pieces(snapshot_of(entries(1, 1, 3, 3)))
    for terms in ((), (1, 2, 2, 2), (1, 3, 3), (1, 3, 3, 4)):
        node = follower(*terms)

        node.core.step(letter(SNAPSHOT, 2, 1, 5, 3, 3, piece=piece))
        node.core.step(letter(APPEND, 2, 1, 5, 3, 3, commit=4, entries=entries(4, 5, 5)))
        node.work()

        assert [m.index for m in node.take()] == [3, 5]
        assert node.applied == entries(1, 1, 3, 3, 5)
        node.start()
        assert (node.log.last, node.log.term(4)) == (5, 5)


def test_a_snapshot_of_less_than_is_committed_changes_nothing() -> None:
    node = Member(1, VOTERS, terms=(1, 1, 1, 1), term=1)
    node.hear(APPEND, 2, 1, 4, 1, commit=3)
    programs = node.flash.programs

    for index in (1, 2, 3):
        (piece,) = pieces(snapshot_of(entries(1, *[1] * index)))
        (reply,) = node.hear(SNAPSHOT, 2, 1, index, 1, ctx=7, piece=piece)

        assert (reply.kind, reply.index, reply.ctx) == (APPEND_REPLY, 3, 7)
    assert (node.core.commit, node.log.last) == (3, 4)
    assert node.flash.programs == programs


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


# Who may send one


def test_a_snapshot_of_an_earlier_term_is_refused() -> None:
    node = follower()
    (piece,) = pieces(snapshot_of(entries(1, 1)))

    (reply,) = node.hear(SNAPSHOT, 3, 4, 1, 1, piece=piece)

    assert (reply.kind, reply.term, reply.ctx) == (APPEND_REJECT, 5, 0)
    assert (node.core.commit, node.core.leader) == (0, 2)


def test_a_snapshot_makes_a_candidate_follow_like_an_append() -> None:
    (piece,) = pieces(snapshot_of(entries(1, 1)))
    node = follower()
    node.stand()

    node.hear(SNAPSHOT, 3, 6, 1, 1, piece=piece)

    assert (node.core.role, node.core.term, node.core.leader) == (FOLLOWER, 6, 3)
    assert node.applied == entries(1, 1)


def test_a_leader_takes_no_snapshot_of_its_own_term() -> None:
    node = settled_leader()
    (piece,) = pieces(snapshot_of(entries(1, *[1] * 9)))

    assert node.hear(SNAPSHOT, 2, 1, 9, 1, piece=piece) == []

    assert (node.core.role, node.core.commit) == (LEADER, 1)
    assert node.core.alarm is not None


# All of it at one time


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


class Sent:
    """The pieces of snapshots that were seen on a group's wire."""

    def __init__(self) -> None:
        self.pieces: set[bytes] = set()

    def look(self, group: Group) -> None:
        self.pieces.update([datagram for datagram in group.wire if datagram[1] == SNAPSHOT])
