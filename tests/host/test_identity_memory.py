"""Where a board keeps the identity of its raft flash, beside that flash."""

from tests.host.board_folder import BoardFolder
from tests.support import raises

PORTABLE = True

FOLDER = BoardFolder()  # makes `esp32` known

import board.identity as memory  # noqa: E402

NOT_INITIALIZED = -0x1101


class BrokenNVS:
    """What a board has whose NVS partition can't be read."""

    def __init__(self, namespace: str) -> None:
        raise OSError(NOT_INITIALIZED, "ESP_ERR_NVS_NOT_INITIALIZED")


def test_it_knows_none_until_one_was_saved_and_then_the_last_one() -> None:
    with FOLDER as folder:
        assert memory.load() == 0
        memory.save(5)
        memory.save((1 << 30) - 2)

        assert memory.load() == (1 << 30) - 2
        assert folder.esp32.NVS("raft").get_i32("identity") == (1 << 30) - 2


def test_it_does_not_say_none_where_it_can_not_read() -> None:
    whole, memory.NVS = memory.NVS, BrokenNVS
    try:
        error = raises(OSError, memory.load)
    finally:
        memory.NVS = whole

    assert error.args[0] == NOT_INITIALIZED
