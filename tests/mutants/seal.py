"""Mistakes in who is let in.

Each breaks one rule of seal.py, hello.py or access.py, and somebody without a key sends again what
was said before.
"""

from typing import Any

from raft.access import Gate
from raft.hello import HELLO_BYTES, NOTHING, Greeter
from raft.messages import HEADER_BYTES
from raft.seal import Seal, Session
from tests.cluster.simulator import Plan
from tests.mutants.mutant import Mutant

STEPS = 2000
REPLAYED = 200  # per mille

LIFELESS = bytes(8)


class SessionWithoutWindow(Session):
    def open(self, frame: Any, n: int) -> bool:
        self._last = self._seen = 0
        return super().open(frame, n)


class SealWithoutWindows(Seal):
    """Between nodes, what was received before is received again."""

    def meet(self, key: Any, peer: int, incarnation: bytes) -> None:
        super().meet(key, peer, incarnation)
        self.sessions[peer].__class__ = SessionWithoutWindow


class SealWithoutIncarnations(Seal):
    """What is sealed between nodes is the same after a restart of either."""

    def meet(self, key: Any, peer: int, incarnation: bytes) -> None:
        if not self.knows(peer, incarnation):
            made = Session(key, self.keys, self._node, LIFELESS, peer, LIFELESS, False)
            made.incarnation = incarnation
            self.sessions[peer] = made


class GreeterThatBelievesQuestions(Greeter):
    """Who only asks, maybe by an old hello, is taken for a peer that has just started."""

    def hear(self, frame: bytes, sender: Any) -> bool:
        is_hello: bool = super().hear(frame, sender)
        key = self._seal.key(frame[4] | frame[5] << 8) if is_hello else None
        if key and frame[2] != self._node.id and key.is_hello(frame):
            self._seal.meet(key, frame[2], frame[HEADER_BYTES : HEADER_BYTES + 8])
        return is_hello


class GreeterWhoseAnswersCountForEver(Greeter):
    """An answer to an earlier question of this node is taken for one to its last."""

    def hear(self, frame: bytes, sender: Any) -> bool:
        answer = frame[24:32]
        if len(frame) == HELLO_BYTES and answer != NOTHING and frame[2] != self._node.id:
            self.asked[frame[2]] = answer
        is_hello: bool = super().hear(frame, sender)
        return is_hello


class GateWithoutWindows(Gate):
    """Of clients, what was received before is received again."""

    def hear(self, frame: bytes, now: int = 0) -> Any:
        for channel in self._channels.values():
            channel._last = channel._seen = 0
        return super().hear(frame, now)


class GateWithOneChallenge(Gate):
    """What clients are challenged with is the same after each start."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.challenge = b"the same"


def replaying(plan: Plan) -> None:
    """Somebody sends again a good part of what was said."""
    plan.replayed = REPLAYED


MUTANTS = [
    Mutant(made, adapt=replaying, steps=STEPS)
    for made in (
        SealWithoutWindows,
        SealWithoutIncarnations,
        GreeterThatBelievesQuestions,
        GreeterWhoseAnswersCountForEver,
        GateWithoutWindows,
        GateWithOneChallenge,
    )
]
