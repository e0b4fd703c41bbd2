"""What commands have in common: their options, and how they fail."""

import sys
from functools import partial
from pathlib import Path

import click

from host_tools import completion, ports
from host_tools.cluster import DEFAULT_FILE
from host_tools.desk import CPYTHON

TIMEOUT_S = 5.0

# Exit codes; 0 is success, and 1 an answer in the negative (no such key; cas did not match).
NEGATIVE = 1
NOT_POSSIBLE = 2  # as asked: the command line, cluster.toml, a port or a folder in use
NOT_COMMITTED = 3
UNKNOWN = 4


class Failure(click.ClickException):
    """Ends the command with one line on stderr and this exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


cluster_option = click.option(
    "--cluster",
    "cluster_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_FILE,
    show_default=True,
    metavar="FILE",
    help="The cluster's file.",
)

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long to try.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

PORT_VARIABLES = ["RAFTCTL_PORT", "ESPTOOL_PORT"]

_a_port = partial(
    click.option,
    "--port",
    envvar=PORT_VARIABLES,
    show_envvar=True,
    metavar="PORT",
    shell_complete=completion.found_ports,
)

port_option = _a_port(
    help="Where the board is: /dev/ttyUSB0, COM3, a URL.  [default: the only one there is]",
)

ports_option = _a_port(
    "names",
    multiple=True,
    help="Where a board is; for several, again.  [default: all on USB]",
)

interpreter_option = click.option(
    "--interpreter",
    default=CPYTHON,
    show_default=True,
    metavar="NAME",
    help="cpython, micropython, or the name of one such as micropython-i386.",
)


def chosen_port(port: str | None) -> str:
    """That port, or the only one with a board; if there are several, whoever is there is asked.

    Raises PortError if there is none, and Failure where nobody can be asked.
    """
    names = [port] if port else ports.candidates()
    if len(names) == 1:
        return names[0]
    if not is_somebody_there():
        raise Failure(f"several boards were found: say --port, of {', '.join(names)}", NOT_POSSIBLE)
    for number, name in enumerate(names, 1):
        click.echo(f"  {number}  {name}  {ports.description(name)}")
    number = click.prompt("Which one", type=click.IntRange(1, len(names)))
    return names[number - 1]


def is_somebody_there() -> bool:
    """Whether questions reach somebody who can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()
