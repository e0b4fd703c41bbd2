"""What the demonstration is seen on: a terminal, or anything else that takes lines."""

import os
import select
import sys
import termios
import threading
import time
import tty
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from host_tools import view
from host_tools.cluster import Cluster
from host_tools.demo import Result

QUIT_KEYS = b"qQ"
DOWN = "down"
MIN_LINES = 5  # below the head, however small the terminal
STYLES = {
    **dict.fromkeys(("leader", "trusted"), "green"),
    **dict.fromkeys(("precandidate", "candidate", "learner"), "yellow"),
    **dict.fromkeys(("alarm", "crash", "damage", "flash_fault", "reset", "restarted"), "red"),
    "failure": "yellow",
    **dict.fromkeys(("out", "swapped", "wiped"), "red"),
    "killed": "bold red",  # said by the demo
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


class Keyboard:
    """Hears single keys; a context manager, which leaves the terminal as it was."""

    def __enter__(self) -> "Keyboard":
        self._keyboard = sys.stdin.fileno()
        self._cooked = termios.tcgetattr(self._keyboard)
        tty.setcbreak(self._keyboard)  # a key arrives at once, and isn't echoed
        return self

    def __exit__(self, *exc_info: Any) -> None:
        termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._cooked)

    def pressed(self, wanted: bytes) -> bool:
        """Whether one of these keys was pressed, or there is no keyboard any more."""
        found = False
        while select.select([self._keyboard], [], [], 0)[0]:
            keys = os.read(self._keyboard, 64)
            found = found or not keys or any(key in wanted for key in keys)
            if not keys:
                break
        return found


class Screenful(ABC):
    """What changes above the latest lines, as much as fits; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._latest: deque[Text] = deque(maxlen=200)

    def __enter__(self) -> Self:
        # Only here, for it asks for the head
        self._live = Live(console=self._console, auto_refresh=False, get_renderable=self._render)
        self._live.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._live.__exit__(*exc_info)

    def add(self, line: Text) -> None:
        self._latest.append(line)

    def refresh(self) -> None:
        self._live.refresh()

    @abstractmethod
    def head(self) -> Group:
        """What stands above the lines."""

    def _render(self) -> Group:
        head = self.head()
        height = self._console.height - len(self._console.render_lines(head)) - 1
        lines = max(MIN_LINES, height)
        latest = list(self._latest)[-lines:]
        return Group(head, *latest, *[Text("")] * (lines - len(latest)))


class Terminal(Screenful):
    """A live table above the latest events, until `q` is pressed."""

    def __init__(self, cluster: Cluster, title: str, console: Console) -> None:
        super().__init__(console)
        self._cluster = cluster
        self._title = title
        self._start = time.monotonic()
        self._shown: tuple[dict[int, dict[str, Any]], Result] = ({}, Result())
        self._keyboard = Keyboard()
        self._quit = False

    def __enter__(self) -> Self:
        self._keyboard.__enter__()
        return super().__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        try:
            super().__exit__(*exc_info)
        finally:
            self._keyboard.__exit__(*exc_info)

    def say(self, node: int | None, text: str) -> None:
        style = STYLES.get(text.split(" ")[0], "" if node else "bold")
        self.add(Text(_timed(self._start, node, text), style, no_wrap=True))
        self.refresh()

    def show(self, statuses: dict[int, dict[str, Any]], result: Result) -> None:
        self._shown = statuses, result
        self.refresh()

    def wants_to_quit(self) -> bool:
        self._quit = self._keyboard.pressed(QUIT_KEYS) or self._quit
        return self._quit

    def head(self) -> Group:
        statuses, result = self._shown
        hint = "ending with this round ..." if self._quit else "q quits"
        return Group(
            Text(self._title, "bold", end=""),
            Text(f"   {result.writes} writes, failover {result.fail_overs()}   {hint}\n"),
            view.table(self._cluster, statuses, DOWN),
            Text(""),
        )


def _timed(start: float, node: int | None, text: str) -> str:
    return f"{time.monotonic() - start:7.3f}  {'--' if node is None else f'n{node}'}  {text}"
