"""`raftctl status`"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from host_tools import view
from host_tools.client import Client
from host_tools.options import NOT_COMMITTED, Failure, cluster_option, json_option
from host_tools.wear import wear

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
@click.option("--flash", is_flag=True, help="Show how full and how worn the flash is.")
@json_option
def status(cluster_file: Path, timeout: float, flash: bool, as_json: bool) -> None:
    """Show what each node says of itself.

    \b
    With --flash:
      sectors        in use, of all
      left out       sectors that were broken
      snapshot       the last entry that it stands for
      size           of the snapshot
      erases         since the node's start, as the next two
      written        bytes
      entries/erase  log entries
      years          until a sector of the ring has had 100,000 erases, at the
                     rate since the node's start: `-` in the first minute, and
                     before the first erase

    The exit status is 3 unless a leader and a majority of the nodes answer.
    """
    with Client(cluster_file, timeout) as client:
        statuses = client.statuses()
        cluster = client.cluster
    leader = view.leader_of(statuses)
    if as_json:
        shown: dict[int, Any] = dict(statuses)
        if flash:
            shown = {node: dataclasses.asdict(wear(status)) for node, status in shown.items()}
        nodes = {str(node): shown.get(node) for node in sorted(cluster.nodes)}
        click.echo(json.dumps({"cluster": cluster.name, "leader": leader or None, "nodes": nodes}))
    else:
        table = view.flash_table if flash else view.table
        view.console().print(table(cluster, statuses, view.UNREACHABLE))
        for sentences in (
            view.doubts, view.silences, view.strangers, view.failures, view.refusals,
            view.key_changes,
        ):  # fmt: skip
            for sentence in sentences(statuses):
                click.echo(sentence)
    if not statuses:
        raise Failure(f"no node answers: {client.advice}", NOT_COMMITTED)
    voters = view.members_of(statuses)["voters"]
    answering = [node for node in voters if node in statuses and not statuses[node]["doubt"]]
    needed = len(voters) // 2 + 1
    if len(answering) < needed:
        raise Failure(
            f"{len(answering)} of {len(voters)} voters answer and can vote, {needed} are needed: "
            "start the others, or if they are gone for good, `raftctl recover`",
            NOT_COMMITTED,
        )
    if not leader:
        raise Failure("no leader: ask again in a moment", NOT_COMMITTED)
