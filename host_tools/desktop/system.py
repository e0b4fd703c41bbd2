"""What a board on a desk wants of the operating system, under either interpreter.

sync(file): what was written to it has reached the disk. replace_process(argv, keep): become the
command `argv`, with no open file but the standard ones and the file number `keep`.
mac(): the board's MAC (6 bytes), which the environment may name.
kill_after(ms): the process dies of SIGALRM then, unless this is called again before; 0: not at all.
stop_on_signals(): SIGTERM and SIGINT are a KeyboardInterrupt out of asyncio from now on.
wait_for_signal(): await it: one of the two has come, and they are no KeyboardInterrupt any more.
write_to_reader(): stdout gives a line as soon as it is whole, to a pipe too, and the process ends
when nobody reads them any more.
"""

import asyncio
import os
import sys

SIGINT = 2
SIGPIPE = 13
SIGTERM = 15

_MAC = "RAFT_DESK_MAC"
_NO_MAC = "020000000000"  # a local one


def mac():
    return bytes.fromhex(os.getenv(_MAC) or _NO_MAC)


if sys.implementation.name == "micropython":
    from array import array

    import ffi  # type: ignore[import-not-found]
    import uctypes  # type: ignore[import-not-found]

    SIGNAL_CHECK_MS = 50
    MAX_FILES = 256
    _SIGSET_BYTES = 128  # as in glibc, and more than elsewhere
    _ITIMER_REAL = 0
    _SIG_BLOCK = 1 if sys.platform == "darwin" else 0  # and the next one unblocks
    _SIG_IGN = 1

    _libc = ffi.open(None)
    _close = _libc.func("i", "close", "i")
    _execv = _libc.func("i", "execv", "sp")
    _signal = _libc.func("p", "signal", "ip")
    _setitimer = _libc.func("i", "setitimer", "ipp")
    _sigaddset = _libc.func("i", "sigaddset", "pi")
    _sigemptyset = _libc.func("i", "sigemptyset", "p")
    _sigismember = _libc.func("i", "sigismember", "pi")
    _sigpending = _libc.func("i", "sigpending", "p")
    _sigprocmask = _libc.func("i", "sigprocmask", "ipp")

    _stopping = None  # the task of `stop_on_signals`
    _signals = bytearray(_SIGSET_BYTES)
    _sigemptyset(_signals)
    _sigaddset(_signals, SIGTERM)
    _sigaddset(_signals, SIGINT)

    def sync(file):
        file.flush()  # which is fsync(2): extmod/vfs_posix_file.c

    def replace_process(argv, keep):
        for number in range(3, MAX_FILES):
            if number != keep:
                _close(number)
        arguments = [bytes(argument, "utf-8") + b"\0" for argument in argv]
        _execv(argv[0], array("L", [uctypes.addressof(a) for a in arguments] + [0]))
        raise OSError("can't run " + argv[0])

    def kill_after(ms):
        # struct itimerval: the time between two, and to the first, as s and us
        times = array("l", [0, 0, ms // 1000, ms % 1000 * 1000])
        _setitimer(_ITIMER_REAL, times, None)

    def stop_on_signals():
        # MicroPython's own handler of SIGINT jumps out of whatever runs, an allocation maybe
        # (MICROPY_ASYNC_KBD_INTR in ports/unix/unix_mphal.c). Here the signals have to wait.
        global _stopping
        hold_signals()
        _stopping = asyncio.create_task(_stop())

    def hold_signals():
        """Let SIGINT and SIGTERM wait."""
        _sigprocmask(_SIG_BLOCK, _signals, None)

    def release_signals():
        """Let them do what they do, at once if they have waited."""
        _sigprocmask(_SIG_BLOCK + 1, _signals, None)

    def forget_interrupt():
        """Drop a SIGINT that waits: to ignore it does that (POSIX, Signal Actions)."""
        _signal(SIGINT, _signal(SIGINT, _SIG_IGN))

    async def _stop():
        await _pending()
        raise KeyboardInterrupt

    async def wait_for_signal():
        if _stopping:
            _stopping.cancel()
        await _pending()

    async def _pending():
        pending = bytearray(_SIGSET_BYTES)
        _sigpending(pending)
        while not (_sigismember(pending, SIGTERM) or _sigismember(pending, SIGINT)):
            await asyncio.sleep_ms(SIGNAL_CHECK_MS)  # type: ignore[attr-defined]
            _sigpending(pending)

    def write_to_reader():
        _signal(SIGPIPE, None)  # the default: ports/unix/main.c has it ignored
else:
    import signal

    def sync(file):
        file.flush()
        os.fsync(file.fileno())

    def replace_process(argv, keep):
        # All files but `keep` are opened so that they close by themselves (PEP 446).
        os.execv(argv[0], argv)

    def kill_after(ms):
        signal.setitimer(signal.ITIMER_REAL, ms / 1000)

    def stop_on_signals():
        # A shell's background job was told to ignore SIGINT; asyncio then leaves it alone.
        signal.signal(SIGINT, signal.default_int_handler)
        # Not raised in whatever runs: asyncio knows best how to end at a SIGINT.
        signal.signal(SIGTERM, lambda number, frame: signal.raise_signal(SIGINT))

    async def wait_for_signal():
        has_come = asyncio.Event()
        for number in (SIGINT, SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, has_come.set)
        await has_come.wait()

    def write_to_reader():
        signal.signal(SIGPIPE, signal.SIG_DFL)
        sys.stdout.reconfigure(line_buffering=True)
