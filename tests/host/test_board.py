"""firmware/main.py as on a board: its network, its button, its watchdog and what crashes."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from host_tools import desk
from host_tools.cluster import on_free_ports
from host_tools.desktop.failures import SET
from host_tools.firmware import FIRMWARE
from tests.clusters import KEYS
from tests.host.test_node import PROJECT, Process, each_interpreter

NO_AP_FOUND, BEACON_TIMEOUT, HANDSHAKE_TIMEOUT = "201", "200", "204"
WIFI = {"ssid": "home", "password": "secret"}
WATCHDOG_MS = 1500  # a fifth of a board's, and still more than a node ever stands still
ENOUGH_KB, TOO_SMALL_KB = 128, 32

BEGINNING = """\
from raft import Node

node = Node.from_config()
"""
APPS = {
    "hangs": """
@node.task
async def run():
    while True:
        pass

node.run()
""",
    "fails": """
@node.task
async def run():
    raise ValueError(node.settings["what"])

node.run()
""",
    "is_wrong": """
raise ValueError(node.settings["what"])
""",
    "swallows": """
try:
    node.run()
except BaseException as e:
    print("swallowed", repr(e))
""",
    "forgets": """
node.on_role(print)
""",
}


class Board:
    """A folder that takes the place of a board's file system, and what runs there."""

    def __init__(self, folder: Path, interpreter: str) -> None:
        self.folder = folder
        self.project = PROJECT
        self._interpreter = desk.interpreter_command(interpreter)
        self._running: list[Process] = []

    def deploy(self, flash_kb: int = ENOUGH_KB, **settings: Any) -> None:
        """A node that is alone in its cluster, with these settings."""
        cluster = on_free_ports(self.folder / "cluster.toml", 1)
        config = {**cluster.config(1, KEYS), "state_kb": 1, **settings}
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.folder / "raft.flash").write_bytes(b"\xff" * flash_kb * 1024)

    def add_apps(self) -> None:
        """Run a copy of the project, with apps that do what none should."""
        self.project = self.folder / "project"
        shutil.copytree(FIRMWARE, self.project / "firmware")
        shutil.copytree(PROJECT / "host_tools" / "desktop", self.project / "host_tools" / "desktop")
        (self.project / "host_tools" / "__init__.py").touch()
        for name, text in APPS.items():
            (self.project / "firmware" / "apps" / f"{name}.py").write_text(BEGINNING + text)

    def start(self) -> Process:
        run = self.project / "host_tools" / "desktop" / "run.py"
        command = [*self._interpreter, str(run), str(self.folder), "0", *self._interpreter]
        self._running.append(Process(command))
        return self._running[-1]

    def stop(self) -> None:
        for process in self._running:
            process.end(signal.SIGKILL)


@pytest.fixture
def board(tmp_path: Path, interpreter: str) -> Any:
    made = Board(tmp_path, interpreter)
    yield made
    made.stop()


@each_interpreter
def test_it_joins_its_network_again_and_again_and_goes_on_without_it(board: Board) -> None:
    # given a board that doesn't find its network
    off = board.folder / "wifi.off"
    off.write_text(NO_AP_FOUND)
    board.deploy(wifi=WIFI, report_ms=100)
    process = board.start()
    process.until(lambda: process.events("wifi_down"))
    off.write_text(HANDSHAKE_TIMEOUT)
    process.until(lambda: len(process.events("wifi_down")) == 2)
    assert not process.events("boot")

    # when that is there
    off.unlink()

    # then the node starts
    process.until(lambda: process.events("leader"))
    downs = [event.facts for event in process.events("wifi_down")]
    assert downs[0] == {"reason": "no_ap_found", "retry_ms": "1000", "rssi": "0"}
    assert downs[1] == {"reason": "handshake_timeout", "retry_ms": "2000", "rssi": "0"}
    (up,) = process.events("wifi_up")
    assert up.facts == {"ip": "127.0.0.1", "rssi": "-55"}
    assert process.events("boot")[0].ms >= up.ms

    # and when it goes away, the node goes on
    off.write_text(BEACON_TIMEOUT)
    process.until(lambda: process.events("wifi_down")[-1].facts["reason"] == "beacon_timeout")
    reports = len(process.events("stat"))
    process.until(lambda: len(process.events("stat")) >= reports + 5)
    assert process.events("stat")[-1].facts["rssi"] == "-55"
    off.unlink()
    process.until(lambda: len(process.events("wifi_up")) == 2)
    assert len(process.events("boot")) == 1
    assert process.end() == 0


