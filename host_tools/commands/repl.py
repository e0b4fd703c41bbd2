"""`raftctl repl`"""

import subprocess
import sys

import click

from host_tools import attached, completion, ports
from host_tools.attached import Asked
from host_tools.options import NOT_POSSIBLE, Failure, chosen_port
from host_tools.ports import PortError


@click.command()
@click.argument(
    "target", required=False, metavar="[NODE|PORT]", shell_complete=completion.nodes_and_ports
)
def repl(target: str | None) -> None:
    """Talk to a board at its REPL, by mpremote.

    The board is a node's number, or a port. A node that runs goes on until Ctrl-C, and starts
    again with Ctrl-D. Ctrl-] leaves.
    """
    try:
        is_node = target is not None and target.isdecimal()
        port = _port_of(int(target or 0)) if is_node else chosen_port(target)
        ports.close(ports.open_port(port))  # for its reason, if it can't be used
    except PortError as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    command = [sys.executable, "-m", "mpremote", "connect", port, "repl"]
    raise SystemExit(subprocess.call(command))


def _port_of(node: int) -> str:
    """Where that node is plugged in. Raises Failure, PortError."""
    found = attached.ask_all(ports.candidates(), may_reset=False)
    for board in found:
        if isinstance(board, Asked) and board.node == node:
            return board.port
    others = ", ".join(str(b.node) for b in found if isinstance(b, Asked) and b.node is not None)
    raise Failure(
        f"no board is node {node}; those plugged in are {others or 'none'}: plug it in, or name "
        "its port",
        NOT_POSSIBLE,
    )
