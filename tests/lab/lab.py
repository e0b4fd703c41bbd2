"""The harness of the lab: what MIT 6.5840's tests of lab 3 do to a cluster; portable.

A `Lab` is a simulated cluster (tests/cluster/simulator.py): shipped nodes on a virtual clock, with
the invariants looked at after every step. Each scenario cuts nodes off, robs them of their power,
and gives commands to nodes of its choice, as the scenario of that name does in the course. What
differs:

- There, the first command has index 1. Here the first leader logs the configuration, each leader
  an empty entry, and the lab's client opens its session: indexes are compared, not known.
- There, a crash keeps what the process had persisted. Here the power fails, and flash alone stays.
- There, nodes make RPCs. Here each request is a datagram, and so is its answer, or there is none.
  `requests` is what the course counts: all but answers, hellos (raft/hello.py) apart.
"""

import sys

from raft import requests, sessions
from raft.core import LEADER, Refused
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    DOUBT_REJECT,
    DOUBT_REPLY,
    PEER_BYTES,
    PRE_VOTE_REPLY,
    READ_REPLY,
    SNAPSHOT_REPLY,
    VOTE_REPLY,
    WRITE,
    Message,
    parse,
)
from raft.seal import SEAL_BYTES
from tests.cluster.board import US, Board
from tests.cluster.simulator import Plan, World
from tests.dice import Dice

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from typing import Any

# As in the course
ELECTION_MS = 1000  # which it allows for an election: much more than a cluster needs
LEADER_TRIES = 10  # of about half a second each, until there must be a leader
AGREE_MS = 10_000  # until a command must be agreed on
RETRY_MS = 2000  # until it is given to somebody else
LOOK_MS = 20  # between two looks whether it is
LOST = 100  # per mille, of an unreliable network's requests, and of its answers
DELAY_US = (0, 26_000)  # of its requests; here of its answers, too
REORDERED = 667  # per mille, of the answers that are late when there is long reordering: ...
REORDERED_MS = (200, 2000)  # ... by the first at least, and at most by the second more

DOUBLED = 20  # per mille, of an unreliable network: datagrams may be
CALM_US = (200, 3000)  # delay of a reliable one
NEVER_MS = 1 << 27
POWER_BYTES = 60  # or less can be programmed before it fails: a part of one entry

_ANSWERS = (
    PRE_VOTE_REPLY, VOTE_REPLY, APPEND_REPLY, APPEND_REJECT, SNAPSHOT_REPLY, DOUBT_REPLY,
    DOUBT_REJECT, READ_REPLY,
)  # fmt: skip
_KEY = b"lab"


IS_CPYTHON = sys.implementation.name == "cpython"
SHARE = 3  # of many rounds, one in so many is for MicroPython under `make test`


class Run:
    """How this process runs the scenarios, and what it has seen of the last one.

    is_full: with as many rounds as the course, whatever the interpreter.
    """

    seed = 1
    is_full = IS_CPYTHON
    figures: "dict[str, Any]" = {}


def of_many(rounds: int) -> int:
    """How many of so many rounds are to be run."""
    return rounds if Run.is_full else rounds // SHARE


class LabPlan(Plan):
    """Nothing fails by itself."""

    def __init__(self, dice: Dice) -> None:
        super().__init__(dice)
        self.value_bytes = 40
        self.sectors = 64
        self.ram_bytes = 4096
        self.eager_at = 0
        self.forgets = False
        self.remembers = True
        self.uncommitted_bytes = 8192
        self.joins_datagrams = True
        self.election_ms = [150, 300]
        self.old_flash = False
        self.session_s = 3600
        self.faults = ["restore"]
        self.fault_ms = NEVER_MS
        self.replayed = 0
        self.late = self.garbled = 0


