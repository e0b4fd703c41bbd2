"""What many trials come to."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Times in ms, of which p99 is the 99th percentile."""

    least: float
    median: float
    mean: float
    p99: float
    worst: float


def figures_of(times: Sequence[float]) -> Figures:
    """Of these times, in any order."""
    ordered = sorted(times)
    return Figures(
        ordered[0],
        statistics.median(ordered),
        statistics.fmean(ordered),
        ordered[-(-99 * len(ordered) // 100) - 1],
        ordered[-1],
    )
