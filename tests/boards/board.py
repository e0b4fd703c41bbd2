"""A virtual board: a chip, its flash, and a serial port that it is plugged in at.

The port is a pty. What opens it can't tell it from a real one's, apart from the modem lines DTR
and RTS, by which esptool resets a board: a pty has none. Here the packet that esptool begins
with resets it into the loader of its ROM, and when esptool has closed the port, it starts anew.

It starts what its flash holds, or says why it can't (boot.py). The application is always
MicroPython: its unix port, with micropython/power_on.py.
"""

import os
import pty
import select
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from host_tools import boards
from host_tools.boards import Partition
from host_tools.desk import MICROPYTHON, interpreter_command
from host_tools.desktop.loopback import ADDRESSES
from host_tools.events import Event, parse
from tests.boards import boot, images
from tests.boards.rom import SYNC_PACKET, Flash, Loader

POWER_ON = Path(__file__).resolve().parent / "micropython" / "power_on.py"
HEAP = "256k"  # what is left of it beside stand-ins and REPL is about what a board has
MAC = "24:0a:c4:c0:db:01"  # with the two bytes that SLIP escapes
PROMPT = "\n>>> "

CTRL_C = b"\x03"
BUFFER_BYTES = 1 << 16  # what waits for a reader of the port; the rest is lost, as on a real line
LOOK_S = 0.02  # how often to look whether somebody has opened the port
RETRY_S = 0.3  # between two starts of a board that has nothing to start
PATIENCE_S = 60.0


