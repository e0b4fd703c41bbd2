"""`raftctl erase`: the real esptool, a virtual board."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools.cli import main
from host_tools.options import NEGATIVE, NOT_POSSIBLE
from tests.boards.board import MAC, Board
from tests.boards.rom import FLASH_BEGIN, FLASH_BYTES
from tests.boards.tools import hasty
from tests.host.terminals import PATIENCE_S, on_terminal

CHIP = "esp32c3"
DATA = b"what somebody has written"
PLACES = (0, 0x8000, FLASH_BYTES // 2, FLASH_BYTES - len(DATA))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with used(CHIP, tmp_path) as board:
        yield board


def used(chip: str, folder: Path) -> Board:
    """It has something in each part of its flash, and stays in the loader of its ROM."""
    board = Board(folder / "ttyUSB0", chip, holds_boot=True)
    for at in PLACES:
        board.flash.program(at, DATA)
    return board


def erase(board: Board, *options: str) -> Result:
    return CliRunner().invoke(main, ["erase", "--port", str(board.port), *options])


def is_refused(result: Result, *words: str) -> bool:
    assert result.exit_code == NOT_POSSIBLE
    assert re.fullmatch(r"Error: .+\n", result.stderr), result.stderr
    return all(word in result.stderr for word in words)


def is_as_it_was(board: Board) -> bool:
    return all(board.flash.read(at, len(DATA)) == DATA for at in PLACES)


@pytest.mark.parametrize("chip", ["esp32", CHIP])  # whose ROMs want it in two ways
def test_all_of_the_flash_is_erased(tmp_path: Path, chip: str) -> None:
    with used(chip, tmp_path) as board:
        result = erase(board, "--yes")

    assert result.exit_code == 0, result.output
    assert board.flash.path.read_bytes() == b"\xff" * FLASH_BYTES
    assert f"{board.port}: {chip} {MAC}: erased" in result.stdout


def test_in_a_script_nothing_is_erased_unless_told_so(board: Board) -> None:
    assert is_refused(erase(board), "--yes")

    assert board.loader.ops == []  # not even reset


def test_whoever_is_there_is_told_what_will_be_lost_and_asked(board: Board) -> None:
    command = [sys.executable, "-m", "host_tools.cli", "erase", "--port", str(board.port)]
    with on_terminal(command) as (shown, process):
        shown.until(f"{CHIP} {MAC}, 4 MB", "raft log", "new id", "[y/N]: ")
        shown.type(b"n\r")

        assert process.wait(PATIENCE_S) == NEGATIVE
    assert FLASH_BEGIN not in board.loader.ops and is_as_it_was(board)

    with on_terminal(command) as (shown, process):
        shown.until("[y/N]: ")
        shown.type(b"y\r")

        assert process.wait(PATIENCE_S) == 0
    assert board.flash.path.read_bytes() == b"\xff" * FLASH_BYTES


def test_a_board_that_does_not_answer_is_told_with_the_remedy(board: Board, tmp_path: Path) -> None:
    board.silent = True
    with hasty(tmp_path):
        assert is_refused(erase(board, "--yes"), "BOOT", "try again")
