"""Doubt: a node whose flash may have lost what it has acknowledged, or whom it has voted for.

Its answers count for nothing until it is known to hold all that it can have acknowledged.
"""

from raft.core import FOLLOWER, HEARTBEAT_MS, LEADER, NOBODY
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    DOUBT_REJECT,
    DOUBT_REPLY,
    MAX_PIECE,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TRUST,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.store import Store
from tests.core.group import (
    GRANTED,
    HIGH_MS,
    SECTORS,
    Group,
    Member,
    entries,
    far_behind,
    letter,
    message,
    pieces,
    settled_leader,
    snapshot_of,
)
from tests.dice import Dice
from tests.flash import CUT_STRIDE, PowerCut, RamFlash
from tests.store.model import read_snapshot

PORTABLE = True

VOTERS = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)
ALL = Store.ALL


def doubter(doubt: int, *terms: int, term: int = 2, vote: int = NOBODY) -> Member:
    """Node 1, whose flash holds entries of these terms and has held others up to `doubt`."""
    node = Member(1, VOTERS, terms=terms, term=term, vote=vote)
    node.store.append(True, term, vote, 0, (), doubt)
    node.start()
    assert node.core.doubt == doubt
    return node


def damage(group: Group, node: int, doubt: int = ALL, terms: int = 0) -> Member:
    """A node starts again, and has lost all but its term; of that as many as `terms` too.

    What is under way goes on.
    """
    member = group.members[node]
    member.flash = RamFlash(SECTORS)
    store = Store(member.flash, node)
    store.append(True, member.core.term - terms, NOBODY, 0, (), doubt)
    return group.restart(node)


def durable_doubt(node: Member) -> int:
    return Store(node.flash.copy(), node.node).doubt


def settled_group(count: int = 3) -> Group:
    """Node 1 leads, and all have entries 1 to 4 and know that they are committed."""
    group = Group(count, draw=Dice(1).draw)
    group.elect(1)
    for data in (b"a", b"b", b"c"):
        group.propose(1, data)
        group.deliver_all()
    group.beat(1)
    return group


def propose(node: Member, data: bytes) -> int:
    """Propose a command at a leader; the number of the round in which it leaves."""
    node.core.propose(COMMAND, data)
    node.work()
    return node.take()[0].ctx


def next_round(node: Member) -> int:
    """The number of a leader's next round, of heartbeats."""
    return node.tick(HEARTBEAT_MS)[0].ctx


def kinds(group: Group, leader: int = 1) -> list[tuple[int, int, int]]:
    """Kind, sender and receiver of all that one heartbeat leads to."""
    group.tick(leader, HEARTBEAT_MS)
    seen = []
    while group.wire:
        m = message(group.wire[0])
        seen.append((m.kind, m.src, m.dst))
        group.deliver()
    return seen


def until_trust(group: Group) -> Message:
    """The TRUST that node 1 sends, before it arrives."""
    for _ in range(4):
        group.tick(1, HEARTBEAT_MS)
        while group.wire:
            m = message(group.wire[0])
            if m.kind == TRUST:
                return m
            group.deliver()
    raise AssertionError("nobody is trusted")


# What it doesn't do


def test_a_node_in_doubt_gives_no_votes() -> None:
    for doubt in (3, ALL):
        node = doubter(doubt, 1, 1)

        (refusal,) = node.hear(PRE_VOTE, 2, 9, index=900, log_term=8)
        assert (refusal.kind, refusal.index) == (PRE_VOTE_REPLY, 0)
        (refusal,) = node.hear(VOTE, 2, 9, index=900, log_term=8)
        assert (refusal.kind, refusal.index) == (VOTE_REPLY, 0)
        assert (node.core.vote, node.core.term) == (NOBODY, 9)


def test_a_node_in_doubt_does_not_stand() -> None:
    for doubt in (3, ALL):
        node = doubter(doubt, 1, 1)

        for _ in range(5):
            assert node.stand() == []

        assert (node.core.role, node.core.term) == (FOLLOWER, 2)


