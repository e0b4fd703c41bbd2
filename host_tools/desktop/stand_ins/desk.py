"""What the stand-ins want of the operating system, under either interpreter.

sync(file): what was written to it has reached the disk. replace_process(argv, keep): become the
command `argv`, with no open file but standard ones and the file number `keep`.
stop_on_sigterm(): SIGTERM is a KeyboardInterrupt from now on, as Ctrl-C is.
write_whole_lines(): stdout gives a line as soon as it is whole, to a pipe too.
"""

import os
import sys

SIGINT = 2
SIGTERM = 15
MAX_FILES = 256

if sys.implementation.name == "micropython":
    from array import array

    import ffi
    import uctypes

    _libc = ffi.open(None)
    _raise = _libc.func("i", "raise", "i")
    _signal = _libc.func("p", "signal", "ip")
    _close = _libc.func("i", "close", "i")
    _execv = _libc.func("i", "execv", "sp")

    def sync(file):
        file.flush()  # which is fsync(2): extmod/vfs_posix_file.c

    def replace_process(argv, keep):
        for number in range(3, MAX_FILES):
            if number != keep:
                _close(number)
        arguments = [bytes(argument, "utf-8") + b"\0" for argument in argv]
        _execv(argv[0], array("L", [uctypes.addressof(a) for a in arguments] + [0]))
        raise OSError("can't run " + argv[0])

    # There is no module `signal`. Its own handler of SIGINT makes a KeyboardInterrupt
    # (ports/unix/unix_mphal.c); this one runs inside a signal, and so may not allocate.
    _on_sigterm = ffi.callback("v", lambda number: _raise(SIGINT), "i", lock=True)

    def stop_on_sigterm():
        _signal(SIGTERM, _on_sigterm)

    def write_whole_lines():
        """It writes without a buffer."""
else:
    import signal

    def sync(file):
        os.fsync(file.fileno())

    def replace_process(argv, keep):
        # All files but `keep` are opened so that they close by themselves (PEP 446).
        os.execv(argv[0], argv)

    def stop_on_sigterm():
        # Not raised here, in whatever runs: asyncio knows best how to stop at a SIGINT.
        signal.signal(SIGTERM, lambda number, frame: signal.raise_signal(SIGINT))

    def write_whole_lines():
        sys.stdout.reconfigure(line_buffering=True)
