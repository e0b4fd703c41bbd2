"""MicroPython's firmware files: those that were downloaded, and which one is for a board."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from host_tools import flashing
from host_tools.boards import Board
from host_tools.firmware import FIRMWARE
from host_tools.flashing import FlashError

FOLDER = FIRMWARE.parent / "build" / "firmware"
SUM_SUFFIX = ".sha256"  # of the file beside each, in the form of `sha256sum`


def fitting(board: Board, given: Sequence[Path]) -> Path | None:
    """The file for that board: of those given, or else the newest downloaded one.

    Raises FlashError if a file can't be read, or is not what was downloaded.
    """
    for file in given:
        if flashing.chip_of(file) == board.chip:
            return file
    downloaded = sorted(FOLDER.glob(f"{board.micropython}-*.bin"), key=lambda f: f.stat().st_mtime)
    if not downloaded:
        return None
    _check_sum(downloaded[-1])
    return downloaded[-1]


def keep_sum(file: Path) -> None:
    """Write down what was downloaded."""
    beside = file.with_name(file.name + SUM_SUFFIX)
    beside.write_text(f"{_sum(file)}  {file.name}\n", encoding="utf-8")


def _check_sum(file: Path) -> None:
    beside = file.with_name(file.name + SUM_SUFFIX)
    if beside.exists() and beside.read_text(encoding="utf-8").split()[0] != _sum(file):
        raise FlashError(f"{file} is not what was downloaded: remove it, and get it again")


def _sum(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