def test_a_node_in_doubt_follows_and_says_that_it_doubts() -> None:
    node = doubter(9, 1, 1)

    (reply,) = node.hear(APPEND, 2, 3, 5, 3, ctx=4)
    assert (reply.kind, reply.index, reply.log_term, reply.ctx) == (DOUBT_REJECT, 2, 1, 4)
    (reply,) = node.hear(APPEND, 2, 3, 2, 1, ctx=5, entries=entries(3, 3, 3))
    assert (reply.kind, reply.index, reply.ctx) == (DOUBT_REPLY, 4, 5)
    (reply,) = node.hear(APPEND, 2, 2, 4, 3, ctx=6)  # of an old leader
    assert (reply.kind, reply.term) == (DOUBT_REJECT, 3)

    assert node.core.leader == 2
    assert node.terms() == [1, 1, 3, 3]


def test_its_answers_do_not_commit() -> None:
    node = settled_leader()
    ctx = propose(node, b"a")

    node.hear(DOUBT_REPLY, 2, 1, index=2, ctx=ctx)
    assert node.core.commit == 1

    node.hear(APPEND_REPLY, 3, 1, index=2, ctx=ctx)
    assert node.core.commit == 2


def test_what_it_acknowledged_before_does_not_commit_any_more() -> None:
    node = settled_leader(FIVE)
    ctx = propose(node, b"a")
    node.hear(APPEND_REPLY, 2, 1, index=2, ctx=ctx)
    later = next_round(node)

    node.hear(DOUBT_REJECT, 2, 1, index=0, ctx=later)
    node.hear(APPEND_REPLY, 3, 1, index=2, ctx=ctx)
    assert node.core.commit == 1

    node.hear(APPEND_REPLY, 4, 1, index=2, ctx=ctx)
    assert node.core.commit == 2


def test_its_answers_do_not_keep_a_leader_in_office() -> None:
    node = settled_leader()
    for _ in range(2 * HIGH_MS // HEARTBEAT_MS):
        for m in node.tick(HEARTBEAT_MS):
            if m.dst == 2:
                node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=m.ctx)
                node.hear(DOUBT_REJECT, 2, 1, index=1, log_term=1, ctx=m.ctx)

    assert node.core.role == FOLLOWER


def test_its_answers_do_not_confirm_reads() -> None:
    node = settled_leader()
    node.core.read("a")
    node.work()
    (ctx,) = {m.ctx for m in node.take()}

    for kind in (DOUBT_REPLY, DOUBT_REJECT):
        node.hear(kind, 2, 1, index=1, log_term=1, ctx=ctx)
    assert node.reads == []

    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=ctx)
    assert node.reads == [("a", 1)]


def test_a_round_that_it_had_answered_before_does_not_confirm_reads_any_more() -> None:
    node = settled_leader(FIVE)
    node.core.read("a")
    node.work()
    (ctx,) = {m.ctx for m in node.take()}
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=ctx)

    node.hear(DOUBT_REJECT, 2, 1, ctx=ctx)
    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=ctx)
    assert node.reads == []

    node.hear(APPEND_REPLY, 4, 1, index=1, ctx=ctx)
    assert node.reads == [("a", 1)]


def test_a_late_answer_from_before_the_damage_does_not_count() -> None:
    """All that it has answered before it said that it doubts answers rounds up to then."""
    node = settled_leader(FIVE)
    node.core.read("a")
    ctx = propose(node, b"a")
    node.hear(DOUBT_REPLY, 2, 1, index=0, ctx=ctx)

    node.hear(APPEND_REPLY, 2, 1, index=2, ctx=ctx)  # it had been under way

    assert node.core.peers[2].match == 0
    node.hear(APPEND_REPLY, 3, 1, index=2, ctx=ctx)
    assert node.core.commit == 1
    assert node.reads == []


