"""Nodes as processes that record themselves.

    python -m tests.specification.process node --id 1 --cluster cluster.toml

is `raftctl node`, but that what runs is traced_run.py.
"""

from pathlib import Path

from host_tools import cli, desk
from host_tools.processes import Processes

RUN = Path(__file__).with_name("traced_run.py")


class TracedProcesses(Processes):
    def command(self, node: int) -> list[str]:
        return [word.replace(cli.__name__, __name__) for word in super().command(node)]


if __name__ == "__main__":
    desk.RUN = RUN
    cli.main()
