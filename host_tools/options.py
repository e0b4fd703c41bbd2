"""What commands have in common: their options, and how they fail."""

from pathlib import Path

import click

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
    help="The file that describes the cluster.",
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

interpreter_option = click.option(
    "--interpreter",
    default=CPYTHON,
    show_default=True,
    metavar="NAME",
    help="cpython, micropython, or the name of one such as micropython-i386.",
)
