"""From a blank flash to MicroPython, and back into the loader: the real tools at one port."""

import re
from pathlib import Path

import pytest

from host_tools import boards, partition_table
from host_tools.boards import FIRMWARE_OFFSETS
from tests.boards.board import PROMPT, Board, flashed, several
from tests.boards.images import APP_OFFSET, firmware
from tests.boards.rom import FLASH_DEFL_DATA, SYNC_PACKET
from tests.boards.tools import esptool, hasty, mpremote

CHIP = "esp32c3"
OFFSET = FIRMWARE_OFFSETS[CHIP]
RAFT_LOG = boards.load(f"{CHIP}_generic").partition("raft")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Firmware for CHIP."""
    file = tmp_path / "firmware.bin"
    file.write_bytes(firmware(CHIP, OFFSET))
    return file


def answer(board: Board) -> str:
    return mpremote(board.port, "eval", "6 * 7").stdout


def test_a_blank_board_starts_nothing_until_it_is_flashed(tmp_path: Path, file: Path) -> None:
    with several(tmp_path, 1, CHIP, blank=True) as (board,):
        board.until_printed("invalid header: 0xffffffff\n", times=9)  # again and again
        assert "MicroPython" not in board.text

        assert esptool(board.port, "write-flash", hex(OFFSET), file).returncode == 0

        assert answer(board) == "42\n"


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
@pytest.mark.parametrize(
    ("erased", "message"),
    [
        (FIRMWARE_OFFSETS, "invalid header: 0xffffffff"),
        (partition_table.OFFSET, "flash_parts: partition 0 invalid magic number 0xffff"),
        (APP_OFFSET, "No bootable app partitions in the partition table"),
    ],
)
def test_without_one_of_its_pieces_it_says_so_and_starts_again(
    tmp_path: Path, chip: str, erased: int | dict[str, int], message: str
) -> None:
    board = flashed(tmp_path / "ttyUSB0", chip)
    board.flash.erase(erased if isinstance(erased, int) else erased[chip], 1)

    with board:
        board.until(lambda: re.search(rf"rst:0x1 .*{message}.*rst:(?!0x1 )", board.text, re.DOTALL))

    assert "MicroPython" not in board.text


def test_files_and_raft_log_survive_esptool_on_a_board_that_runs(
    tmp_path: Path, file: Path
) -> None:
    raft = "from esp32 import Partition as P; p = P.find(P.TYPE_DATA, label='raft')[0]; "
    application = tmp_path / "application"
    application.write_bytes(file.read_bytes()[APP_OFFSET - OFFSET :])
    (tmp_path / "main.py").write_text("print('runs', 'now')\nwhile True: print('busy')")
    with several(tmp_path, 1, CHIP) as (board,):
        mpremote(board.port, "exec", raft + "p.writeblocks(0, b'vote', 0)")
        mpremote(board.port, "fs", "cp", str(tmp_path / "main.py"), ":main.py")
        board.press_reset()
        board.until_printed("runs now")

        said = esptool(board.port, "write-flash", hex(APP_OFFSET), application)

        assert said.returncode == 0, said.stdout + said.stderr
        board.until_printed("runs now", times=2)
        assert board.text.count("rst:0x1 (POWERON)") == 3
        assert board.flash.read(RAFT_LOG.offset, 5) == b"vote\xff"


def test_a_board_that_was_pulled_in_the_middle_starts_when_it_is_flashed_again(
    tmp_path: Path, file: Path
) -> None:
    with several(tmp_path, 1, CHIP, blank=True) as (board,):
        board.pulled = FLASH_DEFL_DATA, 20  # in the application
        with hasty(tmp_path):
            cut = esptool(board.port, "write-flash", "--compress", hex(OFFSET), file)
        assert cut.returncode != 0
        assert not board.port.exists()

        board.plug_in()

        board.until_printed("Image hash failed")
        assert esptool(board.port, "write-flash", hex(OFFSET), file).returncode == 0
        assert answer(board) == "42\n"


def test_a_silent_board_answers_nobody(tmp_path: Path) -> None:
    with several(tmp_path, 1, CHIP) as (board,):
        board.silent = True

        with hasty(tmp_path):
            said = esptool(board.port, "read-mac")

        assert "No serial data received" in said.stdout + said.stderr
        board.silent = False
        assert answer(board) == "42\n"


def test_what_comes_at_once_after_esptool_meets_a_board_that_starts(tmp_path: Path) -> None:
    with several(tmp_path, 1, CHIP) as (board,), open(board.port, "r+b", buffering=0) as port:
        port.write(SYNC_PACKET)
        board.until(lambda: board.loader.ops)

        port.write(b"\r\x01")  # as if esptool's port had been opened by another program

        board.until_printed(PROMPT + "\n>>> raw REPL")
