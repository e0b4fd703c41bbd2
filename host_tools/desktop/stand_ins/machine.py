"""Stands in for the module `machine` of a board.

A reset starts main.py anew in the same process, with what is in the RTC's memory. The end of
the process is a power cut, but for its death by SIGALRM: the watchdog has bitten. Whoever then
starts it again says so, with RAFT_DESK_RESET=3 (WDT_RESET) in its environment.
"""

import gc
import os
import sys

from host_tools.desktop.system import kill_after, mac, replace_process

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

RTC_BYTES = 2048

_CAUSE = "RAFT_DESK_RESET"
_MEMORY = "RAFT_DESK_RTC"
_MEMORY_FILE = "rtc.bin"  # for the life after a bite of the watchdog, which comes unforeseen
_RESERVE_BYTES = 4096

_reserve = [bytearray(_RESERVE_BYTES)]  # a board's reset takes no memory, the one here does


def reset():
    """Start anew from main.py: the process keeps its number, and the RTC its memory."""
    _reserve.clear()
    gc.collect()
    kill_after(0)  # a watchdog has to be set up again
    os.putenv(_CAUSE, str(SOFT_RESET))
    os.putenv(_MEMORY, RTC.contents.hex())
    state, lock, interpreter = sys.argv[1], sys.argv[2], sys.argv[3:]
    replace_process(interpreter + [sys.argv[0], state, lock] + interpreter, int(lock))


def reset_cause():
    return int(os.getenv(_CAUSE) or PWRON_RESET)


def unique_id():
    """The MAC (6 bytes)."""
    return mac()


def _rtc_contents():
    memory = os.getenv(_MEMORY)
    if reset_cause() != WDT_RESET or memory:
        return bytes.fromhex(memory or "")
    try:
        with open(_MEMORY_FILE, "rb") as f:
            return f.read()
    except OSError:
        return b""


class RTC:
    """Its memory survives a reset."""

    contents = _rtc_contents()
    outlives_process = False  # from the time on that a watchdog may bite

    def memory(self, data=None):
        """Replace it, or tell it (bytes)."""
        if data is None:
            return RTC.contents
        if len(data) > RTC_BYTES:
            raise ValueError("buffer too long")
        RTC.contents = bytes(data)
        if RTC.outlives_process:
            RTC.keep()

    @staticmethod
    def keep():
        with open(_MEMORY_FILE, "wb") as f:
            f.write(RTC.contents)


class WDT:
    """The watchdog: kills the process `timeout` (ms) after it was fed last.

    As on an ESP32 it is never off again, outlives Ctrl-C and a soft reset, and takes a new
    timeout (ports/esp32/machine_wdt.c).
    """

    def __init__(self, id=0, timeout=5000):
        if id != 0 or timeout <= 0:
            raise ValueError("the watchdog is number 0, and its timeout is in ms")
        self._timeout_ms = timeout
        RTC.outlives_process = True
        RTC.keep()
        self.feed()

    def feed(self):
        kill_after(self._timeout_ms)


class Pin:
    """A pin: an input is high, unless a file `pin-ID.low` lies in the working directory.

    levels: what is put out at each pin that is an output (int), or sent there (tuple of RGB).
    """

    IN = 1
    OUT = 3
    PULL_UP = 2
    PINS = 49  # as ESP32-S3, which has most

    levels = {}

    def __init__(self, id, mode=IN, pull=None):
        if not 0 <= id < self.PINS:
            raise ValueError("invalid pin")
        self.id = id
        self._mode = mode
        if mode == self.OUT:
            self.levels[id] = 0

    def value(self, level=None):
        """Put out a level, or tell it."""
        if level is not None:
            self.levels[self.id] = int(level)
        elif self._mode == self.OUT:
            return self.levels[self.id]
        else:
            return int("pin-%d.low" % self.id not in os.listdir())


class Timer:
    """Never comes to call: a process that is a board ends where a board has its REPL."""

    def __init__(self, id):
        pass

    def init(self, period, callback):
        pass
