"""A cluster of virtual boards, an outsider, and somebody who watches it all; portable.

    MICROPYPATH=.frozen:firmware:. micropython tests/cluster/virtual_world.py \\
        SECONDS SEED PACE TRACE HABIT...

`hour.py` tells what it is for, and starts it. It stands in for what a process knows of time, chance
and network, so it wants one of its own.
"""

import asyncio
import json
import sys
from array import array
from binascii import crc32

from host_tools.desktop import habits
from host_tools.desktop.lwip import MOST_BYTES
from raft import interpreter, udp
from tests.cluster import virtual_time
from tests.cluster.air import Air
from tests.cluster.virtual_boards import (
    CLIENT_PORT,
    LINK_MS,
    PORT,
    STATE_KB,
    Board,
    value,
)
from tests.dice import Dice
from tests.keys import SECRET

BOARDS = 5
# As boards are advised to be timed (boards/*/board.toml)
HEARTBEAT_MS = 100
ELECTION_MS = (300, 600)
SAMPLE_MS = 10
OUTSIDER_MS = (1, 400)  # between two datagrams of the outsider
HEARD = 64  # datagrams that he remembers
HEAL_MS = 60_000
STEP_MS = 100
PIECE = 1024
NAME = "hour"

real_sleep_ms = interpreter.sleep_ms


class Violation(Exception):
    """What must not happen has happened."""


