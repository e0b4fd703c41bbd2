"""A leader alone that sends a snapshot: which pieces leave, and when."""

from raft.core import HEARTBEAT_MS
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
from tests.core.group import (
    Member,
    frame,
    letter,
    offsets,
    settled_leader,
)

PORTABLE = True


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
    index = node.log.snapshot().index
    return node.hear(SNAPSHOT_REPLY, 2, node.core.term, index, log_term=held, ctx=ctx)


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
        beats = node.tick(HEARTBEAT_MS)
        assert [m.kind for m in beats if m.dst == 2] == [APPEND]
        node.hear(APPEND_REPLY, 3, node.core.term, index=node.log.last, ctx=beats[0].ctx)
    assert len(offsets(answer_heartbeat(node), 2)) == 3
    # and if it falls silent now, then nothing leaves again
    for _ in range(5):
        beats = node.tick(HEARTBEAT_MS)
        assert [m.kind for m in beats if m.dst == 2] == [APPEND]
        node.hear(APPEND_REPLY, 3, node.core.term, index=node.log.last, ctx=beats[0].ctx)


def test_pieces_that_are_lost_leave_again_when_the_follower_answers() -> None:
    node = sending_leader(5000)
    answer_heartbeat(node)

    sent = answer_heartbeat(node) + answer_heartbeat(node) + answer_heartbeat(node)

    assert offsets(sent, 2)[:3] == [0, MAX_PIECE, 2 * MAX_PIECE]


def write_anew(node: Member) -> None:
    """Its snapshot is another one that stands for the same."""
    old = node.log.snapshot()
    new = node.log.store.snapshot = old.copy()
    new.first, new.final = old.first, old.final


def test_one_that_was_written_anew_at_the_same_index_is_gone_on_with() -> None:
    # It has another place in the ring, again and again where nothing else is to be done.
    node = sending_leader(5000)
    (heartbeat,) = [m for m in node.tick(HEARTBEAT_MS) if m.dst == 2]
    write_anew(node)

    sent = node.hear(APPEND_REJECT, 2, node.core.term, index=0, ctx=heartbeat.ctx)
    assert offsets(sent, 2) == [0, MAX_PIECE, 2 * MAX_PIECE]

    write_anew(node)
    assert offsets(answer_piece(node, MAX_PIECE, sent[0].ctx), 2) == [WINDOW_BYTES]


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
    term, index = node.core.term, node.log.snapshot().index
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


def test_a_leader_that_is_told_so_begins_again() -> None:
    node = sending_leader(2 * MAX_PIECE)
    ctx = answer_heartbeat(node)[0].ctx
    answer_piece(node, MAX_PIECE, ctx)
    (heartbeat,) = [m for m in node.tick(HEARTBEAT_MS) if m.dst == 2]

    sent = answer_piece(node, 0, heartbeat.ctx)

    assert offsets(sent, 2) == [0, MAX_PIECE]
