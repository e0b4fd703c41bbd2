"""Figure 3: the five properties that hold at all times, however the network and the power fail.

Each by the scenario that it is about, and in a storm of random events.
"""

from raft.core import CANDIDATE, LEADER
from raft.messages import APPEND, COMMAND, PRE_VOTE_REPLY, VOTE
from tests.core.group import GRANTED, Group, Member, entries
from tests.core.storm import Storm

PORTABLE = True

STEPS = 3000
HEALED_MS = 3000


def test_election_safety_two_candidates_cannot_win_one_term() -> None:
    nodes = {n: Member(n, (1, 2, 3, 4, 5)) for n in (1, 2, 3, 4, 5)}
    requests = {}
    for n in (1, 2):
        nodes[n].stand()
        nodes[n].hear(PRE_VOTE_REPLY, 4, 1, GRANTED)
        requests[n] = nodes[n].hear(PRE_VOTE_REPLY, 5, 1, GRANTED)
        assert nodes[n].core.role == CANDIDATE
    # every voter hears both, in different order, and each of them twice
    for voter, order in ((3, (1, 2, 1, 2)), (4, (2, 1, 2, 1)), (5, (1, 1, 2, 2))):
        for n in order:
            (request,) = [m for m in requests[n] if m.dst == voter]
            (reply,) = nodes[voter].hear(VOTE, n, request.term)
            nodes[n].hear(reply.kind, voter, reply.term, reply.index)

    assert nodes[1].core.role == LEADER  # of 3 and 5
    assert nodes[2].core.role == CANDIDATE


def test_election_safety_in_a_storm() -> None:
    storm = Storm(1, nodes=5)

    storm.blow(STEPS, lambda group: None)  # the group checks each new leader

    storm.calm(HEALED_MS)
    assert len(storm.group.leaders) >= 3


def test_leader_append_only_a_leader_never_drops_or_changes_what_it_has() -> None:
    leader = Member(1, (1, 2, 3), terms=(1, 2), term=2)
    leader.lead()
    before = leader.terms()

    # what the network may bring: messages of now and then, of members and others
    for term in (1, 2, 3):
        for src in (2, 3, 4):
            leader.hear(APPEND, src, term, index=0, entries=entries(1, 1, 1, 1, 1))

    assert leader.terms() == before
    assert leader.core.alarm is not None  # two leaders in one term are told


def test_leader_append_only_in_a_storm() -> None:
    storm = Storm(2, nodes=3)
    last: dict[int, int] = {}  # term -> its leader's last index so far
    terms: dict[int, list[int]] = {}  # term -> terms of the entries of its leader so far

    def look(group: Group) -> None:
        for member in group.up():
            if member.core.role == LEADER:
                term = member.core.term
                assert member.log.last >= last.get(term, 0)
                last[term] = member.log.last
                before = terms.setdefault(term, [])
                if member.log.last >= len(before) + 10:
                    terms[term] = member.terms()
                    assert terms[term][: len(before)] == before

    storm.blow(STEPS, look)

    assert len(terms) >= 3


def test_log_matching_the_same_index_and_term_mean_the_same_log_up_to_there() -> None:
    storm = Storm(3, nodes=5)
    compared = [0, 0]

    def look(group: Group) -> None:
        compared[0] += 1
        if compared[0] % 120:
            return
        logs = [member.entries() for member in group.up()]
        for a in logs:
            for b in logs:
                same = [i for i in range(min(len(a), len(b))) if a[i][0] == b[i][0]]
                if same:
                    assert a[: same[-1] + 1] == b[: same[-1] + 1]
                    compared[1] += a is not b and len(a) > same[-1] + 1

    storm.blow(STEPS, look)

    assert compared[1] > 10  # logs of different length or different ends were among them


def test_log_matching_an_append_that_does_not_fit_is_refused() -> None:
    node = Member(1, (1, 2, 3), terms=(1, 1, 2))

    node.hear(APPEND, 2, 4, index=3, log_term=3, entries=entries(4, 4))
    node.hear(APPEND, 2, 4, index=4, log_term=4, entries=entries(5, 4))

    assert node.terms() == [1, 1, 2]


def test_leader_completeness_a_node_without_a_committed_entry_is_not_elected() -> None:
    group = Group(5)
    group.elect(1)
    group.isolate(4, 5)
    group.propose(1, b"a")
    group.deliver_all()
    assert group.members[1].core.commit == 2
    group.heal()
    group.crash(1)

    for member in group.up():
        member.core.pass_time(1000)
    for node in (4, 5):
        group.tick(node)
        group.deliver_all()
        assert group.members[node].core.role != LEADER
    group.elect(2)

    group.beat(2)
    assert [m.core.commit for m in group.up()] == [3, 3, 3, 3]
    assert group.committed[1] == (1, COMMAND, b"a")


def test_leader_completeness_in_a_storm() -> None:
    storm = Storm(4, nodes=5)

    storm.blow(STEPS, lambda group: None)  # the group checks each new leader's log

    leaders, committed = len(storm.group.leaders), len(storm.group.committed)
    assert leaders >= 3 and committed >= 10
    storm.calm(HEALED_MS)
    assert len(storm.group.committed) > committed


def test_state_machine_safety_all_apply_the_same_entry_at_an_index() -> None:
    for seed, nodes in ((5, 2), (6, 3), (7, 4)):
        storm = Storm(seed, nodes)

        storm.blow(STEPS, lambda group: None)  # the group checks all that is applied

        storm.calm(HEALED_MS)
        members = list(storm.group.members.values())
        assert len(members[0].applied) == members[0].log.last >= 10
        for member in members:
            assert member.applied == members[0].applied
