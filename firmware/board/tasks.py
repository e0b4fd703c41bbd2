"""Tasks that are started again when they fail, since asyncio would print a line and go on."""

import asyncio
import gc

from raft.interpreter import is_cancelled, print_exception, sleep_ms

PAUSE_MS = 1000  # before a task that has failed is started again
LET_GO_MS = 10


class Tasks:
    """The tasks of a board beside its node. lives: counts their failures (safe_mode.Lives)."""

    def __init__(self, events, lives):
        self._events = events
        self._lives = lives
        self._running = []  # asyncio keeps no hold of a task that waits

    def start(self, name, function, *args):
        """Run the coroutine function until it returns; the Task."""
        task = Task(self, name, function, args)
        self._running.append(task)
        return task

    def drop(self, task):
        """Stop one of them for good."""
        self._running.remove(task)
        task.stop()

    async def stop(self):
        """Stop all of them, and let them put away what they have."""
        for task in self._running:
            task.stop()
        await sleep_ms(LET_GO_MS)

    def failed(self, name, error):
        """Count a failure, and tell it with its traceback, if there is the memory for that."""
        try:
            count = self._lives.task_failed()
            print_exception(error)
            self._events("failure", task=name, error=repr(error), count=count)
        except Exception:
            gc.collect()  # whoever failed has left it


class Task:
    """One of them: whatever it fails with, it is started again until it is told to stop."""

    def __init__(self, tasks, name, function, args):
        self._is_stopped = False
        self._task = asyncio.create_task(self._run(tasks, name, function, args))

    def stop(self):
        self._is_stopped = True
        self._task.cancel()

    async def _run(self, tasks, name, function, args):
        while not self._is_stopped:
            try:
                return await function(*args)
            except asyncio.CancelledError as e:
                # Of another task that it has waited for, or of somebody's making: not its end.
                if self._is_stopped or is_cancelled(self._task):
                    raise
                tasks.failed(name, e)
            except (Exception, SystemExit) as e:
                tasks.failed(name, e)
            await sleep_ms(PAUSE_MS)
