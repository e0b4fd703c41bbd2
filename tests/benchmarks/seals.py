"""What it costs a cluster that its datagrams are sealed, and that what they carry is hidden.

Three clusters of five, all processes of this machine, get the same writes in turn, at a steady
rate: one whose datagrams have a CRC in place of the seal, one as it is, and one with secrecy. What
else goes on here disturbs all alike.
"""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

from host_tools.client import Client
from host_tools.desk import CPYTHON
from tests import clusters
from tests.benchmarks import counted
from tests.benchmarks.fleet import UP_S, WARM_UP, Counted, write
from tests.rolling import wait_until_level

NODES = 5
ROUNDS = 12
WRITES = 50  # to each cluster in each of them


@contextmanager
def unsealed() -> Iterator[None]:
    """What this process sends and takes has a CRC in place of the seal."""
    with mock.patch.multiple("raft.seal", _hmac=counted.crc, is_same=counted.is_same):
        yield


class Measured:
    """A cluster, and what its writes cost."""

    def __init__(
        self, path: Path, stack: ExitStack, is_sealed: bool = True, is_secret: bool = False
    ) -> None:
        path.parent.mkdir()
        cluster = replace(clusters.free_cluster(path, NODES), secrecy=is_secret)
        path.write_text(cluster.to_toml())
        self.nodes = list(cluster.nodes)
        self.took: list[float] = []
        self.cpu_s = 0.0  # of the leader
        self._is_sealed = is_sealed
        processes = stack.enter_context(Counted(cluster, CPYTHON, lambda node, line: None))
        for node in self.nodes:
            processes.start(node, {} if is_sealed else {counted.UNSEALED: "1"})
        with self._alike():
            self.client = stack.enter_context(Client(cluster.path, UP_S))
            write(self.client, WARM_UP)
            self.leader = wait_until_level(self.client, self.nodes)

    @contextmanager
    def _alike(self) -> Iterator[None]:
        """The client seals as the nodes do."""
        with ExitStack() as stack:
            if not self._is_sealed:
                stack.enter_context(unsealed())
            yield

    def measure(self) -> None:
        with self._alike():
            before = self._cpu_s()
            self.took += write(self.client, WRITES)
            wait_until_level(self.client, self.nodes)
            self.cpu_s += self._cpu_s() - before

    def _cpu_s(self) -> float:
        status = self.client.statuses([self.leader])[self.leader]
        assert status["role"] == "leader", "no steady leader"
        return float(status["cpu_s"])

    def p50_ms(self) -> float:
        return 1000 * statistics.median(self.took)

    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / len(self.took)


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="raft-seals-") as name, ExitStack() as stack:
        folder = Path(name)
        crc = Measured(folder / "crc" / "cluster.toml", stack, is_sealed=False)
        sealed = Measured(folder / "sealed" / "cluster.toml", stack)
        secret = Measured(folder / "secret" / "cluster.toml", stack, is_secret=True)
        for _ in range(ROUNDS):
            for cluster in (crc, sealed, secret):
                cluster.measure()
    return {
        "seals.crc.commit_p50_ms": crc.p50_ms(),
        "seals.sealed.commit_p50_ms": sealed.p50_ms(),
        "seals.secret.commit_p50_ms": secret.p50_ms(),
        "seals.commit_ratio": sealed.p50_ms() / crc.p50_ms(),
        "seals.secrecy_commit_ratio": secret.p50_ms() / sealed.p50_ms(),
        "seals.cpu_ratio": sealed.cpu_ms() / crc.cpu_ms(),
        "seals.secrecy_cpu_ratio": secret.cpu_ms() / sealed.cpu_ms(),
    }
