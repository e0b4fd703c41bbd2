"""What differs between MicroPython and CPython, decided once.

ticks_ms() -> int: wraps at 2^30 on a board; only `ticks_diff(later, earlier)` is meaningful.
sleep_ms(ms): to be awaited. print_exception(e): the whole traceback to stdout.
free_heap() -> int | None: bytes. aes_cbc(key, iv): has `encrypt` and `decrypt`, both (from, to).
collect_early(), unload(name), uncancel(task), is_cancelled(task), serve(endpoint, handle): see
there.
JOINS_DATAGRAMS: whether `read_into` may give several datagrams in one piece.
MAX_EMPTY: empty datagrams in a row that a socket may give without being closed: more than can wait
in one.
"""

import asyncio
import gc
import os
import sys
import time

if sys.implementation.name == "micropython":
    from asyncio import core as _core

    LARGE_HEAP = 512 * 1024  # bytes; no board without PSRAM has it

    ticks_ms = time.ticks_ms
    ticks_diff = time.ticks_diff
    sleep_ms = asyncio.sleep_ms
    print_exception = sys.print_exception
    free_heap = gc.mem_free

    def collect_early():
        """Collect garbage before the heap is full of it; to be called once."""
        # What lives long then lies together; else it would lie everywhere in time, and leave
        # no room for anything of size. A large heap has that room, and collecting it takes long.
        gc.collect()
        size = gc.mem_alloc() + gc.mem_free()
        gc.threshold(8192 if size < LARGE_HEAP else size // 4)  # bytes allocated

    def unload(package, module):
        """Forget a module that isn't needed again, so that its code can be collected."""
        del sys.modules[package + "." + module]
        delattr(sys.modules[package], module)

    def uncancel(task):
        """Another exception takes the place of a task's CancelledError; nobody counts here."""

    def is_cancelled(task):
        """Whether somebody has cancelled the task; nobody counts here."""
        return False

    def _readable(sock):
        # MicroPython's asyncio has streams and no datagrams; its queue takes any socket
        # (extmod/asyncio/stream.py waits the same way).
        yield _core._io_queue.queue_read(sock)

    async def serve(endpoint, handle):
        """Call `handle()` whenever `endpoint.socket` has something to read; for ever."""
        while True:
            await _readable(endpoint.socket)
            handle()

    def read_into(sock, buf):
        """How many bytes were read into `buf`; None if none wait."""
        return sock.readinto(buf)

    def aes_cbc(key, iv):
        """AES in CBC mode, once in one direction."""
        from cryptolib import aes

        return aes(key, 2, iv)

    JOINS_DATAGRAMS = True
    MAX_EMPTY = 8 if sys.platform == "esp32" else 512
    NAME = "MicroPython %d.%d.%d" % sys.implementation.version[:3]
else:
    import functools
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

    def collect_early():
        """CPython's memory doesn't fragment that way."""

    def unload(package, module):
        """CPython has the memory."""

    def uncancel(task):
        """Another exception takes the place of a task's CancelledError."""
        task.uncancel()

    def is_cancelled(task):
        """Whether somebody has cancelled the task, and it is about to end."""
        return task.cancelling() > 0

    async def serve(endpoint, handle):
        """Call `handle()` whenever `endpoint.socket` has something to read; for ever."""
        # From the loop's own callback: a task that waits would wake one turn of it later.
        loop = asyncio.get_running_loop()
        while True:
            ended = loop.create_future()
            number = endpoint.socket.fileno()
            endpoint.on_reopen = functools.partial(loop.call_soon, _end, ended)
            loop.add_reader(number, _handle, handle, ended)
            try:
                await ended
            finally:
                loop.remove_reader(number)

    def _handle(handle, ended):
        if ended.done():
            return
        try:
            handle()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:  # a CancelledError, too: asyncio would print it and go on
            ended.set_exception(e)

    def _end(ended):
        if not ended.done():
            ended.set_result(None)

    def read_into(sock, buf):
        """How many bytes were read into `buf`; None if none wait."""
        try:
            return sock.recv_into(buf)
        except BlockingIOError:
            return None

    class aes_cbc:
        """AES in CBC mode, once in one direction."""

        def __init__(self, key, iv):
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

            self._cipher = Cipher(algorithms.AES(key), modes.CBC(iv))

        def encrypt(self, text, to):
            to[:] = self._cipher.encryptor().update(bytes(text))

        def decrypt(self, text, to):
            to[:] = self._cipher.decryptor().update(bytes(text))

    JOINS_DATAGRAMS = False
    MAX_EMPTY = 512
    NAME = "CPython %d.%d.%d" % sys.version_info[:3]


def draw(low, high):
    """A random int from `low` to `high`, both included."""
    # Not `random`: on some ports it starts from the same seed on every board.
    return low + int.from_bytes(os.urandom(4), "little") % (high - low + 1)
