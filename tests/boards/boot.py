"""What a board says and does between its reset and its application.

The ROM looks for a boot loader in the flash, and that for a partition table and an application.
The words are those of real boards' logs, and of ESP-IDF's bootloader_utility.c and
esp_image_format.c; what an ESP32-C3 says stands for all that are newer than the ESP32.
"""

import hashlib
import struct
from dataclasses import dataclass

from host_tools import partition_table
from host_tools.boards import APP, FIRMWARE_OFFSETS
from host_tools.flashing import IMAGE_MAGIC
from tests.boards.rom import FLASH_BYTES, Flash

HEADER_BYTES = 24  # of an image; its second byte counts the segments
SEGMENT = struct.Struct("<II")  # address, size: the header of each
ALIGNMENT = 16  # the checksum is the last byte of as many; then comes the hash

# Reasons for a reset
POWER_ON = "power on"  # or the button EN, or esptool by RTS
SOFTWARE = "machine.reset()"
WATCHDOG = "watchdog"
ROM_WATCHDOG = "nothing to boot"
BOOT_LOADER = "by the boot loader"

# MicroPython's names (ports/esp32/boards/*/mpconfigboard.h)
MACHINES = {
    "esp32": "Generic ESP32 module with ESP32",
    "esp32s3": "Generic ESP32S3 module with ESP32S3",
    "esp32c3": "ESP32C3 module with ESP32C3",
    "esp32c6": "ESP32C6 module with ESP32C6",
}


@dataclass(frozen=True)
class Failure:
    """Why no application starts: what is printed, and for which reason the next start comes."""

    text: str
    reset: str


def reset_line(chip: str, reason: str, is_boot_held: bool = False) -> str:
    """What the ROM prints first; with BOOT held, that it waits for a download."""
    if chip == "esp32":
        name = {
            POWER_ON: "0x1 (POWERON_RESET)",
            SOFTWARE: "0xc (SW_CPU_RESET)",
            WATCHDOG: "0x8 (TG1WDT_SYS_RESET)",
            ROM_WATCHDOG: "0x10 (RTCWDT_RTC_RESET)",
            BOOT_LOADER: "0x3 (SW_RESET)",
        }[reason]
        mode = (
            "0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\nwaiting for download"
            if is_boot_held
            else "0x13 (SPI_FAST_FLASH_BOOT)"
        )
        return f"ets Jul 29 2019 12:21:46\n\nrst:{name},boot:{mode}\n"
    name = {
        POWER_ON: "0x1 (POWERON)",
        SOFTWARE: "0xc (RTC_SW_CPU_RST)",
        WATCHDOG: "0x8 (TG1WDT_SYS_RST)",
        ROM_WATCHDOG: "0x7 (TG0WDT_SYS_RST)",
        BOOT_LOADER: "0x3 (RTC_SW_SYS_RST)",
    }[reason]
    mode = (
        "0x7 (DOWNLOAD(USB/UART0/1))\nwaiting for download"
        if is_boot_held
        else "0xd (SPI_FAST_FLASH_BOOT)"
    )
    return f"ESP-ROM:{chip}-api1-20210207\nBuild:Feb  7 2021\nrst:{name},boot:{mode}\n"


def failure(chip: str, flash: Flash) -> Failure | None:
    """None if there is all that it takes to start an application."""
    start = FIRMWARE_OFFSETS[chip]
    (word,) = struct.unpack("<I", flash.read(start, 4))
    if not _has_image(flash, start):
        return Failure(f"invalid header: {word:#010x}\n" * 8, ROM_WATCHDOG)
    if not _is_whole(flash, start):
        return Failure("csum err\nets_main.c 371\n", ROM_WATCHDOG)
    return _boot_loader_failure(flash)


def _boot_loader_failure(flash: Flash) -> Failure | None:
    table = flash.read(partition_table.OFFSET, partition_table.TABLE_BYTES)
    partitions = partition_table.decode(table)
    if partitions is None:
        return Failure(
            f"E (48) flash_parts: partition 0 invalid magic number {table[1] << 8 | table[0]:#x}\n"
            "E (53) boot: Failed to verify partition table\n"
            "E (58) boot: load partition table error!\n",
            BOOT_LOADER,
        )
    why = ""
    at = next((p.offset for p in partitions if p.type == APP), None)
    if at is not None:
        if not _has_image(flash, at):
            why = f"image at {at:#x} has invalid magic byte (nothing flashed here?)"
        elif not _is_whole(flash, at):
            why = "Image hash failed - image is corrupt"
        else:
            return None
        why = f"E (77) esp_image: {why}\nE (83) boot: Factory app partition is not bootable\n"
    return Failure(
        why + "E (88) boot: No bootable app partitions in the partition table\n", BOOT_LOADER
    )


def _has_image(flash: Flash, at: int) -> bool:
    return flash.read(at, 1) == IMAGE_MAGIC


def _is_whole(flash: Flash, at: int) -> bool:
    """Whether the image has its hash behind it."""
    segments = flash.read(at, HEADER_BYTES)[1]
    end = at + HEADER_BYTES
    for _ in range(segments):
        if end > FLASH_BYTES - SEGMENT.size:
            return False
        end += SEGMENT.size + SEGMENT.unpack(flash.read(end, SEGMENT.size))[1]
    end += ALIGNMENT - (end - at) % ALIGNMENT
    digest = hashlib.sha256(flash.read(at, end - at)).digest()
    return flash.read(end, len(digest)) == digest
