"""Real processes with the habits of real boards (host_tools/desktop/habits.py)."""

import random
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from host_tools.client import Client
from host_tools.cluster import Cluster
from host_tools.desk import FLASH_FILE, state_folder
from host_tools.desktop.habits import HABITS
from host_tools.desktop.lwip import MOST_BYTES
from host_tools.events import parse
from host_tools.processes import Processes
from host_tools.replay import replay
from tests.cluster.test_kill import (
    SETTLE_S,
    Writer,
    kill_at_random,
    lacks_or_repeats,
    settled_commit,
)
from tests.clusters import INTERPRETERS, free_cluster, write

NODES = 3
WRITERS = 2
KILLS = 2
LIFE_S = 1.0
ENOUGH_WRITES = 20
POISON_S = 0.2  # between two rounds of an outsider; each datagram takes a board some ms
OFTEN_S = 0.02
LONG_MS = (1500, 2500)  # an election timeout that a busy machine doesn't use up
EMPTIES = 40  # to each port


class Outsider(threading.Thread):
    """Sends to all ports of a cluster what closes a board's socket, and what can't arrive."""

    def __init__(self, cluster: Cluster, pause_s: float) -> None:
        super().__init__(daemon=True)
        self.rounds = 0
        self._pause_s = pause_s
        self._ports = [port for m in cluster.nodes.values() for port in (m.port, m.client_port)]
        self._end = threading.Event()

    def run(self) -> None:
        dice = random.Random(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not self._end.wait(self._pause_s):
                self.rounds += 1
                for port in self._ports:
                    for datagram in (b"", bytes(MOST_BYTES + 1), dice.randbytes(40)):
                        sender.sendto(datagram, ("127.0.0.1", port))

    def stop(self) -> None:
        self._end.set()
        self.join()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_cluster_with_all_habits_keeps_what_it_acknowledged(
    interpreter: str, tmp_path: Path
) -> None:
    # given a cluster that is timed as boards are (boards/*/board.toml)
    cluster = free_cluster(tmp_path / "cluster.toml", NODES, habits=HABITS)
    cluster = replace(cluster, heartbeat_ms=100, election_ms=(300, 600))
    write(cluster)
    lines: list[str] = []
    writers = [Writer(cluster, number) for number in range(WRITERS)]
    outsider = Outsider(cluster, POISON_S)
    with Processes(cluster, interpreter, lambda node, line: lines.append(line)) as processes:
        for node in cluster.nodes:
            processes.start(node)
        for thread in (*writers, outsider):
            thread.start()

        # when its nodes lose their power, and outsiders send what boards can't stand
        def is_enough() -> bool:
            return sum(len(writer.acknowledged) for writer in writers) > ENOUGH_WRITES

        kill_at_random(processes, KILLS, LIFE_S, is_enough, random.Random(KILLS))

        # then it has gone on, and nothing is lost or doubled
        outsider.stop()
        for writer in writers:
            writer.stop()
        commit = settled_commit(cluster)
        with Client(cluster.path, SETTLE_S) as client:
            assert [client.get(writer.key) for writer in writers] == [w.value for w in writers]
        assert set(processes.stop().values()) == {0}
    for node in cluster.nodes:
        replayed = replay(state_folder(cluster, node) / FLASH_FILE, node, commit)
        assert [lacks_or_repeats(replayed, writer) for writer in writers] == [[]] * WRITERS
    words = ("alarm", "damage", "wiped", "swapped", "learner", "crash", "flash_fault")
    assert not [line for line in lines if any(f" {word} " in line for word in words)]


@pytest.mark.parametrize("interpreter", INTERPRETERS[-1:])
def test_empty_datagrams_at_every_port_cost_no_leader(interpreter: str, tmp_path: Path) -> None:
    cluster = free_cluster(tmp_path / "cluster.toml", NODES, habits=("empty",))
    cluster = replace(cluster, election_ms=LONG_MS)
    write(cluster)
    lines: list[str] = []
    writer, outsider = Writer(cluster, 0), Outsider(cluster, OFTEN_S)
    with (
        Processes(cluster, interpreter, lambda node, line: lines.append(line)) as processes,
        Client(cluster.path, SETTLE_S) as client,
    ):
        for node in cluster.nodes:
            processes.start(node)
        client.put("begun", b"yes")

        writer.start()
        outsider.start()
        while outsider.rounds < EMPTIES:
            client.put("key", b"%d" % outsider.rounds)
        outsider.stop()
        writer.stop()

        assert client.get(writer.key) == writer.value
        assert writer.acknowledged
    leaders = [event for event in map(parse, lines) if event and event.what == "leader"]
    assert len(leaders) == 1
