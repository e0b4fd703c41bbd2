"""What boards tell of themselves, and measure of each other, when `raftctl doctor` asks.

A node that runs is asked on its serial line, and goes on (firmware/board/console.py). One after
the other measures its links, so that none measures another's probes.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import serial

from host_tools import attached, ports, serial_lines
from host_tools.attached import ANSWER_S, AT_REPL, Asked
from host_tools.ports import PortError
from host_tools.repl import BoardFailed, Repl, ReplError
from host_tools.serial_lines import Item

ENTER, LINKS = b"\r", b"l"
LINKS_S = 6.0  # for it to measure its links: 2 s, and more if it is slow
CLOCK_S = 4.0  # how long its clock is watched, at least
LOOKS = 15  # for a leader; some 3 s, within which an election has ended
READ_S = 0.1

# On the board: raises what is wrong with its files, or tells how often it has crashed in a row.
CRASHES = """
from raft.config import load
from board.safe_mode import crashes
load()
print(repr(crashes()))
"""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Link:
    """Probes of a node to another, and their round trips (ms; None if none came back)."""

    node: int
    peer: int
    sent: int
    lost: int
    median: int | None = None
    max: int | None = None


@dataclass(frozen=True)
class Clock:
    """How long (ms) the same was by a board's clock, and by the host's.

    The host knows no more than when it asked, and when the answer was there: so that it was at
    least and at most. As a rule a board waits before it answers, and `host` is nearly right.
    """

    board: float
    host: float
    least: float
    most: float


@dataclass(frozen=True)
class Board:
    """A board, and how it is; what isn't known is None, or empty.

    pm: Wi-Fi power save, 0 if it is off. rssi: dBm. heap: free bytes. leader: the node that it
    follows, 0 for none. reason: why it doesn't join its network, or what is wrong with its files.
    has_raft: whether its flash has a partition for the log. is_lost: it hasn't answered all that
    it was asked. crashes: in a row, when it came to its REPL. restarts, failures: since its power
    came, how often the node has failed, and tasks beside it.
    """

    asked: Asked
    runs: str
    ip: str = ""
    pm: int | None = None
    rssi: int | None = None
    heap: int | None = None
    term: int | None = None
    leader: int | None = None
    reason: str = ""
    has_raft: bool | None = None
    is_lost: bool = False
    crashes: int = 0
    restarts: int = 0
    failures: int = 0
    clock: Clock | None = None
    links: tuple[Link, ...] = ()


def examine(found: Sequence[Asked], report: Report) -> list[Board]:
    """All of them, in that order. report: is told what is being done."""
    with ExitStack() as stack:
        lines = [stack.enter_context(_Line(board)) for board in found if board.is_running]
        with ThreadPoolExecutor(len(found) or 1) as pool:
            list(pool.map(_Line.look, lines))
            for line in lines:
                report(f"node {line.asked.node} measures its links")
                line.measure_links()
            _look_last(lines, pool, report)
            waiting = list(pool.map(_waiting, [b for b in found if not b.is_running]))
        examined = {b.asked.port: b for b in [*waiting, *(line.board() for line in lines)]}
    return [examined[board.port] for board in found]


def _look_last(lines: Sequence["_Line"], pool: ThreadPoolExecutor, report: Report) -> None:
    """When some time has gone by; then again, for as long as no leader is known."""
    if not lines:
        return
    report("comparing clocks")
    now = time.monotonic()
    time.sleep(max(0.0, *(line.begun + CLOCK_S - now for line in lines)))
    list(pool.map(_Line.look, lines))
    for _ in range(LOOKS):
        if any(line.knows_leader for line in lines):
            return
        report("waiting for a leader")
        list(pool.map(_Line.look, lines))


def _waiting(asked: Asked) -> Board:
    """A board without a node; at its REPL it tells more."""
    if asked.runs != AT_REPL:
        return Board(asked, asked.runs)
    reason, crashes = "", 0
    try:
        with Repl(asked.port, fresh=False) as repl:
            has_raft = attached.facts(repl).has_raft
            try:
                crashes = repl.value(CRASHES)
            except BoardFailed as e:
                reason = e.error
    except (PortError, ReplError):
        return Board(asked, asked.runs, is_lost=True)
    return Board(asked, asked.runs, reason=reason, has_raft=has_raft, crashes=crashes)


@dataclass(frozen=True)
class _Answer:
    """To Enter, and when that was pressed, and heard (s)."""

    pressed: float
    heard: float
    item: Item


class _Line:
    """The serial line of a board whose node runs; a context manager."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._parser = serial_lines.Board(asked.port)
        self._answers: list[_Answer] = []
        self._links: tuple[Link, ...] = ()
        self._is_lost = False
        self._port: serial.Serial | None = None

    def __enter__(self) -> Self:
        try:
            self._port = ports.open_port(self.asked.port)
        except PortError:
            self._is_lost = True  # it was there when the board was asked first
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._port:
            ports.close(self._port)

    @property
    def begun(self) -> float:
        """When its clock was seen first."""
        return self._answers[0].heard if self._answers else 0.0

    @property
    def knows_leader(self) -> bool:
        return any(answer.item.facts.get("leader") for answer in self._answers[-1:])

    def look(self) -> None:
        pressed = time.monotonic()
        told = self._ask(ENTER, "board", ANSWER_S)
        if told:
            self._answers.append(_Answer(pressed, time.monotonic(), told[-1]))

    def measure_links(self) -> None:
        told = self._ask(LINKS, "links", LINKS_S)
        self._links = tuple(_link(item) for item in told if item.what == "link")

    def board(self) -> Board:
        if not self._answers:
            return Board(self.asked, self.asked.runs, is_lost=True)
        facts = self._answers[-1].item.facts
        rssi = int(facts.get("rssi", 0))
        return Board(
            self.asked, facts["role"], facts.get("ip", ""), facts.get("pm"), rssi or None,
            facts.get("heap") or None, facts.get("term"), facts.get("leader"),
            str(facts.get("reason", "")), is_lost=self._is_lost,
            restarts=facts.get("restarts", 0), failures=facts.get("failures", 0),
            clock=self._clock(), links=self._links,
        )  # fmt: skip

    def _clock(self) -> Clock:
        first, last = self._answers[0], self._answers[-1]
        return Clock(
            (last.item.ms or 0) - (first.item.ms or 0),
            1000 * (last.heard - first.heard),
            1000 * (last.pressed - first.heard),
            1000 * (last.heard - first.pressed),
        )

    def _ask(self, key: bytes, what: str, wait_s: float) -> list[Item]:
        """Press a key: all events until one of that name; none once such a one hasn't come."""
        if self._is_lost or not self._port:
            return []
        heard: list[Item] = []
        end = time.monotonic() + wait_s
        try:
            self._port.write(key)
            while time.monotonic() < end:
                for item in self._parser.feed(ports.read(self._port, READ_S), time.time()):
                    heard.append(item)
                    if item.what == what:
                        return heard
        except OSError:
            pass  # the port has gone: no answer comes
        self._is_lost = True
        return []


def _link(item: Item) -> Link:
    facts = item.facts
    assert item.node is not None
    return Link(
        item.node, facts["peer"], facts["sent"], facts["lost"],
        facts.get("median"), facts.get("max"),
    )  # fmt: skip
