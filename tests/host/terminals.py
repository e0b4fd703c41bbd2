"""A terminal, as a test sees it."""

import os
import re
import select
import termios
import time

PATIENCE_S = 60


def open_terminal() -> tuple[int, int]:
    """The test's end of a terminal of 24 lines and 100 columns, and the program's."""
    terminal, device = os.openpty()
    termios.tcsetwinsize(device, (24, 100))
    return terminal, device


class Shown:
    """What a terminal has got so far."""

    def __init__(self, terminal: int) -> None:
        self.text = ""
        self._terminal = terminal

    def until(self, *wanted: str) -> None:
        end = time.monotonic() + PATIENCE_S
        plain = ""
        while not all(one in plain or one in self.text for one in wanted):
            assert time.monotonic() < end, plain
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.text += os.read(self._terminal, 65536).decode(errors="replace")
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)
