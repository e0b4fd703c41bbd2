"""`raftctl firmware`"""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from host_tools import boards, cluster, completion, downloads
from host_tools.boards import Board
from host_tools.downloads import DownloadError
from host_tools.flashing import FlashError
from host_tools.options import NOT_POSSIBLE, Failure, cluster_option, json_option


@click.command()
@click.argument("names", nargs=-1, metavar="[BOARDS]", shell_complete=completion.kinds)
@cluster_option
@click.option(
    "--version",
    default="stable",
    show_default=True,
    metavar="VERSION",
    help="Of MicroPython: 1.26.1, for instance; or stable, or preview.",
)
@json_option
def firmware(names: tuple[str, ...], cluster_file: Path, version: str, as_json: bool) -> None:
    """Get MicroPython's .bin for boards, by mpflash.

    BOARDS are folders in boards/; without one, those of cluster.toml are meant.

    The files go into build/firmware/, each with its SHA-256 beside it. `raftctl up` takes for
    each board the one that was got last, and refuses it if it has changed since.
    """
    wanted = [boards.load(name) for name in names or _of_cluster(cluster_file)]
    if not as_json:
        listed = ", ".join(sorted({board.micropython for board in wanted}))
        click.echo(f"Getting {listed} ({version}) from micropython.org ...")
    try:
        files = downloads.download(wanted, version)
    except (DownloadError, FlashError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    except OSError as e:
        raise Failure(f"{e.filename} can't be written: {e.strerror}", NOT_POSSIBLE) from e
    if as_json:
        click.echo(json.dumps([_as_object(b, f) for b, f in zip(wanted, files, strict=True)]))
    else:
        _show(wanted, files)


def _of_cluster(file: Path) -> list[str]:
    """The kinds of its boards."""
    kinds = {member.board for member in cluster.load(file).nodes.values() if member.board}
    if not kinds:
        raise Failure(
            f"{file} is a cluster of this machine: name kinds of boards, such as "
            f"{', '.join(boards.names())}",
            NOT_POSSIBLE,
        )
    return sorted(kinds)


def _show(wanted: Sequence[Board], files: Sequence[Path]) -> None:
    for board, file in zip(wanted, files, strict=True):
        click.echo(f"{board.name}: {file}")
        click.echo(f"  SHA-256 {downloads.sha256(file)}")


def _as_object(board: Board, file: Path) -> dict[str, str]:
    return {"board": board.name, "file": str(file), "sha256": downloads.sha256(file)}
