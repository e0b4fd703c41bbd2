"""A datagram endpoint for asyncio that knows the habits of MicroPython and of lwIP."""

import errno
import gc
import socket
import struct

from raft import interpreter
from raft.messages import frame_bytes, next_frame

AUTO = "auto"  # a host that is to be found (hello.py)

# Another network may have others (host_tools/desktop/loopback.py).
ANY = "0.0.0.0"  # where a node listens that has to be found: at all addresses of its board
OWN = "127.0.0.1"  # where that reaches itself
BROADCAST = ("255.255.255.255",)


def resolve(host, port):
    """The address of host (str) and port (int), in the form this interpreter sends to.

    May block for seconds (DNS): call it at start only. Raises OSError.
    """
    # A tuple on a board and on CPython, raw bytes on MicroPython's unix port.
    return socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][-1]


def with_port(address, port):
    """The same host's address with another port."""
    if isinstance(address, tuple):
        return address[0], port
    return bytes(address[:2]) + struct.pack(">H", port) + bytes(address[4:])  # a struct sockaddr_in


def host_of(address):
    """The host of an address (str), for people."""
    return address[0] if isinstance(address, tuple) else "%d.%d.%d.%d" % tuple(address[4:8])


MAX_SEARCHES = 16  # for frames inside of what was none, in what was read at one time
YOUNG_MS = 35000  # two lives of that length are none of a crash loop (board/safe_mode.py)


class Endpoint:
    """A non-blocking UDP socket bound to `address`, from which broadcasts may be sent.

    address: from `resolve`; an int is a port at ANY address; None: any free port.

    buf: a bytearray for `receive`; others may use it while `is_empty()`. heads: of the frames that
    are expected there (messages.heads_of). received, sent: datagrams. errors: failed calls.
    reopened: how often the socket was opened anew; `on_reopen` is called then. joins: whether a
    read may give several datagrams in one piece.
    """

    joins = interpreter.JOINS_DATAGRAMS

    def __init__(self, address, buf=b"", heads=()):
        self.received = 0
        self.sent = 0
        self.errors = 0
        self.reopened = 0
        self.on_reopen = None
        self._address = address
        self._buf = buf
        self._view = memoryview(buf)
        self._heads = heads
        self._at = 0  # what was handed out last
        self._next = self._end = 0  # what of the buffer hasn't been handed out
        self._searches = 0  # that are left
        self._begun = interpreter.ticks_ms()
        self._open()

    def _open(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        address = self._address
        if isinstance(address, int):
            address = resolve(ANY, address)
        # Without an address it gets a port when it first sends, on lwIP too (udp_sendto binds it).
        if address is not None:
            self.socket.bind(address)

    def serve(self, handle):
        """Await it: calls `handle()` whenever a datagram waits. `handle` takes all there are."""
        return interpreter.serve(self, handle)

    # Not with `recv`, which wants a free piece of heap as large as the largest datagram: in a
    # small heap that has run for a while there is none. But `readinto`, on MicroPython, reads
    # on until its buffer is full, and so joins what waits (py/stream.c, mp_stream_rw).

    def receive(self):
        """The next frame (memoryview, valid until the next call), or None if there is none."""
        if self._next == self._end and not self._read():
            return None
        at = self._at = self._next
        self._next = self._end
        if self.joins:
            self._next = at + frame_bytes(self._buf, at, self._end)
        self.received += 1
        return self._view[at : self._next]

    def refuse(self):
        """What `receive` gave last is no frame of anybody who may speak.

        Its length may be a stranger's lie, and reach over what has come behind it.
        """
        if self.joins and self._searches:
            at = next_frame(self._buf, self._at + 1, self._next, self._heads)
            if at < self._next:
                self._next = at
                self._searches -= 1  # bounded: whoever knows what is looked for may send many

    def is_empty(self):
        """Whether all that was read has been handed out; more may wait in the socket."""
        return self._next == self._end

    def _read(self):
        n = tries = 0
        while n == 0 and tries < interpreter.MAX_EMPTY:
            tries += 1
            try:
                n = interpreter.read_into(self.socket, self._buf)
            except OSError:
                self.errors += 1
                return False
        if n == 0:
            self._reopen()
        self._next = 0
        self._end = n or 0
        self._searches = MAX_SEARCHES
        return self._end > 0

    def receive_from(self, most):
        """(datagram, cut off behind `most` bytes, and its sender's address), or None.

        Raises MemoryError if a long one has come, and no free piece of heap is large enough, but
        not in the first YOUNG_MS.
        """
        for _ in range(interpreter.MAX_EMPTY):
            found = self._receive_from(most)
            if found is None or found[0]:
                return found
        self._reopen()
        return None

    def _receive_from(self, most):
        try:
            try:
                datagram, sender = self.socket.recvfrom(most)
            except MemoryError:
                datagram, sender = self._receive_short(most)
        except OSError as e:
            if e.errno != errno.EAGAIN:
                self.errors += 1
            return None
        if datagram:
            self.received += 1
        return datagram, sender

    def _receive_short(self, most):
        """The same where there is no free piece of `most` bytes: short ones can do without.

        A node that went on without the long ones would lead, and never do what clients want: a
        restart makes room. But it helps no node that has just been started, and anybody may send a
        long datagram: who did so again and again could bring a board to safe mode, for good.
        """
        gc.collect()
        short = most // 4
        datagram, sender = self.socket.recvfrom(short)
        if len(datagram) == short:
            age_ms = interpreter.ticks_diff(interpreter.ticks_ms(), self._begun)
            if not 0 <= age_ms < YOUNG_MS:  # negative after six days: ticks wrap
                raise MemoryError("no %d bytes of heap are free in one piece" % most)
            self.errors += 1  # what is cut off is no frame
        return datagram, sender

    def send(self, data, address):
        """Send one datagram. One that can't be sent is a lost datagram, nothing more."""
        # A dead peer's address gives ENOMEM on lwIP, others EHOSTUNREACH or ETIMEDOUT.
        try:
            self.socket.sendto(data, address)
            self.sent += 1
        except OSError:
            self.errors += 1

    def close(self):
        self.socket.close()

    def _reopen(self):
        # An empty datagram marks an ESP32's socket as closed by its peer, for ever
        # (ports/esp32/modsocket.c); a fresh one hears again. Elsewhere, and if there are more
        # of them, it would only lose what waits.
        self.close()
        self._open()
        self.reopened += 1
        if self.on_reopen:
            self.on_reopen()  # whoever waits for the old one
