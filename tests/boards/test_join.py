"""A board is added to a cluster that runs, as a person would do it, and takes its turns."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools import boards, secret
from host_tools.cli import main
from host_tools.client import Client
from host_tools.cluster import load, on_free_ports
from host_tools.options import NOT_POSSIBLE
from host_tools.secret import Wifi
from tests.boards.board import Board, several

CHIP = "esp32c3"
KIND = boards.load(f"{CHIP}_generic")
PATIENCE_S = 60.0


class Desk:
    """Two boards that have MicroPython, of which the first is to be a cluster."""

    def __init__(self, folder: Path, made: list[Board]) -> None:
        self.file = folder / "cluster.toml"
        self.boards = made
        described = on_free_ports(self.file, 2)
        self.second = described.nodes.pop(2)
        text = described.to_toml().replace('host = "127.0.0.1"\n', 'host = ""\n')
        named = f'id = 1\nmac = "{made[0].mac}"\nboard = "{KIND.name}"\n'
        self.file.write_text(text.replace("id = 1\n", named))
        secret.save(folder / secret.FILE, Wifi("home", ""))

    def run(self, command: str, *arguments: str) -> Result:
        return CliRunner().invoke(main, [command, "--cluster", str(self.file), *arguments])

    def done(self, command: str, *arguments: str) -> str:
        result = self.run(command, *arguments)
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
    place = ("--port", str(desk.second.port), "--client-port", str(desk.second.client_port))

    # when another one is to be added, it is brought up first, as the address is its router's
    refused = desk.run("add", "2", "--mac", desk.boards[1].mac, "--board", KIND.name, *place)
    assert refused.exit_code == NOT_POSSIBLE and "`raftctl up 2` finds it out" in refused.stderr
    first, second = json.loads(desk.deploy("--json"))

    # then it waits
    assert first["was_up"] and first["is_member"] and not second["is_member"]
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
