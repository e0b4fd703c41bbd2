"""The air between virtual boards: what sockets send arrives late, out of order, twice or never.

Portable. What a board's sockets then make of it is `host_tools/desktop/lwip.py`, as for processes.
"""

import errno

from host_tools.desktop import lwip
from tests.cluster.virtual_time import FIRST_SOCKET
from tests.dice import Dice

# Board to board over Wi-Fi a round trip takes 6 to 31 ms, and 14 as a rule: each way the least of
# two of these
DELAY_MS = (3, 15)
LATE_MS = (20, 300)  # more, of what the radio had to send again
LATE = 5  # per mille of all datagrams
LOST = 10  # per mille
DOUBLED = 2  # per mille
OWN_MS = 1  # to the board's own address
EPHEMERAL = 49152  # the first port for sockets that are bound to none


class Air:
    """Carries datagrams between sockets. here: the board whose code runs now.

    counts: datagrams, by what has become of them. hearer: called with each that is sent.
    """

    SOL_SOCKET = SO_BROADCAST = AF_INET = SOCK_DGRAM = 0

    def __init__(self, timeline, dice: Dice) -> None:  # type: ignore[no-untyped-def]
        self.timeline = timeline
        self.here = None
        self.counts: dict[str, int] = {}
        self.bound: dict[tuple[str, int], Wire] = {}
        self.boards: dict = {}  # type: ignore[type-arg] # host -> board
        self.hearer = None
        self.lost = LOST
        self._dice = dice
        self._sockets = FIRST_SOCKET
        self._ephemeral = EPHEMERAL

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    # What firmware/raft/udp.py takes for the module `socket`

    def socket(self, *how: int) -> "Socket":
        self._sockets += 1
        wire = Wire(self, self.here, self._sockets)
        wire.socket = Socket(wire, self.here)
        return wire.socket

    def getaddrinfo(self, host: str, port: int, *how: int):  # type: ignore[no-untyped-def]
        return [(0, 0, 0, "", (host, port))]

    # What wires send

    def free_port(self) -> int:
        self._ephemeral += 1
        return self._ephemeral

    def send(self, sender: "Wire", data: bytes, to: tuple[str, int]) -> None:
        assert sender.address
        board = sender.board
        if self.hearer:
            self.hearer(data, to)
        self.carry(data, sender.address, to, board.local_ms(), to[0] == board.host)

    def carry(
        self, data: bytes, sender: tuple[str, int], to: tuple[str, int], time: int, is_own: bool
    ) -> None:
        """Something is sent at that time. is_own: to the sender's own board."""
        dice = self._dice
        self.count("sent")
        if is_own:
            self.timeline.at(time + OWN_MS, self._arrive, data, sender, to)
            return
        for _ in range(1 + (dice.below(1000) < DOUBLED)):
            if dice.below(1000) < self.lost:
                self.count("lost in the air")
                continue
            delay = min(dice.draw(*DELAY_MS), dice.draw(*DELAY_MS))
            if dice.below(1000) < LATE:
                delay += dice.draw(*LATE_MS)
            self.timeline.at(time + delay, self._arrive, data, sender, to)

    def _arrive(self, data: bytes, sender: tuple[str, int], to: tuple[str, int]) -> None:
        board = self.boards.get(to[0])
        if board is None:
            return  # to the outsider
        if board.is_deaf():
            self.count("lost by a radio that is off")
            return
        if board.is_saving():  # the access point keeps it until the next beacon
            beacon = (self.timeline.now // lwip.BEACON_MS + 1) * lwip.BEACON_MS
            self.count("late by power save")
            self.timeline.at(beacon, self._reach, data, sender, to)
        else:
            self._reach(data, sender, to)

    def _reach(self, data: bytes, sender: tuple[str, int], to: tuple[str, int]) -> None:
        wire = self.bound.get(to)
        if wire:
            wire.arrived(data, sender)
        else:
            self.count("to nobody")


class Wire:
    """A socket that is as perfect as a desk's; `Socket` has a board's habits."""

    def __init__(self, air: Air, board, number: int) -> None:  # type: ignore[no-untyped-def]
        self.board = board
        self.address: tuple[str, int] | None = None
        self.socket: Socket | None = None
        self._air = air
        self._number = number
        self._waiting: list[tuple[bytes, tuple[str, int]]] = []
        self._is_looked_at = False  # it is known when somebody looks whether it can be read
        # When the first empty datagram came, and how long its board had stood still then
        self.deaf_since: tuple[int, int] | None = None

    def fileno(self) -> int:
        return self._number

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, *option: int) -> None:
        pass

    def bind(self, address: tuple[str, int]) -> None:
        if address in self._air.bound:
            raise OSError(errno.EADDRINUSE, "%s:%d" % address)
        assert address[0] == self.board.host
        self._air.bound[address] = self
        self.address = address

    def recvfrom(self, most: int) -> tuple[bytes, tuple[str, int]]:
        if not self._waiting:
            raise OSError(errno.EAGAIN, "nothing waits")
        data, sender = self._waiting.pop(0)
        return data[:most], sender

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        if self.address is None:
            self.bind((self.board.host, self._air.free_port()))
        self._air.send(self, bytes(data), address)
        return len(data)

    def close(self) -> None:
        if self.address:
            del self._air.bound[self.address]
            self.address = None

    def arrived(self, data: bytes, sender: tuple[str, int]) -> None:
        if not data and self.deaf_since is None:
            self.deaf_since = (self.board.local_ms(), self.board.stood_ms)
        self._waiting.append((data, sender))
        self.look_later()

    def look_later(self) -> None:
        if not self._is_looked_at:
            self._is_looked_at = True
            timeline = self._air.timeline
            timeline.at(self.board.wake_ms(timeline.now), self._look)

    def _look(self) -> None:
        self._is_looked_at = False
        timeline = self._air.timeline
        if self.address is None:
            return  # closed meanwhile
        if self.board.busy_until > timeline.now:
            self.look_later()
        elif self.socket.is_readable():  # type: ignore[union-attr]
            # Whoever is woken may leave something in it.
            timeline.wake(self._number)
            self._is_looked_at = True
            timeline.at(self.board.wake_ms(timeline.now + 1), self._look)


class Socket(lwip.Socket):
    """Counts what its habits cost."""

    def _keep(self, letter: tuple[bytes, tuple[str, int]]) -> None:
        before = len(self._waiting)
        super()._keep(letter)
        if len(self._waiting) == before:
            self._board.air.count("lost by a full mailbox")
            if all([data for data, _ in self._waiting]):
                self._inner.deaf_since = None  # an empty one was lost, too

    def _read(self) -> tuple[bytes, tuple[str, int]]:
        was_closed = self._is_closed
        letter = super()._read()
        if self._is_closed and not was_closed:
            self._board.air.count("sockets closed by an empty datagram")
        return letter

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        try:
            return super().sendto(data, address)
        except OSError:
            self._board.air.count("not sent by a full ARP queue")
            raise

    def close(self) -> None:
        board = self._board
        if self._is_closed:
            since, stood_ms = self._inner.deaf_since
            board.world.was_deaf(board.local_ms() - since, board.stood_ms - stood_ms)
            board.air.count("lost with a closed socket", len(self._waiting))
        self._inner.close()
