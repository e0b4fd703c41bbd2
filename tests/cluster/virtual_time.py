"""asyncio on a virtual clock, MicroPython's own and CPython's; portable.

No time passes while tasks run; when all of them wait, it is at once as late as the first one wants.
Who waits for a socket waits until the timeline wakes it.
"""

import asyncio
import sys
from heapq import heappop, heappush

MICROPYTHON = sys.implementation.name == "micropython"
FIRST_SOCKET = 1_000_000  # numbers of virtual sockets: the operating system has no such files


class Timeline:
    """What is to happen when. now: ms since it began."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list = []  # type: ignore[type-arg]
        self._count = 0  # what is for the same ms happens in this order
        self._has_woken = False

    def at(self, time: int, function, *arguments: object) -> None:  # type: ignore[no-untyped-def]
        """Call it then; it may wake tasks by `wake`, and in no other way."""
        self._count += 1
        heappush(self._events, (max(time, self.now), self._count, function, arguments))

    def wake(self, socket: int) -> bool:
        """Who waits until the socket of that number can be read goes on now; if anybody does."""
        woken = _poller.wake(socket)
        self._has_woken = self._has_woken or woken
        return woken

    def run_until(self, time: "int | None") -> None:
        """Let things happen until that time (None: for ever), or until somebody was woken."""
        while self._events and (time is None or self._events[0][0] <= time):
            self.now, _, function, arguments = heappop(self._events)
            function(*arguments)
            if self._has_woken:
                self._has_woken = False
                return
        if time is not None:
            self.now = max(self.now, time)


if MICROPYTHON:
    import time
    from asyncio import core  # type: ignore[attr-defined]

    # The C code of tasks looks at the real clock, when it makes one ready (extmod/modasyncio.c).
    # That has to seem past, and by less than half of the period after which the clock wraps.
    _AHEAD_MS = 1 << 24

    class _Queue:
        """Takes the place of asyncio's queue of those that wait for sockets."""

        map = {None: None}  # not empty: else asyncio would take an idle moment for the end

        def __init__(self, timeline: Timeline) -> None:
            self._timeline = timeline
            self._waiting: dict = {}  # type: ignore[type-arg]

        def queue_read(self, socket) -> None:  # type: ignore[no-untyped-def]
            self._waiting[socket.fileno()] = core.cur_task
            core.cur_task.data = self

        def remove(self, task) -> None:  # type: ignore[no-untyped-def]
            for number in [n for n in self._waiting if self._waiting[n] is task]:
                del self._waiting[number]

        def wake(self, number: int) -> bool:
            task = self._waiting.pop(number, None)
            if task:
                core._task_queue.push(task, core.ticks())
            return task is not None

        def wait_io_event(self, ms: int) -> None:
            self._timeline.run_until(None if ms < 0 else self._timeline.now + ms)

    def run(timeline: Timeline, main) -> None:  # type: ignore[no-untyped-def]
        """Run the coroutine `main` to its end."""
        global _poller
        begun = time.ticks_add(time.ticks_ms(), _AHEAD_MS)  # type: ignore[attr-defined]
        core.ticks = lambda: time.ticks_add(begun, timeline.now)  # type: ignore[attr-defined]
        asyncio.new_event_loop()  # without the tasks of an earlier run
        core._io_queue = _poller = _Queue(timeline)
        asyncio.run(main)

else:
    import selectors

    class _Selector(selectors.BaseSelector):
        """Takes the place of what an event loop asks for sockets that can be read."""

        def __init__(self, timeline: Timeline) -> None:
            self._timeline = timeline
            self._keys: dict = {}  # type: ignore[type-arg]
            self._ready: list[int] = []

        def register(self, file, events, data=None):  # type: ignore[no-untyped-def]
            number = file if isinstance(file, int) else file.fileno()
            self._keys[number] = selectors.SelectorKey(file, number, events, data)
            return self._keys[number]

        def unregister(self, file):  # type: ignore[no-untyped-def]
            return self._keys.pop(file if isinstance(file, int) else file.fileno())

        def get_map(self):  # type: ignore[no-untyped-def]
            return self._keys

        def wake(self, number: int) -> bool:
            if number in self._keys:
                self._ready.append(number)
            return number in self._keys

        def select(self, timeout=None):  # type: ignore[no-untyped-def]
            now = self._timeline.now
            self._timeline.run_until(None if timeout is None else now + round(timeout * 1000))
            ready = [self._keys[number] for number in self._ready if number in self._keys]
            self._ready.clear()
            return [(key, selectors.EVENT_READ) for key in ready]

    class _Loop(asyncio.SelectorEventLoop):
        def __init__(self, timeline: Timeline) -> None:
            global _poller
            _poller = _Selector(timeline)
            super().__init__(_poller)
            self._timeline = timeline

        def time(self) -> float:
            return self._timeline.now / 1000

    def run(timeline: Timeline, main) -> None:  # type: ignore[no-untyped-def]
        """Run the coroutine `main` to its end."""
        with asyncio.Runner(loop_factory=lambda: _Loop(timeline)) as runner:
            runner.run(main)


_poller: "_Queue | _Selector"
