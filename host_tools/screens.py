"""What the demonstration is seen on: a terminal, or anything else that takes lines."""

import os
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from host_tools import view
from host_tools.cluster import Cluster
from host_tools.demo import Result

QUIT_KEYS = b"qQ"
DOWN = "down"
OTHER_LINES = 5  # of the screen: headline, the table's own head, blank lines
MIN_EVENT_LINES = 5
STYLES = {
    **dict.fromkeys(("leader", "trusted"), "green"),
    **dict.fromkeys(("precandidate", "candidate", "learner"), "yellow"),
    **dict.fromkeys(("alarm", "crash", "damage", "flash_fault", "reset"), "red"),
    **dict.fromkeys(("swapped", "wiped"), "red"),
}


class Lines:
    """Each event is a line, and that is all."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def say(self, node: int | None, text: str) -> None:
        with self._lock:
            print(_timed(self._start, node, text), flush=True)

    def show(self, statuses: dict[int, dict[str, Any]], result: Result) -> None:
        """Only a terminal has room for what changes all the time."""

    def wants_to_quit(self) -> bool:
        return False


class Terminal:
    """A live table above the latest events, until `q` is pressed; a context manager."""

    def __init__(self, cluster: Cluster, title: str, console: Console) -> None:
        self._cluster = cluster
        self._title = title
        self._console = console
        self._start = time.monotonic()
        self._events: deque[Text] = deque(maxlen=200)
        self._shown: tuple[dict[int, dict[str, Any]], Result] = ({}, Result())
        self._quit = False
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._render)

    def __enter__(self) -> "Terminal":
        self._keyboard = sys.stdin.fileno()
        self._cooked = termios.tcgetattr(self._keyboard)
        tty.setcbreak(self._keyboard)  # a key arrives at once, and isn't echoed
        self._live.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        try:
            self._live.__exit__(*exc_info)
        finally:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._cooked)

    def say(self, node: int | None, text: str) -> None:
        style = "bold red" if node is None else STYLES.get(text.split(" ")[0], "")
        self._events.append(Text(_timed(self._start, node, text), style, no_wrap=True))
        self._live.refresh()

    def show(self, statuses: dict[int, dict[str, Any]], result: Result) -> None:
        self._shown = statuses, result
        self._live.refresh()

    def wants_to_quit(self) -> bool:
        while select.select([self._keyboard], [], [], 0)[0]:
            keys = os.read(self._keyboard, 64)
            self._quit = self._quit or not keys or any(key in QUIT_KEYS for key in keys)
            if not keys:
                break
        return self._quit

    def _render(self) -> Group:
        statuses, result = self._shown
        hint = "ending with this round ..." if self._quit else "q quits"
        lines = max(MIN_EVENT_LINES, self._console.height - len(self._cluster.nodes) - OTHER_LINES)
        latest = list(self._events)[-lines:]
        return Group(
            Text(self._title, "bold", end=""),
            Text(f"   {result.writes} writes, failover {result.fail_overs()}   {hint}\n"),
            view.table(self._cluster, statuses, DOWN),
            Text(""),
            *latest,
            *[Text("")] * (lines - len(latest)),
        )


def _timed(start: float, node: int | None, text: str) -> str:
    return f"{time.monotonic() - start:7.3f}  {'--' if node is None else f'n{node}'}  {text}"
