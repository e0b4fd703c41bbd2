"""ESP-IDF's partition table as it lies in the flash: what `gen_esp32part.py` makes of the CSV.

https://docs.espressif.com/projects/esp-idf/en/stable/esp32/api-guides/partition-tables.html and
ESP-IDF's `esp_flash_partitions.h` tell the format.
"""

import hashlib
import struct
from collections.abc import Sequence

from host_tools.boards import Partition

OFFSET = 0x8000  # in the flash, for each chip
TABLE_BYTES = 0xC00
ENTRY = struct.Struct("<2sBBII16sI")  # magic, type, subtype, offset, size, label, flags
MAGIC = b"\xaa\x50"
MD5_HEAD = b"\xeb\xeb" + b"\xff" * 14  # then the MD5 of all entries before


def encode(partitions: Sequence[Partition]) -> bytes:
    """The table, with its MD5 and padded as for the flash."""
    entries = b"".join(
        ENTRY.pack(MAGIC, p.type, p.subtype, p.offset, p.size, p.name.encode(), 0)
        for p in partitions
    )
    return (entries + MD5_HEAD + hashlib.md5(entries).digest()).ljust(TABLE_BYTES, b"\xff")


def decode(table: bytes) -> tuple[Partition, ...] | None:
    """The partitions of a table that is whole; None if it isn't, or if there is none."""
    end = table.find(MD5_HEAD)
    if end < 0 or end % ENTRY.size:
        return None
    entries = table[:end]
    if table[end + 16 : end + 32] != hashlib.md5(entries).digest():
        return None
    return tuple(
        Partition(label.rstrip(b"\0").decode("utf-8", "replace"), type, subtype, offset, size)
        for _, type, subtype, offset, size, label, _ in ENTRY.iter_unpack(entries)
    )
