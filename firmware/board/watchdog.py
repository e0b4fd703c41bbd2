"""The watchdog: it resets a board whose node stands still."""

import machine

from raft.interpreter import sleep_ms

FEED_MS = 500
LONG_MS = 3600 * 1000


async def feed(node, timeout_ms):
    """Feed it for as long as the node's own clock is seen to run."""
    watchdog = machine.WDT(timeout=timeout_ms)
    while True:
        if node.has_ticked:
            node.has_ticked = False
            watchdog.feed()
        await sleep_ms(FEED_MS)


def loosen():
    """Leave whoever is at the REPL in peace for an hour: an ESP32's can't be switched off."""
    machine.WDT(timeout=LONG_MS)
