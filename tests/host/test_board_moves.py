"""Boards whose host is "auto" find each other, at whatever address their network gives them."""

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from host_tools import desk
from host_tools.client import Client
from host_tools.cluster import AUTO, Member, on_free_ports
from host_tools.desktop.loopback import ADDRESSES
from host_tools.firmware import hello
from tests import sealing
from tests.clusters import KEYS, write
from tests.host.test_board import WIFI
from tests.host.test_node import PATIENCE_S, Process, each_interpreter

NODES = (1, 2, 3)
SPARE = ADDRESSES[3]
# So that this machine, busy with other tests, doesn't pass for a dead leader
ELECTION_MS = [500, 1000]
REPORT_MS = 100


class Boards:
    """Three boards with the same ports, each at an address of its own. nodes: by their ids."""

    def __init__(self, folder: Path, interpreter: str) -> None:
        self.nodes: dict[int, Process] = {}
        self.at = dict(zip(NODES, ADDRESSES, strict=False))
        self._folder = folder
        self._interpreter = desk.interpreter_command(interpreter)
        free = on_free_ports(folder / "cluster.toml", 1)
        self.port, self.client_port = free.nodes[1].port, free.nodes[1].client_port
        self.cluster = replace(
            free, nodes={i: Member(i, AUTO, self.port, self.client_port) for i in NODES}
        )
        write(self.cluster)
        for node in NODES:
            self._start(node)

    def _start(self, node: int) -> None:
        settings = {"election_ms": ELECTION_MS, "report_ms": REPORT_MS, "state_kb": 1}
        config = {**self.cluster.config(node, KEYS), **settings, "wifi": WIFI}
        folder = self._folder / str(node)
        folder.mkdir()
        self.move(node, self.at[node])
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "raft.flash").write_bytes(b"\xff" * 128 * 1024)
        run = [str(desk.RUN), str(folder), "0"]
        self.nodes[node] = Process([*self._interpreter, *run, *self._interpreter])

    def move(self, node: int, address: str) -> None:
        """Its network gives it another address while it runs."""
        self.at[node] = address
        file = self._folder / str(node) / "wifi.address"
        file.with_suffix(".new").write_text(address)
        file.with_suffix(".new").replace(file)

    def until_all_take_part(self, client: Client) -> int:
        """Until all have a write that begins now; the leader."""
        client.put("key", b"value")
        leader = client.leader
        last = int(client.statuses([leader])[leader]["commit"])
        for node in self.nodes.values():
            node.until(lambda node=node: int(told(node, "applied")) >= last)  # type: ignore[misc]
        return leader

    def until_told(self, moved: int) -> None:
        """That all others have told where that one is now."""
        move = {"peer": str(moved), "ip": self.at[moved]}
        for node, process in self.nodes.items():
            if node != moved:
                process.until(lambda process=process: move in facts(process, "moved"))  # type: ignore[misc]


def facts(node: Process, what: str) -> list[dict[str, str]]:
    return [event.facts for event in node.events(what)]


def told(node: Process, fact: str) -> str:
    """What it has reported last."""
    stats = facts(node, "stat")
    return stats[-1][fact] if stats else "0"


@pytest.fixture
def boards(tmp_path: Path, interpreter: str) -> Iterator[Boards]:
    made = Boards(tmp_path, interpreter)
    yield made
    for process in made.nodes.values():
        process.end(signal.SIGKILL)


@each_interpreter
def test_boards_find_each_other_and_follow_one_that_has_moved(boards: Boards) -> None:
    # given boards that know nothing of each other's addresses, and a client that doesn't either
    with Client(boards.cluster.path, PATIENCE_S) as client:
        leader = boards.until_all_take_part(client)
        for node, process in boards.nodes.items():
            assert sorted(event["ip"] for event in facts(process, "found")) == [
                boards.at[peer] for peer in NODES if peer != node
            ]

        # when somebody claims to be one of them, or makes noise
        disturb(boards)

        # and one that follows gets another address
        follower = min(node for node in NODES if node != leader)
        left = boards.at[follower]
        boards.move(follower, SPARE)

        # then the others know, and it takes part
        boards.until_told(follower)
        leader = boards.until_all_take_part(client)

        # and when the leader gets the one that was left
        boards.move(leader, left)
        boards.until_told(leader)
        boards.until_all_take_part(client)

    # then nothing was started anew, and nobody was believed to be anywhere else
    moves = [{"peer": str(follower), "ip": SPARE}, {"peer": str(leader), "ip": left}]
    for node, process in boards.nodes.items():
        assert len(process.events("boot")) == 1
        assert facts(process, "moved") == [m for m in moves if m["peer"] != str(node)]


def disturb(boards: Boards) -> None:
    """Tell each of them from elsewhere to be another one, and what makes no sense."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind((SPARE, 0))
        for node in NODES:
            other = node % len(NODES) + 1
            codec, key = sealing.codec(other, "demo"), sealing.key("demo")
            question = bytes(range(1, 9))
            nonce = sealing.incarnation(other)
            n = hello.write(codec, key, node, nonce, question, question, boards.port)
            said = bytes(codec.frame(n))
            for data in (said, said[:-1], said[::-1], bytes(len(said))):
                elsewhere.sendto(data, (boards.at[node], boards.client_port))
