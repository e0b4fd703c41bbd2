"""`raftctl credential`"""

import re
import shutil
from pathlib import Path

import click

from host_tools import cluster, keys, secret
from host_tools.firmware import access
from host_tools.options import NOT_POSSIBLE, Failure, cluster_option
from host_tools.secret import Secrets

FOLDER = "credentials"
NAME = re.compile(r"\w[\w.-]*")
MAY = {
    "read": "read, watch and ask for the state of nodes",
    "write": "read and write",
    "admin": "read, write and change the members and the leader",
}


@click.command()
@click.argument("name")
@cluster_option
@click.option(
    "--role",
    type=click.Choice(access.ROLES[1:]),
    required=True,
    help="read: values, changes, states. write: values, too. admin: members and leader, too.",
)
def credential(name: str, cluster_file: Path, role: str) -> None:
    """Let a client on another machine do so much and no more.

    Whoever has secrets.toml can do everything, even pass for a node. This makes a credential, and
    writes a folder, credentials/NAME, with a cluster.toml and another secrets.toml, for that
    machine: it has no key but that client's own. The same NAME and role always get the same one.

    It can't be taken back by itself, but ends with the key of the cluster: `raftctl key --help`.
    """
    if not NAME.fullmatch(name):
        raise click.BadParameter("give letters, digits, - and _ alone", param_hint="NAME")
    described = cluster.load(cluster_file)
    folder = cluster_file.parent / FOLDER / name
    one = keys.issued(described, name, role)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cluster_file, folder / cluster.DEFAULT_FILE)
        secret.save(folder / secret.FILE, Secrets(credential=one))
    except OSError as e:
        raise Failure(f"{e.filename} can't be written: {e.strerror}", NOT_POSSIBLE) from e
    click.echo(f"Wrote {folder}: take both of its files to where {name} runs, by a safe way.")
    click.echo(f"It may {MAY[role]}, until the cluster has another key.")
    newest, *older = keys.numbers(described)
    if older:
        click.echo(
            f"It is made of the key {keys.label(newest)}: nodes that lack that one don't hear it "
            "yet (`raftctl key show`)."
        )
