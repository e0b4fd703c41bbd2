"""Serial ports: which there are, and how one is opened without disturbing its board."""

import errno
import io
import select
import time
from contextlib import suppress

import serial
from serial.tools import list_ports

BAUD = 115_200
CHUNK = 4096  # bytes taken at a time
POLL_S = 0.01  # between two looks at a port that can't wake us
LET_GO_S = 0.5  # who has just ended, as esptool, may hold its port for a moment
IN_USE = (errno.EAGAIN, errno.EBUSY)  # locked by another program; opened by one for itself alone
DENIED = (errno.EACCES, errno.EPERM)


class PortError(Exception):
    """A port can't be used; the message says which, why, and what to do."""


class PortAbsent(PortError):
    """There is no such port now; it may come."""


class PortInUse(PortError):
    """Another program has it."""


def found() -> list[str]:
    """The ports that a board may be at: those on USB. A PC's own have none."""
    return sorted(port.device for port in list_ports.comports() if port.vid is not None)


def description(name: str) -> str:
    """What the operating system calls what is plugged in there; empty if it doesn't know."""
    known = {port.device: port.description for port in list_ports.comports()}
    said = known.get(name)
    return said if said and said != "n/a" else ""


def candidates() -> list[str]:
    """The same; raises PortError if there are none."""
    names = found()
    if not names:
        raise PortError(
            "no serial port was found: plug a board in, with a cable that carries data, or name "
            "its port (/dev/ttyUSB0, COM3, socket://host:port, rfc2217://host:port)"
        )
    return names


def open_port(name: str) -> serial.Serial:
    """Open a port (`/dev/...`, `COM3`, `socket://...`, `rfc2217://...`), for us alone.

    Its board goes on with what it does. Raises PortAbsent, PortInUse, PortError.
    """
    end = time.monotonic() + LET_GO_S
    while True:
        try:
            return _opened(name)
        except PortInUse:
            if time.monotonic() > end:
                raise
            time.sleep(POLL_S)


def _opened(name: str) -> serial.Serial:
    try:
        port = serial.serial_for_url(name, BAUD, timeout=0, exclusive=True, do_not_open=True)
        # RTS without DTR resets a board (esptool does just that). Linux raises both with the
        # opening, so both stay: to lower them one after the other would pass through that state.
        # USB CDC boards print nothing without DTR.
        port.dtr = True
        port.rts = True
        port.open()
    except (OSError, ValueError) as e:
        raise _explained(name, e) from e
    return port


def read(port: serial.Serial, wait_s: float) -> bytes:
    """What has come, as soon as there is something; nothing after `wait_s`.

    Raises OSError when the port has gone.
    """
    try:
        select.select([port], [], [], wait_s)
    except io.UnsupportedOperation:  # rfc2217, and all ports of Windows
        end = time.monotonic() + wait_s
        while not port.in_waiting and time.monotonic() < end:
            time.sleep(POLL_S)
    return port.read(CHUNK)


def close(port: serial.Serial) -> None:
    """Close it, the board undisturbed: RTS falls first (see `open_port`)."""
    with suppress(OSError):  # it may have gone, or have no such lines
        port.rts = False
        port.dtr = False
    with suppress(OSError):
        port.close()


def _explained(name: str, error: OSError | ValueError) -> PortError:
    # What pyserial raises carries an errno or not; what it has caught does.
    cause = error.__context__
    if not isinstance(cause, OSError) or isinstance(cause, serial.SerialException):
        cause = error
    number = getattr(cause, "errno", None)
    if number in IN_USE:
        return PortInUse(f"{name} is in use by another program: end that one first")
    if number in DENIED:
        return PortError(
            f"no permission to open {name}: on Linux, `sudo usermod -aG dialout $USER`, and log "
            "in again"
        )
    if number is not None and "://" in name:
        return PortAbsent(f"{name} doesn't answer ({cause}): is that program or bridge running?")
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return PortAbsent(f"{name} is not there: plug the board in, or name another port")
    return PortError(f"{name} can't be opened ({error}): is it a serial port?")