def test_answers_without_doubt_count_again_but_not_what_was_said_before() -> None:
    node = settled_leader(FIVE)
    node.core.read("a")
    ctx = propose(node, b"a")
    node.hear(DOUBT_REPLY, 2, 1, index=2, ctx=ctx)
    node.hear(APPEND_REPLY, 3, 1, index=2, ctx=ctx)
    assert (node.core.commit, node.reads) == (1, [])

    later = next_round(node)
    node.hear(APPEND_REPLY, 2, 1, index=1, ctx=later)
    assert node.core.commit == 1
    assert node.reads == [("a", 1)]

    node.hear(APPEND_REPLY, 2, 1, index=2, ctx=later)
    assert node.core.commit == 2


# What it does


def test_a_node_in_doubt_takes_entries_and_applies_them() -> None:
    group = settled_group()
    lost = damage(group, 3)
    assert lost.log.last == 0

    for _ in range(3):
        group.beat(1)

    assert lost.applied == group.committed
    assert len(lost.applied) == 4


def test_a_node_in_doubt_takes_a_snapshot() -> None:
    group = far_behind(3 * MAX_PIECE)
    lost = damage(group, 3)
    seen = []
    for _ in range(4):
        seen.extend(kinds(group))

    assert (SNAPSHOT, 1, 3) in seen and (SNAPSHOT_REPLY, 3, 1) in seen
    assert (DOUBT_REPLY, 3, 1) in seen
    assert (APPEND_REPLY, 3, 1) not in seen[: seen.index((DOUBT_REPLY, 3, 1))]
    assert lost.applied == group.committed
    assert read_snapshot(lost.store) == read_snapshot(group.members[1].store)


def test_the_end_of_a_snapshot_is_answered_in_doubt() -> None:
    (piece,) = pieces(snapshot_of(entries(1, 1, 1, 1)))
    for doubt, kind in ((4, DOUBT_REPLY), (ALL, DOUBT_REPLY), (3, APPEND_REPLY), (2, APPEND_REPLY)):
        node = doubter(doubt, 1)

        (reply,) = node.hear(SNAPSHOT, 2, 2, 3, 1, piece=piece)

        assert (reply.kind, reply.index) == (kind, 3), doubt
        assert node.core.doubt == (doubt if kind == DOUBT_REPLY else 0)


# How it ends: by a commit


def test_a_commit_that_reaches_so_far_ends_the_doubt() -> None:
    node = doubter(5, 1, 1, 1)

    (reply,) = node.hear(APPEND, 2, 2, 3, 1, commit=3, entries=entries(4, 2))
    assert reply.kind == DOUBT_REPLY
    (reply,) = node.hear(APPEND, 2, 2, 4, 2, commit=4, entries=entries(5, 2))
    assert reply.kind == DOUBT_REPLY
    # as many entries as it had are not enough: they may be others, that nobody else has
    assert node.stand() == []
    (refusal,) = node.hear(VOTE, 3, 3, index=900, log_term=2)
    assert refusal.index == 0

    (reply,) = node.hear(APPEND, 2, 3, 5, 2, commit=5)
    assert (reply.kind, reply.index) == (APPEND_REPLY, 5)
    assert node.core.doubt == 0
    node.core.pass_time(HIGH_MS)
    (vote,) = node.hear(VOTE, 3, 4, index=900, log_term=2)
    assert vote.index == GRANTED


def test_a_commit_index_of_which_it_lacks_the_entries_does_not_end_the_doubt() -> None:
    node = doubter(5, 1, 1, 1)

    node.hear(APPEND, 2, 2, 3, 1, commit=900)
    node.hear(APPEND, 2, 2, 3, 1, commit=900, entries=entries(4, 2))

    assert (node.core.commit, node.core.doubt) == (4, 5)


def test_no_commit_is_enough_if_a_vote_may_be_lost() -> None:
    node = doubter(ALL, 1, 1, 1)

    (reply,) = node.hear(APPEND, 2, 2, 3, 1, commit=900, entries=entries(4, *[2] * 20))

    assert reply.kind == DOUBT_REPLY
    assert (node.core.commit, node.core.doubt) == (23, ALL)
    assert node.stand() == []


