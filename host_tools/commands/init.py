"""`raftctl init`"""

from pathlib import Path

import click

from host_tools.cluster import on_desk
from host_tools.options import NOT_POSSIBLE, Failure, cluster_option

MAX_NODES = 9
DEFAULT_NODES = 3


@click.command()
@cluster_option
@click.option(
    "--nodes",
    type=click.IntRange(1, MAX_NODES),
    default=DEFAULT_NODES,
    show_default=True,
    help="How many; an even number survives no more failures than one less.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(cluster_file: Path, nodes: int, force: bool) -> None:
    """Write a cluster.toml for nodes on this machine."""
    if cluster_file.exists() and not force:
        raise Failure(
            f"{cluster_file} exists: give another name with --cluster, or --force to overwrite it",
            NOT_POSSIBLE,
        )
    try:
        cluster_file.write_text(on_desk(cluster_file, nodes).to_toml(), encoding="utf-8")
    except OSError as e:
        raise Failure(f"{cluster_file} can't be written: {e.strerror}", NOT_POSSIBLE) from e
    click.echo(f"Wrote {cluster_file}: {nodes} nodes. Start each of them with")
    click.echo("  raftctl node --id N")
