"""Wear: sector erases, page programs and bytes per committed command, counted."""

from raft.messages import COMMAND
from raft.sector import SECTOR_BYTES
from raft.store import Store
from tests.flash import RamFlash
from tests.solo import SECTORS, Solo, put

COMMANDS = 1600
LIFE = 100_000  # commands, through a ring that holds about 2,600


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
        entries = [(1, COMMAND, put(1, first + i)) for i in range(batch)]
        store.append(False, 1, 1, store.last + 1, entries)
    if store.late_erases:
        raise AssertionError(f"{store.late_erases} erases on the path of a commit")
    return {
        f"flash.erases_per_command.batch{batch}": store.erases / COMMANDS,
        f"flash.programs_per_command.batch{batch}": store.pages / COMMANDS,
        f"flash.bytes_per_command.batch{batch}": store.bytes / COMMANDS,
    }


def measure_life() -> dict[str, float]:
    """LIFE commands, one in each program, with all the snapshots that they make necessary."""
    flash = used_flash()
    solo = Solo(flash)
    store = solo.node.store
    start, erased, late = store.bytes, list(flash.erased), store.late_erases
    while solo.commands < LIFE:
        solo.command()
    erases = [after - before for before, after in zip(erased, flash.erased, strict=True)]
    if store.late_erases != late:
        raise AssertionError(f"{store.late_erases - late} erases on the path of a commit")
    return {
        "flash.amplification": (store.bytes - start) / solo.bytes,
        "flash.entries_per_erase": LIFE / sum(erases),
        "flash.erase_spread": max(erases) / min(erases),
    }


def measure() -> dict[str, float]:
    return {**measure_batch(1), **measure_batch(16), **measure_life()}
