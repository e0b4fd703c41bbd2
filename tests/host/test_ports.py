"""Serial ports, opened by the real pyserial: ptys, and what speaks TCP."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import serial
from serial.rfc2217 import PortManager
from serial.tools import list_ports
from serial.urlhandler import protocol_loop

from host_tools import ports

WAIT_S = 10.0
LOW = False, False
HIGH = True, True


class Bridge:
    """A program that offers a board by RFC 2217, and sees its control lines (DTR, RTS)."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = "rfc2217://127.0.0.1:%d" % self._server.getsockname()[1]
        self.seen = [LOW]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._thread.join(WAIT_S)
        self._server.close()

    def _serve(self) -> None:
        seen = self.seen

        class Board(protocol_loop.Serial):
            def _update_dtr_state(self) -> None:
                seen.append((self.dtr, seen[-1][1]))

            def _update_rts_state(self) -> None:
                seen.append((seen[-1][0], self.rts))

        connection, _ = self._server.accept()
        board = Board("loop://", dsrdtr=True, rtscts=True)
        wire: Any = SimpleNamespace(write=connection.sendall)
        manager = PortManager(cast(Any, board), wire)
        with connection:
            while data := connection.recv(ports.CHUNK):
                wire.write(b"".join(manager.filter(data)))  # echoed
        board.close()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with closing(Bridge()) as made:
        yield made


def test_what_a_board_prints_is_read_until_it_goes() -> None:
    board, device = os.openpty()
    port = ports.open_port(os.ttyname(device))
    os.close(device)

    assert ports.read(port, 0) == b""
    os.write(board, b"hello\n")
    assert ports.read(port, WAIT_S) == b"hello\n"
    os.close(board)

    with pytest.raises(OSError):
        ports.read(port, WAIT_S)
    ports.close(port)
    assert not port.is_open


def test_a_port_is_for_one_program_alone() -> None:
    board, device = os.openpty()
    name = os.ttyname(device)
    port = ports.open_port(name)

    with pytest.raises(ports.PortError, match=f"^{name} is in use by another program: end"):
        ports.open_port(name)

    ports.close(port)
    ports.close(ports.open_port(name))
    os.close(board)
    os.close(device)


def test_a_board_by_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = ports.open_port("socket://127.0.0.1:%d" % server.getsockname()[1])
        board, _ = server.accept()
        board.sendall(b"x" * 2 * ports.CHUNK)
        board.close()

        received = b""
        with pytest.raises(OSError):
            while True:
                received += ports.read(port, WAIT_S)

    assert received == b"x" * 2 * ports.CHUNK
    ports.close(port)


@pytest.mark.filterwarnings("ignore:set:DeprecationWarning")  # of threads, in pyserial 3.5
def test_no_board_is_reset_by_coming_or_going(bridge: Bridge) -> None:
    port = ports.open_port(bridge.url)
    assert bridge.seen[-1] == HIGH
    port.write(b"!")
    assert ports.read(port, WAIT_S) == b"!"

    ports.close(port)
    bridge.close()

    assert bridge.seen[-1] == LOW
    assert (False, True) not in bridge.seen  # RTS alone: the chip is held in reset


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("{}/ttyUSB0", ports.PortAbsent, "is not there: plug the board in"),
        ("socket://127.0.0.1:{free}", ports.PortAbsent, "doesn't answer"),
        ("{}", ports.PortError, "can't be opened"),
        ("socket://127.0.0.1", ports.PortError, "can't be opened"),
        ("perl://x", ports.PortError, "protocol 'perl' not known"),
    ],
)
def test_what_can_not_be_opened_is_explained(
    tmp_path: Path, name: str, kind: type[ports.PortError], message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]

    with pytest.raises(ports.PortError, match=message) as raised:
        ports.open_port(name.format(tmp_path, free=free))

    assert raised.type is kind
    assert "\n" not in str(raised.value)


def test_no_permission_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)

    with pytest.raises(ports.PortError, match="usermod -aG dialout"):
        ports.open_port("/dev/ttyUSB0")


def test_boards_are_looked_for_on_usb(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        SimpleNamespace(device="/dev/ttyUSB1", vid=0x10C4),
        SimpleNamespace(device="/dev/ttyS0", vid=None),
        SimpleNamespace(device="/dev/ttyACM0", vid=0x303A),
    ]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    assert ports.candidates() == ["/dev/ttyACM0", "/dev/ttyUSB1"]

    there.clear()
    with pytest.raises(ports.PortError, match="plug a board in, with a cable that carries data"):
        ports.candidates()


def test_the_speed_is_that_of_the_boot_rom() -> None:
    board, device = os.openpty()
    port = ports.open_port(os.ttyname(device))

    assert isinstance(port, serial.Serial) and port.baudrate == 115_200

    ports.close(port)
    os.close(board)
    os.close(device)
