"""`raftctl status`"""

import json
from pathlib import Path

import click

from host_tools import view
from host_tools.client import Client
from host_tools.options import NOT_COMMITTED, Failure, cluster_option, json_option

WAIT_S = 1.0


@click.command()
@cluster_option
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for nodes that don't answer.",
)
@json_option
def status(cluster_file: Path, timeout: float, as_json: bool) -> None:
    """Show what each node says of itself.

    The exit status is 3 unless a leader and a majority of the nodes answer.
    """
    with Client(cluster_file, timeout) as client:
        statuses = client.statuses()
        cluster = client.cluster
    leader = view.leader_of(statuses)
    if as_json:
        nodes = {str(node): statuses.get(node) for node in sorted(cluster.nodes)}
        click.echo(json.dumps({"cluster": cluster.name, "leader": leader or None, "nodes": nodes}))
    else:
        view.console().print(view.table(cluster, statuses, view.UNREACHABLE))
    if len(statuses) < cluster.majority:
        raise Failure(
            f"{len(statuses)} of {len(cluster.nodes)} nodes answer, {cluster.majority} are needed",
            NOT_COMMITTED,
        )
    if not leader:
        raise Failure("no leader: ask again in a moment", NOT_COMMITTED)
