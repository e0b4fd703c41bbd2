"""What a node's flash has done since its start, and how long it will last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDURANCE = 100_000  # erases that a sector takes at least (W25Q32 datasheet, "Features")
LEAST_UPTIME_MS = 60_000  # what a node has done in less tells nothing of years
MS_PER_YEAR = 365.25 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Wear:
    """The flash of one node; what is counted is counted since its start.

    entries_per_erase: log entries written; None until the first erase. years_left: until
    ENDURANCE is reached at the rate so far; None before the first erase, and within the first
    LEAST_UPTIME_MS.
    """

    sectors: int
    used: int
    left_out: int
    snapshot_index: int
    snapshot_bytes: int
    erases: int
    bytes_programmed: int
    entries_per_erase: float | None
    years_left: float | None


def wear(status: Mapping[str, Any]) -> Wear:
    """Of what a node says of itself (firmware/raft/status.py)."""
    flash = status["flash"]
    return Wear(
        sectors=flash["sectors"],
        used=flash["used"],
        left_out=flash["left_out"],
        snapshot_index=flash["snapshot"],
        snapshot_bytes=flash["snapshot_bytes"],
        erases=flash["erases"],
        bytes_programmed=flash["bytes"],
        entries_per_erase=flash["entries"] / flash["erases"] if flash["erases"] else None,
        years_left=_years_left(flash, status["uptime_ms"]),
    )


def _years_left(flash: Mapping[str, Any], uptime_ms: int) -> float | None:
    if not flash["erases"] or uptime_ms < LEAST_UPTIME_MS:
        return None
    # A ring wears evenly: each sector has been taken into use as often as any other.
    per_year = flash["erases"] / flash["sectors"] / uptime_ms * MS_PER_YEAR
    spent = flash["written"] / flash["sectors"]
    years: float = max(0.0, ENDURANCE - spent) / per_year
    return years
