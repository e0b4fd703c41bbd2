"""A lock that one task of all nodes holds at a time.

    async with node.lock("pump", ttl_s=10) as number:
        ...

Each holder has a greater number than all before: whoever is told to act under the lock refuses a
number that is less than one it has seen, for that comes from a board that stood still and hasn't
noticed yet that its time is over.

It lies at the key NAME of the store (counters.py). A holder keeps it by asking again and again,
and otherwise loses it after `ttl_s` of the cluster's time: so a dead board's lock becomes free.
"""

import asyncio

from raft.interpreter import draw, sleep_ms, ticks_diff, ticks_ms, uncancel
from raft.requests import ClusterError, own_value

LOOK_MS = 100  # between two looks whether another's lock is free
RETRY_MS = 200  # after the cluster could not be asked
ASKS = 4  # times in `ttl_s` that it is asked for again
MIN_TTL_S = 2  # the cluster's time is in whole seconds
MAX_TTL_S = 3600
CLOCK_SHARE = 16  # of its time that a holder leaves to clocks that go wrong


class LockLost(ClusterError):
    """The lock may be another's by now, and what was done under it was broken off."""


class Lock:
    """To be had by `async with`, once; waits for as long as another one holds it.

    ttl_s: how long it stays taken when its holder dies (2 to 3,600). When it can't be kept, the
    task that holds it is cancelled, and LockLost comes out of the `async with`: before it can be
    another's, unless the task stands still, or the boards' clocks differ by more than a
    sixteenth. Raises ValueError.
    """

    def __init__(self, node, key, ttl_s):
        if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
            raise ValueError("a lock's ttl_s is %d to %d: %r" % (MIN_TTL_S, MAX_TTL_S, ttl_s))
        self.number = 0
        self._node = node
        self._key = key
        self._ttl_s = ttl_s
        # What another task, or this board before a restart, has taken isn't this one's.
        self._owner = b"%d-%d" % (node.id, draw(1, (1 << 30) - 1))
        self._asked = 0  # when it was had last, in ticks
        self._problem = "the board stood still"  # what the last failure to keep it was
        self._loss = None  # why it was lost
        self._holder = self._keeper = self._watcher = None  # tasks

    async def __aenter__(self):
        await self._take()
        self._holder = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch())
        try:
            self._keeper = asyncio.create_task(self._keep())
        except MemoryError:  # nobody would give it back: it is free when its time is over
            self._watcher.cancel()
            raise
        return self.number

    async def __aexit__(self, kind, error, traceback):
        self._keeper.cancel()
        self._watcher.cancel()
        if self._loss is None:
            await self._give_back()
        elif kind is None or kind is asyncio.CancelledError:
            uncancel(self._holder)
            raise LockLost("lock %d of %s: %s" % (self.number, self._key.decode(), self._loss))

    def _left_ms(self):
        """How long it is certainly this task's."""
        # Less a second, for in whole ones the end may have come as soon as that.
        most = (self._ttl_s - 1) * 1000
        return most - most // CLOCK_SHARE - ticks_diff(ticks_ms(), self._asked)

    async def _ask(self):
        """(number, 0) if it is ours, (0, seconds until it is free) if not."""
        asked = ticks_ms()
        number, seconds = await self._node.client().lock(self._key, self._owner, self._ttl_s)
        if number:
            self._asked = asked
        return number, seconds

    # Taking it

    async def _take(self):
        while True:
            try:
                number, seconds = await self._ask()
            except ClusterError:
                await sleep_ms(RETRY_MS)
                continue
            if not number:
                await self._until_free(seconds)
            elif self._left_ms() > 0:
                self.number = number
                return

    async def _until_free(self, seconds):
        """Wait until it should be; each time that it was asked for, or kept, costs an entry."""
        began, ms = ticks_ms(), seconds * 1000
        seen = self._value()
        while ticks_diff(ticks_ms(), began) < ms:
            await sleep_ms(LOOK_MS)
            value = self._value()
            if value != seen:
                seen = value
                began, ms = ticks_ms(), 1000 * self._seconds(value)

    def _value(self):
        return own_value(self._node, self._key)

    def _seconds(self, value):
        """How long it stays taken, as far as this node has heard."""
        words = (value or b"").split()
        if len(words) < 3 or not words[-1].isdigit():
            return 0
        return max(0, int(words[-1]) - self._node.sessions.time)

    # Keeping it

    async def _keep(self):
        while True:
            await sleep_ms(1000 * self._ttl_s // ASKS)
            try:
                number, _ = await self._ask()
            except ValueError as e:  # somebody has put something else there
                return self._lose(e)
            except Exception as e:  # whatever it is, there may be time to try again
                self._problem = repr(e)
                continue
            if number != self.number:
                return self._lose("another one has it")

    async def _watch(self):
        while self._left_ms() > 0:
            await sleep_ms(self._left_ms())
        self._lose(self._problem)

    def _lose(self, reason):
        if self._loss is None:
            self._loss = reason
            self._holder.cancel()

    async def _give_back(self):
        if self._node.is_stopped():
            return  # nobody would hear of it; it becomes free when its time is over
        try:
            await self._node.client().unlock(self._key, self._owner)
        except (ClusterError, OSError) as e:
            self._node.events("lock_kept", name=self._key.decode(), error=e)