class Board:
    """A board at the path `port`, where its flash lies too (`.flash`), erased if it is new.

    chip: a key of rom.CHIPS. As a context manager, its power is on within.

    silent: its cable has no data lines: it hears nothing, and is not heard.
    holds_boot: somebody holds its BOOT button: whatever resets it, the loader of its ROM waits.
    pulled: None, or a command of the loader, and after how many more of it somebody pulls the
    cable.
    address: what its network gives it when it starts.
    output: all that it has printed, whether anybody has listened or not.
    """

    def __init__(
        self, port: Path, chip: str = "esp32", mac: str = MAC, holds_boot: bool = False
    ) -> None:
        self.port = port
        self.chip = chip
        self.mac = mac
        self.flash = Flash(port.with_suffix(".flash"))
        self.loader = Loader(chip, mac, self.flash)
        self.silent = False
        self.holds_boot = holds_boot
        self.pulled: tuple[int, int] | None = None
        self.address = ADDRESSES[0]
        self.output = bytearray()
        self._line = -1  # our end of the pty
        self._waiting = bytearray()  # for the reader of the port
        self._heard = b""  # the last bytes that have come
        self._unread = b""  # bytes that have come for whatever starts next
        self._is_called = False  # by esptool
        self._thread: threading.Thread | None = None
        self._is_plugged = False
        self._is_reset = False
        self._is_open = False  # somebody has opened the port
        self._failure = ""  # of the virtual board itself

    def __enter__(self) -> "Board":
        self.plug_in()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unplug()

    # What a hand does

    def plug_in(self) -> None:
        """The port is there, and the board starts."""
        self.unplug()
        self._line, slave = pty.openpty()
        os.set_blocking(self._line, False)
        tty.setraw(slave)
        self.port.symlink_to(os.ttyname(slave))
        os.close(slave)
        self.pulled = None
        self._waiting.clear()
        self._unread = b""
        self._is_called = False
        self._is_plugged = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def unplug(self) -> None:
        """The port vanishes and the power fails."""
        if self._thread is None:
            return
        self._pull()
        self._thread.join()
        self._thread = None

    def press_reset(self) -> None:
        self._is_reset = True

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
        reason = boot.POWER_ON
        while self._is_plugged:
            self._is_reset = False
            reason = self._start(reason)
        os.close(self._line)

    def _start(self, reason: str) -> str:
        """All from one reset to the next; gives the reason of that."""
        if self.holds_boot or self._is_called:
            self._download()
            return boot.POWER_ON
        failure = boot.failure(self.chip, self.flash)
        if failure:
            self._fail(reason, failure)
            next_reason = failure.reset
        else:
            self._run_application(reason)
            next_reason = boot.WATCHDOG
        return next_reason if self._goes_on() else boot.POWER_ON

    def _goes_on(self) -> bool:
        """Whether no hand and no esptool has reset it."""
        return self._is_plugged and not self._is_reset and not self._is_called

    def _download(self) -> None:
        """The loader answers, until its user has closed the port."""
        if not self._is_called:  # esptool would throw it away
            self._print(boot.reset_line(self.chip, boot.POWER_ON, is_boot_held=True).encode())
        self._is_called = False
        self.loader.reset()
        while self._goes_on():
            typed = self._exchange()
            # Who opens the port at once may come before we see that it was closed.
            if not self.holds_boot and not (self._is_open and self.loader.is_meant(typed)):
                self._unread = typed
                return
            done = len(self.loader.ops)
            self._say(self.loader.take(typed))
            self._count(self.loader.ops[done:])

    def _count(self, ops: list[int]) -> None:
        if self.pulled and self.pulled[0] in ops:
            self.pulled = self.pulled[0], self.pulled[1] - 1
            if self.pulled[1] == 0:
                self._send()
                self._pull()

    def _pull(self) -> None:
        self.port.unlink(missing_ok=True)
        self._is_plugged = False

    def _fail(self, reason: str, failure: boot.Failure) -> None:
        self._print((boot.reset_line(self.chip, reason) + failure.text).encode())
        end = time.monotonic() + RETRY_S
        while self._goes_on() and time.monotonic() < end:
            self._look_for_esptool(self._exchange())

    def _run_application(self, reason: str) -> None:
        with subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=os.environ | self._environment(reason),
        ) as process:
            assert process.stdin and process.stdout
            os.set_blocking(process.stdin.fileno(), False)
            self._serve(process, process.stdout.fileno())
            process.kill()
        if self._goes_on() and process.returncode != -signal.SIGALRM:  # stand_ins/machine.py, WDT
            self._failure = f"the interpreter ended with status {process.returncode}"
            self._is_plugged = False

    def _command(self) -> list[str]:
        interpreter = [*interpreter_command(MICROPYTHON), "-X", f"heapsize={HEAP}"]
        return [*interpreter, str(POWER_ON), str(self.flash.path), "0", *interpreter]

    def _environment(self, reason: str) -> dict[str, str]:
        return {
            "RAFT_DESK_MAC": self.mac.replace(":", ""),
            "RAFT_DESK_ADDRESS": self.address,
            "BOARD_MACHINE": boot.MACHINES[self.chip],
            "BOARD_RESET": boot.reset_line(self.chip, reason),
            "BOARD_SOFTWARE_RESET": boot.reset_line(self.chip, boot.SOFTWARE),
        }

    def _serve(self, process: "subprocess.Popen[bytes]", printed: int) -> None:
        """Carry bytes between the interpreter and the port until it ends or is reset."""
        while True:
            typed = self._exchange(printed)
            self._look_for_esptool(typed)
            if not self._goes_on():
                return
            self._type(process, typed)
            if look({printed: select.POLLIN}, 0):
                data = os.read(printed, 4096)
                if not data:
                    return
                self._print(data)

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

    # The line

    def _exchange(self, program: int = -1) -> bytes:
        """Send what waits. Gives what has come from the port, and waits for that a moment.

        program: a file number that ends the wait when it can be read.
        """
        self._send()
        if self._unread:
            typed, self._unread = self._unread, b""
            return typed
        state = look({self._line: select.POLLIN}, 0).get(self._line, 0)
        self._is_open = not state & select.POLLHUP
        if state & select.POLLIN:
            typed = os.read(self._line, 4096)
            return b"" if self.silent else typed
        wanted = {program: select.POLLIN} if program >= 0 else {}
        if self._is_open:
            wanted[self._line] = select.POLLIN | (select.POLLOUT if self._waiting else 0)
        else:
            self._waiting.clear()
        look(wanted, LOOK_S)
        return b""

    def _look_for_esptool(self, typed: bytes) -> None:
        _, sync, rest = (self._heard + typed).partition(SYNC_PACKET)
        self._heard = b"" if sync else (self._heard + typed)[1 - len(SYNC_PACKET) :]
        if sync:
            self._is_called = True
            self._unread = sync + rest
            self._waiting.clear()

    def _print(self, data: bytes) -> None:
        data = data.replace(b"\n", b"\r\n")
        self.output += data
        self._say(data)

    def _say(self, data: bytes) -> None:
        if not self.silent:
            self._waiting += data[: BUFFER_BYTES - len(self._waiting)]

    def _send(self) -> None:
        try:
            sent = os.write(self._line, self._waiting) if self._waiting else 0
        except BlockingIOError:
            return
        del self._waiting[:sent]


def flashed(
    port: Path,
    chip: str = "esp32",
    mac: str = MAC,
    partitions: Sequence[Partition] | None = None,
) -> Board:
    """A board with MicroPython in its flash; its power is off.

    partitions: None for those of `boards/`.
    """
    board = Board(port, chip, mac)
    if partitions is None:
        partitions = boards.load(f"{chip}_generic").partitions
    images.install(board.flash, chip, partitions)
    return board


@contextmanager
def several(
    folder: Path, count: int, chip: str = "esp32", blank: bool = False
) -> Iterator[list[Board]]:
    """Boards at the ports ttyUSB0, ttyUSB1... of that folder, all with a MAC of their own.

    Those that aren't blank have MicroPython, and it waits at its prompt.
    """
    new = Board if blank else flashed
    with ExitStack() as stack:
        made = [
            stack.enter_context(new(folder / f"ttyUSB{i}", chip, f"24:0a:c4:00:00:{i:02x}"))
            for i in range(count)
        ]
        for board in made:
            board.until_printed("invalid header" if blank else PROMPT)
        yield made


def look(events: dict[int, int], seconds: float) -> dict[int, int]:
    """What is the case of these events (file number -> poll's flags), within that time."""
    poller = select.poll()
    for number, flags in events.items():
        poller.register(number, flags)
    return dict(poller.poll(seconds * 1000))
