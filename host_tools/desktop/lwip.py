"""UDP sockets as MicroPython on an ESP32 has them: ports/esp32/modsocket.c over lwIP.

A `Socket` brings what an inner one does, which may be the desk's own or a simulated one, with those
habits that its `Board` has:

    empty      an empty datagram closes it: from then on it reads nothing, at once and for ever
    mailbox    it keeps six datagrams; what comes then is lost
    mtu        a datagram of more than 1,472 bytes never arrives: lwIP puts no fragments together
    enomem     where nobody is there who answers ARP, three datagrams wait, and more are an error
    speed      each datagram that is read takes three ms: what a board computes for it
    powersave  while the radio saves power, datagrams wait at the access point for its beacon
    wakeups    whoever waits for it is woken by FreeRTOS's ticks of 10 ms (habits.py)
"""

import errno
import sys
import time

MAILBOX = 6  # DEFAULT_UDP_RECVMBOX_SIZE
MOST_BYTES = 1472  # one Ethernet frame's
ARP_QUEUE = 3
ARP_ERRORS = (errno.ENOMEM, errno.ENOMEM, errno.ENOMEM, 118, 116)  # EHOSTUNREACH, ETIMEDOUT there
READ_MS = 3
BEACON_MS = 300  # from one beacon that a radio wakes for to the next
LOOK_MS = 1  # between two looks whether something has come, unless `wakeups` says more
PORTS_MS = 100  # for so long it is known which ports are open
UDP_PORTS = "/proc/net/udp"  # of a Linux; elsewhere nobody is found to be down

_LONGER = 2048  # than what is too long
_NOBODY = ("0.0.0.0", 0)


class Board:
    """The board on which sockets are: here a process. habits: their names (set)."""

    def __init__(self, habits):
        self.habits = habits
        self._ports = set()
        self._looked = None

    def beacon(self):
        """The number of the access point's latest beacon."""
        return int(time.time() * 1000 / BEACON_MS)

    def stand_still(self, ms):
        """Do nothing else meanwhile."""
        time.sleep(ms / 1000)

    def is_saving(self):
        """Whether its radio sleeps from beacon to beacon."""
        network = sys.modules.get("network")  # a board without Wi-Fi has none
        return network is not None and network.saves_power()

    def is_down(self, address):
        """Whether nobody listens at that address of this machine."""
        now = time.time()
        if self._looked is None or not 0 <= now - self._looked < PORTS_MS / 1000:
            self._looked = now
            self._ports = _open_ports()
        return self._ports is not None and _port(address) not in self._ports


class Socket:
    """A UDP socket on `board` (a `Board`), non-blocking. inner: what sends and receives."""

    def __init__(self, inner, board):
        self._inner = inner
        self._board = board
        self._waiting = []  # (datagram, sender): the mailbox
        self._held = []  # (beacon, (datagram, sender)): at the access point until then
        self._unanswered = {}  # address -> how many were sent to where nobody is
        self._is_closed = False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def is_readable(self):
        """Whether `poll` would say so."""
        self._look()
        return self._is_closed or len(self._waiting) > 0

    def recvfrom(self, most):
        datagram, sender = self._read()
        return datagram[:most], sender

    def recv_into(self, buf):
        """As CPython has it."""
        datagram = self._read()[0]
        size = min(len(datagram), len(buf))
        buf[:size] = datagram[:size]
        return size

    def readinto(self, buf):
        """As MicroPython has it: it reads on until `buf` is full. None if nothing waits."""
        size = 0
        while size < len(buf):
            try:
                datagram = self._read()[0]
            except OSError:
                return size or None
            if not datagram:
                break  # the end of a stream, or so it looks
            datagram = datagram[: len(buf) - size]
            buf[size : size + len(datagram)] = datagram
            size += len(datagram)
        return size

    def sendto(self, data, address):
        if "enomem" in self._board.habits:
            key = address if isinstance(address, tuple) else bytes(address)
            if self._board.is_down(address):
                sent = self._unanswered[key] = self._unanswered.get(key, 0) + 1
                # After a while ARP gives up, and its queue has room again.
                turn = (sent - 1) % (ARP_QUEUE + len(ARP_ERRORS)) - ARP_QUEUE
                if turn >= 0:
                    raise OSError(ARP_ERRORS[turn], "nobody answers ARP")
            else:
                self._unanswered.pop(key, None)
        return self._inner.sendto(data, address)

    def _read(self):
        """(datagram, sender); raises OSError if none waits."""
        if self._is_closed:
            return b"", _NOBODY
        self._look()
        if not self._waiting:
            raise OSError(errno.EAGAIN, "nothing waits")
        datagram = self._waiting.pop(0)
        if "speed" in self._board.habits:
            self._board.stand_still(READ_MS)
        if not datagram[0] and "empty" in self._board.habits:
            self._is_closed = True
        return datagram

    def _look(self):
        """Take in what has come."""
        board, habits = self._board, self._board.habits
        while self._held and self._held[0][0] <= board.beacon():
            self._keep(self._held.pop(0)[1])
        while True:
            try:
                letter = self._inner.recvfrom(_LONGER)
            except OSError as e:
                if e.errno != errno.EAGAIN:
                    raise
                return
            if "mtu" in habits and len(letter[0]) > MOST_BYTES:
                continue
            if "powersave" in habits and board.is_saving():
                self._held.append((board.beacon() + 1, letter))
            else:
                self._keep(letter)

    def _keep(self, letter):
        if "mailbox" not in self._board.habits or len(self._waiting) < MAILBOX:
            self._waiting.append(letter)


class Sockets:
    """Stands in for the module `socket` of a board's code."""

    def __init__(self, real, board):
        self._real = real
        self._board = board

    def __getattr__(self, name):
        return getattr(self._real, name)

    def socket(self, *how):
        return Socket(self._real.socket(*how), self._board)


def install(board):
    """All sockets that a node opens from now on are on `board`."""
    from raft import interpreter, udp

    async def serve(endpoint, handle):
        while True:
            await interpreter.sleep_ms(LOOK_MS)
            if endpoint.socket.is_readable():
                handle()

    interpreter.serve = serve
    udp.socket = Sockets(udp.socket, board)  # type: ignore[assignment]


def _port(address):
    return address[1] if isinstance(address, tuple) else address[2] << 8 | address[3]


def _open_ports():
    """The UDP ports of this machine that somebody listens at (set); None: nobody knows."""
    try:
        with open(UDP_PORTS) as f:
            lines = f.read().split("\n")[1:]
    except OSError:
        return None
    return {int(line.split()[1].split(":")[1], 16) for line in lines if line}
