"""MicroPython's firmware files: gets them by mpflash, and tells which one is for a board."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from host_tools import flashing
from host_tools.boards import Board
from host_tools.firmware import FIRMWARE
from host_tools.flashing import FlashError

FOLDER = FIRMWARE.parent / "build" / "firmware"
SUM_SUFFIX = ".sha256"  # of the file beside each, in the form of `sha256sum`
PAGE = "https://micropython.org/download/"
PATIENCE_S = 300.0  # mpflash has none of its own


class DownloadError(Exception):
    """Firmware can't be got; the message is one line that says what to do."""


def fitting(board: Board, given: Sequence[Path]) -> Path | None:
    """The file for that board: of those given, if there are any, or the one downloaded last.

    Raises FlashError if not just one of those given fits, if a file can't be read, or if it is
    not what was downloaded.
    """
    if given:
        files = [file for file in given if flashing.chip_of(file) == board.chip]
        if len(files) == 1:
            return files[0]
        which = " and ".join(map(str, files)) or f"none of {', '.join(map(str, given))}"
        raise FlashError(
            f"{which} {'are' if files else 'is'} for an {board.chip}: give one --firmware for "
            "each kind of board"
        )
    downloaded = sorted(FOLDER.glob(_pattern(board)), key=lambda f: f.stat().st_mtime)
    if not downloaded:
        return None
    _check_sum(downloaded[-1])
    return downloaded[-1]


def download(wanted: Sequence[Board], version: str) -> list[Path]:
    """Get the firmware of these kinds of boards into FOLDER; gives the file of each.

    version: such as `1.26.1`, or `stable` or `preview`. Each file is checked as before flashing,
    and its SHA-256 is kept beside it. All or none. Raises DownloadError, FlashError, OSError.
    """
    if importlib.util.find_spec("mpflash") is None:
        raise DownloadError(
            f"mpflash isn't installed: `make firmware` does that; or {_by_hand(wanted[0])}"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=FOLDER) as folder:
        problem = _run_mpflash(folder, wanted, version)
        got = [_got(board, Path(folder), version, problem) for board in wanted]
        for file in set(got):
            file.replace(FOLDER / file.name)
    kept = [FOLDER / file.name for file in got]
    for file in kept:
        _keep_sum(file)
    return kept


def sha256(file: Path) -> str:
    """In hexadecimal digits. Raises OSError."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _pattern(board: Board) -> str:
    """What mpflash calls its files; those of variants have more before the version."""
    return f"{board.micropython}-v*.bin"


def _page(board: Board) -> str:
    """The board among MicroPython's downloads, which lists its variants (`NAME-VARIANT`) too."""
    return board.micropython.partition("-")[0]


def _by_hand(board: Board) -> str:
    return f"get the .bin by hand from {PAGE}{_page(board)} and give it with --firmware"


def _run_mpflash(folder: str, wanted: Sequence[Board], version: str) -> str:
    """What it complains of last, if it does; with 1.29, the exit status is 0 all the same."""
    # As a module, because the virtual environment needn't be on PATH.
    command = [sys.executable, "-m", "mpflash.cli_main", "--no-interactive", "download"]
    command += [f"--version={version}", *{f"--board={_page(board)}" for board in wanted}]
    # With `--dir` it makes a folder among the user's downloads before it reads that; and on GitHub
    # it takes `firmware/` of the repository, whatever it is told.
    environment = os.environ | {
        "MPFLASH_FIRMWARE": folder, "GITHUB_ACTIONS": "",
        "COLUMNS": "500", "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", env=environment, timeout=PATIENCE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE_S:.0f} s"
    errors = re.findall(r" \| [❌☠]\ufe0f? (.+)", done.stdout)
    if done.returncode and not errors:
        errors = done.stdout.splitlines()
    return str(errors[-1]).strip() if errors else ""


def _got(board: Board, folder: Path, version: str, problem: str) -> Path:
    """The file for that board, if it is there and whole."""
    found = sorted(folder.glob(f"*/{_pattern(board)}"))  # in a folder for MicroPython's port
    if not found:
        why = f" ({problem})" if problem else ""
        raise DownloadError(
            f"mpflash got no {board.micropython} of version {version}{why}: {_by_hand(board)}"
        )
    flashing.application(found[-1], board)
    return found[-1]


def _keep_sum(file: Path) -> None:
    _sum_beside(file).write_text(f"{sha256(file)}  {file.name}\n", encoding="utf-8")


def _check_sum(file: Path) -> None:
    beside = _sum_beside(file)
    if beside.exists() and beside.read_text(encoding="utf-8").split()[:1] != [sha256(file)]:
        raise FlashError(f"{file} is not what was downloaded: remove it, and get it again")


def _sum_beside(file: Path) -> Path:
    return file.with_name(file.name + SUM_SUFFIX)
