"""`make screenshots`: the pictures in README, taken of real runs on a terminal."""

import os
import re
import sys
import tempfile
import time
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.text import Text

from host_tools.firmware import FIRMWARE
from tests.boards.board import several
from tests.boards.test_up import CHIP, Desk
from tests.host.terminals import COLUMNS, PATIENCE_S, Shown, on_terminal

FOLDER = FIRMWARE.parent / "host_tools" / "screenshots"
LINES = 28
QUIET_S = 0.05  # a screen that stands still so long is whole
RAFTCTL = [sys.executable, "-m", "host_tools.cli"]
# Sixteen colours, whatever the terminal has that `make` was typed on
ENV = {**os.environ, "TERM": "xterm", **dict.fromkeys(("COLORTERM", "NO_COLOR", "COLUMNS"), "")}
DIM, GREY = 2, 90  # as a terminal is told them (ECMA-48, SGR)
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*|Fira Code, ", re.DOTALL)


class Camera:
    """Sees what a program shows."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._seen = 0  # characters of it
        self._screen = Screen(COLUMNS, LINES)
        self._stream = pyte.Stream(self._screen)

    def until(self, *patterns: str) -> str:
        """The text on the screen, when it stands still and all of these are found in it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            if not self._shown.read(QUIET_S):  # only then: the program mustn't wait for us
                self._stream.feed(self._shown.text[self._seen :])
                self._seen = len(self._shown.text)
                text = "\n".join(line.rstrip() for line in self._screen.display)
                if all(re.search(one, text, re.MULTILINE) for one in patterns):
                    return text
            assert time.monotonic() < end, (patterns, self._screen.display)

    def take(self, name: str, title: str) -> None:
        """Write the screen, as far as it is filled, as an SVG that needs no other file."""
        console = Console(record=True, width=COLUMNS, file=StringIO())
        used = "\n".join(self._screen.display).rstrip().count("\n") + 1
        for y in range(used):
            cells = [self._screen.buffer[y][x] for x in range(COLUMNS)]
            line = Text()
            for style, run in groupby(cells, style_of):
                line.append("".join(cell.data for cell in run), style)
            console.print(line)
        svg = WEB_FONT.sub("", console.export_svg(title=title, unique_id=name))
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")


class Screen(pyte.Screen):
    """It knows no dim text, and shows that grey."""

    def select_graphic_rendition(self, *attrs: int) -> None:
        super().select_graphic_rendition(*(GREY if attr == DIM else attr for attr in attrs))


def style_of(cell: Char) -> Style:
    """What rich calls how it looks."""
    colour = cell.fg.replace("brown", "yellow").replace("bright", "bright_")
    return Style(color=colour, bold=cell.bold)


def demo() -> None:
    """A leader was killed for the third time, and the next one has taken a write."""
    with on_terminal([*RAFTCTL, "demo"], ENV, lines=LINES) as (shown, _):
        camera = Camera(shown)
        camera.until("of 3 ", r"^ +\d down", r"^ +\d leader", r"killed(.|\n)*n\d  leader")
        camera.take("demo", "make demo")
        shown.type(b"q")
        end = camera.until("lost: 0")
    print(end[end.index("elections:") :].strip())


def monitor() -> None:
    """The leader's power has failed, and another one leads."""
    with (
        tempfile.TemporaryDirectory() as name,
        several(Path(name), 3, CHIP, blank=True) as boards,
    ):
        desk = Desk(Path(name), boards)
        desk.init()
        desk.up()
        desk.told("put", "lamp", "on")
        ports = [board.port.name for board in boards]  # as short as on a real desk
        command = [*RAFTCTL, "monitor", *ports]
        with on_terminal(command, ENV, desk.file.parent, LINES) as (shown, _):
            camera = Camera(shown)
            text = camera.until(r"leader: \d", *(rf"^ +{node} (leader|foll)" for node in (1, 2, 3)))
            leader = int(text.split("leader: ")[1][0])
            boards[leader - 1].unplug()
            camera.until(rf"^ +{leader} gone", rf"^ +\d follower +\d+ +[^{leader} ]")
            camera.take("monitor", "raftctl monitor")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    demo()
    monitor()