class Applied:
    """What nodes have applied, at each index: a CRC-32. last: the highest index."""

    # In few pieces: what lives long and is small would come to lie everywhere in MicroPython's
    # heap, and leave no room for anything of size.

    def __init__(self) -> None:
        self.last = 0
        self._pieces: dict[int, array[int]] = {}

    def is_same(self, index: int, crc: int) -> bool:
        """Whether that is what nodes before have applied there, if any have."""
        piece = self._pieces.get(index // PIECE)
        if piece is None:
            piece = self._pieces[index // PIECE] = array("I", bytes(4 * PIECE))
        at = index % PIECE
        piece[at] = piece[at] or crc
        self.last = max(self.last, index)
        return piece[at] == crc


class World:
    """Boards lose their power, and their links; an outsider sends what he likes.

    names: of the habits that they have (set). pace: so many times as often as usual they lose
    their power or their link. trace: called with each line that a node tells, or None.
    """

    latest: "World"

    def __init__(  # type: ignore[no-untyped-def]
        self, seed: int, names, pace: int = 1, trace=None
    ) -> None:
        self.habits = names
        self.pace = pace
        self.is_over = False
        self.timeline = virtual_time.Timeline()
        self._seed = seed
        self._trace = trace
        self.dice = self.dice_of(0)
        self.air = Air(self.timeline, self.dice_of(100))
        self.air.hearer = self._hear  # type: ignore[assignment]
        self.counts: dict[str, int] = {}
        self._reopened = self._deaf_ms = self._deaf_awake_ms = 0
        self._heard: list = []  # type: ignore[type-arg]
        self._leaders: dict[int, int] = {}  # term -> its leader
        self._applied = Applied()
        self._problem = ""
        self._led_ms = self._known_ms = 0  # with a leader; since there was one for the first time
        self._gap: str | None = None  # why there is no leader
        self._gaps: dict[str, int] = {}  # reason -> ms
        self._gap_began = 0
        self._longest_ms = 0
        self._last_leader: Board | None = None
        World.latest = self
        self.boards = [Board(self, number) for number in range(1, BOARDS + 1)]
        for board in self.boards:
            self.air.boards[board.host] = board

    def dice_of(self, who: int) -> Dice:
        return Dice(self._seed * 65536 + who)

    def new_node(self, board: Board):  # type: ignore[no-untyped-def]
        from raft.node import Node

        class BoardNode(Node):
            """The shipped node; whenever its code begins to run, its board is here."""

            async def _supervise(self, name, task):  # type: ignore[no-untyped-def]
                board.air.here = board
                await super()._supervise(name, task)

            def _hear_peers(self) -> None:
                board.air.here = board
                super()._hear_peers()

            def _hear_clients(self) -> None:
                board.air.here = board
                super()._hear_clients()

        config = {
            "id": board.id, "cluster": NAME, "keys": [SECRET], "state_kb": STATE_KB,
            "heartbeat_ms": HEARTBEAT_MS, "election_ms": ELECTION_MS,
            "nodes": {
                str(b.id): {"host": b.host, "port": PORT, "client_port": CLIENT_PORT}
                for b in self.boards
            },
        }  # fmt: skip
        node = BoardNode(config, events=lambda what, **facts: self._tell(board, what, facts))
        self._watch_applied(node)
        return node

    def _watch_applied(self, node) -> None:  # type: ignore[no-untyped-def]
        apply = node.sessions.apply

        def apply_the_same(index: int, data: bytes) -> bytes:
            if not self._applied.is_same(index, crc32(data)):
                self.fail("node %d applies another entry %d than a node before" % (node.id, index))
            return apply(index, data)

        node.sessions.apply = apply_the_same

    def ticks_diff(self, later: int, earlier: int) -> int:
        return habits.ticks_diff(later, earlier) if "wrap" in self.habits else later - earlier

    # What boards tell

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def count_dropped(self, node) -> None:  # type: ignore[no-untyped-def]
        """It ends, or the world does."""
        self.count("dropped by nodes", node.dropped + node.service.dropped)

    def was_deaf(self, ms: int, stood_ms: int) -> None:
        """A socket was opened anew, so long after an empty datagram came. stood_ms: of these its
        board stood still for its flash, as it does whatever comes."""
        self._reopened += 1
        self._deaf_ms = max(self._deaf_ms, ms)
        self._deaf_awake_ms = max(self._deaf_awake_ms, ms - stood_ms)

    def fail(self, problem: str) -> None:
        self._problem = self._problem or "at %d ms: %s" % (self.timeline.now, problem)

    def _tell(self, board: Board, what: str, facts) -> None:  # type: ignore[no-untyped-def]
        if self._trace and what != "stat":
            known = " ".join("%s=%s" % fact for fact in sorted(facts.items()))
            self._trace("%10.3f n%d %s %s" % (self.timeline.now / 1000, board.id, what, known))
        if what == "leader":
            self.count("elections")
            if self._leaders.setdefault(facts["term"], board.id) != board.id:
                self.fail("two leaders of term %d" % facts["term"])
        elif what == "crash" and facts["error"].startswith("PowerCut"):
            pass  # that is how it looks to the node
        elif what in ("alarm", "crash", "damage", "wiped", "swapped", "learner", "flash_fault"):
            self.fail("node %d: %s %s" % (board.id, what, facts))

    def spares(self, board: Board) -> bool:
        """Whether the others are a majority."""
        others = [other for other in self.boards if other is not board and other.node]
        return 2 * len(others) > BOARDS

    # What comes from outside

    def _hear(self, data: bytes, to: tuple[str, int]) -> None:
        if self.dice.one_in(50):
            self._heard.append((data, to))
            if len(self._heard) > HEARD:
                self._heard.pop(self.dice.below(HEARD))

    def _intrude(self) -> None:
        if self.is_over:
            return
        dice = self.dice
        to = (dice.pick(self.boards).host, dice.pick((PORT, CLIENT_PORT)))
        kind = dice.below(4)
        if kind == 0:
            data = b""
        elif kind == 1:
            data = bytes(MOST_BYTES + 1)
        elif kind == 2:
            data = dice.bytes(dice.draw(1, 100))
        elif self._heard:
            data, to = dice.pick(self._heard)
        self.air.carry(data, ("10.0.0.99", 5000), to, self.timeline.now, False)
        self.timeline.at(self.timeline.now + dice.draw(*OUTSIDER_MS), self._intrude)

    def _lose_link(self, board: Board) -> None:
        if self.is_over:
            return
        board.lose_link()
        self.count("links lost")
        self._lose_link_later(board)

    def _lose_link_later(self, board: Board) -> None:
        later = board.dice.draw(*LINK_MS) // self.pace
        self.timeline.at(self.timeline.now + later, self._lose_link, board)

    # Whether there is a leader

    def _sample(self) -> None:
        now = self.timeline.now
        leader = self.known_leader()
        if leader or self._last_leader:
            self._known_ms += SAMPLE_MS
        if leader:
            self._led_ms += SAMPLE_MS
            if self._gap:
                self._longest_ms = max(self._longest_ms, now - self._gap_began)
            self._gap = None
            self._last_leader = leader
        elif self._last_leader:
            if self._gap is None:
                self._gap_began = now
                self._gap = self._reason(self._last_leader)
            if not self._is_majority_there():
                self._gap = "no majority was there"  # and until the next leader is elected
            self._gaps[self._gap] = self._gaps.get(self._gap, 0) + SAMPLE_MS
            if self._trace:
                self._trace("%10.3f no leader: %s" % (now / 1000, self._gap))
        if not self.is_over:
            self.timeline.at(now + SAMPLE_MS, self._sample)

    def known_leader(self) -> "Board | None":
        """The board that leads, and whom a majority follows."""
        nodes = [board.node for board in self.boards if board.node]
        for board in self.boards:
            if board.node and board.node.core.leading:
                term = board.node.core.term
                known = [n for n in nodes if n.core.leader == board.id and n.core.term == term]
                if 2 * len(known) > BOARDS:
                    return board
        return None

    def _is_majority_there(self) -> bool:
        there = [board for board in self.boards if not (board.is_deaf() or board.is_saving())]
        return 2 * len(there) > BOARDS

    def _reason(self, board: Board) -> str:
        if board.node is None:
            return "its power failed"
        return "its link was lost" if board.is_deaf() or board.is_saving() else "other"

    # The run

    async def live(self, seconds: int) -> None:
        """So long with all faults; then they end, and all must be well again."""
        self.timeline.at(0, self._sample)
        self.timeline.at(1000, self._intrude)
        for board in self.boards:
            self._lose_link_later(board)
        lives = [asyncio.create_task(board.live()) for board in self.boards]
        end = seconds * 1000
        while self.timeline.now < end and not self._problem:
            await real_sleep_ms(STEP_MS)
        self.is_over = True
        self.air.lost = 0
        healed = self.timeline.now + HEAL_MS
        while self.what_ails() and not self._problem:
            if self.timeline.now > healed:
                self.fail("after the last fault: " + self.what_ails())
            await real_sleep_ms(STEP_MS)
        for task in lives:
            if task.done():
                await task  # which raises what it has failed with
        if self._problem:
            raise Violation(self._problem)

    def what_ails(self) -> str:
        """What is missing for all to be well; empty if nothing is."""
        nodes = [board.node for board in self.boards if board.node]
        if len(nodes) < BOARDS:
            return "%d boards have power" % len(nodes)
        if not self.known_leader():
            return "nobody leads"
        ends = {(n.core.log.last, n.core.log.last_term, n.core.commit, n.applied) for n in nodes}
        if len(ends) > 1 or nodes[0].core.log.last != nodes[0].applied:
            return "the logs end at %s" % ends
        for board in self.boards:
            if board.asked != board.acknowledged:
                return "board %d doesn't know what it has" % board.id
            for node in nodes:
                found = node.sessions.machine.default._values.get(b"count-%d" % board.id)
                if found != value(board.acknowledged):
                    self.fail("node %d has lost what board %d wrote" % (node.id, board.id))
        return ""

    def figures(self) -> "dict[str, float]":
        """What has been measured, by name; shares of the time since there was a leader first."""
        for board in self.boards:
            self.count_dropped(board.node)
        known = max(1, self._known_ms)
        told: dict[str, float] = {
            "seconds": self.timeline.now // 1000,
            "leader": self._led_ms / known,
            "longest without leader, ms": self._longest_ms,
            "commits": self._applied.last,
            "sockets reopened": self._reopened,
            "longest deaf, ms": self._deaf_ms,
            "longest deaf, ms, flash apart": self._deaf_awake_ms,
        }
        for reason in self._gaps:
            told["no leader: " + reason] = self._gaps[reason] / known
        told.update(self.counts)
        told.update(self.air.counts)
        return told


def _stand_in() -> None:
    """Take the place of what nodes know of time, of chance, and of the network.

    To be called before any other part of a node is imported.
    """

    def here():  # type: ignore[no-untyped-def]
        return World.latest.air.here

    interpreter.ticks_ms = lambda: here().ticks_ms()
    interpreter.ticks_diff = lambda later, earlier: World.latest.ticks_diff(later, earlier)
    interpreter.sleep_ms = lambda ms: here().sleep(ms)
    interpreter.draw = lambda low, high: here().dice.draw(low, high)
    interpreter.free_heap = lambda: None  # MicroPython walks through all of it


def run(  # type: ignore[no-untyped-def]
    seconds: int, seed: int, names, pace: int = 1, trace=None
) -> World:
    """Such a world's life. Raises Violation."""
    world = World(seed, names, pace, trace)
    udp.socket = world.air  # type: ignore[assignment]
    virtual_time.run(world.timeline, world.live(seconds))
    return world


def main(arguments: list[str]) -> None:
    seconds, seed, pace, trace = (int(argument) for argument in arguments[:4])
    world = run(seconds, seed, set(arguments[4:]), pace, print if trace else None)
    print(json.dumps(world.figures()))


_stand_in()

if __name__ == "__main__":
    main(sys.argv[1:])
