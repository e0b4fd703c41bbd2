"""Sockets on a desk that behave as a board's do, each habit by itself."""

import errno
import os

from host_tools.desktop import lwip
from host_tools.desktop.lwip import BEACON_MS, MAILBOX, MOST_BYTES, READ_MS, Socket
from tests.support import raises

PORTABLE = True

SENDER = ("192.0.2.1", 7101)
DEAD = ("192.0.2.2", 7102)


class Inner:
    """A socket into which the test puts datagrams."""

    def __init__(self) -> None:
        self.coming: list[bytes] = []
        self.sent: list[tuple[bytes, object]] = []
        self.is_blocking = True

    def setblocking(self, flag: bool) -> None:
        self.is_blocking = flag

    def recvfrom(self, most: int) -> tuple[bytes, tuple[str, int]]:
        if not self.coming:
            raise OSError(errno.EAGAIN, "nothing waits")
        return self.coming.pop(0)[:most], SENDER

    def sendto(self, data: bytes, address: object) -> int:
        self.sent.append((data, address))
        return len(data)


class Board(lwip.Board):
    def __init__(self, *habits: str) -> None:
        super().__init__(set(habits))
        self.stood_ms = 0
        self.beacons = 0
        self.is_awake = False
        self.down = [DEAD]

    def beacon(self) -> int:
        return self.beacons

    def stand_still(self, ms: int) -> None:
        self.stood_ms += ms

    def is_saving(self) -> bool:
        return not self.is_awake

    def is_down(self, address: object) -> bool:
        return address in self.down


def opened(*habits: str) -> tuple[Socket, Inner, Board]:
    inner, board = Inner(), Board(*habits)
    return Socket(inner, board), inner, board


def read_all(socket: Socket) -> list[bytes]:
    found = []
    while socket.is_readable():
        found.append(socket.recvfrom(2000)[0])
    return found


def test_without_habits_it_is_the_socket_within() -> None:
    socket, inner, board = opened()
    longest = bytes(MOST_BYTES + 1)
    inner.coming = [b"%d" % i for i in range(3 * MAILBOX)] + [b"", longest]

    assert socket.recvfrom(1) == (b"0", SENDER)
    assert len(read_all(socket)) == 3 * MAILBOX + 1
    assert raises(OSError, socket.recvfrom, 1).errno == errno.EAGAIN
    socket.sendto(b"data", DEAD)
    assert inner.sent == [(b"data", DEAD)]
    socket.setblocking(False)
    assert not inner.is_blocking
    assert board.stood_ms == 0


def test_an_empty_datagram_closes_it_for_ever() -> None:
    socket, inner, _ = opened("empty")
    inner.coming = [b"before", b"", b"behind"]
    assert socket.recvfrom(100) == (b"before", SENDER)

    assert socket.recvfrom(100)[0] == b""

    inner.coming.append(b"later")
    buf = bytearray(8)
    for _ in range(3):
        assert socket.is_readable()
        datagram, sender = socket.recvfrom(100)
        assert datagram == b"" and sender != SENDER
        assert socket.readinto(buf) == socket.recv_into(buf) == 0
    again = Socket(Inner(), Board("empty"))
    assert not again.is_readable()


def test_an_empty_datagram_behind_others_is_noticed_with_the_next_read() -> None:
    socket, inner, _ = opened("empty")
    inner.coming = [b"one", b"two", b"", b"three"]
    buf = bytearray(100)

    assert socket.readinto(buf) == 6
    assert buf[:6] == b"onetwo"
    assert socket.readinto(buf) == 0


def test_readinto_joins_datagrams_until_its_buffer_is_full() -> None:
    socket, inner, _ = opened()
    inner.coming = [b"abc", b"defg", b"hi"]
    buf = bytearray(5)

    assert socket.readinto(buf) == 5
    assert buf == b"abcde"
    assert socket.readinto(buf) == 2
    assert socket.readinto(buf) is None


def test_recv_into_takes_one_and_cuts_it_off() -> None:
    socket, inner, _ = opened()
    inner.coming = [b"abc", b"defg"]
    buf = bytearray(2)

    assert socket.recv_into(buf) == 2
    assert buf == b"ab"
    assert socket.recv_into(buf) == 2
    assert buf == b"de"


def test_its_mailbox_keeps_six_datagrams() -> None:
    socket, inner, _ = opened("mailbox")
    inner.coming = [b"%d" % i for i in range(MAILBOX + 3)]

    assert read_all(socket) == [b"%d" % i for i in range(MAILBOX)]

    inner.coming = [b"again"]
    assert read_all(socket) == [b"again"]


def test_what_is_longer_than_a_frame_never_arrives() -> None:
    socket, inner, _ = opened("mtu")
    inner.coming = [bytes(MOST_BYTES + 1), bytes(MOST_BYTES)]

    assert [len(datagram) for datagram in read_all(socket)] == [MOST_BYTES]


def test_where_nobody_is_three_datagrams_are_lost_and_more_are_errors() -> None:
    socket, inner, board = opened("enomem")
    told: list[int | None] = []
    for _ in range(2 * (lwip.ARP_QUEUE + len(lwip.ARP_ERRORS))):
        try:
            socket.sendto(b"data", DEAD)
            told.append(0)
        except OSError as e:
            told.append(e.errno)

    assert told[: len(told) // 2] == [0] * lwip.ARP_QUEUE + [errno.ENOMEM] * 3 + [118, 116]
    assert told[len(told) // 2 :] == told[: len(told) // 2]
    socket.sendto(b"data", SENDER)
    board.down = []
    socket.sendto(b"data", DEAD)
    assert inner.sent[-1] == (b"data", DEAD)


def test_each_datagram_takes_a_board_some_ms() -> None:
    socket, inner, board = opened("speed")
    inner.coming = [b"one", b"two"]

    read_all(socket)

    assert board.stood_ms == 2 * READ_MS


def test_a_radio_that_saves_power_hears_nothing_before_the_next_beacon() -> None:
    socket, inner, board = opened("powersave")
    inner.coming = [b"one", b"two"]
    assert not socket.is_readable()

    board.beacons += 1
    assert read_all(socket) == [b"one", b"two"]

    inner.coming = [b"three"]
    assert not socket.is_readable()
    board.is_awake = True
    inner.coming = [b"four"]
    assert read_all(socket) == [b"four"]
    board.beacons += 1
    assert read_all(socket) == [b"three"]


def test_a_process_knows_the_beacons_and_which_ports_are_open() -> None:
    import socket

    board = lwip.Board(set())
    first = board.beacon()
    assert 0 <= board.beacon() - first <= 60_000 // BEACON_MS

    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port = 20000 + int.from_bytes(os.urandom(2), "little") % 10000
    while True:
        address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
        try:
            listening.bind(address)
            break
        except OSError:
            port += 1
    try:
        assert not lwip.Board(set()).is_down(address)
    finally:
        listening.close()
    if lwip.UDP_PORTS.split("/")[1] in os.listdir("/"):  # a Linux
        assert lwip.Board(set()).is_down(address)