def test_a_snapshot_that_is_in_the_flash_already_ends_the_doubt_at_the_start() -> None:
    for doubt, left in ((3, 0), (4, 4), (ALL, ALL)):
        node = Member(1, VOTERS, terms=(1, 1, 1), term=1)
        node.hear(APPEND, 2, 1, 3, 1, commit=3)
        node.compact()
        node.store.append(True, 1, NOBODY, 0, (), doubt)

        node.start()

        assert node.core.doubt == left
        node.work()
        assert durable_doubt(node) == left


# How it ends: by trust


def test_when_all_others_vouch_for_it_a_node_is_trusted_again() -> None:
    for count in (3, 4, 5):
        group = settled_group(count)
        lost = damage(group, count)

        seen = []
        for _ in range(4):
            seen.extend(kinds(group))

        assert seen.count((TRUST, 1, count)) == 1
        assert lost.core.doubt == 0
        assert seen[-1] == (APPEND_REPLY, count, 1)
        assert durable_doubt(lost) == 0
        peer = group.members[1].core.peers[count]
        assert (peer.doubts, peer.match) == (False, 4)
        # it counts again: for commits, and as a voter
        others = range(2, (count + 1) // 2 + 1)  # all whom a majority can do without
        for other in others:
            group.crash(other)
        group.propose(1, b"d")
        group.deliver_all()
        assert group.members[1].core.commit == 5
        group.beat(1)
        group.crash(1)
        for other in others:
            group.restart(other)
        assert group.elect(count).core.role == LEADER


def test_no_trust_is_given_while_one_of_the_others_is_silent() -> None:
    for count in (3, 5):
        for silent in range(2, count):
            group = settled_group(count)
            lost = damage(group, count)
            group.crash(silent)

            if count == 3:  # the leader has no quorum, and must not take this one for it
                for _ in range(3):
                    group.beat(1)
            else:
                group.run(3 * HIGH_MS)
                assert lost.applied == group.committed
            assert lost.core.doubt == ALL

            group.restart(silent)
            leader = group.leader() or group.elect(1)
            for _ in range(4):
                group.beat(leader.node)
            assert lost.core.doubt == 0


def test_what_the_others_answered_before_does_not_vouch() -> None:
    """One may have voted meanwhile, and with it this one: it has to say that it hasn't."""
    node = settled_leader()
    ctx = next_round(node)
    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=ctx)
    assert node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=ctx) == []
    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=ctx)
    assert node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=ctx) == []

    ctx = next_round(node)
    assert node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=ctx) == []
    node.hear(APPEND_REPLY, 3, 1, index=1, ctx=ctx)
    (trust,) = node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=ctx)

    assert (trust.kind, trust.dst, trust.index) == (TRUST, 2, 1)


def test_a_rejection_of_the_others_vouches_too_but_one_in_doubt_does_not() -> None:
    for kind, trusts in ((APPEND_REJECT, True), (DOUBT_REPLY, False), (DOUBT_REJECT, False)):
        node = settled_leader()
        node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=1)
        ctx = next_round(node)

        node.hear(kind, 3, 1, index=1, log_term=1, ctx=ctx)
        sent = node.hear(DOUBT_REPLY, 2, 1, index=1, ctx=ctx)

        assert (TRUST in [m.kind for m in sent]) == trusts


def test_no_trust_is_given_to_a_node_that_lacks_what_it_may_have_acknowledged() -> None:
    """All that the leader had when it heard of the doubt."""
    node = settled_leader()
    for data in (b"a", b"b", b"c"):
        node.core.propose(COMMAND, data)
    node.work()
    node.hear(DOUBT_REJECT, 2, 1, index=0, ctx=2)
    node.core.propose(COMMAND, b"later")
    ctx = next_round(node)
    node.hear(APPEND_REPLY, 3, 1, index=5, ctx=ctx)

    for index in (0, 1, 3):
        sent = node.hear(DOUBT_REPLY, 2, 1, index=index, ctx=ctx)
        assert TRUST not in [m.kind for m in sent]
    sent = node.hear(DOUBT_REPLY, 2, 1, index=4, ctx=ctx)
    (trust,) = [m for m in sent if m.kind == TRUST]

    assert trust.index == 4


