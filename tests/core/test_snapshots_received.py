"""A follower alone that gets a snapshot: what it keeps, makes durable and answers (figure 13)."""

from raft.core import FOLLOWER, LEADER
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    MAX_PIECE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
)
from raft.sector import RECORD_BYTES
from tests.core.group import (
    Member,
    entries,
    letter,
    pieces,
    settled_leader,
    snapshot_of,
)
from tests.flash import PowerCut
from tests.store.model import read_snapshot
from tests.support import raises

PORTABLE = True

VOTERS = (1, 2, 3)
END_RECORD_BYTES = RECORD_BYTES + 8


def follower(*terms: int) -> Member:
    """Node 1 in term 5, which node 2 leads."""
    node = Member(1, VOTERS, terms=terms, term=5)
    node.hear(APPEND, 2, 5, index=900, log_term=5)
    return node


def receive(node: Member, data: bytes) -> None:
    """It is sent a snapshot of the entries 1 to 3."""
    for piece in pieces(data):
        node.hear(SNAPSHOT, 2, 5, 3, 1, piece=piece)


# Losses


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
