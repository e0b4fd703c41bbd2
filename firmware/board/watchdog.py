"""The watchdog: it resets a board whose node stands still."""

import machine

from raft.interpreter import sleep_ms

FEED_MS = 500
# Until the node takes part, for what stands still meanwhile: a program that is loaded, names that
# are looked up, 5 s each, and a full flash that is read.
START_MS = 60000
LONG_MS = 3600 * 1000


class Watchdog:
    """Bites when there is no node within START_MS, or its clock hasn't run for `timeout_ms`.

    node: None until it is open; meanwhile it is enough that the board's tasks run.
    """

    def __init__(self, timeout_ms):
        self.node = None
        self._timeout_ms = timeout_ms
        self._dog = machine.WDT(timeout=START_MS)

    async def run(self):
        """Feed it for as long as all is well."""
        while self.node is None:
            self._dog.feed()
            await sleep_ms(FEED_MS)
        dog = machine.WDT(timeout=self._timeout_ms)
        while True:
            if self.node.has_ticked:
                self.node.has_ticked = False
                dog.feed()
            await sleep_ms(FEED_MS)


def loosen():
    """Leave whoever is at the REPL in peace for an hour: an ESP32's can't be switched off."""
    machine.WDT(timeout=LONG_MS)
