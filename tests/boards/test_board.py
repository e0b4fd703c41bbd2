"""MicroPython on a virtual board, seen by the real mpremote."""

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools import boards
from tests.boards import boot
from tests.boards.board import MAC, PATIENCE_S, Board, flashed, several
from tests.boards.tools import mpremote

PARTITIONS = boards.load("esp32_generic").partitions
RAFT_LOG, VFS = PARTITIONS[-2:]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with several(tmp_path, 1) as (board,):
        yield board


def told(board: Board, *arguments: str) -> str:
    """What mpremote prints of a command that succeeds."""
    done = mpremote(board.port, *arguments)
    assert done.returncode == 0, (done.stdout, done.stderr, board.text)
    return done.stdout


def install(board: Board, tmp_path: Path, main: str) -> None:
    (tmp_path / "main.py").write_text(main)
    told(board, "fs", "cp", str(tmp_path / "main.py"), ":main.py")


def test_code_is_run_and_its_errors_are_told(board: Board) -> None:
    assert told(board, "eval", "6 * 7") == "42\n"
    assert told(board, "exec", "import sys; print(sys.implementation.name)") == "micropython\n"
    assert told(board, "exec", "a = 5", "eval", "a + 1") == "6\n"

    failed = mpremote(board.port, "exec", "def f():\n 1 / 0\nf()")

    assert failed.returncode == 1
    assert failed.stdout.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<stdin>", line 3, in <module>',
        '  File "<stdin>", line 2, in f',
        "ZeroDivisionError: divide by zero",
    ]
    assert "SyntaxError" in mpremote(board.port, "exec", "x =").stdout


def test_long_code_goes_by_raw_paste_and_an_unknown_mode_is_refused(board: Board) -> None:
    code = "x = 0\n" + "x += 1\n" * 2000 + "print(x)"

    assert told(board, "exec", code) == "2000\n"

    assert b"R\x01\x80\x00\x01" in board.output
    with open(board.port, "r+b", buffering=0) as port:
        port.write(b"\r\x01\x05B\x01")
        board.until(lambda: board.output.endswith(b">R\x00>"))


