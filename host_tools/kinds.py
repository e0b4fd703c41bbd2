"""Which of the kinds of boards in boards/ a board is."""

import click

from host_tools import boards
from host_tools.attached import Asked
from host_tools.boards import Board
from host_tools.options import NOT_POSSIBLE, Failure, is_somebody_there


def of(board: Asked, wanted: str | None) -> Board:
    """What is known of its kind. Raises Failure, BoardFileError."""
    if wanted:
        return boards.load(wanted)
    fitting = boards.with_chip(board.chip)
    if not fitting:
        raise Failure(
            f"{board.port} has an {board.chip}, which no folder in boards/ describes: add one "
            "(boards/README.md)",
            NOT_POSSIBLE,
        )
    if len(fitting) == 1:
        return fitting[0]
    choices = [kind.name for kind in fitting]
    if not is_somebody_there():
        raise Failure(
            f"{board.port} may be one of {', '.join(choices)}: say which, with --board",
            NOT_POSSIBLE,
        )
    chosen = click.prompt(f"{board.port} ({board.mac}) is a", type=click.Choice(choices))
    return boards.load(chosen)
