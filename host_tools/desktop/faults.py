"""A clock that goes wrong and a network that takes detours, for a node that runs on a desk.

Both are told by the environment of its process:

    RAFT_DESK_CLOCK   how fast its clock is, in thousandths of the real one: 1100 is 10 % fast
    RAFT_DESK_VIA     "7101:31001 7102:31002": what it sends to port 7101 of this machine goes to
                      port 31001 instead, where somebody passes it on or doesn't
"""

import os
import time

_CLOCK = "RAFT_DESK_CLOCK"
_VIA = "RAFT_DESK_VIA"
_HOST = "127.0.0.1"


def apply():
    """To be called before anything of the node is imported but `raft.interpreter`."""
    clock = os.getenv(_CLOCK)
    if clock:
        _skew(int(clock))
    routes = os.getenv(_VIA)
    if routes:
        _divert(routes)


class Clock:
    """The time (ms) of a clock that ticks `permille` times while the real one ticks 1000 times.

    ticks_ms, ticks_diff, sleep_ms: those of the real one.
    """

    def __init__(self, permille, ticks_ms, ticks_diff, sleep_ms):
        self._permille = permille
        self._real_ms = ticks_ms
        self._diff = ticks_diff
        self._sleep_ms = sleep_ms
        self._read = self._ticks = ticks_ms()
        self._rest = 0  # thousandths of a tick

    def ticks_ms(self):
        now = self._real_ms()
        self._rest += self._diff(now, self._read) * self._permille
        self._read = now
        self._ticks = _ticks_add(self._ticks, self._rest // 1000)
        self._rest %= 1000
        return self._ticks

    def sleep_ms(self, ms):
        return self._sleep_ms((ms * 1000 + self._permille - 1) // self._permille)


def _skew(permille):
    from raft import interpreter

    clock = Clock(permille, interpreter.ticks_ms, interpreter.ticks_diff, interpreter.sleep_ms)
    interpreter.ticks_ms = clock.ticks_ms
    interpreter.sleep_ms = clock.sleep_ms


def _divert(routes):
    from raft import udp

    detours = {}
    for route in routes.split():
        port, via = route.split(":")
        detours[_hashable(udp.resolve(_HOST, int(port)))] = udp.resolve(_HOST, int(via))
    send = udp.Endpoint.send

    def send_by_detour(endpoint, data, address):
        send(endpoint, data, detours.get(_hashable(address), address))

    udp.Endpoint.send = send_by_detour  # type: ignore[method-assign]


def _hashable(address):
    return address if isinstance(address, tuple) else bytes(address)


def _ticks_add(ticks, ms):
    add = getattr(time, "ticks_add", None)  # which wraps, as ticks do there
    return add(ticks, ms) if add else ticks + ms
