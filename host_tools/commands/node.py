"""`raftctl node`"""

from pathlib import Path

import click

from host_tools import cluster, completion, desk
from host_tools.options import NOT_POSSIBLE, Failure, cluster_option, interpreter_option


@click.command()
@cluster_option
@click.option(
    "--id",
    "node",
    type=int,
    required=True,
    metavar="N",
    help="Which node.",
    shell_complete=completion.nodes,
)
@interpreter_option
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The node's folder, in place of a board's flash. "
    "[default: state/node-N beside the cluster file]",
)
@click.option(
    "--app",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.py",
    help="The program that has the node, as a board's `[app]`.",
)
def node(
    cluster_file: Path, node: int, interpreter: str, state: Path | None, app: Path | None
) -> None:
    """Run a node in the foreground: this process becomes it.

    Its events go to stdout, a line each. SIGTERM and Ctrl-C end it; if it leads, another node
    takes over first. What it has acknowledged survives SIGKILL, too.
    """
    described = cluster.load(cluster_file)
    try:
        desk.become_node(described, node, interpreter, state, app)
    except desk.DeskError as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
