"""Puts MicroPython and a board's partition table into its flash, or erases it, by esptool.

esptool is run with `--no-stub`: it talks to the loader in the chip's ROM and loads no program of
its own into the board first. Compressed, that takes as long as the serial line does.
"""

import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from esptool import CHIP_DEFS
from esptool.bin_image import LoadFirmwareImage

from host_tools import boards, partition_table
from host_tools.boards import APP, RAFT, VFS, Board, Partition

BAUD = 460_800
# ESP-IDF's "App Image Format": the first byte, and where the extended header names the chip
IMAGE_MAGIC = b"\xe9"
CHIP_ID = slice(12, 14)
# The first two blocks of littlefs are copies of its superblock (littlefs, SPEC.md).
SUPERBLOCK_BYTES = 4096
LITTLEFS, LITTLEFS_AT = b"littlefs", slice(8, 16)
# What is written, in the order of its place in the flash. Between table and application lies NVS,
# with the identity of the board's raft log: it stays as it is.
BOOT_LOADER, TABLE, APPLICATION = "boot loader", "partition table", "application"

# step: what is being done; share: how much of it, 0 to 1, if it is known
Report = Callable[[str, float | None], None]


class FlashError(Exception):
    """A board can't be flashed; the message is one line that says what to do."""


@dataclass(frozen=True)
class Attached:
    """A board as it has answered.

    chip: as in board.toml. partitions: those of the table in its flash; None if there is no whole
    one, as in a blank flash or after a cut cable.
    """

    chip: str
    mac: str
    flash_bytes: int
    partitions: tuple[Partition, ...] | None

    @property
    def has_other_program(self) -> bool:
        return self.partitions is not None and all(p.name != RAFT for p in self.partitions)


@dataclass(frozen=True)
class Flashed:
    """What was done. written: of the pieces, those that weren't there already."""

    board: str
    mac: str
    written: tuple[str, ...]
    wiped: bool


def ask(port: str, baud: int = BAUD) -> Attached:
    """Reset the board at that port, and ask the loader in its ROM. Raises FlashError."""
    with tempfile.TemporaryDirectory(prefix="raftctl-flash-") as folder:
        return _Esptool(port, baud, Path(folder)).ask()


def erase(port: str, flash_bytes: int, baud: int = BAUD) -> None:
    """Erase all of a board's flash, which is that large (`ask`). Raises FlashError."""
    with tempfile.TemporaryDirectory(prefix="raftctl-flash-") as folder:
        _Esptool(port, baud, Path(folder)).erase(0, flash_bytes)


def application(firmware: Path, board: Board) -> bytes:
    """What of that file goes into the application's partition. Raises FlashError."""
    return _pieces(firmware, _read(firmware), board)[-1].data


def chip_of(firmware: Path) -> str:
    """What a firmware file is for, as in board.toml. Raises FlashError."""
    return _chip(_read(firmware))


def flash(
    port: str,
    firmware: Path,
    board: Board | None,
    wipe: bool,
    baud: int,
    report: Report,
    claim: bool = False,
) -> Flashed:
    """Write what differs, after all has been checked. Raises FlashError, BoardFileError.

    board: None for the one with the firmware's chip. wipe: erase the raft log, and nothing else.
    claim: do that as well if the board had another program, which knew of no raft log.
    """
    data = _read(firmware)
    board = board or _board_for(_chip(data), firmware)
    pieces = _pieces(firmware, data, board)
    with tempfile.TemporaryDirectory(prefix="raftctl-flash-") as folder:
        tool = _Esptool(port, baud, Path(folder))
        report("asking the board", None)
        attached = tool.ask()
        wipe = wipe or (claim and attached.has_other_program)
        _check(attached, board, port, wipe)
        if wipe:
            report("erasing the raft log", None)
            log = board.partition(RAFT)
            tool.erase(log.offset, log.size)
        files = board.partition(VFS)
        if files not in (attached.partitions or ()):
            report("looking for a file system", None)
            tool.clear_unless_file_system(files.offset)
        return Flashed(board.name, attached.mac, tool.write(pieces, report), wipe)


@dataclass(frozen=True)
class _Piece:
    name: str
    offset: int
    data: bytes