def test_files_are_copied_listed_hashed_and_removed(board: Board, tmp_path: Path) -> None:
    contents = bytes(range(256)) * 20 + b"\n\r\x03\x04"
    (tmp_path / "file").write_bytes(contents)

    told(board, "fs", "mkdir", "lib")
    told(board, "fs", "cp", str(tmp_path / "file"), ":lib/file")

    assert told(board, "fs", "ls") == "ls :\n          75 boot.py\n           0 lib/\n"
    digest = hashlib.sha256(contents).hexdigest()
    assert told(board, "fs", "sha256sum", "lib/file").splitlines()[1] == digest
    told(board, "fs", "cp", ":lib/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == contents
    told(board, "fs", "rm", ":lib/file")
    assert told(board, "fs", "ls", "lib") == "ls :lib\n"
    assert "No such file" in mpremote(board.port, "fs", "rm", ":lib/file").stderr


def test_files_outlive_a_power_cut_and_lie_in_their_part_of_the_flash(
    board: Board, tmp_path: Path
) -> None:
    blank = board.flash.path.read_bytes()
    install(board, tmp_path, "print('main', 'is here')")

    board.unplug()
    chip = board.flash.path.read_bytes()
    board.plug_in()

    board.until_printed("main is here\nMicroPython")
    assert b"'is here'" in chip[VFS.offset :]
    assert chip[: VFS.offset] == blank[: VFS.offset]


def test_a_full_file_system_is_an_error_and_no_end(tmp_path: Path) -> None:
    partitions = [*PARTITIONS[:-1], dataclasses.replace(VFS, size=0x10000)]
    fill = "f = open('big', 'wb')\nwhile True: f.write(bytes(512))"
    with flashed(tmp_path / "ttyUSB0", partitions=partitions) as board:
        assert "OSError: 28" in mpremote(board.port, "exec", fill).stdout

        assert told(board, "fs", "rm", ":big") == "rm :big\n"
        assert told(board, "fs", "ls") == "ls :\n          75 boot.py\n"


def test_the_raft_partition_is_nor_flash_in_its_own_part_of_the_chip(board: Board) -> None:
    find = "from esp32 import Partition as P; p = P.find(P.TYPE_DATA, label='raft')[0]; "
    before = board.flash.path.read_bytes()
    end = RAFT_LOG.end

    assert told(board, "exec", find + "print(p.info())") == (
        f"(1, 64, {RAFT_LOG.offset}, {RAFT_LOG.size}, 'raft', False)\n"
    )
    told(board, "exec", find + "p.writeblocks(63, b'vote', 4092)")
    again = mpremote(board.port, "exec", find + "p.writeblocks(63, b'x', 4095)")
    beyond = mpremote(board.port, "exec", find + "p.writeblocks(64, b'x', 0)")

    assert "not erased" in again.stdout and "not within the flash" in beyond.stdout
    assert board.flash.path.read_bytes() == before[: end - 4] + b"vote" + before[end:]


FILL = """
hold = []
try:
    while True:
        hold.append(bytearray(4096))
except MemoryError:
    del hold[:2]
"""


def test_nvs_outlives_a_reset_and_can_be_read_in_a_heap_that_is_nearly_full(board: Board) -> None:
    nvs = "from esp32 import NVS; n = NVS('raft'); "

    assert "-4354" in mpremote(board.port, "exec", nvs + "n.get_i32('k')").stdout
    told(board, "exec", nvs + "n.set_i32('k', -5); n.commit()")
    board.press_reset()
    board.until_printed("POWERON", times=2)

    assert told(board, "exec", nvs + FILL + "print(n.get_i32('k'))") == "-5\n"
    assert told(board, "fs", "ls") == "ls :\n          75 boot.py\n"


def test_a_reset_runs_main_and_a_soft_reset_from_mpremote_does_not(
    board: Board, tmp_path: Path
) -> None:
    install(board, tmp_path, "import sys\nprint('main', sys.path, __name__)")

    told(board, "soft-reset")
    board.until_printed("soft reboot")
    assert "__main__" not in board.text
    told(board, "reset")

    board.until_printed("main ['', '.frozen', '/lib'] __main__\nMicroPython")
    assert "rst:0xc (SW_CPU_RESET)" in board.text


PROGRAMS = {
    "busy": "while True: pass",
    "asleep": "import time; time.sleep(3600)",
    "asyncio": "import asyncio; asyncio.run(asyncio.Event().wait())",
    "asyncio, busy": """import asyncio
async def work():
    while True:
        x = [n * 1.5 for n in range(100)]
        await asyncio.sleep(0)
asyncio.run(work())""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_mpremote_interrupts_what_runs(board: Board, tmp_path: Path, program: str) -> None:
    install(board, tmp_path, "print('runs', 'now')\n" + program)
    board.press_reset()
    board.until_printed("runs now")

    assert told(board, "resume", "eval", "6 * 7") == "42\n"

    after = board.text.partition("runs now")[2]
    assert "KeyboardInterrupt" in after and "rst:" not in after


def test_a_program_that_ends_or_fails_leaves_the_board_at_the_repl(
    board: Board, tmp_path: Path
) -> None:
    install(board, tmp_path, "print('lost', [][1])")
    board.press_reset()

    board.until_printed("IndexError: list index out of range\nMicroPython")

    assert '  File "main.py", line 1, in <module>\n' in board.text


def test_the_watchdog_outlives_ctrl_c_and_a_soft_reset(board: Board, tmp_path: Path) -> None:
    install(board, tmp_path, "import machine, time\nw = machine.WDT(timeout=1000)\n"
                             "while True: time.sleep(0.1); w.feed()")  # fmt: skip
    board.press_reset()

    told(board, "eval", "1")

    assert "TG1WDT" not in board.text
    board.until_printed("rst:0x8 (TG1WDT_SYS_RESET)")
    # and a longer timeout, the only way to have time, is heeded
    told(board, "resume", "exec", "import machine; machine.WDT(timeout=60000)")
    told(board, "resume", "exec", "import time; time.sleep(1.2)")
    assert board.text.count("TG1WDT") == 1


def test_a_port_that_vanishes_is_an_error_and_works_when_it_is_back(board: Board) -> None:
    command = [sys.executable, "-m", "mpremote", "connect", str(board.port)]
    command += ["exec", "print('run' + 'ning')\nwhile True: pass"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        board.until_printed("running")

        board.unplug()

        assert process.wait(PATIENCE_S) != 0
    assert "failed to access" in mpremote(board.port, "eval", "1").stderr
    board.plug_in()
    assert told(board, "eval", "6 * 7") == "42\n"


def test_without_vfs_in_the_table_the_files_are_behind_the_last_partition(tmp_path: Path) -> None:
    # as with MicroPython 1.26
    last = dataclasses.replace(RAFT_LOG, offset=0x300000, size=0x1000)
    find = "import esp32; print(esp32.Partition.find(1, label='vfs')[0].info())"

    with flashed(tmp_path / "ttyUSB0", partitions=[*PARTITIONS[:-2], last]) as board:
        assert told(board, "exec", find) == f"(1, 130, {0x301000}, {0xFF000}, 'vfs', False)\n"


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_a_program_knows_its_chip_and_its_mac(tmp_path: Path, chip: str) -> None:
    code = """
import machine, network, os, sys
wlan = network.WLAN(network.STA_IF)
print(sys.platform, sys.implementation.name, sys.implementation.version[0])
print(sys.implementation._machine)
print(os.uname().sysname, os.uname().machine)
print(machine.unique_id().hex(), wlan.config("mac").hex(), wlan.config("pm"))
"""
    with flashed(tmp_path / "ttyUSB0", chip) as board:
        said = told(board, "exec", code).splitlines()

    module, mac = boot.MACHINES[chip], MAC.replace(":", "")
    assert said == ["esp32 micropython 1", module, f"esp32 {module}", f"{mac} {mac} 1"]


def test_a_program_can_read_the_application_that_it_runs_in(board: Board) -> None:
    told_of = """
from esp32 import Partition
head = bytearray(1)
for app in Partition.find(Partition.TYPE_APP, label="factory") + [Partition(Partition.RUNNING)]:
    app.readblocks(0, head)
    print(app.info()[:5], head.hex())
"""

    assert told(board, "exec", told_of) == "(0, 0, 65536, 2031616, 'factory') e9\n" * 2


READS = """
import asyncio, select, sys
async def console():
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    print("runs", "now")
    while True:
        while poll.poll(0):
            print("typed", repr(sys.stdin.read(1)))
        await asyncio.sleep(0.01)
asyncio.run(console())
"""


def test_a_program_reads_what_is_typed_and_takes_nothing_that_was_meant_for_the_repl(
    board: Board, tmp_path: Path
) -> None:
    install(board, tmp_path, READS)
    board.press_reset()
    board.until_printed("runs now")

    with open(board.port, "r+b", buffering=0) as port:
        port.write(b"a\r")
        board.until_printed("typed 'a'\ntyped '\\r'\n")
    assert told(board, "resume", "eval", "6 * 7") == "42\n"

    assert "typed '\\x" not in board.text and board.text.count("KeyboardInterrupt") == 1


def test_several_boards_are_there_at_a_time(tmp_path: Path) -> None:
    code = "import machine; print(machine.unique_id()[5])"

    with several(tmp_path, 3) as many:
        assert [told(board, "exec", code) for board in many] == ["0\n", "1\n", "2\n"]
