"""`raftctl demo`"""

import dataclasses
import signal
import sys
import tempfile
from pathlib import Path

import click

from host_tools import desk, keys, view
from host_tools.cluster import Cluster, on_free_ports
from host_tools.demo import Demo, DemoError, Result
from host_tools.desktop.habits import ALL, HABITS
from host_tools.options import NEGATIVE, NOT_POSSIBLE, Failure, interpreter_option
from host_tools.screens import Lines, Terminal

NODES = 5
SECONDS = 12.0
FLASH_KB = 8192
MAX_SECONDS = 1800.0  # every acknowledged write is kept in memory until the end


@click.command()
@click.option(
    "--nodes",
    type=click.IntRange(3, 9),
    default=NODES,
    show_default=True,
    metavar="N",
    help="How many; fewer than three can lose none.",
)
@interpreter_option
@click.option(
    "--seconds",
    type=click.FloatRange(0, MAX_SECONDS),
    metavar="SECONDS",
    help=f"How long, about.  [default: on a terminal until q is pressed, else {SECONDS:g}]",
)
@click.option(
    "--habit",
    "habits",
    type=click.Choice([*HABITS, ALL]),
    multiple=True,
    metavar="NAME",
    help="What boards do and this machine doesn't (firmware/README.md): all, or one; for several, "
    "again.",
)
def demo(nodes: int, interpreter: str, seconds: float | None, habits: tuple[str, ...]) -> None:
    """Watch a cluster lose its leader and elect another one.

    Starts the nodes as processes of this machine, writes steadily, kills the leader, starts it
    again, and in the end looks for every acknowledged write in every node's flash. The exit
    status is 1 if one was lost.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        desk.interpreter_command(interpreter)
    except desk.DeskError as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    with tempfile.TemporaryDirectory(prefix="raft-demo-") as folder:
        cluster = on_free_ports(Path(folder) / "cluster.toml", nodes)
        habits = HABITS if ALL in habits else habits
        cluster = dataclasses.replace(cluster, flash_kb=FLASH_KB, habits=habits)
        cluster.path.write_text(cluster.to_toml(), encoding="utf-8")
        keys.ensure(cluster.path, cluster.name)
        try:
            result = perform(cluster, interpreter, seconds)
        except DemoError as e:
            raise Failure(str(e), NEGATIVE) from e
    summarize(result, nodes)
    if not result.is_good:
        click.get_current_context().exit(NEGATIVE)


def perform(cluster: Cluster, interpreter: str, seconds: float | None) -> Result:
    """The demonstration, as a terminal shows it or as lines."""
    title = f"{len(cluster.nodes)} nodes under {interpreter}"
    console = view.console()
    if console.is_terminal and sys.stdin.isatty():
        with Terminal(cluster, title, console) as terminal:
            return Demo(cluster, interpreter, seconds or MAX_SECONDS, terminal).run()
    click.echo(f"{title}, their state in {cluster.path.parent}")
    return Demo(cluster, interpreter, SECONDS if seconds is None else seconds, Lines()).run()


def summarize(result: Result, nodes: int) -> None:
    click.echo()
    click.echo(f"elections: {result.elections}")
    click.echo(f"failover:  {result.fail_overs()}")
    click.echo(f"writes:    {result.writes} acknowledged, looked for in all {nodes} nodes")
    click.echo(f"lost: {result.lost}")
    if result.doubled:
        click.echo(f"applied twice: {result.doubled}")