class _Esptool:
    """Runs esptool on one port. folder: for the files by which it is given data."""

    def __init__(self, port: str, baud: int, folder: Path) -> None:
        self._port = port
        self._options = ["--port", port, "--baud", str(baud), "--no-stub"]
        self._folder = folder

    def ask(self) -> Attached:
        file = self._folder / "table.read"
        said = self._run(
            "read-flash", "--flash-size", "detect", "--no-progress",
            hex(partition_table.OFFSET), hex(partition_table.TABLE_BYTES), str(file),
        )  # fmt: skip
        return Attached(
            chip=_found(r"Connected to (\S+) on", said).lower().replace("-", ""),
            # The chips with 802.15.4 tell a longer one as well
            mac=_found(r"BASE MAC: +(\S+)" if "BASE MAC:" in said else r"MAC: +(\S+)", said),
            flash_bytes=int(_found(r".*(?:detected flash size:|defaulting to) (\d+)MB", said))
            << 20,
            partitions=partition_table.decode(file.read_bytes()),
        )

    def clear_unless_file_system(self, at: int) -> None:
        """Where anything else lies, MicroPython makes no file system, and doesn't start.

        (ports/esp32/modules/inisetup.py, check_bootsec)
        """
        file = self._folder / "files.read"
        size = 2 * SUPERBLOCK_BYTES
        self._run("read-flash", "--no-progress", hex(at), hex(size), str(file))
        data = file.read_bytes()
        heads = data[LITTLEFS_AT], data[SUPERBLOCK_BYTES:][LITTLEFS_AT]
        if data != b"\xff" * size and LITTLEFS not in heads:
            self.erase(at, size)

    def erase(self, at: int, size: int) -> None:
        # As `erase-flash` the ROM's loader doesn't know it.
        self._run("erase-region", hex(at), hex(size))

    def write(self, pieces: list[_Piece], report: Report) -> tuple[str, ...]:
        """Gives the names of those that weren't in the flash already; all are verified."""
        files = {str(self._file(piece)): piece for piece in pieces}
        total = sum(len(piece.data) for piece in pieces)
        written: list[str] = []
        before, piece = 0, pieces[0]

        def watch(line: str) -> None:
            nonlocal before, piece
            begins = re.match(r"Writing '(.+)' at ", line)
            share = re.match(r"Writing at .* ([\d.]+)% ", line)
            if begins:
                piece = files[begins[1]]
                report(f"writing the {piece.name}", before / total)
            elif share:
                done = before + len(piece.data) * float(share[1]) / 100
                report(f"writing the {piece.name}", done / total)
            elif line.startswith("Wrote "):
                written.append(piece.name)
            elif line.startswith("Verifying ") or "already in flash" in line:
                before += len(piece.data)

        addressed = [word for file, p in files.items() for word in (hex(p.offset), file)]
        self._run("write-flash", "--compress", "--skip-flashed", *addressed, watch=watch)
        return tuple(written)

    def _file(self, piece: _Piece) -> Path:
        file = self._folder / f"{piece.name.replace(' ', '_')}.bin"
        file.write_bytes(piece.data)
        return file

    def _run(self, *arguments: str, watch: Callable[[str], None] = lambda line: None) -> str:
        command = [sys.executable, "-m", "esptool", *self._options, *arguments]
        said = []
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
        ) as process:
            assert process.stdout
            for line in process.stdout:
                said.append(line)
                watch(line)
        text = "".join(said)
        if process.returncode:
            raise FlashError(_explained(self._port, text))
        return text


