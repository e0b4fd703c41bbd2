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
        self._running.append(asyncio.create_task(self.supervise(name, function, *args)))

    async def supervise(self, name, function, *args):
        """The same, in a task of the caller's own, who may cancel it."""
        while True:
            try:
                return await function(*args)
            except Exception as e:
                self.failed(name, e)
            await sleep_ms(PAUSE_MS)

    def failed(self, name, error):
        """Tell of a failure, with its traceback."""
        self.failures += 1
        print_exception(error)
        self._events("failure", task=name, error=repr(error), count=self.failures)
