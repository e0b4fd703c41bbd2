"""What the simulator finds of mistakes in who is let in, made on purpose.

Each breaks one rule of seal.py, hello.py or access.py, and somebody without a key sends again what
was said before.
"""

from typing import Any

import pytest

from raft.access import Gate
from raft.hello import HELLO_BYTES, NOTHING, Greeter
from raft.messages import HEADER_BYTES
from raft.seal import Seal, Session
from tests.cluster import simulator
from tests.cluster.invariants import Violation

SEEDS = 20
STEPS = 2000
REPLAYED = 200  # per mille

LIFELESS = bytes(8)


class SessionThatForgetsNumbers(Session):
    def open(self, frame: Any, n: int) -> bool:
        self._last = self._seen = 0
        return super().open(frame, n)


class SealOfSuch(Seal):
    def meet(self, key: Any, peer: int, incarnation: bytes) -> None:
        super().meet(key, peer, incarnation)
        self.sessions[peer].__class__ = SessionThatForgetsNumbers


class SealWithoutIncarnations(Seal):
    """What is sealed is the same after a restart of either."""

    def meet(self, key: Any, peer: int, incarnation: bytes) -> None:
        if not self.knows(peer, incarnation):
            made = Session(key, self.keys, self._node, LIFELESS, peer, LIFELESS, False)
            made.incarnation = incarnation
            self.sessions[peer] = made


class GreeterThatBelievesQuestions(Greeter):
    def hear(self, frame: bytes, sender: Any) -> bool:
        is_hello: bool = super().hear(frame, sender)
        key = self._seal.key(frame[4] | frame[5] << 8) if is_hello else None
        if key and frame[2] != self._node.id and key.is_hello(frame):
            self._seal.meet(key, frame[2], frame[HEADER_BYTES : HEADER_BYTES + 8])
        return is_hello


class GreeterWhoseAnswersCountForEver(Greeter):
    def hear(self, frame: bytes, sender: Any) -> bool:
        answer = frame[24:32]
        if len(frame) == HELLO_BYTES and answer != NOTHING and frame[2] != self._node.id:
            self.asked[frame[2]] = answer
        is_hello: bool = super().hear(frame, sender)
        return is_hello


class GateWithoutWindows(Gate):
    def hear(self, frame: bytes, now: int = 0) -> Any:
        for channel in self._channels.values():
            channel._last = channel._seen = 0
        return super().hear(frame, now)


class GateWithOneChallenge(Gate):
    """It is the same after each start."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.challenge = b"the same"


MUTANTS = [
    ("Seal", SealOfSuch),
    ("Seal", SealWithoutIncarnations),
    ("Greeter", GreeterThatBelievesQuestions),
    ("Greeter", GreeterWhoseAnswersCountForEver),
    ("Gate", GateWithoutWindows),
    ("Gate", GateWithOneChallenge),
]


def replaying(plan: simulator.Plan) -> None:
    plan.replayed = REPLAYED


@pytest.mark.parametrize(("part", "mutant"), MUTANTS, ids=lambda m: getattr(m, "__name__", m))
def test_the_simulator_finds(part: str, mutant: type) -> None:
    with pytest.raises(Violation) as caught:
        for seed in range(1, 1 + SEEDS):
            simulator.run(seed, STEPS, parts={part: mutant}, adapt=replaying)
    print(seed, caught.value)


def test_it_finds_nothing_without_them() -> None:
    for seed in range(1, 4):
        world = simulator.run(seed, STEPS, adapt=replaying)
        assert world.watch.happened["replays"] > 50
