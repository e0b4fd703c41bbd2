"""`raftctl deploy` and `up` on one board: what is copied, and what is said when it can't be."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from host_tools import boards, deploying, micropython, ports
from host_tools.boards import RAFT, VFS
from host_tools.cli import main
from host_tools.client import Client
from host_tools.cluster import on_free_ports
from host_tools.firmware import FIRMWARE
from host_tools.options import NOT_POSSIBLE
from host_tools.secret import Wifi
from tests.boards.board import MAC, PROMPT, Board, flashed
from tests.boards.images import STOCK_TABLE, firmware
from tests.boards.tools import mpremote
from tests.clusters import give_key

CHIP = "esp32c3"
KIND = boards.load(f"{CHIP}_generic")
PORT = "ttyUSB0"
PATIENCE_S = 60.0

# With a file system for the firmware and little more
SMALL_TABLE = [
    replace(part, size=384 << 10) if part.name == "vfs" else part for part in KIND.partitions
]


class Desk:
    """A board that is the only node of its cluster."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.folder = folder
        self.board = board

    def run(self, command: str, *arguments: str) -> Result:
        file = str(self.folder / "cluster.toml")
        given = ["--cluster", file, "--port", str(self.board.port), *arguments]
        return CliRunner().invoke(main, [command, *given])

    def done(self, command: str, *arguments: str) -> dict[str, Any]:
        """What a command that succeeds tells of the node."""
        result = self.run(command, *arguments, "--json")
        assert result.exit_code == 0, (result.output, self.board.text[-3000:])
        (row,) = json.loads(result.stdout)
        return row

    def refusal(self, command: str, *arguments: str) -> str:
        """What a command that fails says is wrong with the node, in one line."""
        result = self.run(command, *arguments, "--json")
        assert result.exit_code == NOT_POSSIBLE, (result.output, self.board.text[-3000:])
        (row,) = json.loads(result.stdout)
        assert row["problem"].count("\n") == 0
        return str(row["problem"])

    def told(self, *arguments: str) -> str:
        said = mpremote(self.board.port, *arguments)
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    def client(self) -> Client:
        return Client(self.folder / "cluster.toml", PATIENCE_S)