def test_trust_is_believed_only_of_the_leader_of_the_term() -> None:
    group = settled_group()
    lost = damage(group, 3)
    trust = until_trust(group)
    assert (trust.src, trust.dst, trust.term, trust.index) == (1, 3, 1, 4)

    for src, term, index in ((2, 1, 4), (9, 1, 4), (1, 1, 5), (2, 0, 4)):
        lost.core.step(letter(TRUST, src, 3, term, index, ctx=trust.ctx))
        assert lost.core.doubt == ALL
    lost.core.step(trust)
    assert lost.core.doubt == 0


def test_trust_is_not_believed_of_a_leader_that_wasnt_heard_yet() -> None:
    node = doubter(ALL, 1, 1)

    for term in (2, 3):
        node.core.step(letter(TRUST, 2, 1, term, 2))

        assert node.core.doubt == ALL


def test_trust_does_not_count_entries_that_are_not_durable() -> None:
    group = settled_group()
    lost = damage(group, 3)
    trust = until_trust(group)
    last = lost.log.durable

    lost.log.durable = last - 1  # as if it had only just come
    lost.core.step(trust)
    assert lost.core.doubt == ALL

    lost.log.durable = last
    lost.core.step(trust)
    assert lost.core.doubt == 0


def test_a_node_that_is_trusted_has_voted_for_its_leader() -> None:
    """It may have, and whom else it may have voted for in this term it doesn't know."""
    group = settled_group()
    lost = damage(group, 3)
    for _ in range(3):
        group.beat(1)
    assert lost.core.doubt == 0

    assert (lost.core.term, lost.core.vote) == (1, 1)
    assert lost.hard_state() == (1, 1)
    group.restart(3)
    (reply,) = lost.hear(VOTE, 2, 1, index=900, log_term=1)
    assert reply.index == 0


def lose_a_later_vote(group: Group, lost: Member) -> None:
    """A node that is trusted again elects node 2 without node 1, commits with it, and loses that.

    Then only node 1, the old leader, reaches it.
    """
    assert lost.core.doubt == 0
    group.elect(2)
    group.propose(2, b"d")
    group.deliver_all()
    assert lost.core.vote == 2
    damage(group, 3, terms=1)
    group.cut = {(1, 2), (2, 1), (2, 3), (3, 2)}
    assert group.members[1].core.role == LEADER


def test_trust_of_before_another_damage_is_not_believed() -> None:
    """It has voted in between, and the datagram comes a second time."""
    group = settled_group()
    lost = damage(group, 3)
    until_trust(group)
    late = group.wire[0]
    group.deliver_all()
    group.isolate(1)
    lose_a_later_vote(group, lost)
    for _ in range(4):
        group.wire.append(late)
        group.beat(1)

    assert lost.core.doubt == ALL
    group.propose(1, b"not d")
    group.deliver_all()  # the group checks what is committed


def test_a_node_that_is_damaged_again_is_not_vouched_for_by_answers_of_before() -> None:
    """The leader hasn't heard that it was trusted in between, and voted."""
    group = settled_group()
    lost = damage(group, 3)
    until_trust(group)
    group.deliver()
    group.isolate(1)  # it never hears that it has arrived
    group.deliver_all()
    lose_a_later_vote(group, lost)
    for _ in range(3):
        group.beat(1)

    assert lost.core.doubt == ALL
    group.propose(1, b"not d")
    group.deliver_all()  # the group checks what is committed

    # and in the end it is trusted all the same
    group.heal()
    group.run(10 * HIGH_MS)
    assert lost.core.doubt == 0


