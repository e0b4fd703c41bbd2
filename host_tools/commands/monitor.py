"""`raftctl monitor`"""

import re
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from host_tools import completion, ports, view
from host_tools.monitor import Filter, Glance, JsonLines, Lines, LogError, Logs, Terminal, Watcher
from host_tools.options import NOT_POSSIBLE, Failure, json_option
from host_tools.screens import Keyboard

QUIT_KEYS = b"\x1d"  # Ctrl-], as with miniterm, idf.py and mpremote
LOOK_S = 0.1  # between two looks at the keyboard, and of the screen


@click.command()
@click.argument("names", nargs=-1, metavar="[PORTS]", shell_complete=completion.found_ports)
@json_option
@click.option(
    "--filter",
    "pattern",
    default="",
    metavar="REGEX",
    help="Show what it is found in, such as 'n2 leader term=4', alone.",
)
@click.option(
    "--log-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Append all lines to a file per node, as they come.",
)
def monitor(names: tuple[str, ...], as_json: bool, pattern: str, log_dir: Path | None) -> None:
    """Watch boards over their serial ports, all at once.

    PORTS are /dev/ttyUSB0, COM3, socket://host:port or rfc2217://host:port; without one, all
    boards on USB are watched. No board is reset by it. A port that goes away is waited for.

    On a terminal, the cluster at a glance stands above the lines, and Ctrl-] leaves.

    \b
      --filter '^n2 '                          node 2 alone
      --filter ' (leader|candidate) |Error'    elections, and what went wrong
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        watch(names or ports.candidates(), as_json, Filter(pattern), log_dir)
    except re.error as e:
        raise click.BadParameter(f"{pattern!r} is no regular expression: {e}") from e
    except (ports.PortError, LogError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    except KeyboardInterrupt:
        return  # as Ctrl-]


def watch(names: Sequence[str], as_json: bool, chosen: Filter, log_dir: Path | None) -> None:
    """Until Ctrl-] is pressed."""
    glance, console = Glance(), view.console()
    with ExitStack() as stack:
        logs = Logs(log_dir) if log_dir else None
        watcher = stack.enter_context(Watcher(names))
        keyboard = None
        if console.is_terminal and sys.stdin.isatty():
            keyboard = stack.enter_context(Keyboard())
        screen: Lines | JsonLines | Terminal
        if as_json:
            screen = JsonLines(sys.stdout)
        elif keyboard:
            screen = stack.enter_context(Terminal(names, glance, console))
        else:
            screen = Lines(names, sys.stdout)
        while not (keyboard and keyboard.pressed(QUIT_KEYS)):
            items = watcher.items(LOOK_S)
            if logs:
                logs.write(items)
            for item in items:
                glance.take(item)
            screen.show([item for item in items if chosen.passes(item)])
