"""The command `raftctl`."""

from importlib import import_module

import click

from host_tools.client import NotCommitted, Refused, Unknown
from host_tools.options import NOT_COMMITTED, NOT_POSSIBLE, UNKNOWN, Failure
from host_tools.settings import FileError

# Section of the help, command -> its module in host_tools/commands, loaded when it is needed:
# `node` starts at once.
SECTIONS = {
    "Cluster": {"init": "init", "node": "node", "status": "status", "demo": "demo"},
    "Members": {
        "members": "members",
        "add": "members",
        "remove": "members",
        "replace": "members",
        "promote": "members",
        "transfer": "transfer",
        "recover": "recover",
    },
    "Values": {
        "put": "values",
        "get": "values",
        "delete": "values",
        "cas": "values",
        "keys": "values",
        "watch": "values",
    },
    "Keys": {"key": "key", "credential": "credential"},
    "Boards": {
        "boards": "boards",
        "firmware": "firmware",
        "up": "up",
        "deploy": "up",
        "flash": "flash",
        "monitor": "monitor",
        "doctor": "doctor",
        "repl": "repl",
        "erase": "erase",
    },
}
COMMANDS = {name: module for section in SECTIONS.values() for name, module in section.items()}


class Commands(click.Group):
    """Knows where each command is, and which exit code belongs to which failure."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _command(name) if name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        left = formatter.width - width - 4  # two columns before the name, two behind it
        for section, names in SECTIONS.items():
            rows = [(name.ljust(width), _command(name).get_short_help_str(left)) for name in names]
            with formatter.section(section):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Refused as e:
            raise Failure(str(e), NOT_POSSIBLE) from e
        except NotCommitted as e:
            raise Failure(str(e), NOT_COMMITTED) from e
        except Unknown as e:
            raise Failure(str(e), UNKNOWN) from e
        except FileError as e:
            raise Failure(str(e), NOT_POSSIBLE) from e


def _command(name: str) -> click.Command:
    module = import_module(f"host_tools.commands.{COMMANDS[name]}")
    command: click.Command = getattr(module, name)
    return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Runs, watches and uses a Raft cluster of ESP32 boards, or of processes on this machine.

    A cluster is described by a file, cluster.toml, which `raftctl init` writes. Every command
    finds the leader by itself.

    \b
    Exit status:
      0  done: what was to be written is committed
      1  the answer is no: no such key, or cas found another value
      2  can't be done as asked: command line, cluster.toml, port in use,
         refused by the cluster
      3  not committed, without any effect: no answer, or no majority
      4  unknown: it may have taken effect, or may yet
    """


if __name__ == "__main__":
    main()
