"""`raftctl flash`: the real esptool, a virtual board."""

import dataclasses
import json
import os
import pty
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial
from click.testing import CliRunner, Result

from host_tools import boards, downloads, flashing, options, partition_table, ports
from host_tools.boards import FIRMWARE_OFFSETS, RAFT, Board, Partition
from host_tools.cli import main
from host_tools.flashing import BAUD, FlashError
from host_tools.options import NOT_POSSIBLE
from tests.boards.board import MAC
from tests.boards.board import Board as VirtualBoard
from tests.boards.images import APP_OFFSET, STOCK_TABLE, firmware
from tests.boards.rom import (
    CHIPS,
    FLASH_DATA,
    FLASH_DEFL_DATA,
    READ_FLASH_SLOW,
    SECTOR_BYTES,
    SYNC,
)
from tests.boards.tools import PATIENCE_S, hasty

# The chip that most tests use: esptool finds it out at once, and an ESP32 in half a second.
CHIP = "esp32c3"
BOARD = boards.load(f"{CHIP}_generic")
LOG = BOARD.partition(RAFT)


@pytest.fixture
def virtual(tmp_path: Path) -> Iterator[VirtualBoard]:
    """It stays in the loader of its ROM, so that nothing else writes to its flash."""
    with VirtualBoard(tmp_path / "ttyUSB0", CHIP, holds_boot=True) as virtual:
        yield virtual


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Firmware for CHIP."""
    return written(tmp_path / "firmware.bin", firmware(CHIP, 0))


def written(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def flash(virtual: VirtualBoard, file: Path, *options: str) -> Result:
    arguments = ["flash", "--port", str(virtual.port), "--firmware", str(file), *options]
    return CliRunner().invoke(main, arguments)


def expected(board: Board, data: bytes) -> dict[int, bytes]:
    """What has to be in the flash, by offset: the file without its table and what is behind it."""
    at = board.firmware_offset
    return {
        at: data[: partition_table.OFFSET - at],
        partition_table.OFFSET: partition_table.encode(board.partitions),
        APP_OFFSET: data[APP_OFFSET - at :],
    }


def holds(virtual: VirtualBoard, contents: dict[int, bytes]) -> bool:
    return all(virtual.flash.read(at, len(data)) == data for at, data in contents.items())


def fill(virtual: VirtualBoard, *names: str) -> dict[int, bytes]:
    """What somebody has written into these partitions, by offset."""
    contents = {}
    for partition in map(BOARD.partition, names):
        contents[partition.offset] = random.Random(partition.offset).randbytes(partition.size)
        virtual.flash.erase(partition.offset, partition.size)
        virtual.flash.program(partition.offset, contents[partition.offset])
    virtual.flash.erased.clear()
    return contents


def is_refused(result: Result, *words: str) -> bool:
    """In one line, after which nothing has to be looked up."""
    assert result.exit_code == NOT_POSSIBLE
    assert re.fullmatch(r"Error: .+\n", result.stderr), result.stderr
    return all(word in result.stderr for word in words)


def is_untouched(virtual: VirtualBoard) -> bool:
    return not virtual.flash.erased and not {FLASH_DATA, FLASH_DEFL_DATA} & set(virtual.loader.ops)


@pytest.mark.parametrize("chip", CHIPS)
def test_a_blank_board_is_flashed_byte_for_byte(tmp_path: Path, chip: str) -> None:
    board = boards.load(f"{chip}_generic")
    data = firmware(chip, FIRMWARE_OFFSETS[chip])
    with VirtualBoard(tmp_path / "ttyUSB0", chip, holds_boot=True) as virtual:
        result = flash(virtual, written(tmp_path / "firmware.bin", data), "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "port": str(virtual.port), "board": board.name, "mac": MAC, "wiped": False,
        "written": ["boot loader", "partition table", "application"],
    }  # fmt: skip
    image = virtual.flash.path.read_bytes()
    blank = bytearray(b"\xff" * len(image))
    for at, piece in expected(board, data).items():
        blank[at : at + len(piece)] = piece
    assert image == blank


def test_the_raft_log_and_its_identity_survive_a_renewal(
    virtual: VirtualBoard, tmp_path: Path, file: Path
) -> None:
    assert flash(virtual, file).exit_code == 0
    kept = fill(virtual, "nvs", RAFT, "vfs")
    newer = firmware(CHIP, 0, 70_000, seed=2)

    result = flash(virtual, written(tmp_path / "newer.bin", newer))

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "asking the board"
    assert "application written and verified" in result.stdout
    assert "raft log is untouched" in result.stdout
    assert holds(virtual, expected(BOARD, newer))
    assert holds(virtual, kept)


def test_what_is_there_already_is_not_written_again(virtual: VirtualBoard, file: Path) -> None:
    assert flash(virtual, file).exit_code == 0
    virtual.flash.erased.clear()
    virtual.loader.ops.clear()

    result = flash(virtual, file)

    assert result.exit_code == 0
    assert "all is there already" in result.stdout
    assert is_untouched(virtual)


def test_wipe_erases_the_raft_log_and_only_it(virtual: VirtualBoard, file: Path) -> None:
    assert flash(virtual, file).exit_code == 0
    kept = fill(virtual, "nvs", "vfs")
    fill(virtual, RAFT)

    result = flash(virtual, file, "--wipe")

    assert result.exit_code == 0, result.output
    assert virtual.flash.read(LOG.offset, LOG.size) == b"\xff" * LOG.size
    assert virtual.flash.erased == list(range(LOG.offset // SECTOR_BYTES, LOG.end // SECTOR_BYTES))
    assert holds(virtual, expected(BOARD, file.read_bytes()) | kept)
    assert "comes back as a learner" in result.stdout


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_never_this_log_is_erased_only_when_asked(
    virtual: VirtualBoard, file: Path, moved: bool
) -> None:
    there: tuple[Partition, ...] = STOCK_TABLE[:2]
    if moved:
        there += (Partition(RAFT, LOG.type, LOG.subtype, LOG.offset + LOG.size, LOG.size),)
    virtual.flash.program(partition_table.OFFSET, partition_table.encode(there))
    fill(virtual, RAFT)

    assert is_refused(flash(virtual, file), "--wipe", "0x240000" if moved else "no raft log yet")

    assert is_untouched(virtual)
    assert flash(virtual, file, "--wipe").exit_code == 0
    assert virtual.flash.read(LOG.offset, LOG.size) == b"\xff" * LOG.size


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], ("truncated", "application")),
        (lambda data: data[:-33], ("truncated", "application")),
        (lambda data: data[: APP_OFFSET + 5000], ("truncated", "application")),
        (lambda data: data[: APP_OFFSET + 4], ("truncated", "application")),
        (lambda data: data[:APP_OFFSET], ("truncated", "application")),
        (lambda data: data[:5000], ("truncated", "boot loader")),
        (lambda data: data[:-100] + b"!" + data[-99:], ("damaged", "application")),
        (lambda data: b"PK" + data, ("no firmware image", "MicroPython's .bin")),
        (lambda data: b"", ("no firmware image",)),
        (lambda data: b"\xe9", ("truncated", "boot loader")),
        (lambda data: firmware("esp32c6", 0), ("for an esp32c6", "ESP32_GENERIC_C3")),
        (lambda data: data[:APP_OFFSET] + firmware("esp32s3", 0)[APP_OFFSET:], ("for an esp32s3",)),
        (lambda data: data.ljust(APP_OFFSET + 0x1F0001, b"\xff"), ("partitions.csv",)),
    ],
)
def test_firmware_that_does_not_fit_is_refused_before_the_board_is_asked(
    virtual: VirtualBoard, file: Path, damage: Callable[[bytes], bytes], words: tuple[str, ...]
) -> None:
    written(file, damage(file.read_bytes()))

    assert is_refused(flash(virtual, file, "--board", BOARD.name), *words)

    assert virtual.loader.ops == []  # not even reset


def test_another_chip_is_refused_before_a_byte_is_written(
    virtual: VirtualBoard, tmp_path: Path
) -> None:
    other = written(tmp_path / "esp32.bin", firmware("esp32", 0x1000))

    assert is_refused(flash(virtual, other), "has an esp32c3", "esp32_generic has an esp32:")

    assert is_untouched(virtual)


def test_an_unknown_board_is_refused(virtual: VirtualBoard, file: Path) -> None:
    assert is_refused(flash(virtual, file, "--board", "none"), "esp32c3_generic")
    assert virtual.loader.ops == []


def test_a_port_that_is_in_use_is_refused(virtual: VirtualBoard, file: Path) -> None:
    with serial.Serial(str(virtual.port), exclusive=True):
        assert is_refused(flash(virtual, file), "in use")

    assert flash(virtual, file).exit_code == 0


def test_a_port_that_is_not_there_is_refused(virtual: VirtualBoard, file: Path) -> None:
    virtual.unplug()

    assert is_refused(flash(virtual, file), "--port")


def test_a_board_that_does_not_answer_is_given_up(
    virtual: VirtualBoard, tmp_path: Path, file: Path
) -> None:
    virtual.silent = True
    with hasty(tmp_path):
        assert is_refused(flash(virtual, file), "BOOT")

    virtual.silent = False
    assert flash(virtual, file).exit_code == 0


@pytest.mark.parametrize(
    "pulled",
    [(SYNC, 1), (READ_FLASH_SLOW, 3), (FLASH_DEFL_DATA, 20)],  # the last: in the application
)
def test_a_board_that_goes_away_in_the_middle_can_be_flashed_again(
    virtual: VirtualBoard, tmp_path: Path, file: Path, pulled: tuple[int, int]
) -> None:
    kept = fill(virtual, "nvs", RAFT)
    virtual.pulled = pulled
    with hasty(tmp_path):
        assert is_refused(flash(virtual, file), "gone away", "try again")
    assert not holds(virtual, expected(BOARD, file.read_bytes()))

    virtual.plug_in()

    assert flash(virtual, file).exit_code == 0
    assert holds(virtual, expected(BOARD, file.read_bytes()) | kept)


def test_flash_that_is_worn_is_noticed(virtual: VirtualBoard, file: Path) -> None:
    virtual.flash.worn.add(APP_OFFSET // SECTOR_BYTES + 1)

    assert is_refused(flash(virtual, file), "MD5 of file does not match data in flash", "try again")


def test_a_flash_that_is_too_small_is_refused(virtual: VirtualBoard, file: Path) -> None:
    large = dataclasses.replace(BOARD, flash_bytes=16 << 20)

    with pytest.raises(FlashError, match="a flash of 4 MB, and esp32c3_generic of 16"):
        flashing.flash(str(virtual.port), file, large, True, BAUD, lambda step, share: None)

    assert is_untouched(virtual)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["esp32_generic"], "add such a board"),
        ([BOARD.name, BOARD.name], f"--board {BOARD.name}, {BOARD.name}"),
    ],
)
def test_a_board_that_can_not_be_known_by_its_chip_has_to_be_named(
    virtual: VirtualBoard, file: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], words: str
) -> None:
    monkeypatch.setattr(boards, "names", lambda *folder: names)

    assert is_refused(flash(virtual, file), f"for an {CHIP}", words)


def test_firmware_that_is_not_there_is_refused(virtual: VirtualBoard, tmp_path: Path) -> None:
    assert is_refused(flash(virtual, tmp_path / "none.bin"), "none.bin", "can't be read")


def test_the_only_board_is_found_and_several_are_listed(
    virtual: VirtualBoard, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plugged_in(*devices: str) -> None:
        monkeypatch.setattr(ports, "found", lambda: list(devices))

    def flash_any(typed: str = "") -> Result:
        return CliRunner().invoke(main, ["flash", "--firmware", str(file)], typed)

    plugged_in()
    assert is_refused(flash_any(), "no serial port was found")
    plugged_in("/dev/ttyUSB0", "/dev/ttyUSB1")
    assert is_refused(flash_any(), "/dev/ttyUSB0, /dev/ttyUSB1", "--port")
    plugged_in(str(virtual.port))
    assert flash_any().exit_code == 0

    # and where somebody can be asked, that is done
    monkeypatch.setattr(options, "is_somebody_there", lambda: True)
    plugged_in("/dev/ttyUSB0", str(virtual.port))
    chosen = flash_any("2\n")
    assert f"  2  {virtual.port}" in chosen.stdout and "Which one" in chosen.stdout
    assert chosen.exit_code == 0


def test_what_was_downloaded_is_taken_for_the_boards_chip(
    virtual: VirtualBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "FOLDER", tmp_path)
    command = ["flash", "--port", str(virtual.port)]
    refused = CliRunner().invoke(main, command)
    assert is_refused(refused, f"no firmware for an {CHIP}", "make firmware BOARD=", "--firmware")

    written(tmp_path / f"{BOARD.micropython}-v1.26.1.bin", firmware(CHIP, 0))

    assert "written and verified" in CliRunner().invoke(main, command).stdout


def test_a_terminal_shows_how_much_is_done(virtual: VirtualBoard, file: Path) -> None:
    terminal, child = pty.openpty()
    command = [sys.executable, "-m", "host_tools.cli", "flash"]
    command += ["--port", str(virtual.port), "--firmware", str(file)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        try:
            while chunk := os.read(terminal, 4096):
                shown += chunk
        except OSError:
            pass  # the other end was closed
        os.close(terminal)
        assert process.wait(PATIENCE_S) == 0
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())

    assert "writing the application" in text
    assert "100%" in text
    assert {int(share) for share in re.findall(r"(\d+)%", text)} - {0, 100}
    assert "written and verified" in text