@each_interpreter
def test_with_its_button_held_it_stays_in_safe_mode(board: Board) -> None:
    board.deploy(wifi=WIFI, board={"button": 0, "led": 2, "watchdog_ms": WATCHDOG_MS})
    (board.folder / "pin-0.low").touch()

    process = board.start()

    assert process.wait() == 0
    event = process.events("safe_mode")[0]
    assert event.facts == {"reason": "button"}
    assert "Ctrl-D" in process.lines[-1]
    assert len(process.lines) == 2


@each_interpreter
def test_three_crashes_in_a_row_lead_to_safe_mode(board: Board) -> None:
    board.deploy(flash_kb=TOO_SMALL_KB, board={})

    process = board.start()

    assert process.wait() == 0
    assert len(process.events("reset")) == 3
    assert "".join(process.lines).count("Traceback") == 3
    assert [event.facts for event in process.events("restarted")] == [
        {"after": "crash", "crashes": str(crashes)} for crashes in (1, 2, 3)
    ]
    assert process.events("safe_mode")[0].facts == {"reason": "crashes"}
    # and after a power cut it tries again
    again = board.start()
    again.until(lambda: again.events("reset"))
    assert not again.events("safe_mode")


@each_interpreter
def test_a_program_can_not_keep_a_node_that_has_failed_from_starting_anew(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.add_apps()
    board.deploy(flash_kb=TOO_SMALL_KB, app={"name": "swallows"})
    monkeypatch.setenv(SET, "board.safe_mode:RESTART_S=0")

    process = board.start()

    assert process.wait() == 0
    assert "".join(process.lines).count("swallowed") == 3
    assert len(process.events("reset")) == 3
    assert process.events("safe_mode")[0].facts == {"reason": "crashes"}


@each_interpreter
def test_a_configuration_that_nobody_foresaw_ends_in_safe_mode(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.deploy(nodes=[])
    monkeypatch.setenv(SET, "board.safe_mode:RESTART_S=0")

    process = board.start()

    assert process.wait() == 0
    assert len(process.events("reset")) == 3
    assert process.events("safe_mode")


@each_interpreter
def test_what_its_configuration_lacks_is_told_in_safe_mode(board: Board) -> None:
    (board.folder / "config.json").write_text('{"id": 1}')

    process = board.start()

    assert process.wait() == 0
    assert process.events("safe_mode")[0].facts == {"reason": "config.json_has_no_'cluster'"}


@each_interpreter
def test_the_watchdog_resets_a_board_that_hangs(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.add_apps()
    board.deploy(board={"watchdog_ms": WATCHDOG_MS}, app={"name": "hangs"})
    process = board.start()

    assert process.wait() == -signal.SIGALRM
    assert process.events("recovered")

    # A board would know why it starts.
    monkeypatch.setenv("RAFT_DESK_RESET", "3")
    again = board.start()
    again.until(lambda: again.events("restarted"))
    assert again.events("restarted")[0].facts == {"after": "watchdog", "crashes": "1"}


@each_interpreter
def test_the_watchdog_leaves_a_board_alone_that_works(board: Board) -> None:
    board.deploy(report_ms=100, board={"watchdog_ms": WATCHDOG_MS, "led": 2, "led_kind": "rgb"})
    process = board.start()

    process.until(
        lambda: process.events("stat") and process.events("stat")[-1].ms > 2 * WATCHDOG_MS
    )

    assert not process.events("failure")
    assert process.end() == 0


@each_interpreter
def test_a_task_of_an_app_that_fails_is_told_and_started_again(board: Board) -> None:
    board.add_apps()
    board.deploy(app={"name": "fails", "what": "sorry"})
    process = board.start()

    process.until(lambda: len(process.events("failure")) == 2)

    first, second = process.events("failure")
    assert (first.facts["task"], first.facts["count"]) == ("run", "1")
    assert "sorry" in second.facts["error"]
    assert "".join(process.lines).count("Traceback") == 2
    process.until(lambda: process.events("leader"))
    assert process.end() == 0


@each_interpreter
@pytest.mark.parametrize(
    "name, why",
    [
        ("tetris", "tetris"),
        ("is_wrong", "sorry"),
        ("forgets", "apps/forgets.py_has_to_end_with_node.run()"),
    ],
)
def test_an_app_that_never_runs_its_node_is_told_and_the_node_does_without(
    board: Board, name: str, why: str
) -> None:
    board.add_apps()
    board.deploy(app={"name": name, "what": "sorry"})
    process = board.start()

    process.until(lambda: process.events("failure") and process.events("leader"))

    (failure,) = process.events("failure")
    assert failure.facts["task"] == "app" and why in failure.facts["error"]
    assert not process.events("reset")
    assert process.end() == 0
