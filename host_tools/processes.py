"""The nodes of a cluster as child processes: `raftctl node`, once for each."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from host_tools.cluster import Cluster

PROJECT = Path(__file__).resolve().parent.parent
STOP_S = 20.0  # from SIGTERM until a node must have ended


class Processes:
    """Starts and ends nodes; a context manager that leaves none of them behind.

    on_line(node, line) gets what each of them prints, from another thread.
    """

    def __init__(
        self, cluster: Cluster, interpreter: str, on_line: Callable[[int, str], None]
    ) -> None:
        self._cluster = cluster
        self._interpreter = interpreter
        self._on_line = on_line
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._readers: dict[int, threading.Thread] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for node in list(self._running):
            self.kill(node)

    @property
    def nodes(self) -> set[int]:
        """Those that were started and not ended by us."""
        return set(self._running)

    def command(self, node: int) -> list[str]:
        """What starts it."""
        command = [sys.executable, "-m", "host_tools.cli", "node", "--id", str(node)]
        command += ["--cluster", str(self._cluster.path.resolve())]
        return [*command, "--interpreter", self._interpreter]

    def start(self, node: int, environment: Mapping[str, str] | None = None) -> None:
        """environment: what its own has beside ours."""
        process = subprocess.Popen(
            self.command(node),
            cwd=PROJECT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the parent alone, which then ends them
        )
        self._running[node] = process
        self._readers[node] = threading.Thread(target=self._read, args=(node, process), daemon=True)
        self._readers[node].start()

    def ended(self) -> dict[int, int]:
        """Exit status of those that ended by themselves."""
        polled = {node: process.poll() for node, process in self._running.items()}
        return {node: status for node, status in polled.items() if status is not None}

    def kill(self, node: int) -> None:
        """SIGKILL: the node has no say in it. Its state stays."""
        process = self._running.pop(node)
        process.kill()
        self._reap(node, process)

    def pause(self, node: int) -> None:
        """SIGSTOP: the node stands still until `resume`."""
        self._running[node].send_signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        self._running[node].send_signal(signal.SIGCONT)

    def stop(self, *nodes: int) -> dict[int, int]:
        """SIGTERM to these, or to all; their exit statuses, 0 if all is well."""
        stopped = {node: self._running[node] for node in nodes or self._running}
        for process in stopped.values():
            process.terminate()
        statuses = {}
        for node, process in stopped.items():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
            statuses[node] = self._reap(node, process)
            del self._running[node]
        return statuses

    def _reap(self, node: int, process: "subprocess.Popen[str]") -> int:
        status = process.wait()
        self._readers.pop(node).join()
        if process.stdout:
            process.stdout.close()
        return status

    def _read(self, node: int, process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        for line in process.stdout:
            self._on_line(node, line.rstrip(os.linesep))
