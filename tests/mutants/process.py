"""Nodes that make a mistake as processes, each as `raftctl node` would start it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from host_tools import desk
from host_tools.cluster import Cluster, load
from host_tools.processes import Processes

MISTAKE = "RAFT_MUTANT"  # in the environment of a node: its name
RUN = Path(__file__).resolve().parent / "run.py"


class MutantProcesses(Processes):
    """As `Processes`, under CPython, and all of them make that mistake."""

    def __init__(self, cluster: Cluster, name: str, on_line: Callable[[int, str], None]) -> None:
        super().__init__(cluster, desk.CPYTHON, on_line)
        self._file = cluster.path.resolve()
        self._name = name

    def command(self, node: int) -> list[str]:
        return [
            sys.executable,
            "-m",
            "tests.mutants.process",
            self._name,
            str(self._file),
            str(node),
        ]


def main() -> None:
    name, file, node = sys.argv[1:]
    os.environ[MISTAKE] = name
    desk.RUN = RUN
    desk.become_node(load(Path(file)), int(node))


if __name__ == "__main__":
    main()
