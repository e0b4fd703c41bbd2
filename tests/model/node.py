"""One node as a value: the shipped core is made from it, does one thing, and is a value again.

A value can be compared and hashed. It holds every attribute of the core and of what belongs to it,
found by looking at the objects, so that a new one can't be forgotten; but for

- what is the same in all of them, such as the list of voters (FIXED);
- time. Any timer may run out at any moment, so that the search shows more than real clocks can do;
  and whoever is asked for a vote may have heard its leader within the shortest election timeout, in
  which it refuses (`Core._hears_leader`), or not;
- whom a leader has heard of late: it may miss its quorum whenever it looks for it;
- the number of a leader's round: see `number_rounds`;
- what only the age of a read depends on.

The latter four are made ALIKE before a node is looked at.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from raft.core import (
    CANDIDATE,
    ELECTION_MS,
    HEARTBEAT_MS,
    LEADER,
    NOBODY,
    PRE_CANDIDATE,
    Core,
    Ready,
)
from raft.leading import Refused
from raft.log import Log
from raft.members import founders
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.progress import Progress
from tests.model.disk import Disk, Entry

LOW_MS, HIGH_MS = ELECTION_MS
REPLIES = (PRE_VOTE_REPLY, VOTE_REPLY, APPEND_REPLY, APPEND_REJECT)

FIXED = {
    "node", "log", "members", "_ready", "early", "after", "reads", "_pool", "_draw",
    "heartbeat_ms", "election_low", "election_high", "uncommitted_bytes", "lease",
    "remove_dead_ms", "least_voters", "peers", "leading", "core", "_voters", "_others",
}  # fmt: skip
APART = {"role", "commit", "_answers", "_known_commit"}  # fields of a Value by themselves
ALIKE_IN_CORES = {
    "silence_ms": 0, "_elapsed": 0, "_timeout": HIGH_MS, "_since_ask": 0,
    "_told_commit": 0, "_told_term": 0,
}  # fmt: skip
ALIKE_IN_LEADERS = {
    "clock": 0, "_stamp": 0, "_stamped_at": 0, "_sent_at": 0, "_checked_at": 0,
    "_checked_ms": 0, "_settled": 0, "_handing_since": 0, "_turn": 0, "round": 0,
}  # fmt: skip
ALIKE_IN_PEERS = {
    "steady": 0, "sent_at": 0, "round": 0, "heard": False, "answered": False, "silent": 0,
    "prev": -1, "prev_term": 0,  # what was looked up last, and can be again
}  # fmt: skip
LEFT_OUT = FIXED | APART | {*ALIKE_IN_CORES, *ALIKE_IN_LEADERS, *ALIKE_IN_PEERS}
NAMES_A_NODE = {"vote", "leader", "successor", "_heard", "_saved_vote"}

Facts = tuple[tuple[str, Any], ...]  # attributes and what they are, by name


class Value(NamedTuple):
    """A node. term, vote, log: as they are durable; answers: a candidate's, and before them the
    highest commit index that came with one; leading: the leader's facts, and those of its peers."""

    node: int
    role: int
    commit: int
    term: int
    vote: int
    log: tuple[Entry, ...]
    facts: Facts
    answers: tuple[Any, ...]
    leading: tuple[Facts, tuple[tuple[int, Facts], ...]] | None

    def fact(self, name: str) -> Any:
        return dict(self.facts)[name]


class Letter(NamedTuple):
    """A message, by the fields of `raft.messages.Message`."""

    kind: int
    src: int
    dst: int
    term: int
    log_index: int
    log_term: int
    commit: int
    ctx: int
    entries: tuple[Entry, ...]


class Outcome(NamedTuple):
    """What may come of a step. sent: letters; crashed: how the node has lost its power meanwhile
    (and has started again), or ""; broken: the property that this violates, or ""."""

    value: Value
    sent: tuple[Letter, ...]
    crashed: str = ""
    broken: str = ""


class NarrowLog(Log):
    """As if a datagram had room for one entry."""

    def slice(self, index: int, max_bytes: int, entry_bytes: int) -> list[Entry]:
        entries: list[Entry] = super().slice(index, 0, entry_bytes)
        return entries


