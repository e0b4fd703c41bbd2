"""A board from its reset on, as far as software can tell; runs under MicroPython's unix port.

    <interpreter> /.../power_on.py FLASH 0 <interpreter>

FLASH: the file that is the flash chip, with a partition table at 0x8000 that the boot loader has
found whole. `/` is littlefs in its partition `vfs`; the host's files are out of reach. stdin and
stdout are the serial line, without the cooking of line ends, and a SIGINT comes with each Ctrl-C:
tests/boards/board.py has the other end, and tells in the environment which board this is. The 0
and the command of this interpreter are for `machine.reset()`, as in host_tools/desktop/run.py.

What follows was read in MicroPython's ports/esp32 (main.c, modules/_boot.py, inisetup.py) and
shared/runtime/pyexec.c.
"""

import asyncio
import io
import os
import struct
import sys
from collections import namedtuple

import micropython
import vfs

PROJECT = __file__[: __file__.rindex("/tests/")]
STAND_INS = PROJECT + "/host_tools/desktop/stand_ins"
sys.path[:] = [PROJECT, ".frozen"]

from host_tools.desktop import system  # noqa: E402
from host_tools.desktop.stand_ins import esp32, machine, network  # noqa: E402
from host_tools.desktop.stand_ins.esp32 import Partition  # noqa: E402

OWN = 'File "' + __file__
TABLE_AT = 0x8000
TABLE_BYTES = 0xC00
ENTRY = "<2sBBII16sI"  # magic, type, subtype, offset, bytes, label, flags
ENTRY_BYTES = 32
MAGIC = b"\xaa\x50"
PIECE_BYTES = 64
FILES = (Partition.TYPE_DATA, 0x82)  # the type and subtype of `vfs`

CTRL_A, CTRL_B, CTRL_C, CTRL_D, CTRL_E = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
RAW_BANNER = "raw REPL; CTRL-B to exit\n>"
RELEASE = sys.version.split("MicroPython ")[1]
MACHINE = os.getenv("BOARD_MACHINE", "")
BANNER = "MicroPython " + RELEASE + "; " + MACHINE + '\nType "help()" for more information.\n'
PASTE_WINDOW = 128  # bytes that may be sent before the board has asked for more
BOOT = "# This file is executed on every boot (including wake-boot from deepsleep)\n"

# How this start came about, kept over a reset in the environment: what the ROM prints, or SOFT...
REASON = "BOARD_RESET"
SOFTWARE = os.getenv("BOARD_SOFTWARE_RESET", "")
WIFI = "RAFT_DESK_WIFI"  # of stand_ins/network.py
SOFT, SOFT_RAW, INTERRUPTED = "soft", "soft, into the raw REPL", "a program was interrupted"

# What programs see
Implementation = namedtuple(  # type: ignore[misc]
    "Implementation", ("name", "version", "_machine", "_mpy")
)
Uname = namedtuple("Uname", ("sysname", "nodename", "release", "version", "machine"))
ENOENT = 2
GET_FILE_NUMBER = 10  # a request to streams (py/stream.h)


class Module:
    """A module of this interpreter in which some names are what they are on a board."""

    def __init__(self, module, **names):
        self._module = module
        for name in names:
            setattr(self, name, names[name])

    def __getattr__(self, name):
        return getattr(self._module, name)


class Partitions(Module):
    """The class `Partition`, and what it makes on a board: of the partitions there are, one."""

    def __call__(self, which):
        if which in (self.BOOT, self.RUNNING):
            found = self.find(self.TYPE_APP)
        else:
            found = self.find(self.TYPE_APP, label=which) + self.find(self.TYPE_DATA, label=which)
        if not found:
            raise OSError(ENOENT)
        return found[0]


class Stdin(io.IOBase):
    """What a program can read: nothing behind a Ctrl-C, which interrupts it."""

    def __init__(self, stream):
        self._stream = stream

    def read(self, size):
        data = self._stream.read(0)
        while len(data) < size:
            c = self._stream.read(1)
            if not c or ord(c) == CTRL_C[0]:  # or the other end of the line is gone
                system.forget_interrupt()
                raise KeyboardInterrupt
            data += c
        return data

    def ioctl(self, request, arg):
        return sys.stdin.fileno() if request == GET_FILE_NUMBER else -1


