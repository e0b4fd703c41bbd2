"""The kinds of boards: what `boards/NAME/` says of each (boards/README.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from host_tools import settings
from host_tools.cluster import flash_kb_needed
from host_tools.firmware import FIRMWARE
from host_tools.settings import FileError, Table

BOARDS = FIRMWARE.parent / "boards"
BOARD_FILE = "board.toml"
PARTITIONS_FILE = "partitions.csv"
RAFT, VFS = "raft", "vfs"

# Where the ROM loader of each chip wants the firmware image (esptool, BOOTLOADER_FLASH_OFFSET of
# its targets), of those with Wi-Fi.
FIRMWARE_OFFSETS = {
    "esp32": 0x1000,
    "esp32s2": 0x1000,
    "esp32s3": 0x0,
    "esp32c2": 0x0,
    "esp32c3": 0x0,
    "esp32c5": 0x2000,
    "esp32c6": 0x0,
}
LED_KINDS = ("plain", "inverted", "rgb")
FLASH_MB = (4, 8, 16, 32)
MAX_PIN = 54
NODE_STATE_KB = 24  # firmware/raft/node.py, STATE_KB: what a node has unless told otherwise

# ESP-IDF's partition tables (gen_esp32part.py, esp_flash_partitions.h)
FIRST_PARTITION = 0x9000  # behind the boot loader and the table itself
SECTOR_BYTES = 0x1000
APP_ALIGNMENT = 0x10000  # the flash cache maps pages of that size
MAX_LABEL = 15
APP, DATA = 0x00, 0x01
TYPES = {"app": APP, "data": DATA}
NVS, FAT, RAFT_LOG = 0x02, 0x81, 0x40
SUBTYPES = {
    APP: {"factory": 0x00, "ota_0": 0x10, "ota_1": 0x11},
    DATA: {"ota": 0x00, "phy": 0x01, "nvs": NVS, "coredump": 0x03, "fat": FAT, "littlefs": 0x83},
}
UNITS = {"K": 1 << 10, "M": 1 << 20}


class BoardFileError(FileError):
    """What `boards/NAME/` says can't be; the message names the file, the key and the remedy."""


@dataclass(frozen=True)
class Partition:
    """A piece of the flash; type and subtype are numbers as in ESP-IDF, the rest is in bytes."""

    name: str
    type: int
    subtype: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True)
class Led:
    """kind: `plain`, `inverted` (it lights when its pin is low) or `rgb` (WS2812)."""

    pin: int
    kind: str


@dataclass(frozen=True)
class Board:
    """One kind of board.

    name: of its folder. chip: as esptool says it. firmware_offset: where in the flash the
    firmware image goes (bytes). button: the pin of BOOT. micropython: the name of its firmware
    among MicroPython's downloads; tested: the versions that were seen to work on such a board.
    partitions: in the order of their offsets. The times are advice for `cluster.toml`.
    """

    name: str
    title: str
    chip: str
    flash_bytes: int
    firmware_offset: int
    led: Led | None
    button: int | None
    micropython: str
    tested: tuple[str, ...]
    heap_kb: int
    heartbeat_ms: int
    election_ms: tuple[int, int]
    watchdog_ms: int
    partitions: tuple[Partition, ...]

    def partition(self, name: str) -> Partition:
        return next(p for p in self.partitions if p.name == name)

    def config(self) -> dict[str, Any]:
        """The key `board` of a node's `config.json` (firmware/README.md)."""
        config: dict[str, Any] = {"watchdog_ms": self.watchdog_ms}
        if self.led is not None:
            config |= {"led": self.led.pin, "led_kind": self.led.kind}
        if self.button is not None:
            config["button"] = self.button
        return config


def names(folder: Path = BOARDS) -> list[str]:
    """All that `load` knows."""
    return sorted(file.parent.name for file in folder.glob(f"*/{BOARD_FILE}"))


def with_chip(chip: str) -> list[Board]:
    """All that have it. Raises BoardFileError."""
    return [board for board in map(load, names()) if board.chip == chip]


