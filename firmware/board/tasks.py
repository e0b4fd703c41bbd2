"""Tasks that are started again when they fail, since asyncio would print a line and go on."""

import asyncio

from raft.interpreter import print_exception, sleep_ms

PAUSE_MS = 1000  # before a task that has failed is started again


class Tasks:
    """The tasks of a board beside its node. failures: of all of them, since start."""

    def __init__(self, events):
        self.failures = 0
        self._events = events
        self._running = []  # asyncio keeps no hold of a task that waits

    def start(self, name, function, *args):
        """Run the coroutine function until it returns."""
        self._running.append(asyncio.create_task(self._run(name, function, args)))

    async def _run(self, name, function, args):
        while True:
            try:
                return await function(*args)
            except Exception as e:
                self.failures += 1
                print_exception(e)
                self._events("failure", task=name, error=repr(e), count=self.failures)
            await sleep_ms(PAUSE_MS)
