"""How a client finds nodes whose host is "auto"."""

import socket
from itertools import pairwise

import pytest

from host_tools.finder import FIRST_PAUSE_S, LAST_PAUSE_S, TARGETS, Finder, Reply
from host_tools.firmware import access, messages
from tests import sealing

NAME = "demo"
PORT = 7200


class Wire(socket.socket):
    """Sends nothing. sent: (question, port), as often as all were asked."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent: list[tuple[int, int]] = []

    def sendto(self, data: memoryview, address: tuple[str, int]) -> int:  # type: ignore[override]
        kind, question, _, _ = sealing.gate(9, NAME).hear(bytes(data))
        assert (kind, data[1], data[3]) == (0, messages.STATUS, access.EVERYBODY)
        self.sent.append((question, address[1]))
        return len(data)


@pytest.fixture
def wire():  # type: ignore[no-untyped-def]
    with Wire() as made:
        yield made


@pytest.fixture
def finder(wire: Wire) -> Finder:
    made = Finder(sealing.caller(NAME), wire)
    made.ports = {1: PORT, 2: PORT, 3: PORT + 1}
    return made


def answer(node: int, question: int) -> Reply:
    return node, question, messages.STALE, 0, b""


def test_each_port_is_asked_once_on_each_network(finder: Finder, wire: Wire) -> None:
    finder.ask(0.0)

    ports = sorted(port for _, port in wire.sent)
    assert ports == [PORT] * len(TARGETS) + [PORT + 1] * len(TARGETS)
    assert len({question for question, _ in wire.sent}) == 1


def test_only_the_first_answer_to_the_latest_question_is_one(finder: Finder, wire: Wire) -> None:
    assert finder.hear(answer(1, 0), 0.0) == 0  # to none
    finder.ask(0.0)
    first = wire.sent[-1][0]

    assert finder.hear(answer(1, first), 0.0) == 1
    assert finder.hear(answer(1, first), 0.0) == 0  # sent again, perhaps from elsewhere
    assert finder.hear(answer(2, first + 1), 0.0) == 0
    assert finder.hear((2, first, messages.OK, 0, b""), 0.0) == 0
    assert finder.hear(answer(9, first), 0.0) == 0  # is no node of the file
    finder.ask(LAST_PAUSE_S)
    assert finder.hear(answer(2, first), 0.0) == 0
    assert finder.hear(answer(2, wire.sent[-1][0]), 0.0) == 2


def test_who_asks_again_and_again_is_heeded_ever_more_seldom(finder: Finder, wire: Wire) -> None:
    asked = []
    for step in range(1000):
        before = len(wire.sent)
        finder.ask(step * 0.01)
        if len(wire.sent) > before:
            asked.append(step * 0.01)

    pauses = [b - a for a, b in pairwise(asked)]
    assert pauses[0] == pytest.approx(FIRST_PAUSE_S, abs=0.011)
    assert pauses[-1] == pytest.approx(LAST_PAUSE_S, abs=0.011)
    assert pauses == sorted(pauses)
    # until somebody is there
    finder.hear(answer(1, wire.sent[-1][0]), asked[-1])
    wire.sent.clear()
    finder.ask(asked[-1] + FIRST_PAUSE_S)
    assert wire.sent


def test_where_no_node_is_to_be_found_nothing_is_sent(finder: Finder, wire: Wire) -> None:
    finder.ports.clear()

    finder.ask(0.0)

    assert wire.sent == []