def described(folder: Path) -> None:
    """Write the files that describe the cluster."""
    described = on_free_ports(folder / "cluster.toml", 1)
    text = described.to_toml().replace(
        "id = 1\n", f'id = 1\nmac = "{MAC}"\nboard = "{KIND.name}"\n'
    )
    (folder / "cluster.toml").write_text(text)
    give_key(folder, Wifi("home", "correct horse"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """With MicroPython on its board, and nothing else."""
    described(tmp_path)
    with flashed(tmp_path / PORT, CHIP) as board:
        board.until_printed(PROMPT)
        yield Desk(tmp_path, board)


@pytest.fixture(scope="module")
def done_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a board that was deployed."""
    folder = tmp_path_factory.mktemp("done")
    described(folder)
    with flashed(folder / PORT, CHIP) as board:
        board.until_printed(PROMPT)
        done = Desk(folder, board).done("deploy")
        assert set(done["written"]) == {*deploying.files(), "config.json"}
    return folder


@pytest.fixture
def deployed(tmp_path: Path, done_before: Path) -> Iterator[Desk]:
    """With a node that runs."""
    shutil.copytree(done_before, tmp_path, dirs_exist_ok=True)
    with Board(tmp_path / PORT, CHIP) as board:
        board.until_printed("recovered")
        yield Desk(tmp_path, board)


def test_a_node_that_is_as_it_should_be_is_left_alone(deployed: Desk) -> None:
    port = str(deployed.board.port)
    deployed.board.until(lambda: deployed.board.events("leader"))

    assert deployed.done("deploy")["was_up"]
    (listed,) = json.loads(CliRunner().invoke(main, ["boards", "--port", port, "--json"]).stdout)

    assert listed["node"] == 1 and listed["mac"] == MAC and listed["runs"] == "leader"
    assert not deployed.board.events("stopped")
    assert deployed.board.text.count("recovered") == 1


@pytest.mark.parametrize("found", micropython.interpreters(), ids=str)
def test_what_is_deployed_has_no_name_but_its_modules_and_tracebacks_tell_the_line(
    tmp_path: Path, found: micropython.Interpreter
) -> None:
    for path, data in deploying.files().items():
        assert path == deploying.MAIN or Path(path).stem.encode() + b".py" not in data
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)

    run = subprocess.run(
        [*found.argv, "-c", "from raft.members import Members; Members(b'').place(1)"],
        env={**os.environ, "MICROPYPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    source = (FIRMWARE / "raft/members.py").read_text().splitlines()
    line = (
        source.index('        port, client_port = struct.unpack_from("<HH", self.data, at + 3)') + 1
    )
    assert f'  File "raft.members", line {line}, in place\n' in run.stderr


def test_what_differs_on_the_board_is_replaced_and_nothing_else(deployed: Desk) -> None:
    # given a board that somebody has changed by hand
    changed = ["raft/kv.mpy", "raft/core.py", "raft/old.mpy", "notes.txt", "apps/own.py"]
    deployed.told("exec", f"for path in {changed}: open(path, 'w').close()")

    done = deployed.done("deploy", "--force")

    assert sorted(done["written"]) == ["main.py", "raft/kv.mpy"]
    assert sorted(done["removed"]) == ["raft/core.py", "raft/old.mpy"]
    assert deployed.done("deploy", "--force")["written"] == []
    assert "notes.txt" in deployed.told("fs", "ls") and "own.py" in deployed.told(
        "fs", "ls", "apps"
    )


def test_a_change_of_the_configuration_is_all_that_is_written(deployed: Desk) -> None:
    file = deployed.folder / "cluster.toml"
    file.write_text(file.read_text() + '\n[app]\nname = "leader_led"\npin = 4\n')

    assert deployed.done("deploy")["written"] == ["config.json"]

    deployed.board.until(lambda: deployed.board.events("leader_led"))


def test_the_raft_log_survives_a_renewal_of_micropython(deployed: Desk) -> None:
    with deployed.client() as client:
        client.put("lamp", b"on")
    newer = deployed.folder / "newer.bin"
    newer.write_bytes(firmware(CHIP, KIND.firmware_offset, seed=2))

    done = deployed.done("up", "--firmware", str(newer))

    assert done["flashed"] == ["boot loader", "application"] and not done["wiped"]
    assert done["written"] == ["config.json"]  # which MicroPython it has
    with deployed.client() as client:
        assert client.get("lamp") == b"on"
    assert deployed.done("up", "--firmware", str(newer))["was_up"]
    assert deployed.done("deploy")["was_up"]


def test_a_board_with_another_program_becomes_a_node(tmp_path: Path) -> None:
    described(tmp_path)
    file = tmp_path / "firmware.bin"
    file.write_bytes(firmware(CHIP, KIND.firmware_offset))
    with flashed(tmp_path / PORT, CHIP, partitions=STOCK_TABLE) as board:
        desk = Desk(tmp_path, board)
        board.until_printed(PROMPT)
        # what lies where its log and its files will be
        board.flash.program(KIND.partition(RAFT).offset, b"anything")
        board.flash.program(KIND.partition(VFS).offset, b"anything")

        assert "no partition for the raft log" in desk.refusal("deploy")
        assert "make firmware BOARD=esp32c3_generic" in desk.refusal("up")
        done = desk.done("up", "--firmware", str(file))

        assert done["wiped"] and "partition table" in done["flashed"]
        assert done["written"]


def test_a_program_with_a_watchdog_makes_way(desk: Desk) -> None:
    (desk.folder / "main.py").write_text(
        "import machine, time\ndog = machine.WDT(timeout=1500)\n"
        "while True:\n    time.sleep(0.1)\n    dog.feed()\n"
    )
    desk.told("fs", "cp", str(desk.folder / "main.py"), ":main.py")
    desk.board.press_reset()
    desk.board.until(lambda: desk.board.text.count("rst:") == 2)

    assert "main.py" in desk.done("deploy")["written"]

    assert desk.board.text.count("rst:") == 2  # it never bit


def test_a_full_file_system_is_told_before_anything_is_written(tmp_path: Path) -> None:
    described(tmp_path)
    with flashed(tmp_path / PORT, CHIP, partitions=SMALL_TABLE) as board:
        desk = Desk(tmp_path, board)
        board.until_printed(PROMPT)
        fill = "f = open('big', 'wb'); [f.write(bytes(4096)) for _ in range(67)]; f.close()"
        desk.told("exec", fill)

        problem = desk.refusal("deploy")

        assert "is full" in problem and "fs rm" in problem
        left = desk.told("exec", "import os; print(os.listdir('raft'), 'main.py' in os.listdir())")
        assert left == "[] False\n"
        desk.told("fs", "rm", ":big")
        assert "main.py" in desk.done("deploy")["written"]


def test_a_board_that_goes_away_in_the_middle_starts_no_half_node(desk: Desk) -> None:
    flash = desk.board.flash.path

    def pull() -> None:
        desk.board.until(lambda: b"log.mpy" in flash.read_bytes())
        desk.board.unplug()

    hand = threading.Thread(target=pull)
    hand.start()
    problem = desk.refusal("deploy")
    hand.join()

    assert "has gone away" in problem and "plug" in problem
    desk.board.plug_in()
    desk.board.until(lambda: desk.board.text.endswith(PROMPT))
    assert not desk.board.events("boot")
    assert "raft/log.mpy" in desk.done("deploy")["written"]


def test_a_port_in_use_is_told(deployed: Desk) -> None:
    port = ports.open_port(str(deployed.board.port))
    try:
        result = deployed.run("deploy")
    finally:
        ports.close(port)

    assert result.exit_code == NOT_POSSIBLE
    assert "in use by another program" in result.stderr


def test_a_board_that_does_not_answer_is_told_and_stops_no_other(deployed: Desk) -> None:
    deployed.board.silent = True

    result = deployed.run("deploy")

    assert result.exit_code == NOT_POSSIBLE
    assert "was not found: plug it in" in result.stderr
    assert "doesn't answer: press RESET on the board" in result.stderr


def test_a_wrong_chip_is_told(desk: Desk) -> None:
    file = desk.folder / "cluster.toml"
    file.write_text(file.read_text().replace("esp32c3_generic", "esp32_generic"))

    assert "has an esp32c3, and esp32_generic has an esp32: correct" in desk.refusal("deploy")


def test_a_network_that_is_not_there_is_told(deployed: Desk) -> None:
    deployed.told("exec", "f = open('wifi.off', 'w'); f.write('201'); f.close()")

    problem = deployed.refusal("deploy", "--force")

    assert "Wi-Fi: no_ap_found" in problem and "raftctl monitor" in problem


def test_an_address_that_has_changed_is_told(deployed: Desk) -> None:
    file = deployed.folder / "cluster.toml"
    text = file.read_text()
    file.write_text(text.replace("127.0.0.1", "localhost"))
    assert deployed.done("deploy")["written"] == ["config.json"]  # a name may be any address

    file.write_text(text.replace("127.0.0.1", "127.0.0.2"))

    assert "its address is 127.0.0.1, and node 1 has the host 127.0.0.2" in deployed.refusal(
        "deploy"
    )