class Species:
    """All nodes of one sort of core: how they begin, and what may come of what happens to them.

    nodes: how many there are in the cluster; their ids begin at 1. pre_votes: whether they are
    really asked for: else each is granted, and no such letter leaves. That may be so in fewer
    states than it is done in: the search then shows more than can be.
    """

    def __init__(self, core_class: type[Core], nodes: int, pre_votes: bool = False) -> None:
        self.core_class = core_class
        self.pre_votes = pre_votes
        self.ids = tuple(range(1, nodes + 1))
        self.members = founders(self.ids)

    def newborn(self, node: int) -> Value:
        """A node with an empty flash."""
        return self._started(node, Disk(0, 0, ()))

    def _started(self, node: int, disk: Disk) -> Value:
        core = self.core_class(node, self.members, log_on(disk), disk.term, disk.vote, highest)
        return freeze(core, disk)

    # What may happen to it

    def hear(self, value: Value, letter: Letter) -> list[Outcome]:
        """Of who is asked for a vote: just after it has heard its leader, or a while later."""
        outcomes = self._outcomes(value, lambda core: core.step(message(letter)))
        if letter.kind in (PRE_VOTE, VOTE) and value.fact("_heard") != NOBODY:
            outcomes += self._outcomes(value, lambda core: hear_later(core, letter))
        return outcomes

    def time_out(self, value: Value) -> list[Outcome]:
        """Its election timeout passes."""
        return self._outcomes(value, campaign if self.pre_votes else stand)

    def beat(self, value: Value) -> list[Outcome]:
        """A leader's heartbeat is due."""
        return self._outcomes(value, lambda core: core.tick(HEARTBEAT_MS))

    def check_quorum(self, value: Value) -> list[Outcome]:
        """A leader looks whether it still hears a majority, and doesn't."""
        return self._outcomes(value, lambda core: core.tick(HIGH_MS))

    def propose(self, value: Value, data: bytes) -> list[Outcome]:
        return self._outcomes(value, lambda core: core.propose(COMMAND, data))

    def transfer(self, value: Value, successor: int) -> list[Outcome]:
        return self._outcomes(value, lambda core: core.transfer(successor))

    def crash(self, value: Value) -> list[Outcome]:
        """Its power fails while it waits, and comes back."""
        return [Outcome(self._started(value.node, disk_of(value)), (), "loses its power")]

    # How it happens

    def _outcomes(self, value: Value, happens: Callable[[Core], object]) -> list[Outcome]:
        core = self.thaw(value)
        disk = disk_of(value)
        floors = {node: peer.floor for node, peer in core.peers.items()}
        if core.leading:
            core.leading.round = max(floors.values()) + 1
        try:
            happens(core)
        except Refused:
            return []
        sent: list[Letter] = []
        crashes: list[Outcome] = []
        while ready := core.ready():
            for peer in core.peers.values():
                number_rounds(core, peer, floors.get(peer.node, 0))
            disk = self._work(core, ready, disk, sent, crashes)
        after = freeze(core, disk)
        return [Outcome(after, tuple(sent), "", broken_rule(value, after, core)), *crashes]

    def _work(
        self, core: Core, ready: Ready, disk: Disk, sent: list[Letter], crashes: list[Outcome]
    ) -> Disk:
        """Do what the core wants done, as `node.py` does; what is durable then.

        What comes of it if the power fails meanwhile is added to `crashes`. (Before and after, that
        is the same as if what is sent were lost.)
        """
        if not ready.save:
            sent.extend(letter_of(m) for m in ready.early)
        *partly, whole = disk.states_of_writing(ready)
        for i, state in enumerate(partly):
            if i or sent:
                after = self._started(core.node, state)
                crashes.append(Outcome(after, tuple(sent), f"loses its power in write {i + 1}"))
        if ready.save:
            sent.extend(letter_of(m) for m in ready.early)
        sent.extend(letter_of(m) for m in ready.after)
        core.advance()
        return whole

    # From a value to objects

    def thaw(self, value: Value) -> Core:
        core = self.core_class.__new__(self.core_class)
        attributes = core.__dict__
        attributes.update(ALIKE_IN_CORES)
        attributes.update(value.facts)
        core.node, core.role, core.commit = value.node, value.role, value.commit
        core.log = log_on(disk_of(value))
        core.members = self.members
        attributes["_before"] = (attributes["_before"], self.members)
        core._ready = Ready()
        core.early, core.after = core._ready.early, core._ready.after
        core.reads = core._ready.reads
        core._ready.commit = core.commit
        core._pool = []
        core._draw = highest
        core.heartbeat_ms = HEARTBEAT_MS
        core.election_low, core.election_high = ELECTION_MS
        core.uncommitted_bytes = 1 << 20
        core.lease = False
        core.remove_dead_ms = 0
        core.least_voters = len(self.ids)
        core._known_commit = value.answers[0]
        core._answers = dict(value.answers[1:])
        core._waiting, core._asked = [], []
        core.leading, core.peers = None, {}
        if value.leading:
            self._thaw_leading(core, *value.leading)
        return core

    def _thaw_leading(self, core: Core, facts: Facts, peers: tuple[tuple[int, Facts], ...]) -> None:
        leading = self.core_class.Leading.__new__(self.core_class.Leading)
        leading.__dict__.update(ALIKE_IN_LEADERS)
        leading.__dict__.update(facts)
        leading.core, leading.log = core, core.log
        leading._voters = tuple([node for node in self.ids if node != core.node])  # type: ignore[assignment]
        leading._others = ()
        leading._reads = []
        leading.peers = {node: thawed_peer(node, known) for node, known in peers}
        core.leading, core.peers = leading, leading.peers


def highest(low: int, high: int) -> int:
    return high


def hear_later(core: Core, letter: Letter) -> None:
    core.pass_time(LOW_MS)
    core.step(message(letter))


def campaign(core: Core) -> None:
    core.tick(core._patience())


