"""`raftctl up` and `raftctl deploy`"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from host_tools import attached, cluster, completion, ports, secret, view
from host_tools.attached import Silent
from host_tools.cluster import Cluster
from host_tools.options import (
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    json_option,
    ports_option,
)
from host_tools.reporting import reporting
from host_tools.rollout import Job, Rollout
from host_tools.secret import CLUSTER, WIFI

nodes_argument = click.argument(
    "nodes", nargs=-1, type=int, metavar="[NODES]", shell_complete=completion.nodes
)
at_once_option = click.option(
    "--at-once", is_flag=True, help="Restart nodes that run all at the same time."
)


@click.command()
@nodes_argument
@cluster_option
@ports_option
@click.option(
    "--firmware",
    "firmwares",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="MicroPython's .bin; for several chips, again.  [default: what `make firmware` got]",
)
@at_once_option
@json_option
def up(
    nodes: tuple[int, ...],
    cluster_file: Path,
    names: tuple[str, ...],
    firmwares: tuple[Path, ...],
    at_once: bool,
    as_json: bool,
) -> None:
    """Make the boards of cluster.toml its nodes: flash, deploy, start.

    NODES are ids, such as 1 3; without one, all are meant. Boards are known by their MAC,
    wherever they are plugged in.

    Each board gets MicroPython, if it has none or another than the file's; what differs of the
    firmware; and its own configuration. What runs as it should is left alone, so that a second
    time changes nothing. A raft log stays; another program is lost.

    Nodes that run are restarted one after the other, the leader last, when another one has taken
    over from it, and none without which the rest would be no majority; for a change that old and
    new can't live with together there is --at-once. A node that the running cluster doesn't know
    waits until `raftctl add`. One that fails stops no other. The exit status is 2 if one did.
    """
    _roll_out(nodes, cluster_file, names, firmwares, False, at_once, as_json)


@click.command()
@nodes_argument
@cluster_option
@ports_option
@click.option("--force", is_flag=True, help="Look at the files of nodes that seem as they should.")
@at_once_option
@json_option
def deploy(
    nodes: tuple[int, ...],
    cluster_file: Path,
    names: tuple[str, ...],
    force: bool,
    at_once: bool,
    as_json: bool,
) -> None:
    """The same as `up` for boards that have MicroPython already.

    NODES are ids, such as 1 3; without one, all are meant.

    Files are compared by hashes that the boards compute; those that differ are copied. A node
    says by itself whether what was deployed last has changed since, and is left alone if not. With
    --force it is stopped, for all of its files to be looked at, and started again.
    """
    _roll_out(nodes, cluster_file, names, None, force, at_once, as_json)


def _roll_out(
    nodes: Sequence[int],
    cluster_file: Path,
    names: Sequence[str],
    firmwares: Sequence[Path] | None,
    force: bool,
    at_once: bool,
    as_json: bool,
) -> None:
    described = cluster.load(cluster_file)
    _check(nodes, described)
    secrets = secret.load(secret.path_beside(cluster_file), CLUSTER, WIFI)
    try:
        found = attached.ask_all(names or ports.candidates(), may_reset=firmwares is not None)
    except ports.PortError as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    console = view.console()
    with reporting(console, as_json) as report:
        jobs = Rollout(described, secrets, firmwares, force, at_once, report).run(
            nodes or sorted(described.nodes), found
        )
    failed = [job for job in jobs if job.problem]
    if as_json:
        click.echo(json.dumps([_as_object(job) for job in jobs]))
    else:
        console.print(_table(jobs))
        silent = [board.problem for board in found if isinstance(board, Silent) and failed]
        for line in [f"node {job.member.id}: {job.problem}" for job in failed] + silent:
            click.echo(line, err=True)
    if failed:
        raise SystemExit(NOT_POSSIBLE)


def _check(nodes: Sequence[int], described: Cluster) -> None:
    known = ", ".join(map(str, sorted(described.nodes)))
    for node in nodes:
        if node not in described.nodes:
            raise Failure(
                f"{described.path} has no node {node}: its nodes are {known}", NOT_POSSIBLE
            )
    if not described.has_boards:
        raise Failure(
            f"{described.path} is a cluster of this machine (`raftctl node --id 1`): for boards, "
            "plug them in and write another one with `raftctl init`",
            NOT_POSSIBLE,
        )


def _table(jobs: Sequence[Job]) -> Table:
    names = "node", "port", "MAC", "MicroPython", "address", "done"
    made = view.plain_table(*names, left=names)
    for job in jobs:
        cells = (view.short(job.port), job.member.mac, job.micropython, job.address, _done(job))
        made.add_row(
            str(job.member.id),
            *(cell or view.UNTOLD for cell in cells),
            style="red" if job.problem else "green",
        )
    return made


def _done(job: Job) -> str:
    next_step = f"; no member: `raftctl add {job.member.id}`" if job.is_stranger else ""
    if job.was_up:
        return "nothing: it was up" + next_step
    done = ["MicroPython flashed"] if job.flashed else []
    done += ["raft log erased"] if job.wiped else []
    if job.problem:
        return ", ".join([*done, "failed"])
    count = len(job.written)
    done.append(f"{count} file{'s' if count != 1 else ''} written" if count else "no file written")
    return ", ".join(done) + next_step


def _as_object(job: Job) -> dict[str, Any]:
    return {
        "node": job.member.id,
        "mac": job.member.mac,
        "address": job.address,
        "port": job.port,
        "micropython": job.micropython,
        "flashed": job.flashed,
        "wiped": job.wiped,
        "written": job.written,
        "removed": job.removed,
        "was_up": job.was_up,
        "is_member": not job.is_stranger,
        "problem": job.problem,
    }
