"""The file that takes the place of a board's flash chip."""

import os

from host_tools.desktop.flash import BLOCK_BYTES, Flash
from raft.interpreter import ticks_diff, ticks_ms
from tests.host.board_folder import BoardFolder, new_path, write
from tests.support import raises

PORTABLE = True

BLOCKS = 4


class Chip:
    """A new, erased flash; a context manager that removes it."""

    def __init__(self, contents: bytes = b"\xff" * BLOCKS * BLOCK_BYTES) -> None:
        self.path = new_path()
        write(self.path, contents)

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, kind, value, traceback) -> None:  # type: ignore[no-untyped-def]
        os.remove(self.path)


def read(flash: Flash, block: int, size: int = BLOCK_BYTES, offset: int = 0) -> bytes:
    buf = bytearray(size)
    flash.readblocks(block, buf, offset)
    return bytes(buf)


def test_it_tells_its_size_in_sectors() -> None:
    with Chip() as path:
        flash = Flash(path)

        assert flash.ioctl(4, 0) == BLOCKS
        assert flash.ioctl(5, 0) == 4096
        assert flash.ioctl(99, 0) is None
        flash.close()


def test_what_is_programmed_is_there_and_nothing_else_has_changed() -> None:
    with Chip() as path:
        flash = Flash(path)

        flash.writeblocks(1, b"\x00\x01\x02", 100)
        flash.writeblocks(1, memoryview(b"abcdef")[2:4], 103)

        assert read(flash, 1, 7, 99) == b"\xff\x00\x01\x02cd\xff"
        assert read(flash, 0) == read(flash, 2) == b"\xff" * BLOCK_BYTES
        flash.close()


def test_it_outlives_the_object() -> None:
    with Chip() as path:
        first = Flash(path)
        first.writeblocks(3, b"kept", 4092)

        second = Flash(path)

        assert read(second, 3, 4, 4092) == b"kept"
        first.close()
        second.close()


def test_programming_what_is_not_erased_says_where_and_changes_nothing() -> None:
    with Chip() as path:
        flash = Flash(path)
        flash.writeblocks(2, b"\xf0", 16)

        for value in (b"\xff", b"\x0f", b"\x00", b"\xf0"):  # even if no bit had to be set
            error = raises(OSError, flash.writeblocks, 2, b"ab" + value, 14)
            assert "0x2010" in str(error) and "block 2, byte 16" in str(error), error

        assert read(flash, 2, 4, 14) == b"\xff\xff\xf0\xff"
        flash.close()


def test_erasing_sets_one_sector_and_no_other() -> None:
    with Chip(bytes(BLOCKS * BLOCK_BYTES)) as path:
        flash = Flash(path)

        assert flash.ioctl(6, 1) == 0

        assert read(flash, 1) == b"\xff" * BLOCK_BYTES
        assert read(flash, 0) == read(flash, 2) == bytes(BLOCK_BYTES)
        flash.writeblocks(1, b"again", 0)
        flash.close()


def test_writing_without_an_offset_erases_first() -> None:
    with Chip(bytes(BLOCKS * BLOCK_BYTES)) as path:
        flash = Flash(path)

        flash.writeblocks(1, b"a" * (2 * BLOCK_BYTES))

        assert read(flash, 1, 2 * BLOCK_BYTES) == b"a" * (2 * BLOCK_BYTES)
        assert read(flash, 0) == read(flash, 3) == bytes(BLOCK_BYTES)
        flash.close()


def test_nothing_lies_outside() -> None:
    with Chip() as path:
        flash = Flash(path)

        for block, offset in ((BLOCKS, 0), (BLOCKS - 1, 4093), (-1, 0), (0, -1)):
            raises(OSError, flash.writeblocks, block, b"abcd", offset)
            raises(OSError, flash.readblocks, block, bytearray(4), offset)
        raises(OSError, flash.ioctl, 6, BLOCKS)
        flash.close()


def test_a_part_of_the_file_is_a_flash_of_its_own() -> None:
    with Chip() as path:
        whole = Flash(path)
        part = Flash(path, start=BLOCK_BYTES, size=2 * BLOCK_BYTES)

        part.writeblocks(1, b"end", 4093)

        assert part.ioctl(4, 0) == 2
        assert read(part, 1, 3, 4093) == read(whole, 2, 3, 4093) == b"end"
        raises(OSError, part.writeblocks, 2, b"x", 0)
        whole.writeblocks(0, b"a" * (BLOCKS * BLOCK_BYTES))
        part.ioctl(6, 0)
        assert read(whole, 1) == b"\xff" * BLOCK_BYTES
        assert read(whole, 0) == read(whole, 2) == b"a" * BLOCK_BYTES
        whole.close()
        part.close()


def test_a_file_of_another_size_is_refused() -> None:
    for contents in (b"", b"\xff" * 4095):
        with Chip(contents) as path:
            assert path in str(raises(OSError, Flash, path))


def test_a_slow_one_takes_a_boards_time_and_is_a_flash_all_the_same() -> None:
    with Chip() as path:
        flash = Flash(path, slow=True)
        start = ticks_ms()

        flash.writeblocks(1, bytes(range(256)) * 2, 200)  # in pages 0, 1 and 2
        programmed = ticks_ms()
        flash.ioctl(6, 2)
        flash.ioctl(6, 2)
        erased = ticks_ms()

        assert ticks_diff(programmed, start) >= 3
        assert ticks_diff(erased, programmed) >= 2 * 45
        assert read(flash, 1, 514, 199) == b"\xff" + bytes(range(256)) * 2 + b"\xff"
        assert read(flash, 0) == read(flash, 2) == b"\xff" * BLOCK_BYTES
        raises(OSError, flash.writeblocks, 1, b"a", 200)
        flash.writeblocks(1, bytes(range(256)) * 32)
        assert read(flash, 1, 2 * BLOCK_BYTES) == bytes(range(256)) * 32
        raises(OSError, flash.writeblocks, BLOCKS - 1, b"ab", BLOCK_BYTES - 1)
        flash.ioctl(6, 1)
        assert read(flash, 1) == b"\xff" * BLOCK_BYTES
        assert read(flash, 2) == bytes(range(256)) * 16
        flash.close()


def test_a_board_finds_its_partition_by_name() -> None:
    with BoardFolder() as board:
        write("raft.flash", b"\xff" * BLOCKS * BLOCK_BYTES)
        partition = board.esp32.Partition

        found = partition.find(partition.TYPE_DATA, label="raft")

        assert [p.ioctl(4, 0) for p in found] == [BLOCKS]
        assert found[0].info()[3:5] == (BLOCKS * BLOCK_BYTES, "raft")
        assert partition.find(partition.TYPE_DATA, label="other") == []
        assert partition.find(partition.TYPE_APP) == []
        found[0].close()


def test_a_boards_configuration_makes_its_flash_slow() -> None:
    with BoardFolder() as board:
        write("raft.flash", b"\xff" * BLOCK_BYTES)
        for config, slow in (
            (None, False),
            (b'{"id": 1}', False),
            (b'{"desk": {}}', False),
            (b'{"desk": {"habits": ["wrap"]}}', False),
            (b'{"desk": {"habits": ["wrap", "flash"]}}', True),
        ):
            if config:
                write("config.json", config)

            partition = board.esp32.Partition("raft")

            assert partition.slow is slow, config
            partition.close()
