"""Bugs that other projects had: snapshots."""

from raft.core import HEARTBEAT_MS, LEADER
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    COMMAND,
    MAX_PIECE,
    PRE_VOTE_REPLY,
    SNAPSHOT,
    VOTE_REPLY,
)
from raft.progress import REPLICATE
from raft.sessions import OPEN, Sessions, command, entry
from raft.store import Compacted
from tests.core.group import (
    GRANTED,
    Group,
    Member,
    entries,
    far_behind,
    message,
    pieces,
    snapshot_of,
)
from tests.store.model import read_snapshot
from tests.support import raises

PORTABLE = True

VOTERS = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)
LAST = 11  # what the snapshots of `far_behind` stand for


class Echo:
    """A state machine that answers with what it is told, and has no state."""

    def apply(self, payload: bytes | memoryview, now: int) -> bytes:
        return bytes(payload)

    def snapshot(self) -> list[bytes]:
        return []

    def reset(self) -> None:
        pass


def test_a_conflicting_entry_that_is_kept_at_the_snapshots_index() -> None:
    """hashicorp/raft#704: each append behind it is refused, and the snapshot comes for ever"""
    for last_common, conflicting in ((0, LAST), (1, LAST + 5), (LAST - 1, 1), (LAST - 1, 3)):
        group = far_behind()
        group.pass_term(3)
        leader = group.win(1)
        log = group.committed[:last_common] + entries(last_common + 1, *[2] * conflicting)
        group.members[3] = Member(3, VOTERS)
        group.members[3].store.append(True, 2, 3, 1, log)
        behind = group.restart(3)

        sent = 0
        for _ in range(5):
            group.tick(1, HEARTBEAT_MS)
            while group.wire:
                sent += group.wire[0][1] == SNAPSHOT
                group.deliver()

        assert sent == 1
        assert leader.core.peers[3].state == REPLICATE
        assert behind.applied == leader.applied == group.committed
        for _ in range(2):
            assert behind.log.term(LAST) == 1
            assert (behind.log.last, behind.log.last_term) == (leader.log.last, 3)
            behind.start()


def test_a_follower_far_behind_that_is_never_sent_a_snapshot() -> None:
    """hashicorp/raft#212: what it lacks is gone, and the leader tries to send it for ever"""
    first = snapshot_of(entries(1, 1))
    for size in (len(first), 3 * MAX_PIECE):
        group = far_behind(size)
        behind = group.restart(3)
        assert behind.log.last == 1

        # more is proposed all the time, and so there is always something newer to be sent
        for i in range(6):
            group.propose(1, b"more %d" % i)
            group.beat(1)

        assert behind.applied == group.members[1].applied == group.committed
        assert len(behind.applied) == LAST + 6


def test_a_follower_that_falls_behind_while_it_is_sent_a_snapshot() -> None:
    """hashicorp/raft#212: again and again, what is behind the snapshot is gone too"""
    group = far_behind(3 * MAX_PIECE)
    leader, behind = group.members[1], group.restart(3)
    for i in range(4):
        group.tick(1, HEARTBEAT_MS)
        while group.wire:
            m = message(group.wire[0])
            if m.kind == SNAPSHOT and m.offset + len(m.data) == m.size:
                group.wire.pop(0)  # the last piece doesn't arrive in time
            else:
                group.deliver()
        group.propose(1, b"more %d" % i)
        group.deliver_all()
        leader.compact(3 * MAX_PIECE)
        leader.forget()
        assert behind.core.commit == 0

    for _ in range(4):
        group.beat(1)

    assert behind.applied == leader.applied == group.committed


def test_a_doubled_append_from_the_start_that_appends_compacted_entries_again() -> None:
    """willemt/raft#118"""
    node = Member(1, VOTERS)
    first = entries(1, 1, 1, 1)
    node.hear(APPEND, 2, 1, entries=first)
    node.hear(APPEND, 2, 1, 3, 1, commit=5, entries=entries(4, 1, 1))
    node.compact()
    node.forget()

    for _ in range(2):
        for commit in (0, 3, 5):
            for more in (first, first[:1], (), entries(1, *[1] * 9)):
                (reply,) = node.hear(APPEND, 2, 1, commit=commit, entries=more)

                assert (reply.kind, reply.index) == (APPEND_REPLY, 5)
                assert (node.log.last, node.core.commit) == (5, 5)
                assert node.applied == entries(1, *[1] * 5)
        node.start()  # what it knows now comes from the snapshot alone

    (reply,) = node.hear(APPEND, 2, 1, 5, 1, entries=entries(6, 1))
    assert (reply.kind, reply.index) == (APPEND_REPLY, 6)