class Lab(World):
    """A cluster for one scenario, by its name in the course; all nodes are up and connected.

    unreliable: whether datagrams get lost and are late. clients: simulated ones, beside the
    scenario itself. connected: the nodes that can hear each other. requests, datagrams, bytes:
    sent from node to node so far; the first without hellos. rejects: answers so far that a log
    doesn't match. sent: None, or how often an entry was sent, by (follower, index, term).
    """

    PLAN = LabPlan

    def __init__(  # type: ignore[no-untyped-def]
        self, name: str, nodes: int, unreliable: bool = False, clients: int = 0, adapt=None
    ) -> None:
        self.name = name
        self.connected = set(range(1, nodes + 1))
        self.is_reordering = False
        self.requests = self.datagrams = self.bytes = self.rejects = 0
        self.sent: dict[tuple[int, int, int], int] | None = None
        self._message = Message()
        self._session = 0
        self._number = 0  # of the latest command of the session
        self._asked = 0  # the node that took a command last
        self._pending: list[Agreement] = []

        def plan_lab(plan: Plan) -> None:
            plan.voters = list(range(1, nodes + 1))
            plan.clients = clients
            make_unreliable(plan, unreliable)
            if adapt:
                adapt(plan)

        super().__init__(Run.seed, adapt=plan_lab)

    # Time

    def sleep(self, ms: int) -> None:
        """Let so much time go by."""
        self._let_pass(self.now + ms * US)

    def _let_pass(self, until: int) -> None:
        while self.soonest() <= until:
            self.step()
        self.now = self.watch.now_us = max(self.now, until)

    def wait_until(self, is_so, ms: int = AGREE_MS) -> None:  # type: ignore[no-untyped-def]
        """Let time go by until `is_so()`; an AssertionError if it isn't after `ms`."""
        end = self.now + ms * US
        while not is_so():
            assert self.now < end, "%s: it isn't so after %d ms" % (self.name, ms)
            self.step()

    # The network

    def set_unreliable(self, is_unreliable: bool) -> None:
        make_unreliable(self.plan, is_unreliable)

    def connect(self, *nodes: int) -> None:
        self.connected.update(nodes)
        self._cut()

    def disconnect(self, *nodes: int) -> None:
        """Nobody hears them, and they hear nobody."""
        self.connected.difference_update(nodes)
        self._cut()

    def _cut(self) -> None:
        self.cut = {
            (a, b)
            for a in self.nodes()
            for b in self.nodes()
            if a not in self.connected or b not in self.connected
        }

    def after(self, node: int, count: int = 1) -> int:
        """The node that comes so many after this one, counted in a circle."""
        return (node - 1 + count) % len(self.boards) + 1

    def send(self, sender: tuple[int, int], to: tuple[int, int], data: bytes) -> None:
        kind = data[1]
        is_message = kind < WRITE  # and neither hello nor of a client
        is_answer = is_message and kind in _ANSWERS
        if max(sender[0], to[0]) <= len(self.boards):
            self.datagrams += 1
            self.bytes += len(data)
        self.requests += is_message and not is_answer
        self.rejects += kind == APPEND_REJECT
        if kind == APPEND and self.sent is not None:
            self._count_entries(to[0], data, self.sent)
        if self.is_reordering:
            least, more = REORDERED_MS
            self.plan.late = REORDERED if is_answer else 0
            self.plan.late_us = (least * US, (least + self.dice.draw(0, more)) * US)
        super().send(sender, to, data)

    def _count_entries(self, node: int, data: bytes, sent: dict[tuple[int, int, int], int]) -> None:
        m = self._message
        assert parse(data, m, PEER_BYTES, len(data) - SEAL_BYTES)
        index = m.index
        entries: list[tuple[int, int, bytes]] = list(m.entries)
        for term, _, _ in entries:
            index += 1
            sent[node, index, term] = sent.get((node, index, term), 0) + 1

    # Power

    def crash(self, node: int) -> None:
        """The node is cut off, and its power fails."""
        self.disconnect(node)
        if self.boards[node - 1].node:
            self._crash(self.boards[node - 1])

    def crash_amid(self, node: int) -> None:
        """The same while a leader has one more command.

        The power fails while it sends that to others or programs it into its flash, or when it
        has that, and nobody else does.
        """
        board = self.boards[node - 1]
        way = self.dice.below(3)
        if way == 0:
            board.sends = self.dice.below(len(self.boards) - 1)
        elif way == 1:
            board.flash.power_bytes = self.dice.below(POWER_BYTES)
        else:
            self.disconnect(node)
        self.propose(node, self.command())
        self.crash(node)

    def restart(self, *nodes: int) -> None:
        """The power of those that have any fails, and all are switched on."""
        for node in nodes:
            if self.is_up(node):
                self._crash(self.boards[node - 1])
            self._boot(self.boards[node - 1])

    def switch_on(self, *nodes: int) -> None:
        """Those that are down, and connect them."""
        for node in nodes:
            self._boot(self.boards[node - 1])
        self.connect(*nodes)

    def is_up(self, node: int) -> bool:
        return self.boards[node - 1].node is not None

    def _crash(self, board: Board) -> None:
        assert board.node
        board.power_off()  # and it is the scenario that switches it on

    # Leaders

    def term(self, node: int) -> int:
        up = self.boards[node - 1].node
        return up.core.term if up else 0

    def leads(self, node: int) -> bool:
        up = self.boards[node - 1].node
        return up is not None and up.core.role == LEADER

    def check_one_leader(self) -> int:
        """A connected node leads, soon; it is the only one in its term. Returns which one."""
        for _ in range(LEADER_TRIES):
            self.sleep(450 + self.dice.below(100))
            leaders: dict[int, int] = {}
            for node in sorted(self.connected):
                if self.leads(node):
                    assert self.term(node) not in leaders, "term %d has two" % self.term(node)
                    leaders[self.term(node)] = node
            if leaders:
                return leaders[max(leaders)]
        raise AssertionError("%s: there is no leader" % self.name)

    def check_no_leader(self) -> None:
        leading = [node for node in self.connected if self.leads(node)]
        assert not leading, "%s: %s lead" % (self.name, leading)

    def check_terms(self) -> int:
        """All connected nodes are in the same term. Returns it."""
        terms = {self.term(node) for node in self.connected}
        assert len(terms) == 1, "%s: terms %s" % (self.name, sorted(terms))
        return terms.pop()

    # Commands

    def command(self, size: int = 10) -> bytes:
        """A new one, as a client sends it, with a value of so many bytes."""
        self._number += 1
        value = b"%010d" % self._number + b"." * (size - 10)
        return sessions.command(self._session, self._number, requests.put(_KEY, value))

    def open_session(self) -> None:
        """So that commands have effect."""
        self._session = self.agree(sessions.OPEN, 1, True)

    def propose(self, node: int, command: bytes) -> int:
        """Give that command to a node. Its index, or 0 if that node doesn't lead."""
        return (self.propose_all(node, [command]) or [0])[0]

    def propose_all(self, node: int, commands: list[bytes]) -> list[int]:
        """Give it all of these in one moment. Indexes of those that it has taken."""
        board = self.boards[node - 1]
        self._let_pass(board.busy_until)
        taken: list[int] = []
        if self.leads(node):
            self._run(board, lambda: _propose(board.node, commands, taken))
        return taken if board.node else []

    def give(self, leader: int, count: int, size: int = 10) -> list[int]:
        """Give so many new commands to a node that leads, in one moment. Their indexes."""
        indexes = self.propose_all(leader, [self.command(size) for _ in range(count)])
        assert len(indexes) == count, "%s: %d of %d taken" % (self.name, len(indexes), count)
        return indexes

    def committed(self, index: int, command: bytes) -> int:
        """How many nodes have applied the entry `index`, if it is that command."""
        log = self.watch.committed
        if index > len(log) or not holds(log[index - 1], command):
            return 0
        return self.applied(index)

    def applied(self, index: int) -> int:
        """How many nodes have applied the entry `index`."""
        return sum(board.node is not None and board.node.applied >= index for board in self.boards)

    def one(self, expected: int, retry: bool = False, size: int = 10) -> int:
        """A new command is agreed on by that many nodes. Returns its index.

        retry: whether it may be given to another node if the first hasn't had it committed.
        """
        if not self._session:
            self.open_session()
        return self.agree(self.command(size), expected, retry)

    def agree(self, command: bytes, expected: int, retry: bool) -> int:
        """The same with this command."""
        agreement = self.begin(command, expected, retry)
        self.wait_for(agreement)
        return agreement.index

    def begin(self, command: bytes, expected: int, retry: bool) -> "Agreement":
        """The same, and others may go on meanwhile."""
        agreement = Agreement(self, command, expected, retry)
        self._pending.append(agreement)
        return agreement

    def wait_for(self, agreement: "Agreement") -> None:
        """Let time go by until it is there, and look after the others meanwhile."""
        while not agreement.is_there:
            for one in self._pending:
                one.look()
            self._pending = [one for one in self._pending if not one.is_there]
            if not agreement.is_there:
                self.sleep(LOOK_MS)

    def wait_for_all(self) -> None:
        while self._pending:
            self.wait_for(self._pending[0])

    def take(self, command: bytes) -> int:
        """Give a command to any node that takes it. Its index, or 0."""
        for _ in self.boards:
            self._asked = self.after(self._asked)
            if self._asked in self.connected:
                index = self.propose(self._asked, command)
                if index:
                    return index
        return 0

    # The end

    def end(self, found: str) -> None:
        """The scenario is over, and has found that to be so. Now all must become one again."""
        figures = {
            "name": self.name,
            "ms": self.now // US,
            "nodes": len(self.boards),
            "requests": self.requests,
            "datagrams": self.datagrams,
            "bytes": self.bytes,
            "commands": self.commands(),
            "elections": self.watch.happened.get("elections", 0),
            "found": found,
        }
        self.is_reordering = False
        self.heal()
        print(line(figures))
        Run.figures = figures

    def commands(self) -> int:
        """How many are committed, but for those that open sessions."""
        return sum(
            entry[1] == COMMAND and sessions.has_session(entry[2]) for entry in self.watch.committed
        )


