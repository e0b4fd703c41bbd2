"""Firmware as MicroPython has it for its ESP32 boards, but small.

The format is ESP-IDF's, "App Image Format":
https://docs.espressif.com/projects/esp-idf/en/stable/esp32/api-reference/system/app_image_format.html
"""

import hashlib
import random
import struct
from collections.abc import Sequence
from functools import reduce
from operator import xor

from host_tools import partition_table
from host_tools.boards import APP, DATA, FAT, FIRMWARE_OFFSETS, NVS, Partition
from tests.boards.rom import CHECKSUM_SEED, CHIPS, Flash

APP_OFFSET = 0x10000
LOAD_ADDRESS = 0x3FFB0000
SMALL = 1024  # bytes
STOCK_TABLE = (
    Partition("nvs", DATA, NVS, 0x9000, 0x6000),
    Partition("factory", APP, 0x00, APP_OFFSET, 0x1F0000),
    Partition("vfs", DATA, FAT, 0x200000, 0x200000),
)


def image(chip: str, size: int, seed: int = 1) -> bytes:
    """A whole image of one segment of `size` bytes (a multiple of 4), half of it random."""
    dice = random.Random(seed)
    segment = dice.randbytes(size // 2).ljust(size, b"\0")
    header = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, LOAD_ADDRESS)
    header += struct.pack("<B3xHBHH4xB", 0xEE, CHIPS[chip].id, 0, 0, 0xFFFF, 1)
    body = header + struct.pack("<II", LOAD_ADDRESS, size) + segment
    body += bytes(15 - len(body) % 16)  # so that the checksum is the last of 16 bytes
    body += bytes((reduce(xor, segment, CHECKSUM_SEED),))
    return body + hashlib.sha256(body).digest()


def firmware(chip: str, offset: int, size: int = 60_000, seed: int = 1) -> bytes:
    """Boot loader, table and application in one file, which goes to `offset` of the flash."""
    boot = image(chip, 12_000, seed + 100).ljust(partition_table.OFFSET - offset, b"\xff")
    table = boot + partition_table.encode(STOCK_TABLE)
    return table.ljust(APP_OFFSET - offset, b"\xff") + image(chip, size, seed)


def install(flash: Flash, chip: str, partitions: Sequence[Partition]) -> None:
    """Program the least that starts, into erased flash; an application if there is a place."""
    flash.program(FIRMWARE_OFFSETS[chip], image(chip, SMALL))
    flash.program(partition_table.OFFSET, partition_table.encode(partitions))
    for partition in partitions:
        if partition.type == APP:
            flash.program(partition.offset, image(chip, SMALL))