def load(name: str, folder: Path = BOARDS) -> Board:
    """The board of that name. Raises BoardFileError."""
    file = folder / name / BOARD_FILE
    known = ", ".join(names(folder))
    absent = f"choose one of {known}, or add it (boards/README.md)"
    root = settings.read(file, absent, BoardFileError)
    root.known(
        "title", "chip", "flash_mb", "firmware_offset", "button",
        "led", "micropython", "heap", "timing",
    )  # fmt: skip
    flash_mb = root.number("flash_mb", min(FLASH_MB), max(FLASH_MB))
    if flash_mb not in FLASH_MB:
        root.fail("flash_mb", f"is {flash_mb}: set it to one of {_listed(FLASH_MB)}")
    chip = root.text("chip")
    if chip not in FIRMWARE_OFFSETS:
        root.fail("chip", f"is {chip}: give it as esptool does, one of {_listed(FIRMWARE_OFFSETS)}")
    micropython = root.table("micropython")
    micropython.known("board", "tested")
    heap = root.table("heap")
    heap.known("kb")
    timing = root.table("timing")
    timing.known("heartbeat_ms", "election_ms", "watchdog_ms")
    heartbeat_ms = timing.number("heartbeat_ms", 1, 10_000)
    return Board(
        name=name,
        title=root.text("title"),
        chip=chip,
        flash_bytes=flash_mb << 20,
        firmware_offset=_firmware_offset(root, chip),
        led=_led(root),
        button=root.number("button", 0, MAX_PIN) if "button" in root.values else None,
        micropython=micropython.text("board"),
        tested=_versions(micropython),
        heap_kb=heap.number("kb", 1, 1 << 15),
        heartbeat_ms=heartbeat_ms,
        election_ms=timing.election_ms(heartbeat_ms),
        watchdog_ms=timing.number("watchdog_ms", 1000, 120_000),
        partitions=read_partitions(folder / name / PARTITIONS_FILE, flash_mb << 20),
    )


