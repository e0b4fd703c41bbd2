"""An outsider who floods the leader of a cluster of processes: how much of its speed is left.

    python -m tests.cluster.flood --seconds 3

One client puts as fast as it is answered, in turn with and without 5,000 datagrams a second that
somebody without a key sends to one of the leader's ports, from a process of his own. The exit
status is 1 if one of these floods costs more than half of the speed.
"""

import argparse
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host_tools.client import Client
from host_tools.cluster import LOOPBACK, Cluster
from host_tools.firmware import messages
from host_tools.processes import PROJECT, Processes
from tests import sealing
from tests.cluster.lives import PATIENCE_S, calm_cluster, live, wait_for_leader
from tests.clusters import INTERPRETERS
from tests.rolling import wait_until_level

PER_S = 5000
STEP_S = 0.002  # between two handfuls of datagrams
SAMPLE = 2000  # different datagrams, sent again and again
ROUNDS = 3
TIMES_SLOWER = 2  # at most, in any flood
BENCH_S = 1.0
BENCH_ROUNDS = 2
PORTS = ("peers", "clients")
_LENGTH = struct.Struct("<H")


# What is sent


def garbage(cluster: Cluster, leader: int, dice: random.Random) -> bytes:
    return dice.randbytes(dice.choice((1, 20, 60, 200, 1000)))


def empty(cluster: Cluster, leader: int, dice: random.Random) -> bytes:
    return b""


def forged_frame(cluster: Cluster, leader: int, dice: random.Random) -> bytes:
    """Right in all that shows, from one of the leader's peers."""
    peer = dice.choice([node for node in cluster.nodes if node != leader])
    size = messages.EMPTY_BYTES + dice.choice((0, 0, 40, 400))
    head = _head(cluster, messages.APPEND, peer, leader, size)
    body = struct.pack("<IIIII", 1 << 20, 1, 1, 1, 1) + dice.randbytes(size - messages.EMPTY_BYTES)
    return head + body + struct.pack("<I", dice.randrange(1 << 20, 1 << 30)) + dice.randbytes(16)


def forged_request(cluster: Cluster, leader: int, dice: random.Random) -> bytes:
    """Right in all that shows, each of another client."""
    payload = dice.randbytes(dice.choice((0, 20, 200)))
    size = messages.REQUEST_BYTES + len(payload) + 35
    head = _head(cluster, messages.WRITE, 0, leader, size) + struct.pack("<I", 7) + payload
    return head + struct.pack("<HB", dice.randrange(1 << 16), 3) + dice.randbytes(32)


def _head(cluster: Cluster, kind: int, source: int, target: int, size: int) -> bytes:
    number = sealing.key(cluster.name).number
    return struct.pack("<BBBBHH", messages.MARK, kind, source, target, number, size)


KINDS: dict[str, Callable[[Cluster, int, random.Random], bytes]] = {
    "garbage": garbage,
    "empty": empty,
    "forged_frames": forged_frame,
    "forged_requests": forged_request,
}
REPLAYED = "replayed"
ALL_KINDS = (*KINDS, REPLAYED)


@dataclass(frozen=True)
class Result:
    """Puts a second without the flood and in it; how many datagrams a second were sent."""

    kind: str
    port: str
    calm: float
    flooded: float
    sent: float

    @property
    def ratio(self) -> float:
        return self.flooded / self.calm


