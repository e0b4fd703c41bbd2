"""Orders of clients: changes of members and leader."""

from raft.admin import ADD, PROMOTE, RECOVER, REMOVE, TRANSFER, Senseless, execute
from raft.core import HEARTBEAT_MS, LEADER, Busy, NotLeader, Refused
from raft.leading import OTHERS_BEATS
from raft.members import LEARNER, MAX_MEMBERS, STANDBY, VOTER, founders, record
from raft.messages import APPEND_REPLY
from tests.core.group import HIGH_MS, LOW_MS, Group, Member, settled_leader
from tests.support import raises

PORTABLE = True


def commit(node: Member) -> None:
    """Let all others acknowledge the change."""
    node.work()
    sent = node.take()
    for peer in node.core.members.ids:
        if peer != node.node:
            node.hear(APPEND_REPLY, peer, node.core.term, node.log.last, ctx=sent[0].ctx)
    assert node.core.commit == node.log.last


def test_a_node_is_added_as_it_is_described() -> None:
    node = settled_leader()

    index = execute(node.core, bytes((ADD,)) + record(9, STANDBY, 3, "10.0.0.9", 7009, 7109))

    assert index == node.log.last
    members = node.core.members
    assert (members.voters, members.others) == ((1, 2, 3), (9,))
    assert (members.priority(9), members.place(9)) == (3, ("10.0.0.9", 7009, 7109))


def test_who_is_a_member_already_gets_another_place_and_keeps_its_role() -> None:
    node = settled_leader()

    execute(node.core, bytes((ADD,)) + record(2, STANDBY, 7, "10.0.0.2", 1, 2))

    assert node.core.members.voters == (1, 2, 3)
    assert node.core.members.place(2) == ("10.0.0.2", 1, 2)


def test_what_is_so_already_is_done() -> None:
    node = settled_leader()
    order = bytes((ADD,)) + record(9, LEARNER)
    index = execute(node.core, order)
    commit(node)

    for again in (order, bytes((REMOVE, 8)), bytes((PROMOTE, 2))):
        assert execute(node.core, again) == index
    assert node.log.last == index


def test_a_learner_is_promoted_to_a_voter_that_has_yet_to_catch_up() -> None:
    node = settled_leader()
    execute(node.core, bytes((ADD,)) + record(9, LEARNER))
    commit(node)

    execute(node.core, bytes((PROMOTE, 9)))

    assert node.core.members.role(9) == STANDBY
    assert "add it first" in str(raises(Refused, execute, node.core, bytes((PROMOTE, 8))))


def test_one_change_at_a_time() -> None:
    node = settled_leader()
    execute(node.core, bytes((REMOVE, 3)))

    for order in (bytes((REMOVE, 2)), bytes((ADD,)) + record(9, STANDBY)):
        raises(Busy, execute, node.core, order)

    commit(node)
    execute(node.core, bytes((ADD,)) + record(9, STANDBY))
    assert node.core.members.ids == (1, 2, 9)


def test_the_last_voter_stays() -> None:
    node = settled_leader((1,))

    assert "last one" in str(raises(Refused, execute, node.core, bytes((REMOVE, 1))))


def test_a_configuration_has_so_many_members_at_most() -> None:
    node = settled_leader(tuple(range(1, MAX_MEMBERS + 1)))

    error = raises(Refused, execute, node.core, bytes((ADD,)) + record(99, STANDBY))

    assert "full" in str(error)


def test_a_host_is_an_address_or_to_be_found() -> None:
    node = settled_leader()
    before = node.log.last

    for host in ("board", "board.local", "1.2.3", "1.2.3.256", "1.2.3.-4", "1..2.3", "1.2.3.0004"):
        order = bytes((ADD,)) + record(9, STANDBY, 0, host, 7009, 7109)
        assert "no IP address" in str(raises(Refused, execute, node.core, order))
    unreadable = bytes((ADD,)) + record(9, STANDBY)[:-1] + b"\x01\xff"
    raises(Refused, execute, node.core, unreadable)

    assert node.log.last == before
    execute(node.core, bytes((ADD,)) + record(9, STANDBY, 0, "auto", 7009, 7109))
    assert node.core.members.place(9) == ("auto", 7009, 7109)


def test_only_a_leader_takes_orders() -> None:
    node = Member(1, (1, 2, 3), terms=(1,))

    for order in (
        bytes((ADD,)) + record(9, STANDBY),
        bytes((REMOVE, 3)),
        bytes((PROMOTE, 3)),
        bytes((TRANSFER, 3)),
        bytes((TRANSFER, 1)),
    ):
        raises(NotLeader, execute, node.core, order)


def test_what_is_no_order_is_none() -> None:
    node = settled_leader()
    before = node.log.last

    for order in (
        b"",
        b"\0",
        bytes((REMOVE,)),
        bytes((REMOVE, 2, 3)),
        bytes((TRANSFER,)),
        bytes((RECOVER,)),
        bytes((6, 1)),
        bytes((ADD,)),
        bytes((ADD,)) + record(9, VOTER),
        bytes((ADD,)) + record(9, STANDBY)[:-1],
        bytes((ADD,)) + record(9, STANDBY) + b"x",
        bytes((ADD,)) + founders((8, 9)).data,
    ):
        raises(Senseless, execute, node.core, order)

    assert node.log.last == before


def test_a_transfer_goes_to_whom_it_names() -> None:
    group = Group(3)
    group.elect(1)
    group.beat(1)

    execute(group.members[1].core, bytes((TRANSFER, 3)))
    group.work(1)
    group.deliver_all()

    assert group.members[3].core.role == LEADER
    assert execute(group.members[3].core, bytes((TRANSFER, 3))) == 0
    assert group.members[3].core.role == LEADER


def test_two_survivors_of_five_go_on() -> None:
    group = Group(5)
    group.elect(1)
    group.propose(1, b"a")
    group.deliver_all()
    group.beat(1)
    for node in (1, 4, 5):
        group.crash(node)
    survivor = group.members[2]
    order = bytes((RECOVER, 2, 3))

    # as long as it knows a leader, it can't be needed
    assert "has a leader" in str(raises(Refused, execute, survivor.core, order))
    group.run(3 * HIGH_MS)
    assert group.leader() is None
    assert "not all" in str(raises(Refused, execute, survivor.core, bytes((RECOVER, 2, 9))))
    assert "ask a survivor" in str(raises(Refused, execute, survivor.core, bytes((RECOVER, 3, 4))))
    execute(survivor.core, order)
    group.work(2)
    group.deliver_all()
    group.run(4 * HEARTBEAT_MS + LOW_MS)

    assert survivor.core.role == LEADER
    for member in group.up():
        assert member.core.members.voters == (2, 3)
        assert (1, b"a") in [entry[1:] for entry in member.applied]
        assert member.core.commit == member.log.last


def test_a_leader_that_is_removed_leads_that_to_its_end_and_is_out() -> None:
    group = Group(3)
    group.elect(1)
    group.beat(1)
    leader = group.members[1]

    index = execute(leader.core, bytes((REMOVE, 1)))
    group.work(1)
    group.deliver_all()

    assert leader.core.commit >= index
    assert leader.core.role != LEADER and leader.core.successor == 2
    assert group.members[2].core.role == LEADER
    assert group.members[2].core.members.voters == (2, 3)
    group.run(2 * OTHERS_BEATS * HIGH_MS)
    assert leader.core.is_out and leader.core.role_name() == "out"
    assert group.members[2].core.role == LEADER  # all the time: nobody was disturbed
    assert group.members[2].core.term == 2
