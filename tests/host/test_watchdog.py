"""The watchdog of a board: it bites whoever stands still, and nobody else."""

import time
from pathlib import Path

import pytest

from host_tools.client import Client
from tests.clusters import free_cluster
from tests.host.life import QUICK, Life, environment_of
from tests.host.test_node import PATIENCE_S, each_interpreter

WATCHDOG_MS = 2500
FEED_MS = 500  # firmware/board/watchdog.py
SLACK_MS = 6000  # a busy machine's, on which a board may stand still by itself, too
SETTINGS = {"state_kb": 1, "board": {"watchdog_ms": WATCHDOG_MS}}
VALUES = 200  # more than a ring of 128 KB has room for
VALUE = bytes(900)


@each_interpreter
@pytest.mark.parametrize("order", ["loop", "stop_clock"])
def test_a_board_that_stands_still_is_reset_in_time_and_comes_back(
    order: str, interpreter: str, tmp_path: Path
) -> None:
    cluster = free_cluster(tmp_path / "cluster.toml", 1)
    with (
        Life(cluster, 1, interpreter, SETTINGS, {}) as life,
        Client(cluster.path, PATIENCE_S) as client,
    ):
        client.put("k", b"v")
        # given a board whose program stops it, or all of it but its node's clock
        life.order(order)
        life.until(lambda: life.count("ordered"))
        began, before = time.monotonic(), life.bites

        life.until(lambda: life.bites > before)

        took_ms = 1000 * (time.monotonic() - began)
        assert took_ms < WATCHDOG_MS + FEED_MS + SLACK_MS
        # it says why it starts, counts that, and has what it had acknowledged
        life.until(lambda: life.count("restarted") == life.bites)
        event = life.process.events("restarted")[-1]
        assert event.facts == {"after": "watchdog", "crashes": str(life.bites)}
        assert client.get("k") == b"v"
        assert client.statuses()[1]["restarts"] == life.bites
        assert life.stop() == 0


@each_interpreter
def test_a_program_that_never_comes_to_its_node_ends_in_safe_mode(
    interpreter: str, tmp_path: Path
) -> None:
    cluster = free_cluster(tmp_path / "cluster.toml", 1)
    settings = {**SETTINGS, "app": {"name": "never"}}
    soon = environment_of({"board.watchdog:START_MS": 800})

    with Life(cluster, 1, interpreter, settings, soon) as life:
        life.until(lambda: life.safe_modes)

        assert life.bites == 3
        assert [event.facts["crashes"] for event in life.process.events("restarted")[:3]] == (
            ["1", "2", "3"]
        )


@each_interpreter
def test_a_board_that_has_much_to_do_is_left_alone(interpreter: str, tmp_path: Path) -> None:
    cluster = free_cluster(tmp_path / "cluster.toml", 1)
    settings = {**SETTINGS, "state_kb": 8, "board": {"watchdog_ms": 2 * WATCHDOG_MS}}
    with (
        Life(cluster, 1, interpreter, settings, environment_of(QUICK)) as life,
        Client(cluster.path, PATIENCE_S) as client,
    ):
        # it stands still for as long as a chip's erases may take, one after the other
        for _ in range(2):
            life.order("stand", str(WATCHDOG_MS - FEED_MS))
            life.until(lambda: life.is_ready)
        # it compacts its log, and reads a full ring and a snapshot when it starts
        for number in range(VALUES):
            client.put(f"k{number % 4}", VALUE)
        life.until(lambda: client.statuses()[1]["flash"]["snapshot"])
        life.cut_power()
        life.power_on()

        life.until(lambda: life.count("restored"))
        assert client.get("k0") == VALUE

        assert life.bites == 0
        assert client.statuses()[1]["restarts"] == 0
        assert life.stop() == 0
