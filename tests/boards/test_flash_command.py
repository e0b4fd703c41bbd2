"""`raftctl flash`: the real esptool, a virtual chip."""

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

from host_tools import boards, flashing, partition_table, ports
from host_tools.boards import FIRMWARE_OFFSETS, RAFT, Board, Partition
from host_tools.cli import main
from host_tools.flashing import BAUD, FlashError
from host_tools.options import NOT_POSSIBLE
from tests.boards.images import APP_OFFSET, STOCK_TABLE, firmware
from tests.boards.rom import (
    CHIPS,
    FLASH_DATA,
    FLASH_DEFL_DATA,
    READ_FLASH_SLOW,
    SECTOR_BYTES,
    SYNC,
    Rom,
)
from tests.boards.tools import PATIENCE_S, hasty

# The chip that most tests use: esptool finds it out at once, and an ESP32 in half a second.
CHIP = "esp32c3"
BOARD = boards.load(f"{CHIP}_generic")
LOG = BOARD.partition(RAFT)
MAC = "24:0a:c4:c0:db:01"


@pytest.fixture
def rom(tmp_path: Path) -> Iterator[Rom]:
    with Rom(CHIP, tmp_path, MAC) as rom:
        yield rom


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Firmware for CHIP."""
    return written(tmp_path / "firmware.bin", firmware(CHIP, 0))


def written(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def flash(rom: Rom, file: Path, *options: str) -> Result:
    arguments = ["flash", "--port", str(rom.port), "--firmware", str(file), *options]
    return CliRunner().invoke(main, arguments)


def expected(board: Board, data: bytes) -> dict[int, bytes]:
    """What has to be in the flash, by offset: the file without its table and what is behind it."""
    at = board.firmware_offset
    return {
        at: data[: partition_table.OFFSET - at],
        partition_table.OFFSET: partition_table.encode(board.partitions),
        APP_OFFSET: data[APP_OFFSET - at :],
    }


def holds(rom: Rom, contents: dict[int, bytes]) -> bool:
    return all(rom.flash.read(at, len(data)) == data for at, data in contents.items())


def fill(rom: Rom, *names: str) -> dict[int, bytes]:
    """What somebody has written into these partitions, by offset."""
    contents = {}
    for partition in map(BOARD.partition, names):
        contents[partition.offset] = random.Random(partition.offset).randbytes(partition.size)
        rom.flash.erase(partition.offset, partition.size)
        rom.flash.program(partition.offset, contents[partition.offset])
    rom.flash.erased.clear()
    return contents


def is_refused(result: Result, *words: str) -> bool:
    """In one line, after which nothing has to be looked up."""
    assert result.exit_code == NOT_POSSIBLE
    assert re.fullmatch(r"Error: .+\n", result.stderr), result.stderr
    return all(word in result.stderr for word in words)


def is_untouched(rom: Rom) -> bool:
    return not rom.flash.erased and not {FLASH_DATA, FLASH_DEFL_DATA} & set(rom.ops)


@pytest.mark.parametrize("chip", CHIPS)
def test_a_blank_board_is_flashed_byte_for_byte(tmp_path: Path, chip: str) -> None:
    board = boards.load(f"{chip}_generic")
    data = firmware(chip, FIRMWARE_OFFSETS[chip])
    with Rom(chip, tmp_path, MAC) as rom:
        result = flash(rom, written(tmp_path / "firmware.bin", data), "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "port": str(rom.port), "board": board.name, "mac": MAC, "wiped": False,
        "written": ["boot loader", "partition table", "application"],
    }  # fmt: skip
    image = rom.image.read_bytes()
    blank = bytearray(b"\xff" * len(image))
    for at, piece in expected(board, data).items():
        blank[at : at + len(piece)] = piece
    assert image == blank


def test_the_raft_log_and_its_identity_survive_a_renewal(
    rom: Rom, tmp_path: Path, file: Path
) -> None:
    assert flash(rom, file).exit_code == 0
    kept = fill(rom, "nvs", RAFT, "vfs")
    newer = firmware(CHIP, 0, 70_000, seed=2)

    result = flash(rom, written(tmp_path / "newer.bin", newer))

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "asking the board"
    assert "application written and verified" in result.stdout
    assert "raft log is untouched" in result.stdout
    assert holds(rom, expected(BOARD, newer))
    assert holds(rom, kept)


def test_what_is_there_already_is_not_written_again(rom: Rom, file: Path) -> None:
    assert flash(rom, file).exit_code == 0
    rom.flash.erased.clear()
    rom.ops.clear()

    result = flash(rom, file)

    assert result.exit_code == 0
    assert "all is there already" in result.stdout
    assert is_untouched(rom)


def test_wipe_erases_the_raft_log_and_only_it(rom: Rom, file: Path) -> None:
    assert flash(rom, file).exit_code == 0
    kept = fill(rom, "nvs", "vfs")
    fill(rom, RAFT)

    result = flash(rom, file, "--wipe")

    assert result.exit_code == 0, result.output
    assert rom.flash.read(LOG.offset, LOG.size) == b"\xff" * LOG.size
    assert rom.flash.erased == list(range(LOG.offset // SECTOR_BYTES, LOG.end // SECTOR_BYTES))
    assert holds(rom, expected(BOARD, file.read_bytes()) | kept)
    assert "comes back as a learner" in result.stdout


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_never_this_log_is_erased_only_when_asked(
    rom: Rom, file: Path, moved: bool
) -> None:
    there: tuple[Partition, ...] = STOCK_TABLE[:2]
    if moved:
        there += (Partition(RAFT, LOG.type, LOG.subtype, LOG.offset + LOG.size, LOG.size),)
    rom.flash.program(partition_table.OFFSET, partition_table.encode(there))
    fill(rom, RAFT)

    assert is_refused(flash(rom, file), "--wipe", "0x240000" if moved else "no raft log yet")

    assert is_untouched(rom)
    assert flash(rom, file, "--wipe").exit_code == 0
    assert rom.flash.read(LOG.offset, LOG.size) == b"\xff" * LOG.size


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
    rom: Rom, file: Path, damage: Callable[[bytes], bytes], words: tuple[str, ...]
) -> None:
    written(file, damage(file.read_bytes()))

    assert is_refused(flash(rom, file, "--board", BOARD.name), *words)

    assert rom.ops == []  # not even reset


def test_another_chip_is_refused_before_a_byte_is_written(rom: Rom, tmp_path: Path) -> None:
    other = written(tmp_path / "esp32.bin", firmware("esp32", 0x1000))

    assert is_refused(flash(rom, other), "has an esp32c3", "esp32_generic has an esp32:")

    assert is_untouched(rom)


def test_an_unknown_board_is_refused(rom: Rom, file: Path) -> None:
    assert is_refused(flash(rom, file, "--board", "none"), "esp32c3_generic")
    assert rom.ops == []


def test_a_port_that_is_in_use_is_refused(rom: Rom, file: Path) -> None:
    with serial.Serial(str(rom.port), exclusive=True):
        assert is_refused(flash(rom, file), "in use")

    assert flash(rom, file).exit_code == 0


def test_a_port_that_is_not_there_is_refused(rom: Rom, file: Path) -> None:
    rom.unplug()

    assert is_refused(flash(rom, file), "--port")


def test_a_board_that_does_not_answer_is_given_up(rom: Rom, tmp_path: Path, file: Path) -> None:
    rom.silent = True
    with hasty(tmp_path):
        assert is_refused(flash(rom, file), "BOOT")

    rom.silent = False
    assert flash(rom, file).exit_code == 0


@pytest.mark.parametrize(
    "pulled",
    [(SYNC, 1), (READ_FLASH_SLOW, 3), (FLASH_DEFL_DATA, 20)],  # the last: in the application
)
def test_a_board_that_goes_away_in_the_middle_can_be_flashed_again(
    rom: Rom, tmp_path: Path, file: Path, pulled: tuple[int, int]
) -> None:
    kept = fill(rom, "nvs", RAFT)
    rom.pulled = pulled
    with hasty(tmp_path):
        assert is_refused(flash(rom, file), "gone away", "try again")
    assert not holds(rom, expected(BOARD, file.read_bytes()))

    rom.plug_in()

    assert flash(rom, file).exit_code == 0
    assert holds(rom, expected(BOARD, file.read_bytes()) | kept)


def test_flash_that_is_worn_is_noticed(rom: Rom, file: Path) -> None:
    rom.flash.worn.add(APP_OFFSET // SECTOR_BYTES + 1)

    assert is_refused(flash(rom, file), "MD5 of file does not match data in flash", "try again")


def test_a_flash_that_is_too_small_is_refused(rom: Rom, file: Path) -> None:
    large = dataclasses.replace(BOARD, flash_bytes=16 << 20)

    with pytest.raises(FlashError, match="a flash of 4 MB, and esp32c3_generic of 16"):
        flashing.flash(str(rom.port), file, large, True, BAUD, lambda step, share: None)

    assert is_untouched(rom)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["esp32_generic"], "add such a board"),
        ([BOARD.name, BOARD.name], f"--board {BOARD.name}, {BOARD.name}"),
    ],
)
def test_a_board_that_can_not_be_known_by_its_chip_has_to_be_named(
    rom: Rom, file: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], words: str
) -> None:
    monkeypatch.setattr(boards, "names", lambda *folder: names)

    assert is_refused(flash(rom, file), f"for an {CHIP}", words)


def test_firmware_that_is_not_there_is_refused(rom: Rom, tmp_path: Path) -> None:
    assert is_refused(flash(rom, tmp_path / "none.bin"), "none.bin", "can't be read")


def test_the_only_board_is_found_and_several_are_listed(
    rom: Rom, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plugged_in(*devices: str) -> None:
        monkeypatch.setattr(ports, "found", lambda: list(devices))

    def flash_any() -> Result:
        return CliRunner().invoke(main, ["flash", "--firmware", str(file)])

    plugged_in()
    assert is_refused(flash_any(), "no serial port was found")
    plugged_in("/dev/ttyUSB0", "/dev/ttyUSB1")
    assert is_refused(flash_any(), "/dev/ttyUSB0, /dev/ttyUSB1", "--port")
    plugged_in(str(rom.port))
    assert flash_any().exit_code == 0


def test_a_terminal_shows_how_much_is_done(rom: Rom, file: Path) -> None:
    terminal, child = pty.openpty()
    command = [sys.executable, "-m", "host_tools.cli", "flash"]
    command += ["--port", str(rom.port), "--firmware", str(file)]
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
