"""`raftctl boards`, `repl` and `init`: boards are found and asked, and go on."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools import attached, boards, cluster, ports, secret
from host_tools.cli import main
from host_tools.options import NEGATIVE, NOT_POSSIBLE
from host_tools.secret import Secrets, Wifi
from tests.boards.board import Board, several
from tests.boards.images import image
from tests.boards.tools import hasty, mpremote
from tests.clusters import KEYS, give_key
from tests.host.terminals import PATIENCE_S, on_terminal

CHIP = "esp32c3"
KIND = boards.load(f"{CHIP}_generic")
PASSWORD = "correct horse"
CTRL_BRACKET = b"\x1d"

# It says that it runs on, and takes no notice of what is typed.
OTHER_PROGRAM = """
import time
n = 0
while True:
    time.sleep(0.05)
    n += 1
    if n % 10 == 0:
        print("other program", n)
"""


def run(command: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)])


def options(*boards: Board) -> list[str]:
    return [word for board in boards for word in ("--port", str(board.port))]


def test_boards_tell_what_they_are_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(OTHER_PROGRAM)
    with (
        several(tmp_path, 2, CHIP) as (prompt, other),
        Board(tmp_path / "ttyUSB7", CHIP) as half,
        Board(tmp_path / "ttyUSB8", CHIP) as silent,
    ):
        half.flash.program(KIND.firmware_offset, image(CHIP, 4096))  # a boot loader, nothing else
        silent.silent = True
        mpremote(other.port, "fs", "cp", str(tmp_path / "main.py"), ":main.py")
        other.press_reset()
        other.until_printed("other program 20")

        with hasty(tmp_path):
            result = run("boards", *options(prompt, other, half, silent), "--json")

        assert result.exit_code == 0
        asked = json.loads(result.stdout)
        assert [board.get("runs") for board in asked] == [
            "REPL", "another program", "no MicroPython", None
        ]  # fmt: skip
        assert [board.get("mac") for board in asked] == [prompt.mac, other.mac, half.mac, None]
        assert "no board that answers: hold its BOOT button" in asked[3]["problem"]
        other.until_printed("other program 10\n", times=2)


def test_where_no_board_answers_that_is_the_exit_status(tmp_path: Path) -> None:
    assert run("boards", "--port", tmp_path / "ttyUSB0").exit_code == NEGATIVE


def test_init_asks_for_the_network_and_finds_out_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    with several(tmp_path, 2, CHIP, blank=True) as made:
        command = [sys.executable, "-m", "host_tools.cli", "init", "--cluster", str(file)]
        with on_terminal([*command, *options(*made)]) as (shown, process):
            shown.until("Wi-Fi name")
            shown.type(b"x" * 33 + b"\n")
            shown.until("must have 1 to 32 bytes")
            shown.type(b"home\n")
            shown.until("Its password")
            shown.type(PASSWORD.encode() + b"\n")
            shown.until("make firmware", "make up")
            assert process.wait(PATIENCE_S) == 0

    assert PASSWORD not in shown.text  # it isn't echoed
    described = cluster.load(file)
    members = described.nodes.values()
    assert [member.mac for member in members] == [board.mac for board in made]
    assert {member.board for member in members} == {KIND.name}
    assert (described.heartbeat_ms, described.election_ms) == (KIND.heartbeat_ms, KIND.election_ms)
    secrets = secret.load(tmp_path / "secrets.toml")
    assert secrets.wifi == Wifi("home", PASSWORD) and len(secrets.keys) == 1
    assert secrets.keys[0] not in shown.text
    assert (tmp_path / "secrets.toml").stat().st_mode & 0o777 == 0o600


def test_init_in_a_script_guesses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cluster.toml"
    with several(tmp_path, 1, CHIP) as made:
        refused = run("init", "--cluster", file, *options(*made))
        assert refused.exit_code == NOT_POSSIBLE
        assert "say --ssid, and set RAFTCTL_WIFI_PASSWORD" in refused.stderr
        assert not file.exists()

        monkeypatch.setenv("RAFTCTL_WIFI_PASSWORD", "short")
        wrong = run("init", "--cluster", file, *options(*made), "--ssid", "home")
        assert "must have 8 to 63 characters" in wrong.stderr and "short" not in wrong.stderr

        # what is known already isn't asked, and what is said counts
        give_key(tmp_path, Wifi("home", ""))
        assert run("init", "--cluster", file, *options(*made)).exit_code == 0
        assert secret.load(tmp_path / "secrets.toml") == Secrets(KEYS, Wifi("home", ""))
        monkeypatch.setenv("RAFTCTL_WIFI_PASSWORD", PASSWORD)
        done = run("init", "--cluster", file, *options(*made), "--force", "--ssid", "other")
        assert done.exit_code == 0
        assert secret.load(tmp_path / "secrets.toml") == Secrets(KEYS, Wifi("other", PASSWORD))


def test_repl_is_that_of_the_node_and_leaves_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with several(tmp_path, 1, CHIP) as (board,):
        mpremote(board.port, "exec", "with open('config.json', 'w') as f: f.write('{\"id\": 7}')")
        monkeypatch.setattr(ports, "found", lambda: [str(board.port)])
        monkeypatch.setenv("RAFTCTL_WIFI_PASSWORD", PASSWORD)
        told = run("init", "--cluster", tmp_path / "c.toml", "--ssid", "home", *options(board))
        assert "was node 7 of a cluster" in told.stdout
        absent = run("repl", "3")
        assert absent.exit_code == NOT_POSSIBLE
        assert "no board is node 3; those plugged in are 7" in absent.stderr

        command = [sys.executable, "-m", "host_tools.cli", "repl", str(board.port)]
        with on_terminal(command) as (shown, process):
            shown.until("Connected to MicroPython")
            shown.until_keys_are_taken_singly()
            shown.type(b"print(6 * 7)\r")
            shown.until("42\r\n")
            shown.type(CTRL_BRACKET)
            assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("machine", "chip"),
    [
        ("esp32", "esp32"), ("esp32picod4", "esp32"), ("esp32c3fh4", "esp32c3"),
        ("esp32s2fn4r2", "esp32s2"), ("esp32s3pico1n8r2", "esp32s3"), ("rp2040", "rp2040"),
    ],
)  # fmt: skip
def test_a_module_is_known_by_its_chip(machine: str, chip: str) -> None:
    assert attached.chip_of(machine) == chip
