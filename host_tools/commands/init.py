"""`raftctl init`"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from host_tools import attached, cluster, completion, keys, kinds, ports, secret, view
from host_tools.attached import NOTHING, Asked, Silent
from host_tools.boards import Board
from host_tools.cluster import AUTO, CLIENT_PORT, PORT, Cluster, Member
from host_tools.options import (
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    is_somebody_there,
    ports_option,
)
from host_tools.secret import Secrets, Wifi

MAX_NODES = 9
DEFAULT_NODES = 3
PASSWORD_VARIABLE = "RAFTCTL_WIFI_PASSWORD"


@click.command()
@cluster_option
@click.option(
    "--name", default="demo", show_default=True, metavar="NAME", help="The cluster's name."
)
@click.option("--desk", is_flag=True, help="Nodes on this machine, whatever is plugged in.")
@click.option(
    "--nodes",
    type=click.IntRange(1, MAX_NODES),
    default=DEFAULT_NODES,
    show_default=True,
    metavar="N",
    help="How many, on this machine; an even number survives no more failures than one less.",
)
@ports_option
@click.option(
    "--board",
    "kind",
    metavar="NAME",
    shell_complete=completion.kinds,
    help="Folder in boards/ of all these boards.  [default: by their chips]",
)
@click.option(
    "--ssid",
    metavar="NAME",
    help=f"The boards' Wi-Fi; its password from ${PASSWORD_VARIABLE}.  [default: asked]",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(
    cluster_file: Path,
    name: str,
    desk: bool,
    nodes: int,
    names: tuple[str, ...],
    kind: str | None,
    ssid: str | None,
    force: bool,
) -> None:
    """Write a cluster.toml for the boards here, or for this machine.

    Boards are found and asked what they are; you are asked for the Wi-Fi, whose password goes
    into secrets.toml, which only you can read. There the cluster's key is, too, a new one unless
    there is one already: keep a copy in a safe place. Without boards, the nodes are processes of
    this machine.
    """
    if cluster_file.exists() and not force:
        raise Failure(
            f"{cluster_file} exists: give another name with --cluster, or --force to overwrite it",
            NOT_POSSIBLE,
        )
    names = () if desk else names or tuple(ports.found())
    try:
        if names:
            _for_boards(cluster_file, name, names, kind, ssid)
        else:
            _for_desk(cluster_file, name, nodes, desk)
    except OSError as e:
        raise Failure(f"{e.filename} can't be written: {e.strerror}", NOT_POSSIBLE) from e


def _for_desk(file: Path, name: str, nodes: int, is_wanted: bool) -> None:
    wrote = _with_key(file, name, None)
    file.write_text(replace(cluster.on_desk(file, nodes), name=name).to_toml(), encoding="utf-8")
    if not is_wanted:
        click.echo("No board is plugged in, so this is a cluster on this machine.")
    click.echo(f"{wrote}. Start each of its {nodes} nodes with")
    click.echo("  raftctl node --id N")


def _for_boards(
    file: Path, name: str, names: Sequence[str], kind: str | None, ssid: str | None
) -> None:
    click.echo(f"Asking the boards at {', '.join(names)} ...")
    found = attached.ask_all(names)
    for board in found:
        if isinstance(board, Silent):
            click.echo(board.problem, err=True)
    answered = [board for board in found if isinstance(board, Asked)]
    if not 1 <= len(answered) <= MAX_NODES:
        raise Failure(
            f"{len(answered)} boards have answered, and 1 to {MAX_NODES} make a cluster: choose "
            "them with --port",
            NOT_POSSIBLE,
        )
    found_kinds = [kinds.of(board, kind) for board in answered]
    secrets = secret.path_beside(file)
    is_known = secrets.exists() and secret.load(secrets).wifi is not None
    wifi = None if is_known and ssid is None else _asked_wifi(ssid)
    described = _described(file, name, answered, found_kinds)
    wrote = _with_key(file, name, wifi)
    file.write_text(described.to_toml(), encoding="utf-8")
    rows = view.plain_table("node", "board", "MAC", "now at", left=("board", "MAC", "now at"))
    for member, board in zip(described.nodes.values(), answered, strict=True):
        rows.add_row(str(member.id), member.board, member.mac, board.port)
    view.console().print(rows)
    for board in answered:
        if board.node is not None:
            click.echo(
                f"{board.port} was node {board.node} of a cluster, and its raft log goes on in "
                "this one: where it should not, `raftctl erase` that board first."
            )
    click.echo(f"{wrote}. Then")
    if any(board.runs == NOTHING for board in answered):
        click.echo("  make firmware    for MicroPython, by internet; or make up FIRMWARE=file.bin")
    click.echo("  make up")


def _with_key(file: Path, name: str, wifi: Wifi | None) -> str:
    """Let secrets.toml have a key, and the Wi-Fi; what is written, as people are told it."""
    secrets = secret.path_beside(file)
    is_new = keys.ensure(file, name)
    if wifi:
        secret.save(secrets, Secrets(wifi=wifi))
    if is_new:
        return f"Wrote {file} and {secrets}, with a new key"
    return f"Wrote {file}; {secrets} {'keeps' if wifi else 'was there, with'} its key"


def _described(file: Path, name: str, answered: Sequence[Asked], types: Sequence[Board]) -> Cluster:
    members = [
        Member(id, AUTO, PORT, CLIENT_PORT, board.mac, kind.name)
        for id, (board, kind) in enumerate(zip(answered, types, strict=True), 1)
    ]
    return Cluster(
        file,
        name,
        {member.id: member for member in members},
        # The slowest board sets the pace.
        max(kind.heartbeat_ms for kind in types),
        max(kind.election_ms for kind in types),
    )


def _asked_wifi(ssid: str | None) -> Wifi:
    """Raises Failure where nobody can be asked."""
    password = os.environ.get(PASSWORD_VARIABLE)
    if not is_somebody_there() and (ssid is None or password is None):
        raise Failure(
            f"the boards' Wi-Fi isn't known: say --ssid, and set {PASSWORD_VARIABLE}", NOT_POSSIBLE
        )
    if ssid is None:
        ssid = click.prompt("Wi-Fi name (2.4 GHz)", value_proc=_checked_ssid)
    if password is None:
        password = click.prompt(
            "Its password (none: Enter)", default="", show_default=False, hide_input=True,
            value_proc=_checked_password,
        )  # fmt: skip
    return Wifi(_checked_ssid(ssid), _checked_password(password))


def _checked_ssid(ssid: str) -> str:
    problem = secret.wrong_ssid(ssid)
    if problem:
        raise click.BadParameter(f"the name {problem}")
    return ssid


def _checked_password(password: str) -> str:
    problem = secret.wrong_password(password)
    if problem:
        raise click.BadParameter(f"the password {problem}")
    return password
