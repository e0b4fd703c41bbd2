"""Five real nodes as processes of this machine: how fast they commit, and how fast they fail over.

Times are those of this machine; the round trip of a bare UDP echo, taken in the same run, is
the measure for them.
"""

import asyncio
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from host_tools import micropython
from host_tools.client import Client, ClusterError
from host_tools.cluster import Cluster
from host_tools.desk import CPYTHON
from host_tools.firmware import messages, requests, sessions
from host_tools.processes import PROJECT, Processes
from tests.clusters import free_cluster
from tests.sealing import caller

NODES = 5
WRITES = 2000
WARM_UP = 200
IN_FLIGHT = 64
PARALLEL_WRITES = 8000
ROUND_TRIPS = 3000
FAIL_OVERS = 50
UP_S = 20.0
VALUE = b"v" * 56

ECHO = """
import asyncio, socket, sys
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, sender):
        self.transport.sendto(data, sender)
async def main():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def key(number: int) -> str:
    return f"key-{number % 100:04}"


class LeaderLost(Exception):
    """The leader has changed in the middle of a measurement: the machine was too busy."""


class Exchange(asyncio.DatagramProtocol):
    """Sends one datagram at a time and waits for what comes back."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, sender: object) -> None:
        self.answers.put_nowait(data)


async def _endpoint(port: int) -> tuple[asyncio.DatagramTransport, Exchange]:
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(Exchange, remote_addr=("127.0.0.1", port))


async def _round_trips(port: int) -> float:
    transport, protocol = await _endpoint(port)
    times = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        transport.sendto(bytes(80))
        await protocol.answers.get()
        times.append(time.perf_counter() - start)
    transport.close()
    return 1000 * statistics.median(times)


def udp_round_trip_ms() -> float:
    """Median round trip of 80 bytes between two asyncio processes."""
    echo = subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True)
    try:
        assert echo.stdout
        return asyncio.run(_round_trips(int(echo.stdout.readline())))
    finally:
        echo.kill()
        echo.communicate()


def flash_program_ms(folder: Path) -> float:
    """Median time of one program of the desk's flash while as many nodes do the same."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.program", str(folder / f"{i}.flash")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for i in range(NODES)
    ]
    return statistics.median(float(writer.communicate()[0]) for writer in writers)


def wait_for_leader(client: Client) -> int:
    """The leader that all nodes know."""
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline:
        statuses = client.statuses()
        leaders = {status["leader"] for status in statuses.values()}
        if len(statuses) == NODES and len(leaders - {0}) == 1 and 0 not in leaders:
            return int(leaders.pop())
        time.sleep(0.02)
    raise AssertionError(f"no leader of all nodes within {UP_S} s")


def sequential_ms(client: Client) -> float:
    """Median time of one write after the other, from the client's call to its return."""
    times = []
    for number in range(WARM_UP + WRITES):
        start = time.perf_counter()
        client.put(key(number), VALUE)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


async def _worker(node: int, port: int, name: str, count: int) -> None:
    """One client session of its own, one command after the other."""
    transport, protocol = await _endpoint(port)
    client = caller(name)
    number = session = 0
    while number <= count:
        payload = sessions.OPEN
        if session:
            payload = sessions.command(session, number, requests.put(key(number).encode(), VALUE))
        transport.sendto(bytes(client.frame(client.request(node, messages.WRITE, number, payload))))
        reply = client.read(await asyncio.wait_for(protocol.answers.get(), UP_S))
        if reply is None or reply[1] != number:
            continue
        if reply[2] == messages.STALE:
            continue
        if reply[2] == messages.BUSY:
            await asyncio.sleep(0.001)
            continue
        if reply[2] != messages.OK:
            raise LeaderLost(f"node {node} has answered with status {reply[2]}")
        if not session:
            session = struct.unpack_from("<I", reply[4], 1)[0]
        number += 1
    transport.close()


def per_second(cluster: Cluster, client: Client) -> float:
    """Committed writes a second with IN_FLIGHT clients, each waiting for its own."""
    leader = wait_for_leader(client)
    port = cluster.nodes[leader].client_port
    each = PARALLEL_WRITES // IN_FLIGHT

    async def run() -> float:
        start = time.perf_counter()
        workers = [_worker(leader, port, cluster.name, each) for _ in range(IN_FLIGHT)]
        await asyncio.gather(*workers)
        return time.perf_counter() - start

    return IN_FLIGHT * each / asyncio.run(run())


def fail_over_ms(processes: Processes, client: Client, number: int) -> float:
    """From `kill -9` of the leader to the return of the next write."""
    leader = wait_for_leader(client)
    client.put(key(number), VALUE)
    start = time.perf_counter()
    processes.kill(leader)
    while True:
        try:
            client.put(key(number), VALUE)
            break
        except ClusterError:
            if time.perf_counter() - start > UP_S:
                raise
    took = 1000 * (time.perf_counter() - start)
    processes.start(leader)
    return took


def measure_interpreter(interpreter: str, folder: Path) -> dict[str, float]:
    cluster = free_cluster(folder / "cluster.toml", NODES)
    figures = {}
    with Processes(cluster, interpreter, lambda node, line: None) as processes:
        for node in cluster.nodes:
            processes.start(node)
        with Client(cluster.path) as client:
            wait_for_leader(client)
            name = "cpython" if interpreter == CPYTHON else "micropython"
            figures[f"commit.{name}.p50_ms"] = sequential_ms(client)
            if interpreter == CPYTHON:
                figures["commit.cpython.per_second"] = per_second(cluster, client)
                times = sorted(fail_over_ms(processes, client, i) for i in range(FAIL_OVERS))
                figures["failover.median_ms"] = statistics.median(times)
                figures["failover.p99_ms"] = statistics.quantiles(times, n=100, method="inclusive")[
                    98
                ]
    return figures


def measure() -> dict[str, float]:
    figures = {}
    with tempfile.TemporaryDirectory(prefix="raft-bench-") as name:
        folder = Path(name)
        figures["commit.udp_round_trip_ms"] = udp_round_trip_ms()
        figures["commit.flash_program_ms"] = flash_program_ms(folder)
        for interpreter in [CPYTHON, *(["micropython"] if micropython.interpreters() else [])]:
            (folder / interpreter).mkdir()
            figures.update(measure_interpreter(interpreter, folder / interpreter))
    return figures