class Agreement:
    """A command that has to be agreed on: given to whoever takes it, and looked after."""

    def __init__(self, lab: Lab, command: bytes, expected: int, retry: bool) -> None:
        self._lab = lab
        self._command = command
        self._expected = expected
        self._retry = retry
        self._end = lab.now + AGREE_MS * US
        self._patience = 0
        self.index = 0  # where it was put last
        self.is_there = False

    def look(self) -> None:
        """Has it been agreed on? Is it time to give it to somebody else?"""
        lab = self._lab
        if self.index and lab.committed(self.index, self._command) >= self._expected:
            self.is_there = True
            return
        assert lab.now < self._end, "%s: no agreement in %d ms" % (lab.name, AGREE_MS)
        if not self.index or lab.now >= self._patience:
            assert self._retry or not self.index, "%s: not agreed on at once" % lab.name
            self.index = lab.take(self._command)
            self._patience = lab.now + RETRY_MS * US


def _propose(node, commands: list[bytes], taken: list[int]) -> None:  # type: ignore[no-untyped-def]
    node.pass_time()
    for command in commands:
        data = sessions.entry(node.core.leading.stamp(), command)
        try:
            taken.append(node.core.propose(COMMAND, data))
        except Refused:
            break
    node._drive()


def holds(entry: tuple[int, int, bytes], command: bytes) -> bool:
    """Whether a log's entry is this command; whoever has rescued it has stamped it anew."""
    end = sessions.STAMP_BYTES + len(command)
    return entry[1] == COMMAND and entry[2][sessions.STAMP_BYTES : end] == command


def make_unreliable(plan: Plan, is_unreliable: bool) -> None:
    plan.loss = LOST if is_unreliable else 0
    plan.doubled = DOUBLED if is_unreliable else 0
    plan.delay_us = DELAY_US if is_unreliable else CALM_US


HEAD = "%37s %2s %5s %9s %7s %8s" % ("s", "n", "RPCs", "datagrams", "bytes", "commands")


def line(figures: "dict[str, Any]") -> str:
    """What the course tells of a scenario that has passed, and what it has found; see HEAD."""
    return "%-31s %5.1f %2d %5d %9d %7d %8d  %s" % (
        figures["name"], figures["ms"] / 1000, figures["nodes"], figures["requests"],
        figures["datagrams"], figures["bytes"], figures["commands"], figures["found"],
    )  # fmt: skip
