"""What a shell completes on Tab, by click's protocol for bash."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from host_tools import boards, ports
from host_tools.cli import COMMANDS, main
from host_tools.cluster import on_desk

PORTS = ["/dev/ttyUSB0", "/dev/ttyUSB1"]
BOARDS = boards.names()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user is: with a cluster of three nodes, and another of four; two boards."""
    for name, nodes in (("cluster.toml", 3), ("other.toml", 4)):
        file = tmp_path / name
        file.write_text(on_desk(file, nodes).to_toml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ports, "found", lambda: PORTS)
    return tmp_path


def completed(line: str) -> list[str]:
    """What may take the place of the line's last word."""
    words = line.split(" ")
    environment = {
        "_RAFTCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(main, prog_name="raftctl", env=environment)
    assert result.exit_code == 0, result.output
    return [said.removeprefix("plain,") for said in result.stdout.split()]


def test_commands_are_completed() -> None:
    assert completed("raftctl ") == list(COMMANDS)
    assert completed("raftctl de") == ["demo", "delete", "deploy"]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("raftctl up ", ["1", "2", "3"]),
        ("raftctl deploy 1 ", ["1", "2", "3"]),
        ("raftctl up --cluster other.toml ", ["1", "2", "3", "4"]),
        ("raftctl node --id ", ["1", "2", "3"]),
        ("raftctl node --id 2", ["2"]),
        ("raftctl repl ", ["1", "2", "3", *PORTS]),
        ("raftctl monitor ", PORTS),
        ("raftctl up --port /dev/ttyUSB0 --port ", PORTS),
        ("raftctl erase --port /dev/ttyUSB1", PORTS[1:]),
        ("raftctl flash --board ", BOARDS),
        ("raftctl init --board esp32c", [name for name in BOARDS if name.startswith("esp32c")]),
        ("raftctl firmware esp32_generic ", BOARDS),
    ],
)
def test_nodes_ports_and_boards_are_completed(line: str, values: list[str]) -> None:
    assert completed(line) == values


@pytest.mark.parametrize("content", [None, "[cluster"])
def test_without_a_cluster_there_are_no_nodes_to_complete(
    folder: Path, content: str | None
) -> None:
    (folder / "cluster.toml").unlink()
    if content:
        (folder / "cluster.toml").write_text(content, encoding="utf-8")

    assert completed("raftctl up ") == []
    assert completed("raftctl repl ") == PORTS