def test_a_node_that_is_damaged_twice_is_trusted_by_the_leader_that_knew_of_once() -> None:
    group = settled_group()
    lost = damage(group, 3)
    until_trust(group)
    group.deliver()
    group.wire.clear()  # its leader never hears that it has arrived

    damage(group, 3)
    for _ in range(4):
        group.beat(1)

    assert group.members[1].core.role == LEADER
    assert lost.core.doubt == 0


# Durability


def test_doubt_outlives_restarts_and_terms() -> None:
    for doubt in (9, ALL):
        node = doubter(doubt, 1, 1)
        node.hear(APPEND, 2, 3, 2, 1, commit=2, entries=entries(3, 3))
        node.hear(VOTE, 3, 7, index=900, log_term=6)
        for _ in range(3):
            assert durable_doubt(node) == node.core.doubt == doubt
            node.start()
        node.hear(APPEND, 2, 8, 3, 3, entries=entries(4, 8))
        assert durable_doubt(node) == doubt


def test_the_end_of_doubt_is_saved_and_the_vote_that_follows_comes_after_it() -> None:
    node = doubter(3, 1, 1, 1)
    node.core.step(letter(APPEND, 2, 1, 2, 3, 1, commit=3))

    ready = node.core.ready()
    assert ready is not None
    assert (ready.save, ready.doubt, ready.term) == (True, 0, 2)
    assert [m.kind for m in ready.after] == [APPEND_REPLY] and ready.early == []
    node.work()
    assert node.core.ready() is None
    assert durable_doubt(node) == 0

    node = doubter(ALL, 1, 1)
    node.hear(APPEND, 2, 3, 2, 1)
    assert durable_doubt(node) == ALL


def test_doubt_ends_in_the_flash_only_when_what_was_lost_is_there_again() -> None:
    """Wherever the power fails: a node without it would vote as if it had never held it."""
    data = snapshot_of(entries(1, 1, 1, 1, 1, 1), 300)

    def with_entries(node: Member) -> None:
        node.hear(APPEND, 2, 2, 3, 1, commit=5, entries=entries(4, 1, 1))

    def with_snapshot(node: Member) -> None:
        node.hear(SNAPSHOT, 2, 2, 5, 1, piece=pieces(data)[0])

    for act in (with_entries, with_snapshot):
        size = 0
        cut = True
        while cut:
            node = doubter(5, 1, 1, 1)
            node.flash.power_bytes = size
            try:
                act(node)
                cut = False
            except PowerCut:
                size += CUT_STRIDE
            node.start()
            assert node.core.doubt == 5 or node.log.last >= 5, size
        assert size > 20


# The whole way


def test_an_entry_outlives_the_damage_of_one_that_has_acknowledged_it() -> None:
    """Node 2 never had it, and node 3 has lost it: without node 1 they can't elect anyone."""
    group = settled_group()
    group.isolate(2)
    group.propose(1, b"kept")
    group.deliver_all()
    assert group.members[1].core.commit == 5
    group.heal()
    group.crash(1)
    damage(group, 3, doubt=5)

    group.run(10 * HIGH_MS)
    assert group.leader() is None

    group.restart(1)
    group.run(10 * HIGH_MS)
    leader = group.leader()
    assert leader is not None and leader.node == 1
    for member in group.up():
        assert b"kept" in [data for _, _, data in member.applied]
    assert group.members[3].core.doubt == 0


def test_a_vote_that_was_lost_is_not_given_a_second_time() -> None:
    group = Group(3)
    for member in group.up():
        member.core.pass_time(HIGH_MS)
    first = group.members[1]
    first.stand()
    first.hear(PRE_VOTE_REPLY, 3, 1, GRANTED)
    voter = group.members[3]
    (vote,) = voter.hear(VOTE, 1, 1)
    assert vote.index == GRANTED

    damage(group, 3, terms=1)
    assert (voter.core.term, voter.core.vote) == (0, NOBODY)
    (refusal,) = voter.hear(VOTE, 2, 1)

    assert refusal.index == 0
