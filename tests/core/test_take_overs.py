"""What a new leader does that knows less, or more, than its followers: each of the take-overs."""

from raft.core import HEARTBEAT_MS, LEADER
from raft.members import founders
from raft.messages import APPEND_REPLY, COMMAND, CONFIG, NOOP, PRE_VOTE_REPLY, RESCUE, VOTE_REPLY
from raft.sessions import OPEN, Sessions, command, entry
from tests.core.group import GRANTED, HIGH_MS, Group, Member, entries

PORTABLE = True


class Tally:
    """A state machine that counts how often each command was applied."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def apply(self, payload: bytes | memoryview, now: int) -> bytes:
        key = bytes(payload)
        self.counts[key] = self.counts.get(key, 0) + 1
        return b"done"


def logged(session: int, number: int, payload: bytes) -> bytes:
    """A command as the log carries it."""
    return entry(0, command(session, number, payload))


def tally(member: Member) -> dict[bytes, int]:
    """What the commands that a node has applied have done to its state machine."""
    machine = Tally()
    sessions = Sessions(machine)
    for i, (_, kind, data) in enumerate(member.applied):
        if kind == COMMAND:
            sessions.apply(i + 1, data)
    return machine.counts


def five_with_a_session() -> tuple[Group, int]:
    """Node 1 leads, and a client has opened a session."""
    group = Group(5)
    group.elect(1)
    session = group.propose(1, entry(0, OPEN))
    group.deliver_all()
    return group, session


def depose(group: Group, successor: int, *reached: int) -> None:
    """Node 1 and those of its side are cut off from the successor, who is elected."""
    group.isolate(1, *reached)
    group.elect(successor)


# Fewer committed


def test_a_new_leader_that_knows_of_fewer_commits_learns_of_them_from_its_votes() -> None:
    node = Member(1, (1, 2, 3, 4, 5), terms=(1, 1, 1), term=1)
    node.stand()
    node.hear(PRE_VOTE_REPLY, 2, 2, GRANTED)
    node.hear(PRE_VOTE_REPLY, 3, 2, GRANTED)

    node.hear(VOTE_REPLY, 2, 2, GRANTED, commit=2)
    node.hear(VOTE_REPLY, 3, 2, GRANTED, commit=1)

    assert node.core.role == LEADER
    assert node.core.commit == 2
    assert node.applied == entries(1, 1, 1)


def test_a_new_leader_that_knows_of_fewer_commits_learns_of_them_from_any_answer() -> None:
    node = Member(1, (1, 2, 3, 4, 5), terms=(1, 1, 1), term=1)
    node.lead()
    assert node.core.commit == 0

    node.hear(APPEND_REPLY, 4, 2, index=0, commit=3, ctx=1)

    assert node.core.commit == 3
    assert node.core.alarm is None


def test_the_news_of_commits_so_learned_goes_to_the_followers_at_once() -> None:
    node = Member(1, (1, 2, 3), terms=(1, 1, 1), term=1)
    node.lead()
    node.hear(APPEND_REPLY, 3, 2, index=3, ctx=1)

    sent = node.hear(APPEND_REPLY, 2, 2, index=3, commit=3, ctx=1)

    assert {m.dst for m in sent} == {2, 3}
    assert all(m.commit == 3 for m in sent)


def test_a_claim_of_commits_beyond_the_leaders_log_is_an_alarm_and_not_a_merge() -> None:
    # its entries 1 to 3 are of older terms, 4 is its own and uncommitted
    for claimed in (4, 5, 900):
        node = Member(1, (1, 2, 3), terms=(1, 1, 1), term=1)
        node.lead()

        node.hear(APPEND_REPLY, 2, 2, index=4, commit=claimed, ctx=1)

        assert node.core.alarm == (2, claimed)
        assert node.core.commit == 0
        assert node.core.peers[2].match == 0  # what else it says doesn't count either
        assert node.terms() == [1, 1, 1, 2]


def test_a_vote_that_claims_commits_beyond_the_candidates_log_is_an_alarm_too() -> None:
    node = Member(1, (1, 2, 3), terms=(1, 1, 1), term=1)
    node.stand()
    node.hear(PRE_VOTE_REPLY, 2, 2, GRANTED)

    node.hear(VOTE_REPLY, 2, 2, GRANTED, commit=4)

    assert node.core.alarm is not None
    assert node.core.commit == 0


# Fewer uncommitted


def test_fewer_uncommitted_entries_are_rescued_from_the_followers_and_applied() -> None:
    group, session = five_with_a_session()
    group.isolate(1, 2)
    group.propose(1, logged(session, 1, b"a"))
    group.deliver_all()
    depose(group, 3, 2)
    assert tally(group.members[3]) == {}

    group.heal()
    group.beat(3)
    group.beat(3)
    group.beat(3)

    for member in group.up():
        assert tally(member) == {b"a": 1}
        assert member.core.commit == group.members[3].log.last


def test_what_is_rescued_from_several_followers_is_proposed_once() -> None:
    group, session = five_with_a_session()
    group.isolate(1, 2)
    rescued = logged(session, 1, b"a")
    group.propose(1, rescued)
    group.deliver_all()
    depose(group, 3, 2)
    group.heal()

    group.cut = {(4, 3), (5, 3)}  # so that nothing commits until both rescues have come
    group.tick(3, HEARTBEAT_MS)
    carried = 0
    while group.wire:
        carried += group.wire[0][1] == RESCUE
        group.deliver()

    assert carried == 2
    leader = group.members[3]
    log = [leader.log.entry(i)[2] for i in range(1, leader.log.last + 1)]
    assert log.count(rescued) == 1


def test_a_rescue_that_comes_doubled_and_late_is_not_applied_twice() -> None:
    group, session = five_with_a_session()
    group.isolate(1, 2)
    group.propose(1, logged(session, 1, b"a"))
    group.propose(1, logged(session, 1, b"a"))  # the client had asked twice itself
    group.deliver_all()
    depose(group, 3, 2)
    group.heal()
    late = []
    group.tick(3, HEARTBEAT_MS)
    while group.wire:
        if group.wire[0][1] == RESCUE:
            late.append(group.wire[0])
        group.deliver()
    group.beat(3)
    assert tally(group.members[3]) == {b"a": 1}

    group.wire.extend(late + late)  # now that it is committed, each is a new proposal
    group.deliver_all()
    group.beat(3)

    for member in group.up():
        assert member.core.commit == member.log.last
        assert tally(member) == {b"a": 1}


def test_a_rescue_takes_as_many_datagrams_as_it_needs_and_loses_no_command() -> None:
    group, session = five_with_a_session()
    group.isolate(1, 2)
    wanted = {b"%d " % number + b"x" * 400: 1 for number in range(1, 19)}
    for number in range(1, 19):
        group.propose(1, logged(session, number, b"%d " % number + b"x" * 400))
        group.deliver_all()
    depose(group, 3, 2)

    group.heal()
    for _ in range(4):
        group.beat(3)

    for member in group.up():
        assert tally(member) == wanted


def test_what_has_no_session_is_not_rescued() -> None:
    group, _ = five_with_a_session()
    group.isolate(1, 2)
    group.propose(1, entry(0, OPEN))  # as often as it is asked for, it opens another session
    group.propose(1, b"x")
    group.deliver_all()
    depose(group, 3, 2)

    group.heal()
    group.tick(3, HEARTBEAT_MS)
    while group.wire:
        assert group.wire[0][1] != RESCUE
        group.deliver()

    assert group.members[1].terms() == group.members[3].terms() == [1, 1, 2]


def test_a_leader_proposes_only_commands_of_sessions_that_are_handed_to_it() -> None:
    node = Member(1, (1, 2, 3))
    node.lead()
    handed = logged(5, 1, b"a")

    node.hear(RESCUE, 2, 1, entries=[
        (1, NOOP, b""), (1, NOOP, handed), (1, CONFIG, founders((1, 2)).data),
        (1, COMMAND, entry(0, OPEN)), (1, COMMAND, b"x"),
        (1, COMMAND, handed), (1, COMMAND, handed),
    ])  # fmt: skip

    assert [node.log.entry(i)[2] for i in range(2, node.log.last + 1)] == [handed]


def test_what_is_handed_to_a_node_that_does_not_lead_is_let_go() -> None:
    node = Member(1, (1, 2, 3))

    assert node.hear(RESCUE, 2, 1, entries=[(1, COMMAND, logged(5, 1, b"a"))]) == []

    assert node.log.last == 0


# More uncommitted


def test_more_uncommitted_entries_are_sent_and_commit_with_one_of_the_new_term() -> None:
    group = Group(3)
    group.elect(1)
    group.isolate(3)
    for data in (b"a", b"b"):
        group.propose(1, data)
    group.cut.add((2, 1))  # node 2 has them, and node 1 never hears of it
    group.deliver_all()
    assert group.members[1].core.commit == 1
    group.crash(1)
    group.heal()

    leader = group.elect(2)

    assert leader.terms() == [1, 1, 1, 2]
    assert leader.log.entry(4) == (2, NOOP, b"")
    assert leader.core.commit == 4
    assert [data for _, _, data in group.members[3].applied][1:] == [b"a", b"b", b""]


# More committed


def test_more_committed_entries_are_sent_and_the_followers_apply_them() -> None:
    group = Group(3)
    group.elect(1)
    group.beat(1)
    group.isolate(3)
    for data in (b"a", b"b"):
        group.propose(1, data)
        group.deliver_all()
    assert group.members[2].core.commit == 3
    assert group.members[3].core.commit == 1
    group.crash(1)
    group.heal()

    group.elect(2)
    group.beat(2)

    assert group.members[3].core.commit == 4
    assert group.members[3].applied == group.members[2].applied
    old = group.restart(1)
    group.beat(2)
    group.beat(2)
    assert old.applied == group.members[2].applied


def test_an_old_leader_that_comes_back_is_led_by_the_new_one() -> None:
    group = Group(3)
    group.elect(1)
    group.isolate(1)
    group.propose(1, b"lost")
    group.deliver_all()
    group.elect(2)
    group.propose(2, b"kept")
    group.deliver_all()

    group.heal()
    group.tick(1, HIGH_MS)
    group.deliver_all()
    group.beat(2)
    group.beat(2)

    assert group.members[1].applied == group.members[2].applied
    assert b"lost" not in [data for _, _, data in group.committed]


def test_a_rescued_command_has_the_time_of_the_leader_that_rescues_it() -> None:
    # With its first leader's, it would end what goes by time as much earlier as it was on its way.
    node = Member(1, (1, 2, 3))
    node.lead()
    node.replicate()
    assert node.core.leading
    node.core.leading.set_time(1000)
    command_of_7_s = entry(7, command(5, 1, b"held"))

    node.hear(RESCUE, 2, node.core.term, entries=[(1, COMMAND, command_of_7_s)])

    rescued = node.entries()[-1][2]
    assert rescued == entry(1000, command(5, 1, b"held"))