def stand(core: Core) -> None:
    """Campaign, and be granted all pre-votes at once."""
    campaign(core)
    core._reuse(core.after)
    for voter in core.members.voters:
        if core.role == PRE_CANDIDATE and voter != core.node:
            granted = Letter(PRE_VOTE_REPLY, voter, core.node, core.term + 1, 1, 0, 0, 0, ())
            core.step(message(granted))


def number_rounds(core: Core, peer: Progress, floor: int) -> None:
    """Count the rounds anew, of one peer, with each rejection that counts.

    Of its rounds the leader asks, as long as nothing is read, only whether that of a rejection is
    later than the last rejection that counted.
    """
    peer.floor = floor + (peer.floor != floor)
    for m in itertools.chain(core.early, core.after):
        if m.dst == peer.node and m.kind in (APPEND, COMMIT):
            m.ctx = peer.floor + 1


def thawed_peer(node: int, known: Facts) -> Progress:
    peer = Progress.__new__(Progress)
    peer.__dict__.update(ALIKE_IN_PEERS)
    peer.__dict__.update(known)
    peer.node = node
    peer._in_flight = list(peer._in_flight)
    return peer


def disk_of(value: Value) -> Disk:
    return Disk(value.term, value.vote, value.log)


def log_on(disk: Disk) -> Log:
    """A log with all that is durable in its RAM, too."""
    log = NarrowLog(disk)
    log._entries = list(disk.entries)
    log._first = 1
    return log


def message(letter: Letter) -> Message:
    m = Message()
    (m.kind, m.src, m.dst, m.term, m.index, m.log_term, m.commit, m.ctx) = letter[:-1]
    m.entries = letter.entries  # type: ignore[assignment]
    return m


# From objects to a value


def freeze(core: Core, disk: Disk) -> Value:
    assert not (core.early or core.after or core.reads or core._waiting or core._asked)
    assert core.log.durable == core.log.last and core._before[1].data == core.members.data
    leading = None
    if core.leading:
        peers = sorted(core.leading.peers.items())
        leading = facts_of(core.leading), tuple([(node, facts_of(peer)) for node, peer in peers])
    answers: tuple[Any, ...] = (0,)  # they matter no more
    if core.role in (PRE_CANDIDATE, CANDIDATE):
        # A refusal is as good as no answer
        granted = [(node, True) for node, answer in sorted(core._answers.items()) if answer]
        answers = (core._known_commit, *granted)
    return Value(
        core.node, core.role, core.commit, disk.term, disk.vote, tuple(core.log._entries),
        facts_of(core), answers, leading,
    )  # fmt: skip


def facts_of(thing: object) -> Facts:
    return tuple(_facts(vars(thing)))


def _facts(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in sorted(attributes):
        fact = attributes[name]
        if name in LEFT_OUT or fact == [] and name != "_in_flight":
            continue
        if name == "_before":
            fact = fact[0]  # its index
        elif isinstance(fact, list):
            fact = tuple(fact)
        elif not (fact is None or isinstance(fact, int | tuple)):
            raise TypeError(f"how is {name} = {fact!r} made a part of a value?")
        yield name, fact


def letter_of(m: Message) -> Letter:
    return Letter(
        m.kind, m.src, m.dst, m.term, m.index, m.log_term, m.commit, m.ctx, tuple(m.entries)
    )


def broken_rule(before: Value, after: Value, core: Core) -> str:
    """The rule for one node alone that a step has broken, or ""."""
    if core.alarm:
        return "Election Safety"  # or a commit index that can't be: the node has seen it itself
    if before.role == after.role == LEADER and before.fact("term") == after.fact("term"):
        if after.log[: len(before.log)] != before.log:
            return "Leader Append-Only"
    if after.commit < before.commit or after.commit > len(after.log):
        return "State Machine Safety"
    return ""


# Other names for the nodes

Renaming = tuple[int, ...]  # by a node's id, its other one; the first is 0's


def renamed(value: Value, to: Renaming) -> Value:
    """The same node in a cluster in which all nodes have other ids."""
    leading = value.leading
    if leading:
        facts, peers = leading
        others = tuple(sorted((to[node], peer) for node, peer in peers))
        leading = renamed_facts(facts, to), others
    known_commit, *answers = value.answers
    return value._replace(
        node=to[value.node],
        vote=to[value.vote],
        facts=renamed_facts(value.facts, to),
        answers=(known_commit, *sorted((to[node], granted) for node, granted in answers)),
        leading=leading,
    )


def renamed_facts(facts: Facts, to: Renaming) -> Facts:
    return tuple([(name, to[fact] if name in NAMES_A_NODE else fact) for name, fact in facts])


def renamed_letter(letter: Letter, to: Renaming) -> Letter:
    return letter._replace(src=to[letter.src], dst=to[letter.dst])


def is_dead(letter: Letter, value: Value) -> bool:
    """Whether it can do nothing to this node any more: an answer that comes too late.

    Terms never fall, and who has led a term, or stood in it, doesn't do so a second time.
    """
    if letter.kind not in REPLIES or letter.term > value.term:
        return False
    if letter.term < value.term or letter.kind == PRE_VOTE_REPLY:
        return True
    if letter.kind == VOTE_REPLY:
        return value.role != CANDIDATE or not letter.log_index  # or it is a refusal
    return value.role != LEADER
