"""Stands in for the module `machine` of a board."""

import sys

from host_tools.desktop.system import end_after, replace_process


def reset():
    """Start anew from main.py: the process keeps its number, and nothing else."""
    end_after(0)
    state, lock, interpreter = sys.argv[1], sys.argv[2], sys.argv[3:]
    replace_process(interpreter + [sys.argv[0], state, lock] + interpreter, int(lock))


class WDT:
    """The watchdog: ends the process unless it is fed.

    As on an ESP32 it is never off again, outlives Ctrl-C and a soft reset, and takes a new
    timeout (ports/esp32/machine_wdt.c).
    """

    def __init__(self, id=0, timeout=5000):
        if id != 0 or timeout <= 0:
            raise ValueError("the watchdog is number 0, and its timeout is in ms")
        self._timeout = timeout
        self.feed()

    def feed(self):
        end_after(self._timeout)
