"""`raftctl boards`"""

import dataclasses
import json
from collections.abc import Sequence

import click
from rich.table import Table

from host_tools import attached, ports, view
from host_tools.attached import Asked, Silent
from host_tools.options import NEGATIVE, NOT_POSSIBLE, Failure, json_option, ports_option
from host_tools.ports import PortError


@click.command()
@ports_option
@json_option
def boards(names: tuple[str, ...], as_json: bool) -> None:
    """List the boards that are plugged in, and what runs on them.

    A node that runs is not disturbed. Another program is stopped and started again; a board
    without MicroPython is reset.

    The exit status is 1 if no board answers.
    """
    try:
        found = attached.ask_all(names or ports.candidates())
    except PortError as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(board) for board in found]))
    else:
        view.console().print(_table(found))
        for board in found:
            if isinstance(board, Silent):
                click.echo(board.problem)
    if not any(isinstance(board, Asked) for board in found):
        raise SystemExit(NEGATIVE)


def _table(found: Sequence[Asked | Silent]) -> Table:
    names = "port", "chip", "MAC", "MicroPython", "node", "runs"
    made = view.plain_table(*names, left=names)
    for board in found:
        if isinstance(board, Silent):
            made.add_row(board.port, *[view.UNTOLD] * 4, "doesn't answer", style="red")
        else:
            node = view.UNTOLD if board.node is None else str(board.node)
            version = board.micropython or view.UNTOLD
            made.add_row(
                board.port, board.chip, board.mac, version, node, board.runs,
                style=view.ROLE_STYLES.get(board.runs),
            )  # fmt: skip
    return made
