"""The properties of the paper's figure 3, held against a state that has just been reached.

Leader Append-Only, and what one node alone can do wrong, is looked at in `node.broken_rule`.
"""

import functools
from dataclasses import replace

from raft.core import LEADER
from tests.model.bounds import Past
from tests.model.disk import Entry
from tests.model.node import Value

ELECTION_SAFETY = "Election Safety"
LOG_MATCHING = "Log Matching"
LEADER_COMPLETENESS = "Leader Completeness"
STATE_MACHINE_SAFETY = "State Machine Safety"


def look(nodes: list[Value], i: int, leads: bool, tells: bool, past: Past) -> tuple[Past, str]:
    """What is to be remembered after a step of the node `i`; the property that is broken, or "".

    leads: whether it begins to lead; tells: whether its log is another one, or it knows of more
    commits.
    """
    node = nodes[i]
    broken = ""
    if leads:
        past, broken = _look_at_leader(node, past)
    if tells and not broken:
        past, broken = _look_at_log(nodes, node, past)
    return past, broken


def _look_at_leader(node: Value, past: Past) -> tuple[Past, str]:
    term = node.fact("term")
    leaders = past.leaders
    if leaders[term] not in (0, node.node):
        return past, ELECTION_SAFETY
    past = replace(past, leaders=(*leaders[:term], node.node, *leaders[term + 1 :]))
    return past, "" if holds_all(node, past) else LEADER_COMPLETENESS


def _look_at_log(nodes: list[Value], node: Value, past: Past) -> tuple[Past, str]:
    log, commit, known = node.log, node.commit, past.committed
    for other in nodes:
        if other.log != log and not logs_match(other.log, log):
            return past, LOG_MATCHING
    for index in range(min(commit, len(known))):
        if known[index][0] != log[index]:
            return past, STATE_MACHINE_SAFETY
    if commit <= len(known):
        return past, ""
    term = node.fact("term")
    more = tuple((entry, term) for entry in log[len(known) : commit])
    past = replace(past, committed=known + more)
    for other in nodes:
        if other.role == LEADER and not holds_all(other, past):
            return past, LEADER_COMPLETENESS
    return past, ""


@functools.cache
def logs_match(a: tuple[Entry, ...], b: tuple[Entry, ...]) -> bool:
    """If two entries have one index and term, all up to there are the same."""
    for index in range(min(len(a), len(b)), 0, -1):
        if a[index - 1][0] == b[index - 1][0]:
            return a[:index] == b[:index]
    return True


def holds_all(leader: Value, past: Past) -> bool:
    """Whether it holds what was committed in earlier terms than it leads."""
    log, term = leader.log, leader.fact("term")
    for i, (entry, committed_in) in enumerate(past.committed):
        if committed_in < term and log[i : i + 1] != (entry,):
            return False
    return True
