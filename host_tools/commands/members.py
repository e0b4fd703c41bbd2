"""`raftctl members`, `add`, `remove`, `replace` and `promote`: who belongs to the cluster."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from host_tools import attached, cluster, cluster_edits, completion, kinds, ports, running, view
from host_tools.attached import Asked
from host_tools.client import Client, NotCommitted
from host_tools.cluster import AUTO, CLIENT_PORT, LOOPBACK, MAX_NODE, PORT, Cluster, Member
from host_tools.commands.values import connected
from host_tools.membership import Known, Membership
from host_tools.options import (
    NOT_COMMITTED,
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    json_option,
    timeout_option,
)

WAIT_S = 600.0  # until a new member has caught up: its board may have to be plugged in
LOOK_S = 0.2

node_argument = click.argument(
    "node", type=click.IntRange(1, MAX_NODE), metavar="ID", shell_complete=completion.nodes
)


def new_node_options(command: Callable[..., None]) -> Callable[..., None]:
    """What cluster.toml is to say of a node that it doesn't know yet."""
    port = click.IntRange(1, cluster.MAX_PORT)
    for option in (
        click.option(
            "--host",
            metavar="ADDRESS",
            help="Where it is; auto: it is found.  [default: auto for a board, or this machine]",
        ),
        click.option(
            "--port", type=port, metavar="N", help="For nodes.  [default: 7100, + ID without auto]"
        ),
        click.option(
            "--client-port", type=port, metavar="N", help="For clients.  [default: likewise]"
        ),
        click.option("--mac", metavar="MAC", help="Of its board.  [default: the new one here]"),
        click.option("--board", metavar="NAME", help="The board's folder in boards/."),
        click.option("--voter/--learner", default=None, help="Whether it is to have a vote."),
        click.option(
            "--priority",
            type=click.IntRange(0, cluster.MAX_PRIORITY),
            metavar="N",
            help="Of those that can lead, the highest does.",
        ),
    )[::-1]:
        command = option(command)
    return command


@click.command()
@cluster_option
@timeout_option
@json_option
def members(cluster_file: Path, timeout: float, as_json: bool) -> None:
    """Show who belongs to the cluster, as its leader knows it.

    \b
      role      voter; standby: becomes one when it has caught up; learner: has a
                copy and never votes; dead: was a voter, and isn't heard any more
      state     how it gets the log: probe, replicate, snapshot
      behind    entries that it lacks
      heard     how long ago

    The exit status is 3 if no leader answers.
    """
    with connected(cluster_file, timeout) as client:
        told = client.members()
        described = client.cluster
    if as_json:
        nodes = {str(i): _as_object(told, i) for i in told.nodes}
        click.echo(json.dumps({"index": told.index, "leader": told.leader or None, "nodes": nodes}))
    else:
        view.console().print(_table(told))
        for sentence in _remarks(told, described):
            click.echo(sentence)
    if not told.leader:
        raise Failure("no leader answers: these are members as others know them", NOT_COMMITTED)


@click.command()
@node_argument
@cluster_option
@new_node_options
@click.option("--wait", is_flag=True, help="Until it has caught up, and votes if it is to.")
@timeout_option
def add(node: int, cluster_file: Path, wait: bool, timeout: float, **facts: Any) -> None:
    """Make node ID a member of the running cluster.

    It begins as a learner, and becomes a voter by itself once it has caught up; with --learner
    it stays one. A node that cluster.toml doesn't know is written into it. Of one that is a
    member already, address and priority become those of cluster.toml.
    """
    with _written(cluster_file, node, facts) as member, connected(cluster_file, timeout) as client:
        was_in = node in client.members().nodes
        client.add_member(member)
    if wait:
        _tell_waiting(member)
        with connected(cluster_file, timeout) as client:
            _wait_until_in(client, member)
    if was_in and not wait:
        click.echo(f"Node {node} was a member, and is where cluster.toml says, with its priority.")
    elif wait:
        click.echo(f"Node {node} has caught up{', and votes' if member.voter else ''}.")
    else:
        until = ", a learner until it has caught up" if member.voter else ", a learner"
        click.echo(f"Node {node} is a member{until}. If it doesn't run yet:")
        click.echo(f"  {_start(member)}")


