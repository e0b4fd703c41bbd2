"""A virtual board that has been flashed: MicroPython's unix port on a pty.

The pty is the board's USB serial port: what opens it can't tell it from a real one's, apart from
the modem lines DTR and RTS, which a pty has not. What the board does is in
micropython/power_on.py; here are its chip, its power and its cable.
"""

import os
import pty
import select
import signal
import struct
import subprocess
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

from host_tools.desk import MICROPYTHON, interpreter_command
from host_tools.events import Event, parse

POWER_ON = Path(__file__).resolve().parent / "micropython" / "power_on.py"
FLASH_BYTES = 4 << 20
TABLE_AT = 0x8000
RAFT_AT, RAFT_BYTES = 0x200000, 0x40000
VFS_AT = RAFT_AT + RAFT_BYTES
# label, type, subtype, offset, bytes
TABLE = [
    ("nvs", 1, 0x02, 0x9000, 0x6000),
    ("phy_init", 1, 0x01, 0xF000, 0x1000),
    ("factory", 0, 0x00, 0x10000, 0x1F0000),
    ("raft", 1, 0x40, RAFT_AT, RAFT_BYTES),
    ("vfs", 1, 0x82, VFS_AT, FLASH_BYTES - VFS_AT),
]
HEAP = "256k"  # what is left of it beside stand-ins and REPL is about what a board has

# Why it starts, as the ROM says it: by how the interpreter before has ended
BUTTON = "rst:0x1 (POWERON_RESET)"
REASONS = {
    -signal.SIGKILL: BUTTON,
    -signal.SIGALRM: "rst:0x8 (TG1WDT_SYS_RESET)",  # the watchdog of stand_ins/machine.py
}

CTRL_C = b"\x03"
RESET_REASON = "BOARD_RESET"  # of micropython/power_on.py
BUFFER_BYTES = 1 << 16  # what waits for a reader of the port; the rest is lost, as on a real line
LOOK_S = 0.02  # how often to look whether somebody has opened the port
PATIENCE_S = 30.0


def flashed(path: Path, table: list[tuple[str, int, int, int, int]] = TABLE) -> Path:
    """A chip in a new file: erased, but for its partition table."""
    entries = b"".join(
        struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, at, size, label.encode(), 0)
        for label, kind, subtype, at, size in table
    )
    chip = bytearray(b"\xff" * FLASH_BYTES)
    chip[TABLE_AT : TABLE_AT + len(entries)] = entries
    path.write_bytes(chip)
    return path


class Board:
    """A board with the chip `flash` (a file); its serial port is at the path `port`.

    As a context manager, its power is on within.
    """

    def __init__(self, flash: Path, port: Path) -> None:
        self.flash = flash
        self.port = port
        self.output = bytearray()  # all that it has printed, whether anybody has listened or not
        self._line = -1  # our end of the pty
        self._waiting = bytearray()  # for the reader of the port
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_plugged = False
        self._failure = ""  # of the virtual board itself

    def __enter__(self) -> "Board":
        self.plug_in()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unplug()

    # What a hand does

    def plug_in(self) -> None:
        """The port is there, and the board starts."""
        self._line, slave = pty.openpty()
        os.set_blocking(self._line, False)
        tty.setraw(slave)
        self.port.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._is_plugged = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def unplug(self) -> None:
        """The port vanishes and the power fails."""
        if self._thread is None:
            return
        self.port.unlink()
        self._is_plugged = False
        self._thread.join()
        self._thread = None

    def press_reset(self) -> None:
        if self._process:
            self._process.kill()

    # What an eye sees

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.decode(errors="replace").replace("\r\n", "\n")

    def events(self, what: str) -> list[Event]:
        parsed = [parse(line) for line in self.text.splitlines()]
        return [event for event in parsed if event and event.what == what]

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.text
            assert not self._failure, (self._failure, self.text)
            time.sleep(0.01)

    def until_printed(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.text.count(text) >= times)

    # What goes on within

    def _run(self) -> None:
        # The interpreter inherits this: a Ctrl-C must not end it before it knows what that is.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        command = [*interpreter_command(MICROPYTHON), "-X", f"heapsize={HEAP}"]
        command = [*command, str(POWER_ON), str(self.flash), "0", *command]
        reason = BUTTON
        while self._is_plugged:
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                env={**os.environ, RESET_REASON: reason},
            ) as self._process:
                self._serve(self._process)
                self._process.kill()
            status = self._process.returncode
            if self._is_plugged and status not in REASONS:
                self._failure = f"the interpreter ended with status {status}"
                break
            reason = REASONS.get(status, BUTTON)
        os.close(self._line)

    def _serve(self, process: "subprocess.Popen[bytes]") -> None:
        """Carry bytes between the interpreter and the port until one of them is no more."""
        assert process.stdin and process.stdout
        os.set_blocking(process.stdin.fileno(), False)
        printed = process.stdout.fileno()
        while self._is_plugged:
            state = look({self._line: select.POLLIN}, 0).get(self._line, 0)
            wanted = {printed: select.POLLIN}
            if state & select.POLLIN:
                self._type(process, os.read(self._line, 4096))
            elif state & select.POLLHUP:  # nobody has the port open
                self._waiting.clear()
            else:
                wanted[self._line] = select.POLLIN | (select.POLLOUT if self._waiting else 0)
            if printed in look(wanted, LOOK_S):
                data = os.read(printed, 4096).replace(b"\n", b"\r\n")
                if not data:
                    return
                self.output += data
                self._waiting += data[: BUFFER_BYTES - len(self._waiting)]
            self._send()

    def _type(self, process: "subprocess.Popen[bytes]", data: bytes) -> None:
        """Bytes from the port for the interpreter; a Ctrl-C is a signal too, which goes before."""
        assert process.stdin
        before, *after = data.split(CTRL_C)
        for part in (before, *(CTRL_C + part for part in after)):
            if part.startswith(CTRL_C):
                process.send_signal(signal.SIGINT)
            try:
                process.stdin.write(part)
            except (BlockingIOError, BrokenPipeError):
                pass  # lost, as on a real line when nobody takes them

    def _send(self) -> None:
        try:
            sent = os.write(self._line, self._waiting) if self._waiting else 0
        except BlockingIOError:
            return
        del self._waiting[:sent]


def look(events: dict[int, int], seconds: float) -> dict[int, int]:
    """What is the case of these events (file number -> poll's flags), within that time."""
    poller = select.poll()
    for number, flags in events.items():
        poller.register(number, flags)
    return dict(poller.poll(seconds * 1000))
