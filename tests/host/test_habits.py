"""A board's habits of time, and what a node on a desk makes of their names."""

from host_tools.desktop import habits
from host_tools.desktop.habits import BEFORE_WRAP_MS, TICKS_PERIOD, ticks_after, ticks_diff
from tests.host.board_folder import BoardFolder, write
from tests.host.test_nvs import NOT_FOUND
from tests.support import raises

PORTABLE = True


def test_ticks_wrap_soon_after_the_start_and_differences_do_not_notice() -> None:
    before, after = ticks_after(BEFORE_WRAP_MS - 1), ticks_after(BEFORE_WRAP_MS + 1)

    assert before == TICKS_PERIOD - 1 and after == 1
    assert ticks_diff(after, before) == 2
    assert ticks_diff(before, after) == -2
    assert ticks_diff(ticks_after(3_600_000), ticks_after(0)) == 3_600_000


def test_a_configuration_names_the_habits() -> None:
    with BoardFolder():
        assert habits.wanted() == set()
        for config, names in (
            (b'{"id": 1}', set()),
            (b'{"desk": {}}', set()),
            (b'{"desk": {"habits": ["nvs", "flash"]}}', {"nvs", "flash"}),
            (b'{"desk"', set()),
        ):
            write("config.json", config)

            assert habits.wanted() == names, config


def test_nvs_can_be_wiped() -> None:
    with BoardFolder() as board:
        board.esp32.storage.wipe()
        nvs = board.esp32.NVS("raft")
        nvs.set_i32("identity", 5)
        nvs.commit()

        board.esp32.storage.wipe()

        assert raises(OSError, board.esp32.NVS("raft").get_i32, "identity").errno == NOT_FOUND