class Flooded:
    """A cluster of processes, and what to flood it with; see `running`."""

    def __init__(self, cluster: Cluster, client: Client, said: list[tuple[int, bytes]]) -> None:
        self.cluster = cluster
        self.client = client
        self._said = said
        self._puts = 0

    def measure(self, kind: str, port: str, seconds: float, rounds: int = ROUNDS) -> Result:
        """In turn without and with the flood, so that what else goes on here disturbs both."""
        leader = wait_until_level(self.client, list(self.cluster.nodes))
        calm, flooded, sent = [], [], []
        for _ in range(rounds):
            calm.append(self._rate(seconds))
            with self._flood(kind, port, leader) as process:
                began = time.monotonic()
                flooded.append(self._rate(seconds))
                lasted = time.monotonic() - began
                sent.append(_stop(process) / lasted)
        return Result(
            kind, port, statistics.mean(calm), statistics.mean(flooded), statistics.mean(sent)
        )

    def _rate(self, seconds: float) -> float:
        began = time.monotonic()
        done = 0
        while (passed := time.monotonic() - began) < seconds:
            self._puts += 1
            self.client.put(f"key-{self._puts % 50}", b"v" * 56)
            done += 1
        return done / passed

    @contextmanager
    def _flood(self, kind: str, port: str, leader: int) -> Iterator["subprocess.Popen[bytes]"]:
        member = self.cluster.nodes[leader]
        target = member.port if port == "peers" else member.client_port
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.flood", "--to", str(target)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin
        try:
            for data in self._datagrams(kind, target, leader):
                process.stdin.write(_LENGTH.pack(len(data)) + data)
            process.stdin.write(_LENGTH.pack(0xFFFF))
            process.stdin.flush()
            assert process.stdout
            process.stdout.readline()  # it begins
            yield process
        finally:
            process.kill()
            process.communicate()

    def _datagrams(self, kind: str, target: int, leader: int) -> list[bytes]:
        if kind == REPLAYED:
            return [data for to, data in self._said if to == target][:SAMPLE]
        dice = random.Random(1)
        return [KINDS[kind](self.cluster, leader, dice) for _ in range(SAMPLE)]


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """End it; how many datagrams it has sent."""
    assert process.stdin and process.stdout
    process.stdin.close()
    process.stdin = None
    return int(process.stdout.readline())


@contextmanager
def running(folder: Path, interpreter: str, has_lived: bool = True) -> Iterator[Flooded]:
    """has_lived: whether it has lived before, so that there is something to replay."""
    cluster = calm_cluster(folder / "cluster.toml")
    said = live(cluster, interpreter) if has_lived else []
    with (
        Client(cluster.path, PATIENCE_S) as client,
        Processes(cluster, interpreter, lambda node, line: None) as processes,
    ):
        for node in cluster.nodes:
            processes.start(node)
        wait_for_leader(client)
        yield Flooded(cluster, client, said)


def sweep(interpreter: str, seconds: float, rounds: int = ROUNDS) -> Iterator[Result]:
    """Each kind of flood, to either port."""
    with (
        tempfile.TemporaryDirectory(prefix="raft-flood-") as folder,
        running(Path(folder), interpreter) as flooded,
    ):
        for kind in ALL_KINDS:
            for port in PORTS:
                yield flooded.measure(kind, port, seconds, rounds)


def measure() -> dict[str, float]:
    """How many times slower each flood makes a cluster."""
    figures = {}
    for interpreter in INTERPRETERS:
        name = interpreter.split("-")[0]
        found = list(sweep(interpreter, BENCH_S, BENCH_ROUNDS))
        for result in found:
            figures[f"flood.{name}.{result.kind}_to_{result.port}"] = 1 / result.ratio
        figures[f"flood.{name}.worst"] = 1 / min(result.ratio for result in found)
    return figures


# The process that sends


def send(port: int) -> None:
    """Send what comes by stdin, again and again, until that is closed."""
    waiting = sys.stdin.buffer
    datagrams = []
    while (size := _LENGTH.unpack(waiting.read(2))[0]) != 0xFFFF:
        datagrams.append(waiting.read(size))
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        print("begun", flush=True)
        began = time.monotonic()
        while not select.select([waiting], [], [], STEP_S)[0]:
            due = int((time.monotonic() - began) * PER_S)
            for at in range(sent, due):
                own.sendto(datagrams[at % len(datagrams)], (LOOPBACK, port))
            sent = due
    print(sent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--to", type=int, help="send what comes by stdin to this port")
    options = parser.parse_args()
    if options.to:
        send(options.to)
        return 0
    worst = 1.0
    for interpreter in INTERPRETERS:
        print(f"{interpreter:28} puts/s  flooded  ratio  datagrams/s")
        for found in sweep(interpreter, options.seconds):
            name = f"{found.kind} to {found.port}"
            print(
                f"{name:28} {found.calm:6.0f}  {found.flooded:7.0f}  {found.ratio:5.2f}"
                f"  {found.sent:11.0f}",
                flush=True,
            )
            worst = min(worst, found.ratio)
    if worst * TIMES_SLOWER < 1:
        print(f"too slow: a flood leaves {worst:.2f} of the speed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
