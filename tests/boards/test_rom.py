"""The loader in the ROM of a virtual board, in the hands of the real esptool."""

import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boards.board import MAC, Board
from tests.boards.rom import (
    CHIPS,
    FLASH_BEGIN,
    FLASH_BYTES,
    FLASH_DATA,
    FLASH_DEFL_BEGIN,
    FLASH_DEFL_DATA,
    SECTOR_BYTES,
)
from tests.boards.tools import esptool, hasty

NAMES = {"esp32": "ESP32", "esp32s3": "ESP32-S3", "esp32c3": "ESP32-C3", "esp32c6": "ESP32-C6"}
AT = 0x280000  # behind the 2 MB that a ROM loader takes for the whole flash until it is told


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with Board(tmp_path / "ttyUSB0", holds_boot=True) as board:
        yield board


def data(size: int) -> bytes:
    """No two sectors alike, and half of it can be compressed."""
    dice = random.Random(size)
    return b"".join(dice.randbytes(32) + bytes(32) for _ in range((size + 63) // 64))[:size]


@pytest.mark.parametrize("chip", CHIPS)
def test_each_chip_is_known_by_name_mac_and_flash(tmp_path: Path, chip: str) -> None:
    with Board(tmp_path / "ttyUSB0", chip, holds_boot=True) as board:
        said = esptool(board.port, "flash-id")

    assert said.returncode == 0, said.stdout
    assert re.search(rf"^Detecting chip type\.\.\. {NAMES[chip]}$", said.stdout, re.M)
    assert re.search(rf"^(BASE )?MAC: +{MAC}$", said.stdout, re.M)
    assert re.search(r"^Detected flash size: 4MB$", said.stdout, re.M)


def test_a_chip_taken_for_another_says_so(board: Board) -> None:
    said = esptool(board.port, "--chip", "esp32c3", "read-mac")

    assert said.returncode != 0
    assert "This chip is ESP32, not ESP32-C3" in said.stdout + said.stderr


@pytest.mark.parametrize(
    ("chip", "way", "commands"),
    [
        ("esp32", "--no-compress", (FLASH_BEGIN, FLASH_DATA)),
        ("esp32", "--compress", (FLASH_DEFL_BEGIN, FLASH_DEFL_DATA)),
        ("esp32c3", "--compress", (FLASH_DEFL_BEGIN, FLASH_DEFL_DATA)),
    ],
)
def test_what_is_written_is_in_the_flash_byte_for_byte(
    tmp_path: Path, chip: str, way: str, commands: tuple[int, int]
) -> None:
    file = tmp_path / "data"
    file.write_bytes(data(70_000))
    with Board(tmp_path / "ttyUSB0", chip, holds_boot=True) as board:
        board.flash.program(AT, bytes(80_000))  # what was there before has to be erased
        said = esptool(board.port, "--baud", "460800", "write-flash", way, hex(AT), file)
        verified = esptool(board.port, "verify-flash", hex(AT), file)

    assert said.returncode == 0 and "Hash of data verified." in said.stdout, said.stdout
    assert verified.returncode == 0, verified.stdout
    assert set(commands) <= set(board.loader.ops)
    flash = board.flash.path.read_bytes()
    end = AT + (70_000 // SECTOR_BYTES + 1) * SECTOR_BYTES
    assert len(flash) == FLASH_BYTES
    assert flash[AT:end] == data(70_000).ljust(end - AT, b"\xff")
    assert flash[end : AT + 80_000] == bytes(AT + 80_000 - end)  # the sector behind is untouched
    assert flash[:AT].count(0xFF) == AT


def test_a_bit_that_differs_is_found(board: Board, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(data(5000))
    assert esptool(board.port, "write-flash", hex(AT), file).returncode == 0
    at = next(i for i in range(AT + 3000, AT + 5000) if board.flash.read(i, 1) != b"\0")

    board.flash.program(at, b"\0")

    assert esptool(board.port, "verify-flash", hex(AT), file).returncode != 0


def test_programming_only_clears_bits(board: Board) -> None:
    board.flash.program(AT, b"\x0f\xff")
    board.flash.program(AT, b"\xfa\x55")

    assert board.flash.read(AT, 3) == b"\x0a\x55\xff"


def test_a_region_is_erased_and_nothing_beside_it(board: Board) -> None:
    board.flash.program(AT - SECTOR_BYTES, bytes(4 * SECTOR_BYTES))

    said = esptool(board.port, "erase-region", hex(AT), hex(2 * SECTOR_BYTES))

    assert said.returncode == 0, said.stdout
    assert board.flash.read(AT - SECTOR_BYTES, 4 * SECTOR_BYTES) == (
        bytes(SECTOR_BYTES) + b"\xff" * 2 * SECTOR_BYTES + bytes(SECTOR_BYTES)
    )


def test_flash_is_read_back(board: Board, tmp_path: Path) -> None:
    board.flash.program(AT, data(300))
    back = tmp_path / "back"

    said = esptool(board.port, "read-flash", hex(AT), "300", back)

    assert said.returncode == 0, said.stdout
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(data(300)).digest()


def test_one_that_is_silent_is_given_up(board: Board, tmp_path: Path) -> None:
    board.silent = True

    with hasty(tmp_path):
        said = esptool(board.port, "read-mac")

    assert said.returncode != 0
    assert "No serial data received" in said.stdout + said.stderr
    board.silent = False
    assert esptool(board.port, "read-mac").returncode == 0


def test_one_that_goes_away_in_the_middle_can_be_written_afterwards(
    board: Board, tmp_path: Path
) -> None:
    file = tmp_path / "data"
    file.write_bytes(data(30_000))
    board.pulled = FLASH_DATA, 10

    with hasty(tmp_path):
        cut = esptool(board.port, "write-flash", hex(AT), file)

    assert cut.returncode != 0
    assert board.flash.read(AT, 10 * 1024) == data(30_000)[: 10 * 1024]
    assert not board.port.exists()
    board.plug_in()
    assert esptool(board.port, "write-flash", hex(AT), file).returncode == 0
    assert board.flash.read(AT, 30_000) == data(30_000)