class Nvs:
    """The partition `nvs`: its text instead of the format of ESP-IDF."""

    def __init__(self, partition):
        self._partition = partition

    def load(self):
        text = b""
        piece = bytearray(PIECE_BYTES)  # a node's heap has no room for all of it
        while b"\xff" not in text:
            self._partition.readblocks(0, piece, len(text))
            text += piece
        return str(text[: text.index(b"\xff")], "utf-8")

    def save(self, text):
        self._partition.writeblocks(0, bytes(text, "utf-8"))


def read_table(path):
    """The partitions of the chip (list), `vfs` among them though the table may not have it."""
    found = []
    end = 0
    with open(path, "rb") as f:
        f.seek(TABLE_AT)
        table = f.read(TABLE_BYTES)
    for at in range(0, TABLE_BYTES, ENTRY_BYTES):
        magic, type, subtype, start, size, label, _ = struct.unpack_from(ENTRY, table, at)
        if magic != MAGIC:
            break
        found.append(
            Partition(str(label.rstrip(b"\0"), "ascii"), (type, subtype), path, start, size)
        )
        end = max(end, start + size)
    if not any(partition.label == "vfs" for partition in found):
        # As MicroPython 1.26 does: what lies behind the last one
        found.append(Partition("vfs", FILES, path, end, os.stat(path)[6] - end))
    return found


def named(label):
    return Partition.find(Partition.TYPE_DATA, label=label)[0]


def mount():
    """Exchange the host's files for those of the board."""
    for name in os.listdir(STAND_INS):
        if name.endswith(".py"):
            path = "host_tools.desktop.stand_ins." + name[:-3]
            sys.modules[name[:-3]] = __import__(path, None, None, ("",))
    # No file of a board's own is its RTC's memory; and here no life has that of the one before.
    sys.modules["machine"].RTC.keep = lambda: None
    esp32.table = read_table(sys.argv[1])
    esp32.storage = Nvs(named("nvs"))  # type: ignore[assignment]
    flash = named("vfs")
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(flash), "/")
    except OSError:
        block = bytearray(4096)
        flash.readblocks(0, block)
        if block != b"\xff" * len(block):
            print("The filesystem appears to be corrupted. Erase the flash, and flash again.")
            sys.stdin.read()  # for ever: nothing runs
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash), "/")
        with open("boot.py", "w") as f:
            f.write(BOOT)
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]


def become_board():
    """Let programs see a board's `sys`, `os` and `esp32`."""
    own = sys.implementation
    stdin = Stdin(sys.stdin)
    stdin.buffer = Stdin(sys.stdin.buffer)
    sys.modules["sys"] = Module(  # type: ignore[assignment]
        sys,
        platform="esp32",
        implementation=Implementation(own.name, own.version, MACHINE, own._mpy),
        stdin=stdin,
    )
    uname = Uname("esp32", "esp32", "%d.%d.%d" % own.version[:3], RELEASE, MACHINE)
    sys.modules["os"] = Module(os, uname=lambda: uname)  # type: ignore[assignment]
    sys.modules["esp32"] = Module(  # type: ignore[assignment]
        esp32, Partition=Partitions(Partition, BOOT=0, RUNNING=1)
    )


def run_asyncio(coro):
    """In place of `asyncio.run`: Ctrl-C ends it between two steps of its tasks."""
    system.stop_on_signals()
    try:
        return plain_run(coro)
    finally:
        system.forget_interrupt()
        system.release_signals()


def run_file(name):
    """Whether it ended without an exception; also if there is none."""
    try:
        with open(name, "rb") as f:
            code = f.read()
    except OSError:
        return True
    error = run(code, name)
    if error:
        tell(error)
    return error is None


def run(code, name="<stdin>", kind="exec"):
    """Run it until Ctrl-C; what it raised, if anything."""
    try:
        try:
            code = compile(str(code, "utf-8"), name, kind)
            system.release_signals()
            exec(code, variables)
        finally:
            system.hold_signals()
    except SystemExit:
        soft_reset(SOFT)
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt) and is_heap_locked():
            begin_again()
        return e


