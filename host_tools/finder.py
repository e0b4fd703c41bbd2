"""Finds nodes whose host is "auto", by a request that all of them answer.

firmware/raft/access.py tells more.
"""

# mypy: allow-untyped-calls

import socket

from host_tools.desktop.loopback import ADDRESSES
from host_tools.firmware import access, calling, draw, messages

Reply = tuple[int, int, int, int, bytes]  # see Caller.read

# Of the local network, and those of this machine that a node on it may have
TARGETS = ("255.255.255.255", *ADDRESSES)
FIRST_PAUSE_S = 0.25  # between two questions; more than a round trip
LAST_PAUSE_S = 2.0


class Finder:
    """Asks by the socket, whose owner hands over what comes.

    caller: its requests, as its owner has them. ports: of clients, by node.
    """

    def __init__(self, caller: calling.Caller, asking: socket.socket) -> None:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.ports: dict[int, int] = {}
        self.caller = caller
        self._socket = asking
        self._question = 0
        self._missing: set[int] = set()  # who hasn't answered the question
        self._due = 0.0
        self._pause = FIRST_PAUSE_S

    def ask(self, now: float) -> None:
        """Ask all of them where they are, unless that was done a moment ago. now: monotonic, s."""
        if now < self._due:
            return
        self._due = now + self._pause
        self._pause = min(2 * self._pause, LAST_PAUSE_S)
        self._missing = set(self.ports)
        self._question = draw(1, messages.MAX_NUMBER)
        n = self.caller.request(access.EVERYBODY, messages.STATUS, self._question)
        for port in set(self.ports.values()):
            for host in TARGETS:
                try:
                    self._socket.sendto(self.caller.frame(n), (host, port))
                except OSError:
                    continue  # there is no such network now

    def hear(self, reply: Reply, now: float) -> int:
        """The node that answers the latest question with this, 0: none does."""
        node, number, status, _, _ = reply
        if (number, status) != (self._question, messages.STALE) or node not in self._missing:
            return 0
        self._missing.remove(node)
        self._pause = FIRST_PAUSE_S
        self._due = min(self._due, now + FIRST_PAUSE_S)
        return node