@click.command()
@node_argument
@cluster_option
@click.option("--keep", is_flag=True, help="Leave it in cluster.toml.")
@timeout_option
def remove(node: int, cluster_file: Path, keep: bool, timeout: float) -> None:
    """Remove node ID from the cluster, and from cluster.toml.

    Whether it runs or not; if it leads, another node does then. It is told, and shows that it is
    `out`. It is refused where the rest would be no majority that answers.
    """
    with connected(cluster_file, timeout) as client:
        member = client.cluster.nodes.get(node)
        told = client.members()
        if node in told.nodes:
            _check_removal(told, node)
            client.remove_member(node)
        elif member is None:
            known = ", ".join(map(str, told.nodes))
            raise Failure(f"there is no node {node}: the members are {known}", NOT_POSSIBLE)
    if member and not keep:
        cluster_edits.remove_node(cluster_file, node)
    click.echo(f"Node {node} is {'no member any more' if node in told.nodes else 'no member'}.")
    if member:
        click.echo(_farewell(member))


@click.command()
@click.argument("old", type=int, shell_complete=completion.nodes)
@click.argument("new", type=click.IntRange(1, MAX_NODE))
@cluster_option
@new_node_options
@timeout_option
def replace(old: int, new: int, cluster_file: Path, timeout: float, **facts: Any) -> None:
    """Put node NEW into the place of node OLD, which may be dead.

    NEW is added, and OLD removed once NEW has caught up: start it meanwhile. It has a vote, and
    the priority, if OLD had.
    """
    if old == new:
        raise Failure(f"node {old} can't take its own place: give NEW another id", NOT_POSSIBLE)
    described = cluster.load(cluster_file)
    leaving = described.nodes.get(old)
    if leaving and new not in described.nodes:
        facts["voter"] = leaving.voter if facts["voter"] is None else facts["voter"]
        facts["priority"] = facts["priority"] or leaving.priority
    with connected(cluster_file, timeout) as client:
        told = client.members()
    if old not in told.nodes:
        known = ", ".join(map(str, told.nodes))
        raise Failure(f"node {old} is no member: the members are {known}", NOT_POSSIBLE)
    with _written(cluster_file, new, facts) as member, connected(cluster_file, timeout) as client:
        client.add_member(member)
    _tell_waiting(member)
    with connected(cluster_file, timeout) as client:
        _wait_until_in(client, member)
        _check_removal(client.members(), old)
        client.remove_member(old)
    if leaving:
        cluster_edits.remove_node(cluster_file, old)
    click.echo(f"Node {new} has taken the place of node {old}, which is no member any more.")
    if leaving:
        click.echo(_farewell(leaving))


@click.command()
@node_argument
@cluster_option
@timeout_option
def promote(node: int, cluster_file: Path, timeout: float) -> None:
    """Let node ID, a learner, become a voter.

    It does so by itself once it has caught up.
    """
    with connected(cluster_file, timeout) as client:
        was_voter = node in client.members().voters
        client.promote(node)
    if node in client.cluster.nodes:
        cluster_edits.make_voter(cluster_file, node)
    is_voter = "is a voter already" if was_voter else "becomes a voter once it has caught up"
    click.echo(f"Node {node} {is_voter}.")


# What cluster.toml says of a node


@contextmanager
def _written(cluster_file: Path, node: int, facts: dict[str, Any]) -> Iterator[Member]:
    """The node as cluster.toml describes it, to be added.

    It is written there if it is new, and taken out again if it certainly was not added.
    """
    is_new = node not in cluster.load(cluster_file).nodes
    member = _described(cluster_file, node, facts)
    try:
        yield member
    except (NotCommitted, Failure):
        if is_new:
            cluster_edits.remove_node(cluster_file, node)
        raise


def _described(cluster_file: Path, node: int, facts: dict[str, Any]) -> Member:
    """The node as cluster.toml describes it, where it is written first if it isn't there."""
    described = cluster.load(cluster_file)
    told = {key: value for key, value in facts.items() if value is not None}
    if node not in described.nodes:
        cluster_edits.add_node(cluster_file, _new_member(described, node, told))
    elif told:
        raise Failure(
            f"{cluster_file} describes node {node} already: change that there, and then "
            f"`raftctl add {node}`",
            NOT_POSSIBLE,
        )
    return cluster.load(cluster_file).nodes[node]