def is_heap_locked():
    """Whether Ctrl-C has jumped out of a collection (see `system.stop_on_signals`)."""
    try:
        bytearray(1)
    except MemoryError:
        return True
    return False


def begin_again():
    """This interpreter can't be trusted any more: go on at the prompt of another one."""
    while is_heap_locked():
        micropython.heap_unlock()
    write("\nKeyboardInterrupt: \n")
    os.putenv(REASON, INTERRUPTED)
    start_anew()


def tell(error):
    """Its traceback, without the part that a board has not."""
    text = io.StringIO()
    sys.print_exception(error, text)
    write("".join(line + "\n" for line in text.getvalue().split("\n")[:-1] if OWN not in line))


def read():
    c = sys.stdin.buffer.read(1)
    if not c:
        sys.exit()  # the other end of the line is gone
    if c == CTRL_C:
        system.forget_interrupt()
    return c


def write(text):
    sys.stdout.write(text)


def repl(is_raw):
    while True:
        raw_repl() if is_raw else friendly_repl()
        is_raw = not is_raw


def raw_repl():
    write(RAW_BANNER)
    line = bytearray()
    while True:
        c = read()
        if c == CTRL_A and line[:1] == CTRL_E:
            paste(line[1:])
            line = bytearray()
            write(">")
        elif c == CTRL_A:
            line = bytearray()
            write(RAW_BANNER)
        elif c == CTRL_B:
            write("\n")
            return
        elif c == CTRL_C:
            line = bytearray()
        elif c != CTRL_D:
            line += c
        else:
            write("OK")
            if not line:
                write("\n")
                soft_reset(SOFT_RAW)
            run_raw(line)
            line = bytearray()
            write(">")


def paste(mode):
    """Raw paste: code at the pace of the board (docs/reference/repl.rst of MicroPython)."""
    if mode != b"A":
        write("R\0")
        return
    sys.stdout.buffer.write(b"R\1" + struct.pack("<H", PASTE_WINDOW))
    line = bytearray()
    c = read()
    while c != CTRL_D:
        if c == CTRL_C:
            return
        line += c
        if len(line) % PASTE_WINDOW == 0:
            write("\1")
        c = read()
    write("\4")
    run_raw(line)


def run_raw(code):
    error = run(code)
    write("\4")
    if error:
        tell(error)
    write("\4")


def friendly_repl():
    write(BANNER + ">>> ")
    line = b""
    while True:
        c = read()
        if c == CTRL_A:
            return
        if c == CTRL_B:
            write("\n" + BANNER + ">>> ")
            line = b""
        elif c == CTRL_C:
            write("\n>>> ")
            line = b""
        elif c == CTRL_D and not line:
            write("\n")
            soft_reset(SOFT)
        elif c == b"\r":
            write("\n")
            error = run(line, kind="single") if line else None
            if error:
                tell(error)
            write(">>> ")
            line = b""
        else:
            line += c
            sys.stdout.buffer.write(c)


def soft_reset(reason):
    """A new interpreter; the watchdog, if one was started, goes on."""
    write("MPY: soft reboot\n")
    os.putenv(REASON, reason)
    # A radio that is on stays so, and leaves when somebody asks it to join again.
    left = network.WLAN._reason or (network.LEFT if network.WLAN._active else 0)
    os.putenv(WIFI, str(left))
    start_anew()


def reset():
    """In place of `machine.reset`."""
    os.putenv(WIFI, "")
    system.hold_signals()
    system.kill_after(0)
    start_anew()


def start_anew():
    flash, lock, interpreter = sys.argv[1], sys.argv[2], sys.argv[3:]
    system.replace_process(interpreter + [sys.argv[0], flash, lock] + interpreter, int(lock))


variables = {"__name__": "__main__"}
plain_run = asyncio.run


def main():
    asyncio.run = run_asyncio  # type: ignore[assignment]
    machine.reset = reset
    reason = os.getenv(REASON)
    os.putenv(REASON, SOFTWARE)
    if reason not in (SOFT, SOFT_RAW, INTERRUPTED):
        write(reason)
    mount()
    become_board()
    is_raw = reason == SOFT_RAW
    if reason != INTERRUPTED and run_file("boot.py") and not is_raw:
        run_file("main.py")
    repl(is_raw)


main()
