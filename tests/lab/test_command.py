"""`python -m tests.lab` must be able to fail."""

import json
from pathlib import Path

import pytest

from tests.lab import __main__ as command

FIGURES = {"ms": 1, "nodes": 3, "requests": 2, "datagrams": 4, "bytes": 5, "commands": 6}


def test_a_part_is_run_and_one_that_breaks_is_told() -> None:
    python = command.commands()[command.CPYTHON]

    assert [f["name"] for f in command.run(python, "elections", 1)] == [
        "TestInitialElection3A", "TestReElection3A", "TestManyElections3A",
    ]  # fmt: skip
    assert "No module named" in command.run(python, "nothing", 1)[0]["failed"]


def test_what_happens_otherwise_under_micropython_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(by: list[str], part: str, seed: int) -> list[command.Figures]:
        return [{"name": part, "found": "", **FIGURES, "bytes": 5 + len(by)}]

    written = tmp_path / "lab.json"
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "commands", lambda: {command.CPYTHON: [], "micropython": ["x"]})
    monkeypatch.setattr("sys.argv", ["lab", "--seeds", "2", "--json", str(written)])

    assert command.main() == 1

    assert "micropython, seed 1: not as under cpython" in capsys.readouterr().out
    assert json.loads(written.read_text())["lab.failed"] == len(command.PARTS)
