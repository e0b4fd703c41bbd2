"""A board is added to a cluster that runs, as a person would do it, and takes its turns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from host_tools import boards
from host_tools.cli import main
from host_tools.client import Client
from host_tools.cluster import AUTO, load, on_free_ports
from host_tools.cluster_edits import add_node
from host_tools.secret import Wifi
from tests.boards.board import Board, several
from tests.clusters import write

CHIP = "esp32c3"
KIND = boards.load(f"{CHIP}_generic")
PATIENCE_S = 60.0


class Desk:
    """Two boards that have MicroPython, of which the first is to be a cluster."""

    def __init__(self, folder: Path, made: list[Board]) -> None:
        self.file = folder / "cluster.toml"
        self.boards = made
        described = on_free_ports(self.file, 2)
        first, self.second = (
            replace(member, host=AUTO, mac=board.mac, board=KIND.name)
            for member, board in zip(described.nodes.values(), made, strict=True)
        )
        write(replace(described, nodes={1: first}), Wifi("home", ""))

    def done(self, command: str, *arguments: str) -> str:
        """What is printed by a command that succeeds."""
        result = CliRunner().invoke(main, [command, "--cluster", str(self.file), *arguments])
        told = result.output, [board.text[-2000:] for board in self.boards]
        assert result.exit_code == 0, told
        return result.stdout

    def deploy(self, *arguments: str) -> str:
        ports = [word for board in self.boards for word in ("--port", str(board.port))]
        return self.done("deploy", *ports, *arguments)


@pytest.fixture
def desk(tmp_path: Path):  # type: ignore[no-untyped-def]
    with several(tmp_path, 2, CHIP) as made:
        yield Desk(tmp_path, made)


def test_a_board_waits_until_it_is_added_and_then_takes_over_in_its_turn(desk: Desk) -> None:
    # given a cluster of one board
    desk.deploy()
    desk.done("put", "lamp", "on")

    # when another one is written into the file by hand
    add_node(desk.file, desk.second)
    first, second = json.loads(desk.deploy("--json"))

    # then it waits
    assert first["is_member"] and not second["is_member"]
    assert load(desk.file).founders == [1]
    with Client(desk.file, PATIENCE_S) as client:
        status = client.statuses()[2]
        assert (status["term"], status["leader"], status["role"]) == (0, 0, "learner")
        assert list(client.members().nodes) == [1]

        # and votes once it was added
        assert desk.done("add", "2", "--wait") == "Node 2 has caught up, and votes.\n"
        assert client.members().voters == [1, 2]

    # and when it leads, it hands over before it is restarted
    assert desk.done("transfer", "2") == "Node 2 leads.\n"
    said = desk.deploy("2", "--force")
    assert said.count("node 2: handing over to another leader") == 1
    with Client(desk.file, PATIENCE_S) as client:
        assert client.members().leader == 1
        assert client.get("lamp") == b"on"
