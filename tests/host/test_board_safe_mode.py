"""When a board goes to safe mode."""

import asyncio

from tests.host.board_folder import BoardFolder, stand_in, write

PORTABLE = True

FOLDER = BoardFolder()
machine = stand_in("machine")

from board import safe_mode  # noqa: E402
from board.safe_mode import Lives  # noqa: E402
from raft.udp import YOUNG_MS  # noqa: E402

SECOND_MS = 1000
LONG_MS = safe_mode.WITHIN_MS


class Board:
    """Lives of a board whose power comes now."""

    def __init__(self) -> None:
        machine.RTC().memory(b"")
        self.lives = Lives()

    def lives_on(self, ms: int) -> None:
        self.lives._life = ms
        self.lives._keep()

    def crashes(self) -> None:
        self.lives.crashed()
        self.lives = Lives()

    def is_bitten(self) -> None:
        """By the watchdog, of which nothing on the board is told before."""
        before, machine.reset_cause = machine.reset_cause, lambda: machine.WDT_RESET
        try:
            self.lives = Lives()
        finally:
            machine.reset_cause = before

    def is_reset(self) -> None:
        self.lives = Lives()


def test_after_power_came_nothing_is_known() -> None:
    for garbage in (b"", bytes(16), b"raft", bytes(100)):
        machine.RTC().memory(garbage)

        lives = Lives()

        assert (lives.cause, lives.crashes, lives.is_loop) == (None, 0, False)


def test_three_crashes_within_a_minute_are_a_loop() -> None:
    board = Board()
    board.lives_on(LONG_MS)  # however long it has run before the first one
    loops = []

    for _ in range(4):
        board.crashes()
        loops.append((board.lives.cause, board.lives.crashes, board.lives.is_loop))
        board.lives_on(20 * SECOND_MS)

    assert loops == [
        ("crash", 1, False), ("crash", 2, False), ("crash", 3, True), ("crash", 4, True),
    ]  # fmt: skip
    assert safe_mode.crashes() == 4


def test_three_crashes_in_more_than_a_minute_are_none() -> None:
    board = Board()

    for _ in range(10):
        board.crashes()
        assert not board.lives.is_loop
        board.lives_on(LONG_MS // 2)


def test_crashes_of_nodes_that_are_no_longer_young_are_no_loop() -> None:
    board = Board()

    for _ in range(5):  # what others can send makes no younger one crash (udp.py)
        board.lives_on(YOUNG_MS - safe_mode.ALIVE_MS)  # as it was kept last
        board.crashes()
        assert not board.lives.is_loop


def test_a_long_life_between_them_parts_crashes() -> None:
    board = Board()
    board.crashes()
    board.crashes()
    board.lives_on(LONG_MS)
    board.crashes()
    assert not board.lives.is_loop
    board.crashes()
    assert not board.lives.is_loop

    board.crashes()

    assert board.lives.is_loop
    assert board.lives.crashes == 5


def test_a_watchdog_that_bites_counts_as_a_crash() -> None:
    board = Board()
    board.crashes()
    board.is_bitten()
    assert (board.lives.cause, board.lives.is_loop) == ("watchdog", False)

    board.is_bitten()

    assert (board.lives.crashes, board.lives.is_loop) == (3, True)


def test_a_reset_by_hand_ends_the_count() -> None:
    board = Board()
    for _ in range(3):
        board.crashes()
    assert board.lives.is_loop

    board.is_reset()

    assert (board.lives.cause, board.lives.crashes, board.lives.is_loop) == (None, 0, False)
    board.crashes()
    board.crashes()
    assert not board.lives.is_loop


def test_restarts_and_failures_are_counted_for_as_long_as_there_is_power() -> None:
    board = Board()
    board.crashes()
    board.is_bitten()
    board.lives.task_failed()
    assert board.lives.task_failed() == 2

    board.is_reset()  # by hand: that ends the count in a row, and not this one
    board.crashes()

    assert board.lives.facts == {"restarts": 3, "failures": 2}
    assert board.lives.crashes == 1
    assert Board().lives.facts == {"restarts": 0, "failures": 0}


def test_a_crash_is_kept_whatever_else_is_kept_before() -> None:
    board = Board()
    board.lives_on(SECOND_MS)
    board.lives.task_failed()

    board.crashes()

    assert (board.lives.cause, board.lives.facts["failures"]) == ("crash", 1)


def test_a_life_is_kept_as_long_as_it_may_matter() -> None:
    board = Board()
    before = safe_mode.ALIVE_MS, safe_mode.WITHIN_MS
    safe_mode.ALIVE_MS, safe_mode.WITHIN_MS = 5, 20
    try:
        asyncio.run(board.lives.run())
    finally:
        safe_mode.ALIVE_MS, safe_mode.WITHIN_MS = before

    assert 20 <= safe_mode._unpacked(machine.RTC().memory())[3] < LONG_MS


def test_the_button_has_to_be_held() -> None:
    with FOLDER:
        assert not asyncio.run(safe_mode.is_held(0))

        write("pin-0.low", b"")

        assert asyncio.run(safe_mode.is_held(0))
        assert not asyncio.run(safe_mode.is_held(9))


def test_safe_mode_switches_the_radio_off_and_says_why() -> None:
    network = stand_in("network")
    network.WLAN().active(True)
    told = []

    safe_mode.enter("button", lambda what, **facts: told.append((what, facts)), {"led": 99})

    assert not network.WLAN().active()
    assert told == [("safe_mode", {"reason": "button"})]
