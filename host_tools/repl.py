"""The REPL of a board, through mpremote."""

import ast
import binascii
import struct
from collections.abc import Callable
from typing import Any, Self

import serial
from mpremote import transport_serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from host_tools import ports

STOP_S = 1.5  # for what runs to end after Ctrl-C
ENTER_S = 5.0  # for a soft reset, boot.py included
READ_S = 10.0  # the longest that a board may be silent in the middle of something
CHUNK = 2048  # bytes of a file sent at a time; a board holds them three times over
PROMPT = b">>> "
CTRL_C, CTRL_D = b"\x03", b"\x04"
NO_SPACE = 28  # ENOSPC, as MicroPython's OSError tells it

# Before it raises, mpremote prints what the board has sent last.
transport_serial.print = lambda *said: None


class ReplError(Exception):
    """The board can't be talked to by its REPL; the message is one line that says what to do."""


class BoardFailed(ReplError):
    """What the board was to do has raised an exception there. error: its last line."""

    def __init__(self, port: str, error: str) -> None:
        super().__init__(f"{port}: the board says {error}")
        self.error = error

    @property
    def is_full(self) -> bool:
        """Whether its file system is."""
        return self.error == f"OSError: {NO_SPACE}" or "ENOSPC" in self.error


class Repl:
    """The raw REPL of the board at `port`; a context manager that leaves it at its prompt.

    What runs there is stopped; then, if `fresh`, a soft reset gives all of the heap back.
    Raises PortError, ReplError.
    """

    def __init__(self, port: str, fresh: bool = True) -> None:
        self.port = port
        self._fresh = fresh

    def __enter__(self) -> Self:
        self._transport = _opened(self.port)
        try:
            self._call(self._stop)
            self._call(self._transport.enter_raw_repl, self._fresh, ENTER_S)
        except ReplError:
            ports.close(self._transport.serial)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            if self._transport.in_raw_repl:
                self._call(self._transport.exit_raw_repl)
        except ReplError:
            if exc_info[0] is None:
                raise
        finally:
            ports.close(self._transport.serial)

    def run(self, code: str) -> str:
        """What it prints. Raises ReplError; BoardFailed for an exception there."""
        printed: bytes = self._call(self._transport.exec, code)
        return printed.decode(errors="replace")

    def value(self, code: str) -> Any:
        """The value whose `repr` the code prints."""
        printed = self.run(code).strip()
        try:
            return ast.literal_eval(printed)
        except (ValueError, SyntaxError):
            raise ReplError(
                f"{self.port}: {printed[:60]!r} is no answer: is the cable good? Try again"
            ) from None

    def write(self, path: str, data: bytes, progress: Callable[[int], None]) -> None:
        """Write a file. progress: is told how many bytes are there."""
        self.run(f"from binascii import a2b_base64\nfile = open({path!r}, 'wb')")
        for at in range(0, len(data), CHUNK):
            text = binascii.b2a_base64(data[at : at + CHUNK], newline=False)
            self.run(f"file.write(a2b_base64({text!r}))")
            progress(min(at + CHUNK, len(data)))
        self.run("file.close()")

    def restart(self) -> serial.Serial:
        """A soft reset, after which the board runs its main.py; gives the port, still open."""
        self._call(self._transport.exit_raw_repl)
        self._call(self._transport.serial.write, CTRL_D)
        port: serial.Serial = self._transport.serial
        port.timeout = 0  # as `ports.read` wants it
        return port

    def _stop(self) -> None:
        # Before mpremote does the same: what it sends next is for the REPL, and must not come
        # while the program still runs, which may read it.
        self._transport.serial.write(b"\r" + CTRL_C)
        self._transport.read_until(1, PROMPT, timeout_overall=STOP_S)

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except TransportExecError as e:
            lines = e.error_output.strip().splitlines()
            raise BoardFailed(self.port, lines[-1] if lines else "nothing") from e
        except (TransportError, struct.error) as e:  # the latter: where mpremote reads too little
            raise ReplError(
                f"{self.port} doesn't answer: press RESET on the board and try again; if it has "
                "no MicroPython yet, flash it"
            ) from e
        except OSError as e:
            raise ReplError(
                f"{self.port} has gone away: see to the cable, plug the board in again, and try "
                "again"
            ) from e


def _opened(name: str) -> SerialTransport:
    try:
        return SerialTransport(name, timeout=READ_S)
    except TransportError as e:
        ports.close(ports.open_port(name))  # which says why, unless the reason has gone
        raise ReplError(f"{name} could not be opened a moment ago: try again") from e