def read_partitions(file: Path, flash_bytes: int) -> tuple[Partition, ...]:
    """The partition table in ESP-IDF's CSV, if a node can live with it. Raises BoardFileError."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BoardFileError(f"{file} does not exist: copy another board's") from None
    except (OSError, UnicodeDecodeError) as e:
        raise BoardFileError(f"{file} can't be read ({e}): copy another board's") from e
    rows = [_Row(file, i, line) for i, line in enumerate(lines, 1) if line.split("#")[0].strip()]
    parts = sorted((row.partition() for row in rows), key=lambda p: p.offset)
    _check(_Checked(file, parts), flash_bytes)
    return tuple(parts)


def _listed(values: Sequence[object] | dict[str, int]) -> str:
    return ", ".join(str(value) for value in values)


def _firmware_offset(root: Table, chip: str) -> int:
    wanted = FIRMWARE_OFFSETS[chip]
    offset = root.number("firmware_offset", 0, 1 << 20)
    if offset != wanted:
        problem = f"is {offset:#x}, where the {chip} doesn't look for it: set it to {wanted:#x}"
        root.fail("firmware_offset", problem)
    return offset


def _led(root: Table) -> Led | None:
    if "led" not in root.values:
        return None
    led = root.table("led")
    led.known("pin", "kind")
    kind = led.text("kind")
    if kind not in LED_KINDS:
        led.fail("kind", f"is {kind}: set it to one of {_listed(LED_KINDS)}")
    return Led(led.number("pin", 0, MAX_PIN), kind)


def _versions(micropython: Table) -> tuple[str, ...]:
    versions = micropython.values.get("tested")
    if not isinstance(versions, list) or not all(isinstance(v, str) for v in versions):
        micropython.fail("tested", 'must list versions such as ["1.26.1"], or be empty: []')
    return tuple(versions)


class _Row:
    """A line of a partition table."""

    def __init__(self, file: Path, number: int, line: str) -> None:
        self._where = f"{file}: line {number}"
        fields = [field.strip() for field in line.split("#")[0].split(",")]
        if len(fields) not in (5, 6):
            self._fail("must be name, type, subtype, offset, size")
        self._name, self._type, self._subtype, self._offset, self._size = fields[:5]

    def _fail(self, problem: str) -> NoReturn:
        raise BoardFileError(f"{self._where}: {problem}")

    def partition(self) -> Partition:
        if not 1 <= len(self._name) <= MAX_LABEL:
            self._fail(f"name must have 1 to {MAX_LABEL} characters")
        kind = self._number("type", self._type, TYPES)
        subtype = self._number("subtype", self._subtype, SUBTYPES.get(kind, {}))
        offset = self._number("offset", self._offset)
        return Partition(self._name, kind, subtype, offset, self._number("size", self._size))

    def _number(self, key: str, text: str, words: dict[str, int] | None = None) -> int:
        if words and text in words:
            return words[text]
        unit = UNITS.get(text[-1:].upper(), 1)
        try:
            number = int(text if unit == 1 else text[:-1], 0) * unit
        except ValueError:
            number = -1
        if number < 0:
            such = f"one of {_listed(words)}, or " if words else ""
            self._fail(f"{key} of {self._name} is '{text}': give {such}a number such as 0x1000")
        return number


class _Checked:
    """Partitions in the order of their offsets, and how to say what is wrong with one."""

    def __init__(self, file: Path, parts: list[Partition]) -> None:
        self.file = file
        self.parts = parts

    def fail(self, name: str, problem: str) -> NoReturn:
        raise BoardFileError(f"{self.file}: {name} {problem}")

    def one(self, name: str, type: int, subtype: int, line: str) -> Partition:
        """The partition of that name, which must be there, once and of that kind."""
        found = [p for p in self.parts if p.name == name]
        if not found:
            self.fail(name, f"is missing: add a line such as `{line}`")
        if (found[0].type, found[0].subtype) != (type, subtype):
            self.fail(name, f"has another type or subtype: make it a line such as `{line}`")
        return found[0]


def _check(table: _Checked, flash_bytes: int) -> None:
    _check_places(table, flash_bytes)
    table.one("nvs", DATA, NVS, "nvs, data, nvs, 0x9000, 0x6000")
    raft = table.one(RAFT, DATA, RAFT_LOG, "raft, data, 0x40, 0x200000, 0x40000")
    vfs = table.one(VFS, DATA, FAT, "vfs, data, fat, 0x240000, 0x1C0000")
    apps = [p for p in table.parts if p.type == APP]
    if not apps:
        table.fail("the application", "is missing: add `factory, app, factory, 0x10000, 0x1F0000`")
    if not apps[-1].offset < raft.offset < vfs.offset:
        table.fail(RAFT, "must lie behind the application and before vfs: change its offset")
    if vfs is not table.parts[-1]:
        # Or MicroPython would make another one behind the last (ports/esp32/modules/inisetup.py).
        table.fail("vfs", f"must be the last one: move {table.parts[-1].name} before it")
    needed = flash_kb_needed(NODE_STATE_KB) * 1024
    if raft.size < needed:
        table.fail(
            RAFT,
            f"has a size of {raft.size:#x}, and a node with a state of {NODE_STATE_KB} KB needs "
            f"{needed:#x}: enlarge it, and make vfs smaller",
        )


def _check_places(table: _Checked, flash_bytes: int) -> None:
    end, before = FIRST_PARTITION, "the partition table"
    taken = set()
    for part in table.parts:
        if part.name in taken:
            table.fail(part.name, "is there twice: give each partition its own name")
        taken.add(part.name)
        alignment = APP_ALIGNMENT if part.type == APP else SECTOR_BYTES
        if part.offset % alignment:
            problem = f"has an offset of {part.offset:#x}: make it a multiple of {alignment:#x}"
            table.fail(part.name, problem)
        if part.size == 0 or part.size % SECTOR_BYTES:
            problem = f"has a size of {part.size:#x}: make it a multiple of {SECTOR_BYTES:#x}"
            table.fail(part.name, problem)
        if part.offset < end:
            table.fail(part.name, f"overlaps {before}: let it begin at {end:#x} or later")
        if part.end > flash_bytes:
            problem = f"ends at {part.end:#x}, behind the flash: make it end by {flash_bytes:#x}"
            table.fail(part.name, problem)
        end, before = part.end, part.name