def _new_member(described: Cluster, node: int, told: dict[str, Any]) -> Member:
    mac, kind = told.get("mac", ""), told.get("board", "")
    if described.has_boards and "host" not in told and not mac:
        mac, kind = _new_board(described, kind)
    if mac and not kind:
        raise Failure(f"say with --board of which kind the board {mac} is", NOT_POSSIBLE)
    host = told.get("host", AUTO if mac else LOOPBACK)
    offset = 0 if host == AUTO else node
    return Member(
        node,
        host,
        told.get("port", PORT + offset),
        told.get("client_port", CLIENT_PORT + offset),
        mac.lower(),
        kind,
        told.get("voter", True),
        told.get("priority", 0),
        join=True,
    )


def _new_board(described: Cluster, kind: str) -> tuple[str, str]:
    """MAC and kind of the one board that is plugged in, and not yet described."""
    known = {member.mac for member in described.nodes.values()}
    found = [
        board
        for board in attached.ask_all(ports.candidates())
        if isinstance(board, Asked) and board.mac not in known
    ]
    if len(found) != 1:
        which = f", of {', '.join(board.mac for board in found)}" if found else ""
        raise Failure(
            f"{len(found)} boards are plugged in that {described.path} doesn't know: say "
            f"--mac{which}",
            NOT_POSSIBLE,
        )
    return found[0].mac, kinds.of(found[0], kind or None).name


def _start(member: Member) -> str:
    return f"raftctl up {member.id}" if member.mac else f"raftctl node --id {member.id}"


def _farewell(member: Member) -> str:
    if member.mac:
        return "Its LED and its serial line say `out`; `raftctl erase` empties the board."
    return f"If it runs it says `out`; what it had is in state/node-{member.id}."


# What the cluster says of it


def _tell_waiting(member: Member) -> None:
    click.echo(
        f"Node {member.id} is a member. Waiting until it has caught up; if it doesn't run:\n"
        f"  {_start(member)}",
        err=True,
    )


def _wait_until_in(client: Client, member: Member) -> None:
    """Until it has caught up, and votes if it is to. Raises Failure."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        told = client.members()
        known = told.nodes.get(member.id)
        if known is None and told.leader:
            raise Failure(f"node {member.id} was removed meanwhile", NOT_COMMITTED)
        if known and (known.role == "voter" or not member.voter and known.state == "replicate"):
            return
        time.sleep(LOOK_S)
    raise Failure(
        f"node {member.id} is a member, and has not caught up within {WAIT_S:g} s: does it run "
        "(`raftctl status`)?",
        NOT_COMMITTED,
    )


def _check_removal(told: Membership, node: int) -> None:
    """A majority of the rest must answer, or else nothing can be done from then on."""
    rest = [voter for voter in told.voters if voter != node]
    if not rest:
        raise Failure(f"node {node} is the last voter: add another one first", NOT_POSSIBLE)
    if not told.leader or node not in told.voters:
        return
    standing = running.voters(told).standing - {node}
    needed = len(rest) // 2 + 1
    if len(standing) < needed:
        silent = next(voter for voter in rest if voter not in standing)
        raise Failure(
            f"without node {node}, {len(standing)} of {len(rest)} voters answer, and {needed} are "
            f"needed: remove node {silent} first, which isn't heard",
            NOT_POSSIBLE,
        )


# How it looks


def _table(told: Membership) -> Table:
    made = view.plain_table(
        "node", "role", "priority", "state", "behind", "heard", "host",
        left=("role", "state", "host"),
    )  # fmt: skip
    for node, member in told.nodes.items():
        is_leader = node == told.leader
        behind = told.behind(node)
        made.add_row(
            str(node),
            member.role,
            str(member.priority),
            "leader" if is_leader else member.state or view.UNTOLD,
            view.UNTOLD if behind is None else str(behind),
            _heard(member, is_leader),
            f"{member.host}:{member.port}",
            style="bold green" if is_leader else "red" if member.role == "dead" else None,
        )
    return made


def _heard(member: Known, is_leader: bool) -> str:
    if is_leader or member.heard_ms is None:
        return view.UNTOLD
    return "now" if member.heard_ms < 1000 else view.duration(member.heard_ms)


def _remarks(told: Membership, described: Cluster) -> list[str]:
    found = [
        f"node {node} is no member: `raftctl add {node}`"
        for node in sorted(described.nodes)
        if node not in told.nodes
    ]
    found += [
        f"node {node} is a member, and {described.path} doesn't know it"
        for node in told.nodes
        if node not in described.nodes
    ]
    return found


def _as_object(told: Membership, node: int) -> dict[str, Any]:
    return {**dataclasses.asdict(told.nodes[node]), "behind": told.behind(node)}
