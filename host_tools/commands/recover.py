"""`raftctl recover`"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from host_tools import cluster_edits, keys, rotation, view
from host_tools.client import Client, Refused
from host_tools.commands.values import connected
from host_tools.membership import Membership
from host_tools.options import (
    NOT_COMMITTED,
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    is_somebody_there,
    timeout_option,
)

LEAD_S = 10.0
LOOK_S = 0.1

Statuses = Mapping[int, Mapping[str, Any]]


@click.command()
@cluster_option
@click.option("--yes", is_flag=True, help="Don't ask.")
@timeout_option
def recover(cluster_file: Path, yes: bool, timeout: float) -> None:
    """Make a new cluster of the nodes that are left of one.

    For a cluster whose majority is gone for good, and only then: it says what may be lost, and
    asks. All nodes that still live must run. The others must be erased before they come back,
    or they might go on as a cluster of their own. They are taken out of cluster.toml.

    The cluster gets another key, so that those that come back after all can't meddle with it: the
    nodes that are left have to be given that one at once.
    """
    keys.of(cluster_file)  # or another one can't be made later
    with connected(cluster_file, timeout) as client:
        told = client.members()
        _check_unled(told.leader)
        statuses = client.statuses()
        _check_unled(view.leader_of(statuses))
        _check_majority(statuses, told)
        survivors = [node for node in statuses if node in told.nodes]
        best = max(survivors, key=lambda node: _log(statuses[node]))
        gone = [node for node in told.nodes if node not in survivors]
        view.console().print(_table(statuses, survivors, best))
        click.echo(f"Node {best} has the longest log, and they go on with that.")
        click.echo("What was acknowledged, and is in none of these logs, is LOST.")
        click.echo(
            f"Left out for ever: {view.listed(gone)}. Erase each of these before it runs again."
        )
        if not yes:
            _ask(survivors)
        leader = _recovered(client, best, survivors)
    for node in gone:
        if node in client.cluster.nodes:
            cluster_edits.remove_node(cluster_file, node)
    click.echo(f"Node {leader} leads; members: {view.listed(survivors)}.")
    rotation.replace(client.cluster)
    click.echo("The cluster has another key, which those left out don't have. Now")
    for line in rotation.restart(survivors, client.cluster, at_once=True):
        click.echo(f"  {line}")
    click.echo("Until then raftctl isn't heard by them.")


def _check_unled(leader: int) -> None:
    if leader:
        raise Failure(
            f"node {leader} leads, so the majority is there: `raftctl remove` removes the others",
            NOT_POSSIBLE,
        )


def _check_majority(statuses: Statuses, told: Membership) -> None:
    """Raises Failure where there is nothing to recover, or nothing to recover it from."""
    alive = [voter for voter in told.voters if voter in statuses]
    if len(alive) > len(told.voters) // 2:
        raise Failure(
            f"{len(alive)} of {len(told.voters)} voters answer, a majority: wait until one of them "
            "leads (`raftctl status`)",
            NOT_POSSIBLE,
        )
    if not alive:
        raise Failure(
            "no voter answers: start those that are left, and then `raftctl recover`", NOT_POSSIBLE
        )


def _log(status: Mapping[str, Any]) -> tuple[bool, int, int]:
    """How far its log reaches, if it can be trusted: the more, the better (Raft paper, 5.4.1)."""
    return not status["doubt"], status["last_term"], status["last"]


def _table(statuses: Statuses, survivors: Sequence[int], best: int) -> Any:
    made = view.plain_table("node", "last", "its term", "commit")
    for node in survivors:
        status = statuses[node]
        made.add_row(
            str(node), str(status["last"]), str(status["last_term"]), str(status["commit"]),
            style="bold" if node == best else None,
        )  # fmt: skip
    return made


def _ask(survivors: Sequence[int]) -> None:
    if not is_somebody_there():
        raise Failure("nobody is there to be asked: --yes, if that is wanted", NOT_POSSIBLE)
    click.confirm(f"Go on with {view.listed(survivors)} alone", abort=True)


def _recovered(client: Client, best: int, survivors: Sequence[int]) -> int:
    """The leader, when that is done. Raises Refused, Unknown, Failure."""
    try:
        client.recover(best, survivors)
    except Refused:
        # It may be done, its answer lost, and what was sent again refused.
        if list(client.members().nodes) != survivors:
            raise
    end = time.monotonic() + LEAD_S
    while time.monotonic() < end:
        leader = client.members().leader
        if leader:
            return leader
        time.sleep(LOOK_S)
    raise Failure("the members are changed, and none leads yet: `raftctl status`", NOT_COMMITTED)
