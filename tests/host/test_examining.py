"""How `raftctl doctor` asks boards on their serial lines; ptys in the place of boards."""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_tools import examining
from host_tools.attached import Asked
from host_tools.examining import Board, Link, examine

CLOCK_S = 1.0
LINKS = [
    "link lost=0 max=31 median=6 min=3 peer=2 sent=20",
    "link lost=20 peer=3 sent=20",
    "links peers=2",
]


class Node:
    """What runs on a board. rate: of its clock. leaders: the one that it tells, each time."""

    def __init__(
        self, rate: float = 1.0, links: list[str] = LINKS, leaders: tuple[int, ...] = (2,)
    ) -> None:
        self.asked = 0  # times
        self.measured = 0
        self._rate = rate
        self._links = links
        self._leaders = leaders
        self._begun = time.monotonic()

    def answer(self, key: bytes) -> list[str]:
        ms = int(1000 * self._rate * (time.monotonic() - self._begun))
        said: list[str] = []
        if key == examining.ENTER:
            leader = self._leaders[min(self.asked, len(self._leaders) - 1)]
            self.asked += 1
            said = [f"board heap=40960 ip=192.168.1.1 leader={leader} pm=0 role=follower rssi=-61"]
        elif key == examining.LINKS:
            self.measured += 1
            said = self._links
        stat = "stat applied=1 role=follower"  # comes at any time
        return [f"[raft] n1 {ms:07d} {event}" for event in [stat, *said]]


@contextmanager
def plugged_in(path: Path, answer: Callable[[bytes], list[str] | None]) -> Iterator[Asked]:
    """A board at a pty, until it answers a key by None: then its cable is pulled."""
    ours, device = os.openpty()
    path.symlink_to(os.ttyname(device))
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            if select.select([ours], [], [], 0.02)[0]:
                lines = answer(os.read(ours, 1))
                if lines is None:
                    break
                os.write(ours, "".join(f"{line}\r\n" for line in lines).encode())
        os.close(device)
        os.close(ours)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Asked(str(path), "esp32", "24:0a:c4:00:00:01", "1.26.1", 1, "follower", "mark.")
    finally:
        ended.set()
        thread.join()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "CLOCK_S", CLOCK_S)


def examined(path: Path, answer: Callable[[bytes], list[str] | None]) -> Board:
    with plugged_in(path / "ttyUSB0", answer) as asked:
        (board,) = examine([asked], lambda step: None)
    return board


def test_a_board_tells_how_it_is_and_what_it_has_measured(tmp_path: Path) -> None:
    board = examined(tmp_path, Node().answer)

    assert (board.runs, board.ip, board.pm, board.rssi) == ("follower", "192.168.1.1", 0, -61)
    assert (board.heap, board.leader, board.is_lost) == (40960, 2, False)
    assert board.links == (Link(1, 2, 20, 0, 6, 31), Link(1, 3, 20, 20))


@pytest.mark.parametrize("rate", [1.0, 0.5, 1.5])
def test_the_clock_of_a_board_is_compared_with_the_hosts(tmp_path: Path, rate: float) -> None:
    clock = examined(tmp_path, Node(rate).answer).clock

    # both ends of what the host knows hold, however late it was
    assert clock and clock.least >= 1000 * CLOCK_S - 1
    assert clock.least - 1 <= clock.board / rate <= clock.most + 3
    assert clock.least <= clock.host <= clock.most


def test_a_firmware_that_measures_nothing_is_asked_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining, "LINKS_S", 0.3)
    node = Node(links=[])

    board = examined(tmp_path, node.answer)

    assert board.is_lost and board.links == ()
    assert (board.leader, node.asked, node.measured) == (2, 1, 1)


def test_a_cable_that_is_pulled_meanwhile_is_told(tmp_path: Path) -> None:
    node = Node()

    board = examined(tmp_path, lambda key: None if key == examining.LINKS else node.answer(key))

    assert board.is_lost and board.runs == "follower"


def test_an_election_is_waited_for(tmp_path: Path) -> None:
    node = Node(leaders=(0, 0, 0, 3))

    assert examined(tmp_path, node.answer).leader == 3
    assert node.asked == 4


def test_no_leader_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    node = Node(leaders=(0,))

    assert examined(tmp_path, node.answer).leader == 0
    assert node.asked == 2 + examining.LOOKS
