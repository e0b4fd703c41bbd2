"""The stand-in for a board's `esp32.NVS`."""

import os

from tests.host.board_folder import BoardFolder, read, write
from tests.support import raises

PORTABLE = True

NOT_FOUND = -0x1102
FILE = "nvs.json"


def test_what_is_committed_is_there_for_the_next_one() -> None:
    with BoardFolder() as board:
        first = board.esp32.NVS("raft")
        first.set_i32("low", -(1 << 31))
        first.set_i32("high", (1 << 31) - 1)
        first.set_i32("high", 7)
        first.commit()

        second = board.esp32.NVS("raft")

        assert second.get_i32("low") == -(1 << 31)
        assert second.get_i32("high") == 7
        assert os.listdir() == [FILE]


def test_what_is_not_committed_only_its_writer_knows() -> None:
    with BoardFolder() as board:
        first = board.esp32.NVS("raft")
        first.set_i32("kept", 1)
        first.set_i32("erased", 2)
        first.commit()

        first.set_i32("kept", 3)
        first.erase_key("erased")

        second = board.esp32.NVS("raft")
        assert first.get_i32("kept") == 3
        assert raises(OSError, first.get_i32, "erased").errno == NOT_FOUND
        assert (second.get_i32("kept"), second.get_i32("erased")) == (1, 2)
        first.commit()
        assert second.get_i32("kept") == 3
        assert raises(OSError, second.get_i32, "erased").errno == NOT_FOUND


def test_a_key_that_is_absent_is_an_error() -> None:
    with BoardFolder() as board:
        nvs = board.esp32.NVS("raft")

        for method in (nvs.get_i32, nvs.erase_key):
            error = raises(OSError, method, "key")

            assert error.errno == NOT_FOUND
            assert "ESP_ERR_NVS_NOT_FOUND" in str(error)


def test_a_namespace_and_another_are_apart() -> None:
    with BoardFolder() as board:
        one, other = board.esp32.NVS("one"), board.esp32.NVS("other")
        one.set_i32("key", 1)
        other.set_i32("key", 2)
        one.commit()
        other.commit()

        one.erase_key("key")
        one.commit()

        assert raises(OSError, one.get_i32, "key").errno == NOT_FOUND
        assert board.esp32.NVS("other").get_i32("key") == 2


def test_names_and_values_have_a_boards_limits() -> None:
    with BoardFolder() as board:
        nvs = board.esp32.NVS("n" * 15)

        nvs.set_i32("k" * 15, 1)
        for method, arguments in (
            (board.esp32.NVS, ("n" * 16,)),
            (nvs.set_i32, ("k" * 16, 1)),
            (nvs.get_i32, ("k" * 16,)),
            (nvs.erase_key, ("k" * 16,)),
        ):
            raises(ValueError, method, *arguments)
        for value in (1 << 31, -(1 << 31) - 1, 1 << 80):
            raises(OverflowError, nvs.set_i32, "k", value)

        nvs.commit()
        assert nvs.get_i32("k" * 15) == 1
        raises(OSError, nvs.get_i32, "k")


def test_a_broken_file_is_an_empty_one() -> None:
    with BoardFolder() as board:
        nvs = board.esp32.NVS("raft")
        nvs.set_i32("key", -5)
        nvs.commit()
        whole = read(FILE)
        broken = [whole[:size] for size in range(len(whole))]
        broken += [b"\xff\xfe\x00", bytes(100), b"[]", b"5", b'{"raft": 7}', b'{"raft": {"\xff']

        for contents in broken:
            write(FILE, contents)

            again = board.esp32.NVS("raft")
            assert raises(OSError, again.get_i32, "key").errno == NOT_FOUND, contents
            again.set_i32("other", 6)
            again.commit()
            assert board.esp32.NVS("raft").get_i32("other") == 6, contents
