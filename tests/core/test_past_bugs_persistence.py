"""Bugs that other projects had: what has to be in flash, and when."""

from raft.core import FOLLOWER, HEARTBEAT_MS, LEADER, NOBODY
from raft.messages import (
    APPEND,
    APPEND_REPLY,
    COMMAND,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    TRUST,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.sector import RECORD_BYTES
from raft.store import StoreFull
from tests.core.group import GRANTED, Group, Member, entries, letter, settled_leader
from tests.flash import PowerCut
from tests.support import raises

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORTABLE = True

VOTERS = (1, 2, 3)


def each_cut(
    make: "Callable[[], Member]", act: "Callable[[Member], object]"
) -> "Iterator[tuple[list[Message], Member]]":
    """Nodes after a power cut at each byte of all that the flash is given to do in `act`.

    make() -> Member; act(Member). Gives (what had left the node by then, the node restarted).
    """
    size = 0
    while True:
        node = make()
        node.flash.power_bytes = size
        try:
            act(node)
        except PowerCut:
            sent = node.take()
            node.start()
            yield sent, node
        else:
            break
        size += 1
    assert size >= RECORD_BYTES  # or else nothing was written at all


def test_a_vote_or_a_term_that_is_answered_before_it_is_stored() -> None:
    """PySyncObj#84"""
    for sent, node in each_cut(
        lambda: Member(1, VOTERS, term=3), lambda node: node.hear(VOTE, 2, 4)
    ):
        assert sent == []
        # and so another candidate may have what nobody was promised, but each only once
        (reply,) = node.hear(VOTE, 3, 4)
        assert reply.index == (1 if node.core.vote == 3 else 0)
        assert node.hard_state() == (4, node.core.vote)

    node = Member(1, VOTERS, term=3)
    (reply,) = node.hear(VOTE, 2, 4)
    assert (reply.kind, reply.index) == (VOTE_REPLY, GRANTED)
    node.start()
    (reply,) = node.hear(VOTE, 3, 4)
    assert reply.index == 0


def test_a_term_that_begins_again_after_a_restart_of_all() -> None:
    """PySyncObj#202"""
    group = Group(3)
    for node in (1, 2, 3):
        group.elect(node)
    terms = [member.core.term for member in group.up()]
    assert terms == [3, 3, 3]

    for node in (1, 2, 3):
        group.restart(node)
    assert [member.core.term for member in group.up()] == terms

    assert group.elect(1).core.term == 4


def test_a_commit_index_beyond_the_log_after_power_loss_that_blocks_the_start() -> None:
    """PySyncObj#197"""
    group = Group(3)
    leader = group.elect(1)
    for data in (b"a", b"b", b"c"):
        group.propose(1, data)
        group.deliver_all()
    group.beat(1)
    assert group.members[2].core.commit == 4
    # node 2 loses the power while it writes two more, and its log ends before the commit index
    group.propose(1, b"d")
    group.propose(1, b"e")
    group.members[2].flash.power_bytes = RECORD_BYTES + 2
    raises(PowerCut, group.deliver_all)
    group.wire.clear()
    group.propose(1, b"f")
    group.cut = {(1, 2), (2, 1)}
    group.tick(1, HEARTBEAT_MS)
    group.deliver_all()
    assert leader.core.commit == 7

    torn = group.restart(2)

    assert torn.core.commit == 0
    assert torn.log.last < leader.core.commit
    torn.hear(APPEND, 1, 1, index=torn.log.last, log_term=1, commit=7)
    assert torn.core.commit == torn.log.last
    group.heal()
    group.beat(1)
    group.beat(1)
    assert torn.applied == leader.applied
    assert len(torn.applied) == 7


def test_a_term_and_a_vote_that_are_written_apart() -> None:
    """hashicorp/raft#661, willemt/raft#47"""
    states = set()
    for _, node in each_cut(
        lambda: Member(1, VOTERS, term=3, vote=3), lambda node: node.hear(VOTE, 2, 4)
    ):
        states.add((node.core.term, node.core.vote))

    assert states == {(3, 3)}  # never the new term with the old vote or none
    node = Member(1, VOTERS, term=3, vote=3)
    node.hear(VOTE, 2, 4)
    assert node.hard_state() == (4, 2)


def test_an_entry_that_is_acknowledged_before_it_is_durable() -> None:
    """etcd#10166"""
    more = entries(3, 2, 2, 2)
    for sent, node in each_cut(
        lambda: Member(1, VOTERS, terms=(1, 1), term=2),
        lambda node: node.hear(APPEND, 2, 2, index=2, log_term=1, entries=more),
    ):
        assert sent == []
        assert node.terms() == [1, 1, 2, 2, 2][: node.log.last]
        assert node.log.last >= 2

    node = Member(1, VOTERS, terms=(1, 1), term=2)
    (reply,) = node.hear(APPEND, 2, 2, index=2, log_term=1, entries=more)
    assert (reply.kind, reply.index) == (APPEND_REPLY, 5)
    node.start()
    assert node.terms() == [1, 1, 2, 2, 2]


def test_a_leader_that_counts_its_own_entry_before_it_is_durable() -> None:
    """etcd#10166, seen from the leader: its entries leave before it has written them"""
    node = settled_leader()
    node.flash.power_bytes = 3
    node.core.propose(COMMAND, b"a")

    raises(PowerCut, node.work)

    sent = node.take()
    assert [(m.kind, m.dst) for m in sent] == [(APPEND, 2), (APPEND, 3)]
    node.core.step(letter(APPEND_REPLY, 2, 1, 1, index=2, ctx=sent[0].ctx))
    assert node.core.commit == 1  # one of three has entry 2
    node.start()
    assert node.log.last == 1


def test_a_first_hard_state_that_is_never_written() -> None:
    """etcd#2878"""

    def stand(node: Member) -> list[Message]:
        node.stand()
        return node.hear(PRE_VOTE_REPLY, 2, 1, GRANTED)

    states = set()
    for sent, node in each_cut(lambda: Member(1, VOTERS), stand):
        assert sent == []
        states.add((node.core.term, node.core.vote))
    # the head of the first sector has it too, and may be whole when the record behind it isn't
    assert states == {(0, NOBODY), (1, 1)}

    node = Member(1, VOTERS)
    assert [m.kind for m in stand(node)] == [VOTE, VOTE]
    assert node.hard_state() == (1, 1)


def test_a_fault_of_the_flash_while_conflicting_entries_are_replaced() -> None:
    """canonical/raft#450"""
    results = set()
    for sent, node in each_cut(
        lambda: Member(1, VOTERS, terms=(1, 1, 1, 1), term=2),
        lambda node: node.hear(APPEND, 2, 2, 1, 1, entries=entries(2, 2, 2)),
    ):
        assert sent == []
        assert (node.core.role, node.core.term) == (FOLLOWER, 2)
        results.add(tuple(node.terms()))
        # the old log or the new one so far, never parts of both
        assert node.terms() in ([1, 1, 1, 1], [1, 2], [1, 2, 2])

        (reply,) = node.hear(APPEND, 2, 2, 1, 1, entries=entries(2, 2, 2))

        assert (reply.kind, reply.index) == (APPEND_REPLY, 3)
        node.start()
        assert node.terms() == [1, 2, 2]
    assert results >= {(1, 1, 1, 1), (1, 2)}


def test_a_program_that_fails_while_conflicting_entries_are_replaced() -> None:
    """canonical/raft#450, with an error of the device and the power on"""
    # when one program fails, then it is done elsewhere before it is answered
    node = Member(1, VOTERS, terms=(1, 1, 1, 1), term=2)
    node.flash.failures = 1
    (reply,) = node.hear(APPEND, 2, 2, 1, 1, entries=entries(2, 2, 2))
    assert (reply.kind, reply.index) == (APPEND_REPLY, 3)
    assert node.store.faults == 1
    node.start()
    assert node.terms() == [1, 2, 2]

    # when all programs fail, then nothing is answered, and what is found is the old log or a part
    node = Member(1, VOTERS, terms=(1, 1, 1, 1), term=2)
    node.flash.failures = 1000
    raises(StoreFull, node.hear, APPEND, 2, 2, 1, 1, 0, 0, entries(2, 2, 2))
    assert node.take() == []
    node.start()
    assert node.terms() in ([1, 1, 1, 1], [1, 2])
    (reply,) = node.hear(APPEND, 2, 2, 1, 1, entries=entries(2, 2, 2))
    assert (reply.kind, reply.index) == (APPEND_REPLY, 3)
    node.start()
    assert node.terms() == [1, 2, 2]


def test_a_follower_whose_flash_has_lost_what_it_acknowledged_is_never_healed() -> None:
    """Its match index never falls, so the leader would ask for more than it has for ever."""
    group = Group(3)
    leader = group.elect(1)
    blank = group.members[3].flash.copy()
    for data in (b"a", b"b", b"c"):
        group.propose(1, data)
        group.deliver_all()
    assert leader.core.peers[3].match == 4

    group.members[3].flash = blank  # its newest records are gone
    lost = group.restart(3)
    assert lost.log.last < 4
    for _ in range(4):
        group.beat(1)

    assert leader.core.role == LEADER
    assert lost.applied == leader.applied == group.committed
    assert leader.core.peers[3].match == 4


def test_a_node_that_has_lost_entries_votes_again_before_it_has_them_back() -> None:
    """A node that knows its flash is damaged neither votes nor stands until it is healed."""
    node = Member(1, VOTERS, terms=(1, 1, 1), term=1)
    node.hear(APPEND, 2, 1, 3, 1, entries=entries(4, 1))
    node.flash.flip(0, bytes(node.flash.sector(0)).find(b"3.1"), 0)  # the data of entry 3
    node.start()
    assert node.terms() == [1, 1]
    assert node.store.damage == 4

    assert node.stand() == []
    (refusal,) = node.hear(VOTE, 2, 2, index=9, log_term=1)
    assert refusal.index == 0
    (refusal,) = node.hear(PRE_VOTE, 2, 3, index=9, log_term=1)
    assert refusal.index == 0

    # when it has as many entries again, they need not be those that it has lost
    node.hear(APPEND, 2, 3, 2, 1, entries=entries(3, 1, 1))
    assert node.stand() == []
    (refusal,) = node.hear(VOTE, 2, 4, index=9, log_term=1)
    assert refusal.index == 0

    # when those are committed, then a vote may still be among what it has lost
    node.hear(APPEND, 2, 4, 4, 1, commit=4)
    assert node.core.commit == 4
    assert node.stand() == []

    # when all others vouch for it, then it takes part again
    (reply,) = node.hear(APPEND, 2, 4, 4, 1, commit=4)
    node.hear(TRUST, 2, 4, index=4, ctx=reply.commit)
    assert [m.kind for m in node.stand()] == [PRE_VOTE, PRE_VOTE]
    (vote,) = node.hear(VOTE, 2, 5, index=9, log_term=1)
    assert vote.index == GRANTED
