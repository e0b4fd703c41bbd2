"""`raftctl erase`"""

import click

from host_tools import flashing
from host_tools.flashing import FlashError
from host_tools.options import NOT_POSSIBLE, Failure, chosen_port, is_somebody_there, port_option
from host_tools.ports import PortError

LOST = (
    "MicroPython, all files, the raft log and its identity will be gone. If this board is a voter, "
    "it forgets what it has promised, and that it has: before it joins again, give it a new id in "
    "cluster.toml and deploy all."
)


@click.command()
@port_option
@click.option("--yes", is_flag=True, help="Don't ask.")
def erase(port: str | None, yes: bool) -> None:
    """Erase all of a board's flash.

    MicroPython, all files, the raft log and its identity are lost: the board is as new. It is
    named, and you are asked, before that.

    A voter that is erased forgets what it has promised to others, and that it has promised
    anything: with its old id it may break what the cluster has committed. Give it a new id in
    cluster.toml, and deploy all. To empty its log alone is safe, and the id stays:
    `raftctl flash --wipe`.
    """
    try:
        port = chosen_port(port)
        if not yes and not is_somebody_there():
            raise Failure(f"nobody can be asked here: to erase {port}, say --yes", NOT_POSSIBLE)
        board = flashing.ask(port)
        which = f"{port}: {board.chip} {board.mac}"
        click.echo(f"{which}, {board.flash_bytes >> 20} MB of flash")
        click.echo(LOST)
        if not yes:
            click.confirm("Erase it?", abort=True)
        click.echo("erasing, which takes a while")
        flashing.erase(port, board.flash_bytes)
    except (FlashError, PortError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    click.echo(f"{which}: erased. Next: `raftctl up` or `raftctl flash`")
