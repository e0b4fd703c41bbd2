"""The partition table as the flash has it, held against what ESP-IDF's own tests expect."""

import pytest

from host_tools import boards, partition_table
from host_tools.boards import Partition
from host_tools.partition_table import TABLE_BYTES, decode, encode

# gen_esp32part_tests.py of ESP-IDF: what is in the table, and the MD5 that it ends with
KNOWN = [
    ([Partition("first", 0x30, 0xEE, 0x100400, 0x300000)], "43033f334087575169839b4061b12726"),
    (
        [
            Partition("factory", 0x00, 0x00, 0x10000, 0x100000),
            Partition("data", 0x01, 0x20, 0x110000, 0x200),
            Partition("second", 0x10, 0x00, 0x150000, 0x1000),
        ],
        "f9bd061b45686f86571a2cd52a1da65b",
    ),
]


@pytest.mark.parametrize(("partitions", "md5"), KNOWN)
def test_it_is_what_esp_idf_makes(partitions: list[Partition], md5: str) -> None:
    table = encode(partitions)

    end = 32 * len(partitions)
    assert table[:4] == bytes((0xAA, 0x50, partitions[0].type, partitions[0].subtype))
    assert table[end : end + 16] == b"\xeb\xeb" + b"\xff" * 14
    assert table[end + 16 : end + 32] == bytes.fromhex(md5)
    assert table[end + 32 :] == b"\xff" * (TABLE_BYTES - end - 32)


@pytest.mark.parametrize("name", boards.names())
def test_what_was_encoded_is_read_again(name: str) -> None:
    partitions = boards.load(name).partitions

    assert decode(encode(partitions)) == partitions


def test_what_is_not_whole_is_none() -> None:
    table = encode(boards.load("esp32_generic").partitions)

    for at in range(6 * 32):  # five partitions and the MD5
        damaged = bytearray(table)
        damaged[at] ^= 1
        assert decode(bytes(damaged)) is None
    assert decode(b"\xff" * TABLE_BYTES) is None
    assert decode(table[: 5 * 32].ljust(TABLE_BYTES, b"\xff")) is None
    assert partition_table.OFFSET + TABLE_BYTES <= boards.FIRST_PARTITION
