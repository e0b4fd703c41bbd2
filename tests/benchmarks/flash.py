"""Wear: sector erases, page programs and bytes per committed command, counted."""

from raft import requests, sessions
from raft.messages import COMMAND
from raft.sector import SECTOR_BYTES
from raft.store import Store
from tests.flash import RamFlash

COMMANDS = 1600
SECTORS = 64  # a partition of 256 KB


def command(number: int) -> bytes:
    """A put of 64 bytes, key and value, as the log carries it."""
    return sessions.command(1, number, requests.put(b"key-%04d" % (number % 100), b"v" * 56))


def used_flash() -> RamFlash:
    """A partition full of something else, so that each sector costs its erase."""
    flash = RamFlash(SECTORS)
    for sector in range(SECTORS):
        flash.writeblocks(sector, bytes(SECTOR_BYTES), 0)
    return flash


def measure_batch(batch: int) -> dict[str, float]:
    """COMMANDS commands, `batch` of them in each flash program."""
    store = Store(used_flash(), 1)
    store.append(True, 1, 1, 1, [(1, 0, b"")])
    store.programs = store.pages = store.bytes = store.erases = store.late_erases = 0
    for first in range(0, COMMANDS, batch):
        store.idle()
        entries = [(1, COMMAND, command(first + i)) for i in range(batch)]
        store.append(False, 1, 1, store.last + 1, entries)
    if store.late_erases:
        raise AssertionError(f"{store.late_erases} erases on the path of a commit")
    return {
        f"flash.erases_per_command.batch{batch}": store.erases / COMMANDS,
        f"flash.programs_per_command.batch{batch}": store.pages / COMMANDS,
        f"flash.bytes_per_command.batch{batch}": store.bytes / COMMANDS,
    }


def measure() -> dict[str, float]:
    return {**measure_batch(1), **measure_batch(16)}
