"""A terminal, as a test sees it."""

import codecs
import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 60
COLUMNS = 100
LOCAL_MODES = 3  # of what termios.tcgetattr gives


def open_terminal(lines: int = 24) -> tuple[int, int]:
    """The test's end of a terminal of 100 columns, and the program's."""
    terminal, device = os.openpty()
    termios.tcsetwinsize(device, (lines, COLUMNS))
    return terminal, device


class Shown:
    """What a terminal has got so far."""

    def __init__(self, terminal: int) -> None:
        self.text = ""
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, seconds: float) -> str:
        """What comes next; nothing if none comes within that time."""
        if not select.select([self._terminal], [], [], seconds)[0]:
            return ""
        new = self._decoder.decode(os.read(self._terminal, 65536))
        self.text += new
        return new

    def until(self, *wanted: str) -> None:
        end = time.monotonic() + PATIENCE_S
        plain = ""
        while not all(one in plain or one in self.text for one in wanted):
            assert time.monotonic() < end, plain
            self.read(0.1)
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def until_keys_are_taken_singly(self) -> None:
        """Until the program hears each key, and not lines."""
        end = time.monotonic() + PATIENCE_S
        while termios.tcgetattr(self._terminal)[LOCAL_MODES] & termios.ICANON:
            assert time.monotonic() < end
            time.sleep(0.01)


@contextmanager
def on_terminal(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    folder: Path = PROJECT,
    lines: int = 24,
) -> Iterator[tuple[Shown, "subprocess.Popen[bytes]"]]:
    """A program in a folder, and what it shows; it is ended at last, if it still runs."""
    terminal, device = open_terminal(lines)
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=device, stdout=device, stderr=device,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield Shown(terminal), process
        finally:
            process.terminate()
    os.close(terminal)
    os.close(device)