def _environment() -> dict[str, str]:
    """What makes esptool write plain lines of any length, whatever the terminal is."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    return environment | {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}


def _found(pattern: str, said: str) -> str:
    match = re.search(f"^{pattern}", said, re.MULTILINE)
    if match is None:
        raise FlashError(f"esptool didn't say what it should ({pattern}): is its version known?")
    return match[1]


# What esptool says of a port that it has no board at -> what to do
_REMEDIES = (
    (
        r"exclusively lock|Access is denied|resource busy",
        "is in use by another program: end that (a monitor, a REPL), and try again",
    ),
    (
        r"Permission denied",
        "may not be used by you: join the group it belongs to (often dialout), log in again, "
        "and try again",
    ),
    (
        r"Failed to connect|No serial data",
        "has no board that answers: hold its BOOT button, press RESET, and try again; or the "
        "cable carries no data",
    ),
    (
        r"No such file|FileNotFoundError|No such device",
        "isn't there: plug the board in, or name another port with --port",
    ),
)


def _explained(port: str, said: str) -> str:
    """One line from what esptool says when it has failed."""
    if "Connecting" in said and re.search("serial exception|Errno 5|Input/output", said):
        return (
            f"{port} has gone away in the middle: see to the cable, plug the board in again, and "
            "try again"
        )
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, said, re.IGNORECASE):
            return f"{port} {remedy}"
    errors = re.findall(r"(?:error occurred|Error): (.+)", said)
    why = errors[-1] if errors else said.strip().rpartition("\n")[2]
    return f"{port}: esptool failed ({why}): try again, slower with --baud 115200"


def _read(firmware: Path) -> bytes:
    try:
        data = firmware.read_bytes()
    except OSError as e:
        raise FlashError(f"{firmware} can't be read ({e.strerror}): give another file") from e
    if data[:1] != IMAGE_MAGIC:
        raise FlashError(f"{firmware} is no firmware image: give MicroPython's .bin for this board")
    return data


def _chip(image: bytes) -> str:
    """What an image is for, as in board.toml."""
    number = int.from_bytes(image[CHIP_ID], "little")
    names = (name for name, rom in CHIP_DEFS.items() if number == rom.IMAGE_CHIP_ID)
    return next(names, f"chip of the number {number}")


def _board_for(chip: str, firmware: Path) -> Board:
    fitting = boards.with_chip(chip)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        which = ", ".join(board.name for board in fitting)
        raise FlashError(f"{firmware} is for an {chip}: say which board it is, --board {which}")
    raise FlashError(f"{firmware} is for an {chip}: add such a board first (boards/README.md)")


def _pieces(firmware: Path, data: bytes, board: Board) -> list[_Piece]:
    """What goes into the flash, of a file with boot loader and application as MicroPython has it.

    Its partition table gives way to the board's.
    """
    start = board.firmware_offset
    app = next(p for p in board.partitions if p.type == APP)
    boot = _Piece(BOOT_LOADER, start, data[: partition_table.OFFSET - start])
    table = _Piece(TABLE, partition_table.OFFSET, partition_table.encode(board.partitions))
    application = _Piece(APPLICATION, app.offset, data[app.offset - start :])
    _check_image(firmware, boot, board)
    _check_image(firmware, application, board)
    if len(application.data) > app.size:
        raise FlashError(
            f"{firmware} has an application of {len(application.data)} bytes, and the partition "
            f"{app.name} of {board.name} has {app.size}: enlarge it in partitions.csv"
        )
    return [boot, table, application]


def _check_image(firmware: Path, piece: _Piece, board: Board) -> None:
    """Whether esptool reads it to its end, finds its checksum and hash, and it is for this chip."""
    try:
        image = LoadFirmwareImage(board.chip, piece.data)
        whole = image.checksum == image.calculate_checksum()
        whole = whole and (not image.append_digest or image.stored_digest == image.calc_digest)
    except (RuntimeError, TypeError, struct.error):  # esptool's own, and what it runs into
        whole = False
    if not whole:
        raise FlashError(f"{firmware} is truncated or damaged in its {piece.name}: get it again")
    if _chip(piece.data) != board.chip:
        raise FlashError(
            f"{firmware} is for an {_chip(piece.data)}, and {board.name} has an {board.chip}: "
            f"give MicroPython's .bin for {board.micropython}"
        )


def _check(attached: Attached, board: Board, port: str, wipe: bool) -> None:
    """Whether this is the board that it is taken for, and what lies in it may be lost."""
    if attached.chip != board.chip:
        raise FlashError(
            f"{port} has an {attached.chip}, and {board.name} has an {board.chip}: give firmware "
            f"for an {attached.chip}, or another port"
        )
    if attached.flash_bytes < board.flash_bytes:
        raise FlashError(
            f"{port} has a flash of {attached.flash_bytes >> 20} MB, and {board.name} of "
            f"{board.flash_bytes >> 20}: choose another board with --board"
        )
    raft = board.partition(RAFT)
    if attached.partitions is not None and raft not in attached.partitions and not wipe:
        log = next((p for p in attached.partitions if p.name == RAFT), None)
        what = f"its raft log at {log.offset:#x}" if log else "no raft log yet"
        raise FlashError(
            f"{port} has {what}: what lies from {raft.offset:#x} to {raft.end:#x}, where "
            f"{board.name} has its log, would be taken for one; erase it with --wipe"
        )
