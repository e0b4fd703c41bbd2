"""A datagram endpoint for asyncio that knows the habits of MicroPython and of lwIP."""

import errno
import gc
import socket

from raft import interpreter


def resolve(host, port):
    """The address of host (str) and port (int), in the form this interpreter sends to.

    May block for seconds (DNS): call it at start only. Raises OSError.
    """
    # A tuple on a board and on CPython, raw bytes on MicroPython's unix port.
    return socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][-1]


class Endpoint:
    """A non-blocking UDP socket bound to `address` (from `resolve`).

    received, sent: datagrams. errors: failed calls. reopened: how often it was opened anew.
    """

    def __init__(self, address):
        self.received = 0
        self.sent = 0
        self.errors = 0
        self.reopened = 0
        self._address = address
        self._open()

    def _open(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(self._address)

    def serve(self, handle):
        """Await it: calls `handle()` whenever a datagram waits. `handle` takes all there are."""
        return interpreter.serve(self, handle)

    # `readinto` would spare the allocation, but on MicroPython it reads on until its buffer is
    # full: two datagrams arrive as one (py/stream.c, mp_stream_rw).

    def receive(self, most):
        """The next datagram (bytes), cut off behind `most` bytes; None if there is none."""
        return self._take(self.socket.recv, most)

    def receive_from(self, most):
        """(datagram, sender's address), or None."""
        return self._take(self.socket.recvfrom, most)

    def _take(self, receive, most):
        try:
            got = receive(most)
        except OSError as e:
            if e.errno != errno.EAGAIN:
                self.errors += 1
            return None
        except MemoryError:  # no free piece of that size: make one, the datagram waits
            gc.collect()
            self.errors += 1
            return None
        data = got[0] if isinstance(got, tuple) else got
        if not data:
            self._reopen()
            return None
        self.received += 1
        return got

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
        # (ports/esp32/modsocket.c); a fresh one hears again.
        self.close()
        self._open()
        self.reopened += 1
