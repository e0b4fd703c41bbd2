"""Traces of simulated clusters: all that their nodes do, and what becomes of their datagrams."""

from collections.abc import Callable
from typing import Any

from raft.messages import PEER_BYTES, Message, parse
from raft.seal import SEAL_BYTES
from tests.cluster.board import Board
from tests.cluster.clients import PEERS
from tests.cluster.outsider import OUTSIDER
from tests.cluster.simulator import World
from tests.specification.refine import Refinement
from tests.specification.trace import Event, event_of
from tests.specification.tracing import Tracer, message_of


class Traced(World):
    """A world that records itself. events: what has happened so far."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.events: list[Event] = []
        self._copies = 0
        super().__init__(*args, **more)

    def tell(self, record: dict[str, Any]) -> None:
        self.events.append(event_of(record, self.now))

    def _boot(self, board: Board) -> None:
        before = board.node
        super()._boot(board)
        if board.node and board.node is not before:
            Tracer(board.node, self.tell)

    def at(self, time: int, who: int, function: Any, argument: Any) -> None:
        self._copies += function == self.arrive and who != OUTSIDER
        super().at(time, who, function, argument)

    def send(self, sender: tuple[int, int], to: tuple[int, int], data: bytes) -> None:
        self._copies = 0
        super().send(sender, to, data)
        is_kept = any(kept is data for kept in self.outsider._said.values())  # and comes again
        m = Message()
        if to[1] == PEERS and parse(data, m, PEER_BYTES, len(data) - SEAL_BYTES):
            copies = self._copies + is_kept
            for what in ["doubled"] * (copies - 1) + ["lost"] * (copies == 0):
                self.tell({"node": m.src, "what": what, "heard": message_of(m)})


def recorded(
    seed: int,
    steps: int,
    kind: type[World] = World,
    parts: dict[str, type] | None = None,
    adapt: Callable[[Any], None] | None = None,
) -> tuple[Traced, Exception | None]:
    """A cluster's life, as of `simulator.run`, and what has ended it before its time."""
    traced = type("Traced", (Traced, kind), {})
    world: Traced = traced(seed, None, parts, adapt)
    try:
        while world.steps < steps:
            world.step()
        world.heal()
    except Exception as e:
        return world, e
    return world, None


def refined(world: Traced) -> Refinement:
    """What has become of its events. Raises Broken."""
    refinement = Refinement([board.id for board in world.boards])
    for event in world.events:
        refinement.take(event)
    refinement.end()
    return refinement
