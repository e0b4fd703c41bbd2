"""`raftctl transfer`"""

from pathlib import Path

import click

from host_tools import completion
from host_tools.cluster import MAX_NODE
from host_tools.commands.values import connected
from host_tools.options import cluster_option, timeout_option


@click.command()
@click.argument(
    "node", type=click.IntRange(1, MAX_NODE), required=False, metavar="[ID]",
    shell_complete=completion.nodes,
)  # fmt: skip
@cluster_option
@timeout_option
def transfer(node: int | None, cluster_file: Path, timeout: float) -> None:
    """Let node ID lead, or whichever other one fits best.

    It catches up first; writes wait meanwhile, and none fails.
    """
    with connected(cluster_file, timeout) as client:
        leader = client.transfer(node or 0) or client.members().leader
    click.echo(f"Node {leader} leads.")
