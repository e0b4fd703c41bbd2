"""firmware/apps/: what they do on boards that are processes of this machine."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from host_tools import desk
from host_tools.client import Client
from host_tools.events import Event, parse
from tests.clusters import INTERPRETERS, KEYS, free_cluster
from tests.host.test_node import PATIENCE_S, Process

NODES = 3
PIN = 4
BUTTON = 0
PHASE_MS, HOLD_MS, TTL_S = 500, 400, 3
AT_A_TIME_MS = 200  # so late may a line come; to the ms it is test_board_apps_cut_off.py's

# The 32-bit MicroPython if there is one.
INTERPRETER = desk.interpreter_command(INTERPRETERS[-1])


class Lines(list[str]):
    """times: when each of them came (s)."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, line: str) -> None:
        self.times.append(time.monotonic())
        super().append(line)


class Boards:
    """A cluster whose boards all run that app. lines: of all of them, as they came."""

    def __init__(self, folder: Path, name: str, **settings: int) -> None:
        self.cluster = free_cluster(folder / "cluster.toml", NODES)
        self.lines = Lines()
        self.running: dict[int, Process] = {}
        self._app = {"name": name, "pin": PIN, **settings}
        for node in self.cluster.nodes:
            self.start(node)

    def start(self, node: int) -> None:
        folder = self.folder(node)
        folder.mkdir(exist_ok=True)
        config = {**self.cluster.config(node, KEYS), "state_kb": 1, "app": self._app}
        (folder / "config.json").write_text(json.dumps(config))
        if not (folder / "raft.flash").exists():
            (folder / "raft.flash").write_bytes(b"\xff" * 128 * 1024)
        command = [*INTERPRETER, str(desk.RUN), str(folder), "0", *INTERPRETER]
        self.running[node] = Process(command, lines=self.lines)

    def folder(self, node: int) -> Path:
        return self.cluster.path.parent / f"n{node}"

    def press(self, node: int) -> None:
        (self.folder(node) / f"pin-{BUTTON}.low").touch()

    def kill(self, node: int) -> None:
        self.running.pop(node).end(signal.SIGKILL)
        self.lines.append(f"[raft] n{node} 0000000 killed")

    def events(self, *what: str) -> list[Event]:
        """All that were told of that, by whichever board, as they came."""
        parsed = [parse(line) for line in list(self.lines)]
        return [event for event in parsed if event and event.what in what]

    def last(self, node: int, what: str, fact: str) -> str | None:
        told = [event for event in self.events(what) if event.node == node]
        return told[-1].facts[fact] if told else None

    def leader(self) -> int:
        """Who has become leader in the newest term."""
        return max(self.events("leader"), key=lambda event: int(event.facts["term"])).node

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.lines
            time.sleep(0.01)


@contextmanager
def running(folder: Path, name: str, **settings: int) -> Iterator[Boards]:
    boards = Boards(folder, name, **settings)
    try:
        yield boards
    finally:
        for node in list(boards.running):
            boards.kill(node)
    assert not boards.events("failure", "crash"), boards.lines


def longest_together_ms(boards: Boards, what: str, fact: str) -> float:
    """How long the LEDs of two boards were lit at one time."""
    lit: set[int] = set()
    longest = since = 0.0
    for line, at in zip(boards.lines, boards.lines.times):
        event = parse(line)
        if event is None or event.what not in (what, "killed"):
            continue
        if len(lit) > 1:
            longest = max(longest, at - since)
        else:
            since = at
        if event.facts.get(fact) == "1":
            lit.add(event.node)
        else:
            lit.discard(event.node)
    return longest * 1000


def test_leader_led_is_lit_where_the_leader_is(tmp_path: Path) -> None:
    with running(tmp_path, "leader_led") as boards:

        def is_one_lit() -> bool:
            lit = [node for node in boards.running if boards.last(node, "leader_led", "on") == "1"]
            return bool(boards.events("leader")) and lit == [boards.leader()]

        boards.until(is_one_lit)

        boards.kill(boards.leader())

        boards.until(lambda: boards.leader() in boards.running and is_one_lit())


def test_shared_settings_reach_all_boards_and_one_that_comes_back(tmp_path: Path) -> None:
    with (
        running(tmp_path, "shared_settings") as boards,
        Client(boards.cluster.path, PATIENCE_S) as client,
    ):

        def until_all_have(blink_ms: str) -> None:
            boards.until(
                lambda: all(
                    boards.last(node, "shared_settings", "blink_ms") == blink_ms
                    for node in boards.cluster.nodes
                )
            )

        until_all_have("500")
        for value, blink_ms in (
            (b"100", "100"),
            (b"nonsense", "500"),
            (b"1", "20"),
            (b"9" * 9, "2000"),
        ):
            client.put("settings/blink_ms", value)
            until_all_have(blink_ms)

        # when a board misses a change, and another one that knew of it has died
        boards.kill(1)
        client.put("settings/blink_ms", b"70")
        boards.kill(boards.leader())
        boards.start(1)

        boards.until(lambda: boards.last(1, "shared_settings", "blink_ms") == "70")


def test_traffic_light_is_green_for_one_at_a_time_and_goes_on_when_one_dies(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "traffic_light", phase_ms=PHASE_MS) as boards:

        def phases(node: int) -> list[int]:
            """In which its light was green."""
            told = [e for e in boards.events("traffic_light") if e.node == node]
            return [int(e.facts["phase"]) for e in told if e.facts["green"] == "1"]

        boards.until(lambda: all(phases(node) for node in boards.running))

        # when the leader dies, the others go on
        boards.kill(boards.leader())
        before = {node: len(phases(node)) for node in boards.running}
        boards.until(lambda: all(len(phases(n)) > before[n] for n in boards.running))

        # and each has phases of its own
        for node in boards.cluster.nodes:
            assert {phase // 2 % NODES for phase in phases(node)} == {node - 1}
        assert longest_together_ms(boards, "traffic_light", "green") < AT_A_TIME_MS


def test_lock_is_held_by_one_at_a_time_and_taken_over_when_its_holder_dies(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "lock", button=BUTTON, hold_ms=HOLD_MS, ttl_s=TTL_S) as boards:

        def taken(*nodes: int) -> list[Event]:
            """Each time that it was taken, by one of the nodes."""
            told = [e for e in boards.events("lock") if e.facts.get("held") == "1"]
            return [event for event in told if not nodes or event.node in nodes]

        def until_it_is_taken(times: int, *nodes: int) -> None:
            before = len(taken(*nodes))
            boards.until(lambda: len(taken(*nodes)) >= before + times)

        # given that only one of them wants it
        boards.press(1)
        until_it_is_taken(1)
        assert taken() == taken(1)

        # when all of them do, each gets it
        for node in boards.running:
            boards.press(node)
        boards.until(lambda: all(taken(node) for node in boards.running))

        # when its holder dies, another one takes it over
        boards.until(lambda: boards.last(taken()[-1].node, "lock", "held") == "1")
        holder = taken()[-1].node
        boards.kill(holder)
        until_it_is_taken(1)

        # when the leader dies, the others go on, and so does who comes back
        boards.start(holder)
        until_it_is_taken(1, holder)
        boards.kill(boards.leader())
        until_it_is_taken(2)  # the first one may be from before

        numbers = [int(event.facts["number"]) for event in taken()]
        assert numbers == sorted(set(numbers))
        assert longest_together_ms(boards, "lock", "held") < AT_A_TIME_MS
