"""What differs between MicroPython and CPython, decided once.

ticks_ms() -> int: wraps at 2^30 on a board; only `ticks_diff(later, earlier)` is meaningful.
sleep_ms(ms): to be awaited. print_exception(e): the whole traceback to stdout.
free_heap() -> int | None: bytes. readable(sock): to be awaited, see there.
"""

import asyncio
import gc
import os
import sys
import time

if sys.implementation.name == "micropython":
    from asyncio import core as _core

    ticks_ms = time.ticks_ms
    ticks_diff = time.ticks_diff
    sleep_ms = asyncio.sleep_ms
    print_exception = sys.print_exception
    free_heap = gc.mem_free

    def readable(sock):
        """Wait until `sock` can be read, or has an error to tell."""
        # MicroPython's asyncio has streams and no datagrams; its queue takes any socket
        # (extmod/asyncio/stream.py waits the same way).
        yield _core._io_queue.queue_read(sock)

    def forget(sock):
        """`sock` is about to be closed. Nobody waits for it: its one reader closes it."""

    NAME = "MicroPython %d.%d.%d" % sys.implementation.version[:3]
else:
    import traceback

    _waiting = {}  # fileno -> Event set while the socket has something to read

    def ticks_ms():
        return time.monotonic_ns() // 1_000_000

    def ticks_diff(later, earlier):
        return later - earlier

    def sleep_ms(ms):
        return asyncio.sleep(ms / 1000)

    def print_exception(e):
        traceback.print_exception(e, file=sys.stdout)

    def free_heap():
        return None

    async def readable(sock):
        """Wait until `sock` can be read, or has an error to tell."""
        event = _waiting.get(sock.fileno())
        if event is None:
            event = _waiting[sock.fileno()] = asyncio.Event()
            asyncio.get_running_loop().add_reader(sock.fileno(), event.set)
        await event.wait()
        event.clear()

    def forget(sock):
        """`sock` is about to be closed."""
        if _waiting.pop(sock.fileno(), None):
            asyncio.get_running_loop().remove_reader(sock.fileno())

    NAME = "CPython %d.%d.%d" % sys.version_info[:3]


def draw(low, high):
    """A random int from `low` to `high`, both included."""
    # Not `random`: on some ports it starts from the same seed on every board.
    return low + int.from_bytes(os.urandom(4), "little") % (high - low + 1)
