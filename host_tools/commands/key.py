"""`raftctl key`: the cluster's key, and how it gets another one."""

import json
from pathlib import Path

import click

from host_tools import cluster, keys, rotation, secret, view
from host_tools.cluster import Cluster
from host_tools.commands.values import connected
from host_tools.keys import label
from host_tools.options import (
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    json_option,
    timeout_option,
)
from host_tools.rotation import Rotation

ANEW = "Then clients with a credential need a new one: `raftctl credential`."


@click.group()
def key() -> None:
    """Show or change the cluster's key.

    Without it nobody is heard. It is kept in secrets.toml, and all nodes have it. Where somebody
    else may know it, as after the loss of a board or of a client, it is changed without a pause:

    \b
      raftctl key rotate    puts a new key into secrets.toml, beside the old one
      raftctl deploy        gives both to the boards (nodes on a desk: restart
                            each)
      raftctl key finish    takes the old one out, once all nodes have the new one
      raftctl deploy        takes it from the boards, too

    What was broken off can be gone on with.
    """


@key.command()
@cluster_option
@timeout_option
@json_option
def show(cluster_file: Path, timeout: float, as_json: bool) -> None:
    """Show who has which keys: secrets.toml and nodes.

    Not the keys, but their numbers, by which datagrams tell them.
    """
    with connected(cluster_file, timeout) as client:
        found = rotation.look(client)
        described = client.cluster
    if as_json:
        nodes = {str(node): held for node, held in found.held.items()}
        click.echo(json.dumps({"keys": found.own, "nodes": nodes}))
        return
    rows = view.plain_table("node", "keys", left=("keys",))
    for node, held in found.held.items():
        rows.add_row(str(node), view.UNREACHABLE if held is None else _listed(held))
    view.console().print(rows)
    for line in _state(found, described):
        click.echo(line)


@key.command()
@cluster_option
def new(cluster_file: Path) -> None:
    """Make the key of a cluster without one.

    That is one whose secrets.toml is lost; or one from before there were keys, whose logs have to
    be emptied, too, for they have an older format. `raftctl init` makes that of a new cluster.
    """
    described = cluster.load(cluster_file)
    secrets = secret.path_beside(cluster_file)
    if not keys.ensure(cluster_file, described.name):
        raise Failure(
            f"{secrets} has the key of the cluster already: `raftctl key rotate` changes it",
            NOT_POSSIBLE,
        )
    click.echo(f"{secrets} has a new key, {label(keys.numbers(described)[0])}. All nodes need it:")
    _tell_restart(described, list(described.nodes), at_once=True)


@key.command()
@cluster_option
def rotate(cluster_file: Path) -> None:
    """Put a new key beside the old one.

    Both are in secrets.toml then, and how to go on is told. Nodes that have both hear those that
    have either. If there are two already, nothing is changed.
    """
    described = cluster.load(cluster_file)
    if len(keys.of(cluster_file)) == 1:
        rotation.begin(described)
    newest, old = map(label, keys.numbers(described))
    click.echo(f"{secret.path_beside(cluster_file)} has the new key {newest}, and still {old}. Now")
    _tell_restart(described, list(described.nodes))
    click.echo("  raftctl key finish")


@key.command()
@cluster_option
@click.option("--force", is_flag=True, help="Even if nodes lack the new one: it shuts them out.")
@timeout_option
def finish(cluster_file: Path, force: bool, timeout: float) -> None:
    """Do without the old key.

    It is taken out of secrets.toml, if all members have the new one. A member that is gone for good
    is in the way: `raftctl remove` it before.
    """
    with connected(cluster_file, timeout) as client:
        found = rotation.look(client)
        described = client.cluster
    if len(found.own) > 1:
        if not force:
            _check(found, described)
        rotation.finish(described)
    click.echo(f"{secret.path_beside(cluster_file)} has {label(found.own[0])} alone.")
    left = sorted({*found.behind, *found.silent} if len(found.own) == 1 else found.held)
    if left:
        click.echo("Until this is done, nodes still take the old one:")
        _tell_restart(described, left)
        click.echo(ANEW)


def _check(found: Rotation, described: Cluster) -> None:
    """Raises Failure where a node would be shut out."""
    newest = label(found.own[0])
    if found.lacking:
        how = ", and ".join(_quoted(line) for line in rotation.restart(found.lacking, described))
        raise Failure(
            f"the key {newest} is missing at {view.nodes(found.lacking)}: {how}", NOT_POSSIBLE
        )
    if found.silent:
        raise Failure(
            f"no answer from {view.nodes(found.silent)}: start what is down, `raftctl remove` what "
            f"is gone for good, or shut out what lacks the key {newest} with --force",
            NOT_POSSIBLE,
        )


def _state(found: Rotation, described: Cluster) -> list[str]:
    """What there is to be done, if anything."""
    newest, *older = map(label, found.own)
    lines = [f"secrets.toml has {' and '.join([newest, *older])}."]
    if not (older or found.silent or found.lacking or found.behind):
        return [f"secrets.toml has {newest}, as all nodes do."]
    if found.silent:
        lines.append(f"No answer from {view.nodes(found.silent)}: down, or with another key.")
    if found.lacking:
        lines.append(f"The key {newest} is missing at {view.nodes(found.lacking)}:")
        lines += _indented(found.lacking, described)
    elif older and not found.silent:
        lines.append(f"All nodes have {newest}: `raftctl key finish` does without {older[0]}.")
    if found.behind:
        lines.append(f"An old key is still taken by {view.nodes(found.behind)}:")
        lines += _indented(found.behind, described)
    return lines


def _tell_restart(described: Cluster, nodes: list[int], at_once: bool = False) -> None:
    for line in _indented(nodes, described, at_once):
        click.echo(line)


def _indented(nodes: list[int], described: Cluster, at_once: bool = False) -> list[str]:
    return [f"  {line}" for line in rotation.restart(nodes, described, at_once)]


def _quoted(line: str) -> str:
    return f"`{line}`" if line.startswith("raftctl") else line


def _listed(numbers: list[int]) -> str:
    return " ".join(map(label, numbers))
