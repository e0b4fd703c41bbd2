"""`raftctl flash`"""

import dataclasses
import json
from functools import partial
from pathlib import Path

import click

from host_tools import boards, completion, downloads, flashing, view
from host_tools.boards import Board
from host_tools.flashing import BAUD, Flashed, FlashError
from host_tools.flashing import flash as flash_board
from host_tools.options import NOT_POSSIBLE, Failure, chosen_port, json_option, port_option
from host_tools.ports import PortError
from host_tools.reporting import reporting

WIPED = (
    "The raft log was erased. If this board was a voter it comes back as a learner, and has a vote "
    "again when all others have vouched for it: until then wipe no other board of its cluster."
)


@click.command()
@port_option
@click.option(
    "--board",
    "board_name",
    metavar="NAME",
    shell_complete=completion.kinds,
    help="Its folder in boards/.  [default: the one with the firmware's chip]",
)
@click.option(
    "--firmware",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="MicroPython's .bin for this board.  [default: what `make firmware` got]",
)
@click.option("--wipe", is_flag=True, help="Erase the raft log too.")
@click.option(
    "--baud",
    type=click.IntRange(9600),
    default=BAUD,
    show_default=True,
    metavar="N",
    help="Speed of the line; lower it if the cable is bad.",
)
@json_option
def flash(
    port: str | None,
    board_name: str | None,
    firmware: Path | None,
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
    try:
        port = chosen_port(port)
        firmware = firmware or _downloaded(port, board)
        with reporting(view.console(), as_json) as report:
            done = flash_board(port, firmware, board, wipe, baud, partial(report, ""))
    except (FlashError, PortError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    if as_json:
        click.echo(json.dumps({"port": port, **dataclasses.asdict(done)}))
    else:
        click.echo(summary(port, done))


def _downloaded(port: str, board: Board | None) -> Path:
    """The file for the board at that port. Raises Failure, FlashError."""
    chip = board.chip if board else flashing.ask(port).chip
    for kind in [board] if board else boards.with_chip(chip):
        file = downloads.fitting(kind, ())
        if file:
            return file
    raise Failure(
        f"no firmware for an {chip} was downloaded: get it with `make firmware BOARD=NAME`, or "
        "give a file with --firmware",
        NOT_POSSIBLE,
    )


def summary(port: str, done: Flashed) -> str:
    written = ", ".join(done.written)
    what = f"{written} written and verified" if written else "all is there already"
    log = WIPED if done.wiped else "The raft log is untouched."
    return f"{port}: {done.board} {done.mac}: {what}.\n{log}"
