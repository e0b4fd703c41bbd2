"""What differs between MicroPython and CPython, decided once.

ticks_ms() -> int: wraps at 2^30 on a board; only `ticks_diff(later, earlier)` is meaningful.
sleep_ms(ms): to be awaited. print_exception(e): the whole traceback to stdout.
free_heap() -> int | None: bytes. serve(endpoint, handle): to be awaited, see there.
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

    def _readable(sock):
        # MicroPython's asyncio has streams and no datagrams; its queue takes any socket
        # (extmod/asyncio/stream.py waits the same way).
        yield _core._io_queue.queue_read(sock)

    async def serve(endpoint, handle):
        """Call `handle()` whenever `endpoint.socket` has something to read; for ever."""
        while True:
            await _readable(endpoint.socket)
            handle()

    NAME = "MicroPython %d.%d.%d" % sys.implementation.version[:3]
else:
    import traceback

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

    async def serve(endpoint, handle):
        """Call `handle()` whenever `endpoint.socket` has something to read; for ever."""
        # From the loop's own callback: a task that waits would wake one turn of it later.
        loop = asyncio.get_running_loop()
        while True:
            ended = loop.create_future()
            number = endpoint.socket.fileno()
            loop.add_reader(number, _handle, endpoint, endpoint.socket, handle, ended)
            try:
                await ended
            finally:
                loop.remove_reader(number)

    def _handle(endpoint, sock, handle, ended):
        if ended.done():
            return
        try:
            handle()
        except Exception as e:
            ended.set_exception(e)
        else:
            if endpoint.socket is not sock:  # it was opened anew
                ended.set_result(None)

    NAME = "CPython %d.%d.%d" % sys.version_info[:3]


def draw(low, high):
    """A random int from `low` to `high`, both included."""
    # Not `random`: on some ports it starts from the same seed on every board.
    return low + int.from_bytes(os.urandom(4), "little") % (high - low + 1)
