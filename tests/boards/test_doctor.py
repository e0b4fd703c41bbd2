"""`raftctl doctor` on virtual boards, asked over their serial lines."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from host_tools import examining, keys, ports
from host_tools.cli import main
from host_tools.repl import CTRL_C
from tests.boards.board import PROMPT, Board, several
from tests.boards.test_up import CHIP, Desk
from tests.clusters import tells

NEGATIVE = 1
PROBES = 40  # between two nodes, both ways
# So that this machine, busy with other tests, doesn't pass for a bad network
ELECTION_MS = "election_ms = [1500, 3000]"
CLOCK_S = 1.0


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Three boards whose nodes run."""
    monkeypatch.setattr(examining, "CLOCK_S", CLOCK_S)
    with several(tmp_path, 3, CHIP) as boards:
        desk = Desk(tmp_path, boards)
        desk.init()
        change(desk, r"election_ms = .*", ELECTION_MS)
        desk.told("deploy", *desk.ports)
        yield desk


def change(desk: Desk, pattern: str, line: str) -> None:
    """A line of cluster.toml."""
    text, count = re.subn(pattern, line, desk.file.read_text())
    assert count == 1
    desk.file.write_text(text)


def asked(desk: Desk, *options: str) -> tuple[int, str]:
    """Exit status and output."""
    arguments = ["doctor", "--cluster", str(desk.file), *desk.ports, *options]
    done = CliRunner().invoke(main, arguments)
    said = [*desk.said, done.output, *(board.text for board in desk.boards)]
    assert not any(tells(text, key) for text in said for key in keys.of(desk.file))
    return done.exit_code, done.stdout


def stop(board: Board) -> None:
    """As somebody at the REPL, who goes away."""
    prompts = board.text.count(PROMPT)
    port = ports.open_port(str(board.port))
    port.write(CTRL_C)
    board.until_printed(PROMPT, prompts + 1)
    ports.close(port)


def test_doctor_measures_a_cluster_and_tells_what_is_wrong(desk: Desk) -> None:
    # given a cluster that is well
    status, said = asked(desk)

    # then it says so, and what it has measured
    assert status == 0, said
    assert said.splitlines()[-1] == "Nothing is wrong."
    for board in desk.boards:
        assert f" {board.port.name} " in said
    assert re.findall(r"(\d - \d) +(\d+) +(\d+) +\d+ ms +\d+ ms", said) == [
        (pair, "0", str(PROBES)) for pair in ("1 - 2", "1 - 3", "2 - 3")
    ]
    assert sum(" leader " in line for line in said.splitlines()) == 1

    # when one is stopped, and the file changed
    stop(desk.boards[1])
    change(desk, r"heartbeat_ms = \d+", "heartbeat_ms = 70")
    status, said = asked(desk, "--json")

    # then it tells just that
    told: dict[str, Any] = json.loads(said)
    assert status == NEGATIVE
    assert [(f["where"], f["remedy"].split(",")[0]) for f in told["findings"]] == [
        ("node 2", "press RESET"),
        ("node 1", "`raftctl deploy`"),
        ("node 3", "`raftctl deploy`"),
    ]
    lost = {tuple(pair["nodes"]): pair["lost"] for pair in told["pairs"]}
    assert lost == {(1, 2): PROBES // 2, (1, 3): 0, (2, 3): PROBES // 2}
    assert told["boards"][1]["has_raft"] and told["boards"][0]["clock"]["board"] > 0
    # and the others have gone on
    assert not any(board.events("stopped") for board in (desk.boards[0], desk.boards[2]))