def test_an_old_append_that_arrives_after_the_snapshot_was_installed() -> None:
    """willemt/raft#118, at a follower that was sent it"""
    (piece,) = pieces(snapshot_of(entries(1, 1, 1, 1, 1)))
    node = Member(1, VOTERS)
    node.hear(APPEND, 2, 1, entries=entries(1, 1))
    node.hear(SNAPSHOT, 2, 1, 4, 1, piece=piece)

    for index, more in ((0, entries(1, 1)), (1, entries(2, 1)), (0, entries(1, 1, 1)), (3, ())):
        (reply,) = node.hear(APPEND, 2, 1, index, min(index, 1), entries=more)

        assert (reply.kind, reply.index) == (APPEND_REPLY, 4)
        assert (node.log.last, node.core.commit) == (4, 4)
    assert node.store.last == 4


def test_a_compacted_entry_that_is_reported_as_not_committed() -> None:
    """willemt/raft#130: who waits for it would wait for ever"""
    group = far_behind()
    for member in group.up():
        for _ in range(2):
            # that it has left the log is one thing, that it is committed another
            raises(Compacted, member.log.entry, 5)
            raises(Compacted, member.log.term, 5)
            assert member.core.commit == LAST
            assert member.log.term(LAST) == 1
            member.start()  # a new term has no say in what was committed before

    group.restart(1)
    group.restart(2)
    leader = group.win(2)

    assert leader.core.commit == LAST


def test_a_voter_that_has_compacted_what_it_reports_as_committed() -> None:
    """willemt/raft#130: a new leader learns of it all the same"""
    leader = Member(1, FIVE, terms=(1,) * 6, term=1)
    voter = Member(2, FIVE, terms=(1,) * 5, term=1)
    voter.hear(APPEND, 3, 1, 5, 1, commit=5)
    voter.compact()
    voter.forget()
    voter.start()
    leader.stand()
    leader.hear(PRE_VOTE_REPLY, 2, 2, GRANTED, commit=voter.core.commit)
    leader.hear(PRE_VOTE_REPLY, 3, 2, GRANTED)

    leader.hear(VOTE_REPLY, 2, 2, GRANTED, commit=voter.core.commit)
    leader.hear(VOTE_REPLY, 3, 2, GRANTED)

    assert leader.core.role == LEADER
    assert leader.core.commit == 5
    assert leader.core.alarm is None


def test_a_command_that_has_gone_into_a_snapshot_is_still_answered() -> None:
    """willemt/raft#130: a client that asks again, of a node that never had the entry"""
    session = 1
    asked = command(session, 1, b"done")
    sessions = Sessions(Echo())
    sessions.apply(session, entry(1, OPEN))
    result = sessions.apply(2, entry(1, asked))

    other = Sessions(Echo())
    other.reset()
    for chunk in sessions.snapshot():
        other.restore(chunk)

    assert other.known_result(asked) == result
    assert other.apply(9, entry(1, asked)) == result  # and if it comes into the log a second time


def test_a_read_of_what_has_gone_into_a_snapshot_is_answered() -> None:
    """willemt/raft#130, for reads: they wait for an index that has left the log"""
    node = Member(1, VOTERS, ram_bytes=0)
    node.lead()
    node.replicate()
    node.core.propose(COMMAND, b"a")
    node.replicate()
    node.compact()
    node.forget()
    raises(Compacted, node.log.entry, 1)

    node.core.read("a")
    ctx = node.tick(HEARTBEAT_MS)[0].ctx
    node.hear(APPEND_REPLY, 2, 1, index=2, ctx=ctx)

    assert node.reads == [("a", 2)]
    assert node.core.commit == len(node.applied) == 2


def test_a_snapshots_membership_that_overrides_the_real_one() -> None:
    """PySyncObj#133: the configuration that counts is the last one in the log"""
    # node 3 is removed after the snapshot was written, and node 2 has both
    group = Group(3)
    group.elect(1)
    group.beat(1)
    leader = group.members[1]
    leader.compact(MAX_PIECE + 1)
    data = read_snapshot(leader.store)
    leader.core.change(leader.core.members.without(3))
    group.work(1)
    group.deliver_all()
    node = group.members[2]
    assert node.core.members.voters == (1, 2)

    for piece in pieces(data):  # it comes late
        node.hear(SNAPSHOT, 1, 1, 1, 1, piece=piece)

    node.compact()
    for _ in range(2):
        assert node.core.members.voters == (1, 2)
        assert [m.dst for m in node.stand()] == [1]
        node.start()


def test_a_snapshot_that_replaces_the_log_brings_its_membership() -> None:
    old = Group(3)
    old.elect(1)
    old.beat(1)
    old.members[1].compact(MAX_PIECE + 1)
    node = Member(4, FIVE)

    for piece in pieces(read_snapshot(old.members[1].store)):
        node.hear(SNAPSHOT, 1, 1, 1, 1, piece=piece)

    assert node.core.commit == 1
    for _ in range(2):
        assert node.core.members.voters == (1, 2, 3)
        assert node.stand() == []  # it has no vote
        node.start()
