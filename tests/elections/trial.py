"""One crash of a leader, and for how long the others are without one."""

from dataclasses import dataclass

from tests.cluster.board import US
from tests.dice import Dice
from tests.elections.cluster import COUNT, FOUNDED_TERM, MAJORITY, Cluster, Server
from tests.elections.conditions import Conditions

ENDLESS_MS = 60_000


@dataclass(frozen=True)
class Trial:
    """all_ms, majority_ms: from the crash until the first heartbeat of a new leader has reached all
    other servers, or as many as it needs for a majority; one that is deposed in between doesn't
    count. terms: begun since the crash. rounds: how
    often the timeout of one server has passed since, at most. false: terms begun before the crash,
    when there was a healthy leader. healthy_ms: for so long there was one.
    """

    all_ms: float
    majority_ms: float
    terms: int
    rounds: int
    false: int
    healthy_ms: float


def run(conditions: Conditions, seed: int, endless_ms: int = ENDLESS_MS) -> Trial:
    """What the seed decides; given up after `endless_ms` without a leader."""
    dice = Dice(seed)
    cluster = Cluster(conditions, lengths_of(dice), dice)
    crashed = _crash(cluster)
    start, term = cluster.now, crashed.core.term
    for server in cluster.servers:
        server.core.campaigns = 0
    majority_us = led_term = 0
    while cluster.followers() < COUNT - 2 and cluster.now < start + endless_ms * US:
        cluster.step()
        leader = cluster.leader()
        if leader and leader.core.term > led_term and cluster.followers() >= MAJORITY - 1:
            majority_us = cluster.now - start
            led_term = leader.core.term
    survivors = [server.core for server in cluster.servers if server.is_up]
    return Trial(
        all_ms=(cluster.now - start) / US,
        majority_ms=(majority_us or cluster.now - start) / US,
        terms=max(core.term for core in survivors) - term,
        rounds=max(core.campaigns for core in survivors),
        false=term - FOUNDED_TERM,
        healthy_ms=start / US,
    )


def lengths_of(dice: Dice) -> list[int]:
    """No two logs are as long: of the four servers that are left, two can't be elected."""
    lengths: list[int] = []
    for length in range(1, COUNT + 1):
        lengths.insert(dice.below(length), length)
    return lengths


def _crash(cluster: Cluster) -> Server:
    """Crash the leader at any moment between two of its heartbeats, which leave to all at once."""
    conditions = cluster.conditions
    settled_ms = 2 * max(conditions.timeout_ms[1], conditions.stall_ms)
    until = settled_ms * US + cluster.dice.below(conditions.heartbeat_ms * US)
    cluster.at(until, lambda: None)
    leader = None
    while leader is None or cluster.now < until:
        cluster.step()
        leader = cluster.leader()
    cluster.crash(leader)
    return leader
