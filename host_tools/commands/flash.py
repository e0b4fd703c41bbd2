"""`raftctl flash`"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from host_tools import boards, ports, view
from host_tools.flashing import BAUD, Flashed, FlashError
from host_tools.flashing import flash as flash_board
from host_tools.options import NOT_POSSIBLE, Failure, json_option
from host_tools.ports import PortError

WIPED = (
    "The raft log was erased. If this board was a voter it comes back as a learner, and has a vote "
    "again when all others have vouched for it: until then wipe no other board of its cluster."
)


@click.command()
@click.option(
    "--port",
    envvar="ESPTOOL_PORT",
    show_envvar=True,
    metavar="PORT",
    help="Where the board is: /dev/ttyUSB0, COM3, a URL.  [default: the only one there is]",
)
@click.option(
    "--board",
    "board_name",
    metavar="NAME",
    help="Its folder in boards/.  [default: the one with the firmware's chip]",
)
@click.option(
    "--firmware",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="MicroPython's .bin for this board.",
)
@click.option("--wipe", is_flag=True, help="Erase the raft log too.")
@click.option(
    "--baud",
    type=click.IntRange(9600),
    default=BAUD,
    show_default=True,
    help="Speed of the line; lower it if the cable is bad.",
)
@json_option
def flash(
    port: str | None,
    board_name: str | None,
    firmware: Path,
    wipe: bool,
    baud: int,
    as_json: bool,
) -> None:
    """Put MicroPython and the partition table onto a board.

    Before a byte is written, firmware, chip and board are checked against each other. What is
    there already isn't written again. The raft log and the board's identity stay, so that a node
    goes on where it was.

    With --wipe the log is erased, and nothing else. A voter that has lost its log may have
    promised what it no longer knows: it comes back as a learner, and has a vote again when all
    others have vouched for it. Wipe one board of a cluster at a time.
    """
    board = boards.load(board_name) if board_name else None
    console = view.console()
    try:
        port = port or only_port()
        if as_json:
            done = flash_board(port, firmware, board, wipe, baud, lambda step, share: None)
        elif console.is_terminal:
            with _Bar(console) as bar:
                done = flash_board(port, firmware, board, wipe, baud, bar.report)
        else:
            done = flash_board(port, firmware, board, wipe, baud, _Lines().report)
    except (FlashError, PortError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    if as_json:
        click.echo(json.dumps({"port": port, **dataclasses.asdict(done)}))
    else:
        click.echo(summary(port, done))


def only_port() -> str:
    """The port of the only board there is; raises PortError, or Failure if there is a choice."""
    names = ports.candidates()
    if len(names) > 1:
        raise Failure(f"several boards were found: say --port, of {', '.join(names)}", NOT_POSSIBLE)
    return names[0]


def summary(port: str, done: Flashed) -> str:
    written = ", ".join(done.written)
    what = f"{written} written and verified" if written else "all is there already"
    log = WIPED if done.wiped else "The raft log is untouched."
    return f"{port}: {done.board} {done.mac}: {what}.\n{log}"


class _Bar:
    """On a terminal: what is done, and how much of it; a context manager."""

    def __init__(self, console: Console) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._progress.stop()

    def report(self, step: str, share: float | None) -> None:
        total = None if share is None else 1
        self._progress.update(self._task, description=step, total=total, completed=share or 0)


class _Lines:
    """Each step is a line, and that is all."""

    def __init__(self) -> None:
        self._step = ""

    def report(self, step: str, share: float | None) -> None:
        if step != self._step:
            self._step = step
            click.echo(step)
