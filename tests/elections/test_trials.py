"""The measuring of elections: that its model is what it says, and that it would see bad ones."""

import statistics

from raft.core import LEADER, PRE_CANDIDATE
from raft.messages import APPEND, Message
from tests.cluster.board import US
from tests.dice import Dice
from tests.elections.__main__ import broken, claims, figures_of
from tests.elections.cluster import COUNT, FOUNDED_TERM, Cluster
from tests.elections.conditions import Conditions, boards, lab
from tests.elections.cores import Plain
from tests.elections.experiments import Experiment, measure
from tests.elections.figures import figures_of as figures_of_times
from tests.elections.paper import PAPER
from tests.elections.trial import _crash, lengths_of, run

DELAY_MS, WRITE_MS = 1, 5
FIXED = Conditions((150, 300), (DELAY_MS * US,) * 2, (WRITE_MS * US,) * 2)


def cluster_of(conditions: Conditions, seed: int) -> Cluster:
    dice = Dice(seed)
    return Cluster(conditions, lengths_of(dice), dice)


def median(conditions: Conditions) -> float:
    """Of nine trials, each of them given up after a second and a half."""
    return statistics.median(run(conditions, seed, 1500).all_ms for seed in range(9))


# The model


def test_a_trial_is_decided_by_its_seed() -> None:
    assert run(lab((12, 24), loss=10), 7) == run(lab((12, 24), loss=10), 7)
    assert run(lab((12, 24)), 7) != run(lab((12, 24)), 8)


def test_it_makes_no_difference_how_many_processes_measure() -> None:
    one = Experiment("test", "one", lab((12, 24)))
    rare = Experiment("test", "rare", lab((25, 50)), share=10)

    assert sum(measure([one, rare], 30, seed=0, jobs=2)) == 33

    assert one.trials == [run(one.conditions, seed) for seed in range(30)]
    assert len(rare.trials) == 3


def test_an_election_takes_five_messages_and_two_writes() -> None:
    """Pre-vote and its answer, the own vote's write, vote, the other's write, answer, heartbeat."""
    elected = 0
    for seed in range(10):
        cluster = cluster_of(FIXED, seed)
        _crash(cluster)
        while all(s.core.role != PRE_CANDIDATE for s in cluster.servers):
            cluster.step()
        begun, asking = cluster.now, [s for s in cluster.servers if s.core.role == PRE_CANDIDATE]
        while cluster.followers() < COUNT - 2:
            cluster.step()
        if cluster.leader() in asking:
            elected += 1
            assert cluster.now - begun == (5 * DELAY_MS + 2 * WRITE_MS) * US
    assert elected > 2


def test_two_of_those_that_are_left_cannot_be_elected() -> None:
    ranks = set()
    for seed in range(20):
        cluster = cluster_of(lab((12, 24)), seed)
        lengths = [server.core.log.last for server in cluster.servers]
        crashed = _crash(cluster)
        assert lengths[crashed.node - 1] == max(lengths) and len(set(lengths)) == COUNT
        while cluster.followers() < COUNT - 2:
            cluster.step()
        leader = cluster.leader()
        assert leader
        ranks.add(sorted(lengths, reverse=True).index(lengths[leader.node - 1]))
    assert ranks == {1, 2}


def test_a_leader_dies_at_any_time_between_heartbeats_that_all_have_heard_at_once() -> None:
    silences = []
    for seed in range(30):
        cluster = cluster_of(lab((150, 300)), seed)
        crashed = _crash(cluster)
        left = [server for server in cluster.servers if server is not crashed]
        heard = [cluster.now // US - s._read_at + s.core.silence_ms for s in left]
        assert max(heard) - min(heard) <= 2
        silences.append(heard[0])
    assert min(silences) < 15 and max(silences) > 60
    assert max(silences) <= FIXED.heartbeat_ms + 2


def test_messages_are_lost_as_often_as_it_is_said() -> None:
    cluster = cluster_of(lab((150, 300), loss=30), 1)
    letter = Message()
    letter.kind, letter.dst = APPEND, 1
    before = len(cluster._events)

    cluster.send([letter] * 1000, cluster.now)

    assert 650 < len(cluster._events) - before < 750


def test_a_leader_that_stands_still_for_longer_than_the_timeouts_is_replaced() -> None:
    stalled = [run(boards((50, 100), stall_ms=300, slow=1), seed) for seed in range(20)]
    steady = [run(boards((50, 100)), seed) for seed in range(20)]

    assert sum(trial.false for trial in stalled) > 0
    assert sum(trial.false for trial in steady) == 0


def test_clocks_that_are_wrong_change_when_timeouts_pass() -> None:
    exact = cluster_of(lab((150, 150)), 1)
    wrong = cluster_of(lab((150, 150), drift=30), 1)
    for cluster in (exact, wrong):
        while cluster.now < 1000 * US:
            cluster.step()

    assert {s._rate for s in exact.servers} == {US}
    shown = [server._clock_ms() for server in wrong.servers]
    assert 699 <= min(shown) < 900 and 1100 < max(shown) <= 1301


def test_who_leads_at_first_leads_without_a_message_lost() -> None:
    cluster = cluster_of(lab((12, 24)), 3)
    while cluster.now < 1000 * US:
        cluster.step()
    leader = cluster.leader()
    assert leader and leader.core.role == LEADER and leader.core.term == FOUNDED_TERM
    assert cluster.followers() == COUNT - 1


# What it would see


def test_plain_raft_without_randomness_is_seen_to_be_slow() -> None:
    assert median(lab((150, 150), core=Plain)) > 1500
    assert median(lab((150, 150))) < 200


# What is made of it


def test_figures_are_those_of_the_times() -> None:
    figures = figures_of_times([float(n) for n in range(200, 0, -1)])
    assert (figures.least, figures.median, figures.mean) == (1, 100.5, 100.5)
    assert (figures.p99, figures.worst) == (198, 200)


def test_a_claim_that_does_not_hold_is_told() -> None:
    figures = {name: bound for name, bound in claims()}
    for low, high in PAPER:
        figures[f"elections.plain.{low}_{high}.median_ms"] = PAPER[low, high].median
    assert broken(figures) == []

    figures["elections.paper.12_24.worst_ms"] += 1
    figures["elections.plain.150_300.median_ms"] *= 1.2

    assert broken(figures) == [
        "elections.paper.12_24.worst_ms is 153, not at most 152",
        "elections.plain.150_300.median_ms is 205, in the paper 171",
    ]


def test_figures_have_flat_names() -> None:
    experiment = Experiment("loss", "12_24.5", lab((12, 24), loss=5))
    experiment.trials = [run(experiment.conditions, seed) for seed in range(5)]

    figures = figures_of([experiment])

    assert figures["elections.loss.12_24.5.trials"] == 5
    assert (
        0 < figures["elections.loss.12_24.5.least_ms"] <= figures["elections.loss.12_24.5.worst_ms"]
    )
    assert all(isinstance(value, (int, float)) for value in figures.values())
