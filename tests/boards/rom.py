"""The loader in the ROM of a virtual ESP chip, and its flash: bytes in, bytes out.

Espressif's description of the protocol:
https://docs.espressif.com/projects/esptool/en/latest/esp32/advanced-topics/serial-protocol.html
What it leaves open was read in esptool 5.6 (loader.py, targets/). Only the ROM loader is here:
give esptool `--no-stub`.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLASH_BYTES = 4 * 1024 * 1024
SECTOR_BYTES = 4096
BLOCK_BYTES = 0x400  # the most that a ROM loader takes at a time
# What the loader takes the flash for until SPI_SET_PARAMS has told it better
ROM_FLASH_BYTES = 2 * 1024 * 1024
FLASH_ID = 0x1640EF  # Winbond W25Q32: maker, kind, 2 ** 0x16 bytes
SFDP = 0x50444653  # each flash of today has these four letters at the start of its parameters

END = b"\xc0"  # at both ends of a packet
FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, READ_FLASH_SLOW, CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0E, 0x0F
FLASH_DEFL_BEGIN, FLASH_DEFL_DATA, FLASH_DEFL_END = 0x10, 0x11, 0x12
SPI_FLASH_MD5, GET_SECURITY_INFO = 0x13, 0x14

# Errors of the protocol
INVALID, FAILED, BAD_CHECKSUM, INFLATE_FAILED = 0x05, 0x06, 0x07, 0x0B
CHECKSUM_SEED = 0xEF
SYNC_VALUE = 0x20120707  # not 0, which would be the stub
SYNC_DATA = b"\x07\x07\x12\x20" + 32 * b"\x55"
SYNC_PACKET = END + struct.pack("<BBHI", 0, SYNC, len(SYNC_DATA), 0) + SYNC_DATA + END
MAGIC_REGISTER = 0x40001000
ESP32_MAGIC = 0x00F01D83

SPI_USER = 1 << 18  # in the register SPI_CMD: run the command that is in SPI_USR2
READ_ID, READ_SFDP = 0x9F, 0x5A


@dataclass(frozen=True)
class Chip:
    """What tells one chip from another on this line.

    id: as images name it, and as GET_SECURITY_INFO reports it where the ROM has that command.
    mac: the address of the register with the lower four bytes of the MAC; the next has the others.
    spi: the first of the SPI registers; usr2, w0: offsets of two more. registers: what others
    hold; any that isn't named reads as 0.
    """

    id: int
    has_security_info: bool
    mac: int
    spi: int
    usr2: int
    w0: int
    registers: dict[int, int]


CHIPS = {
    # An ESP32-D0WD-V3, revision 3.0, with the calibration of its clocks for a crystal of 40 MHz
    "esp32": Chip(
        0, False, 0x3FF5A004, 0x3FF42000, 0x24, 0x80,
        {
            MAGIC_REGISTER: ESP32_MAGIC,
            0x3FF5A00C: 1 << 15 | 1 << 9,
            0x3FF5A010: 0x85,
            0x3FF5A014: 1 << 20,
            0x3FF66000 + 0x7C: 1 << 31,
            0x3FF40014: 347,
            0x3FF5F06C: 770 << 7,
        },
    ),
    "esp32s3": Chip(
        9, True, 0x60007044, 0x60002000, 0x20, 0x58, {0x60007050: 2 << 18, 0x60000014: 347}
    ),
    "esp32c3": Chip(5, True, 0x60008844, 0x60002000, 0x20, 0x58, {0x60008850: 4 << 18}),
    "esp32c6": Chip(
        13, True, 0x600B0844, 0x60003000, 0x20, 0x58,
        # The first is what makes its MAC one of eight bytes
        {0x600B0848: 0xFFFE << 16, 0x600B0850: 1 << 18, 0x600B0854: 1},
    ),
}  # fmt: skip


class Refused(Exception):
    """The loader answers with this error of the protocol."""

    def __init__(self, error: int) -> None:
        super().__init__(hex(error))
        self.error = error


class Flash:
    """A chip of flash in a file: erasing sets a sector to 0xFF, programming only clears bits.

    erased: the number of each sector that was, in order. worn: those in which nothing can be
    programmed any more.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(b"\xff" * FLASH_BYTES)
        self.path = path
        self.erased: list[int] = []
        self.worn: set[int] = set()

    def read(self, at: int, size: int) -> bytes:
        with self.path.open("rb") as f:
            f.seek(at)
            return f.read(size)

    def erase(self, at: int, size: int) -> None:
        """Every sector that has a byte of these."""
        for sector in range(at // SECTOR_BYTES, (at + size + SECTOR_BYTES - 1) // SECTOR_BYTES):
            self._write(sector * SECTOR_BYTES, b"\xff" * SECTOR_BYTES)
            self.erased.append(sector)

    def program(self, at: int, data: bytes) -> None:
        if at // SECTOR_BYTES in self.worn:
            return
        old = int.from_bytes(self.read(at, len(data)), "little")
        self._write(at, (old & int.from_bytes(data, "little")).to_bytes(len(data), "little"))

    def _write(self, at: int, data: bytes) -> None:
        with self.path.open("r+b") as f:
            f.seek(at)
            f.write(data)


class Loader:
    """What answers esptool.

    chip: a key of CHIPS. ops: each command that was answered.
    """

    def __init__(self, chip: str, mac: str, flash: Flash) -> None:
        self.chip = CHIPS[chip]
        self.mac = mac
        self.flash = flash
        self.ops: list[int] = []
        # What is done with a command's data and checksum; gives a value and data
        self._handlers: dict[int, Callable[[bytes, int], tuple[int, bytes]]] = {
            SYNC: lambda data, checksum: (SYNC_VALUE, b""),
            READ_REG: self._read_register,
            WRITE_REG: self._write_register,
            SPI_ATTACH: self._attach,
            SPI_SET_PARAMS: self._set_parameters,
            CHANGE_BAUDRATE: lambda data, checksum: (0, b""),  # a pty has none
            FLASH_BEGIN: self._begin,
            FLASH_DATA: self._data,
            FLASH_END: self._end,
            FLASH_DEFL_BEGIN: self._begin_deflated,
            FLASH_DEFL_DATA: self._data,
            FLASH_DEFL_END: self._end,
            SPI_FLASH_MD5: self._md5,
            READ_FLASH_SLOW: self._read,
        }
        if self.chip.has_security_info:
            self._handlers[GET_SECURITY_INFO] = self._security_info
        self.reset()

    def reset(self) -> None:
        mac = bytes.fromhex(self.mac.replace(":", ""))
        self._received = b""  # of a packet that hasn't ended yet
        self._registers = dict(self.chip.registers)
        self._registers[self.chip.mac] = int.from_bytes(mac[2:], "big")
        rest = self._registers.get(self.chip.mac + 4, 0)
        self._registers[self.chip.mac + 4] = rest | int.from_bytes(mac[:2], "big")
        self._flash_bytes = 0  # until the flash is attached
        self._at = self._left = self._next = 0
        self._inflate: Any = None

    def is_meant(self, data: bytes) -> bool:
        """Whether that can be the next that esptool sends: (the rest of) a packet."""
        return bool(self._received) or data[:1] in (b"", END, b"\0")

    def take(self, data: bytes) -> bytes:
        """What it answers to that."""
        *packets, self._received = (self._received + data).split(END)
        return b"".join(
            self._answer(packet.replace(b"\xdb\xdc", END).replace(b"\xdb\xdd", b"\xdb"))
            for packet in packets
        )

    def _answer(self, packet: bytes) -> bytes:
        if len(packet) < 8:
            return b""
        _, op, size, checksum = struct.unpack_from("<BBHI", packet)
        data = packet[8:]
        if size != len(data) or op not in self._handlers:
            # esptool knows this by its belonging to no command, and by its coming eight times
            return 8 * _reply(0, error=INVALID)
        try:
            value, reply = self._handlers[op](data, checksum)
        except Refused as e:
            return _reply(op, error=e.error)
        except struct.error:
            return _reply(op, error=INVALID)
        self.ops.append(op)
        return (8 if op == SYNC else 1) * _reply(op, value, reply)

    def _read_register(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        (address,) = struct.unpack("<I", data)
        return self._registers.get(address, 0), b""

    def _write_register(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        for address, value, mask, _ in struct.iter_unpack("<IIII", data):
            self._registers[address] = self._registers.get(address, 0) & ~mask | value & mask
        if self._registers.get(self.chip.spi, 0) & SPI_USER:
            self._run_spi_command()
        return 0, b""

    def _run_spi_command(self) -> None:
        """What a flash chip says to a command of its own, which esptool sends by registers."""
        spi, registers = self.chip.spi, self._registers
        command, address = registers[spi + self.chip.usr2] & 0xFF, registers.get(spi + 4, 0)
        answers = {READ_ID: FLASH_ID, READ_SFDP: SFDP if address == 0 else 0}
        registers[spi + self.chip.w0] = answers.get(command, 0)
        registers[spi] = 0  # done

    def _security_info(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        return 0, struct.pack("<I8xII", 0, self.chip.id, 0)

    def _attach(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        struct.unpack("<II", data)
        self._flash_bytes = ROM_FLASH_BYTES
        return 0, b""

    def _set_parameters(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        self._flash_bytes = struct.unpack("<IIIIII", data)[1]
        return 0, b""

    def _begin(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        # All but the oldest ROM want to know whether the data is to be encrypted
        size, blocks, block_bytes, at, *_ = struct.unpack(
            "<IIIII" if self.chip.has_security_info else "<IIII", data
        )
        self._check_range(at, size)
        if block_bytes > BLOCK_BYTES:
            raise Refused(INVALID)
        self.flash.erase(at, size)
        self._at, self._left, self._next, self._inflate = at, blocks, 0, None
        return 0, b""

    def _begin_deflated(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        answer = self._begin(data, checksum)
        self._inflate = zlib.decompressobj()
        return answer

    def _data(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        size, number = struct.unpack_from("<II", data)
        block = data[16:]
        if size != len(block) or number != self._next or self._left == 0:
            raise Refused(FAILED)
        if checksum != _checksum(block):
            raise Refused(BAD_CHECKSUM)
        if self._inflate:
            try:
                block = self._inflate.decompress(block)
            except zlib.error:
                raise Refused(INFLATE_FAILED) from None
        self.flash.program(self._at, block)
        self._at += len(block)
        self._next += 1
        self._left -= 1
        return 0, b""

    def _end(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        struct.unpack("<I", data)
        self.reset()
        return 0, b""

    def _md5(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        at, size, _, _ = struct.unpack("<IIII", data)
        self._check_range(at, size)
        return 0, hashlib.md5(self.flash.read(at, size)).hexdigest().encode()

    def _read(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        at, size = struct.unpack("<II", data)
        self._check_range(at, size)
        return 0, self.flash.read(at, size).ljust(64, b"\0")

    def _check_range(self, at: int, size: int) -> None:
        if at + size > self._flash_bytes:
            raise Refused(FAILED)


def _reply(op: int, value: int = 0, data: bytes = b"", error: int = 0) -> bytes:
    data += bytes((error != 0, error, 0, 0))
    packet = struct.pack("<BBHI", 1, op, len(data), value) + data
    return END + packet.replace(b"\xdb", b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


def _checksum(data: bytes) -> int:
    """The exclusive or of all bytes."""
    total = CHECKSUM_SEED
    for byte in data:
        total ^= byte
    return total
