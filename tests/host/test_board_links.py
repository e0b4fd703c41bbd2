"""What a board answers on its serial line while its node runs."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools import desk
from host_tools.cluster import Cluster, on_free_ports
from host_tools.events import Event
from tests.clusters import INTERPRETERS, KEYS
from tests.host.test_board import WIFI, Board
from tests.host.test_node import Process, each_interpreter

ENTER, LINKS = "\r", "l"
DEAD = 3
PROBES = 20
ELECTION_MS = [1000, 1500]  # a measurement with a dead node takes longer
REPORT_MS = 100


class Pair:
    """Boards 1 and 2 of a cluster of three, of which the third is dead. nodes: by their ids."""

    def __init__(self, folder: Path, interpreter: str) -> None:
        self.nodes: dict[int, Process] = {}
        self._cluster = on_free_ports(folder / "cluster.toml", DEAD)
        self._interpreter = desk.interpreter_command(interpreter)
        for node in self._cluster.nodes:
            if node != DEAD:
                self.nodes[node] = self._started(folder / str(node), self._cluster, node)

    def _started(self, folder: Path, cluster: Cluster, node: int) -> Process:
        folder.mkdir()
        settings = {"state_kb": 1, "election_ms": ELECTION_MS, "report_ms": REPORT_MS}
        config = {**cluster.config(node, KEYS), **settings, "board": {"watchdog_ms": 8000}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "raft.flash").write_bytes(b"\xff" * 128 * 1024)
        run = [str(desk.RUN), str(folder), "0"]
        return Process([*self._interpreter, *run, *self._interpreter])

    def until_led(self) -> None:
        """Both have told so, and that the leader's own entry is committed."""
        for node in self.nodes.values():
            node.until(lambda node=node: stat(node).get("applied") == "1")  # type: ignore[misc]


def stat(node: Process) -> dict[str, str]:
    """What it has told last of its state."""
    stats = node.events("stat")
    return stats[-1].facts if stats else {}


@pytest.fixture
def pair(tmp_path: Path, interpreter: str) -> Iterator[Pair]:
    made = Pair(tmp_path, interpreter)
    yield made
    for process in made.nodes.values():
        process.end(signal.SIGKILL)


@each_interpreter
def test_boards_measure_their_links_while_their_nodes_go_on(pair: Pair) -> None:
    # given a leader and a follower
    pair.until_led()
    before = {id: stat(node) for id, node in pair.nodes.items()}
    begun = {id: node.events("stat")[-1].ms for id, node in pair.nodes.items()}

    # when both are asked
    for node in pair.nodes.values():
        node.press(LINKS)
    for node in pair.nodes.values():
        node.until(lambda node=node: node.events("links"))  # type: ignore[misc]

    for id, node in pair.nodes.items():
        # then each answers the other, and the dead one nobody
        alive, dead = node.events("link")
        assert_all_came(alive, 3 - id)
        assert dead.facts == {"peer": str(DEAD), "sent": str(PROBES), "lost": str(PROBES)}
        (done,) = node.events("links")
        assert done.facts == {"peers": "2"}
        # and nothing has come of it: no entry, no election, and the node had its turns
        reports = [e for e in node.events("stat") if begun[id] < e.ms < done.ms]
        assert len(reports) >= (done.ms - begun[id]) // REPORT_MS // 2
        assert all(report.facts == before[id] | heap(report) for report in reports)


def assert_all_came(link: Event, peer: int) -> None:
    assert (link.facts["peer"], link.facts["sent"]) == (str(peer), str(PROBES))
    assert link.facts["lost"] == "0"
    times = [int(link.facts[name]) for name in ("min", "median", "max")]
    assert times == sorted(times)


def heap(report: Event) -> dict[str, str]:
    return {"heap": report.facts["heap"]}


@pytest.mark.parametrize("interpreter", INTERPRETERS[1:])  # CPython has no board's name
def test_a_board_says_how_it_is_when_enter_is_pressed(tmp_path: Path, interpreter: str) -> None:
    board = Board(tmp_path, interpreter)
    board.deploy(board={"watchdog_ms": 8000}, wifi=WIFI, deployed="0123abcd.")
    (tmp_path / "wifi.off").write_text("202")
    node = board.start()

    # before it is on its network, it says why it isn't
    node.until(lambda: node.events("wifi_down"))
    node.press(LINKS)
    node.until(lambda: node.events("links"))
    assert node.events("links")[0].facts == {"peers": "0"}
    node.press(ENTER)
    node.until(lambda: node.events("board"))
    facts = node.events("board")[0].facts
    assert (facts["role"], facts["reason"]) == ("joining", "wrong_password")

    # and then, what its node does
    (tmp_path / "wifi.off").unlink()
    node.until(lambda: node.events("leader"))
    node.press(ENTER)
    node.until(lambda: len(node.events("board")) == 2)
    facts = node.events("board")[1].facts
    assert 0 < int(facts.pop("heap")) < 1 << 21
    del facts["chip"], facts["interpreter"]
    assert facts == {
        "mac": "020000000000", "deployed": "0123abcd.", "role": "leader", "term": "1",
        "leader": "1", "ip": "127.0.0.1", "pm": "0", "rssi": "-55", "reason": "",
        "restarts": "0", "failures": "0",
    }  # fmt: skip
    board.stop()
