"""How worn a flash is, and how long it lasts: the arithmetic, and what is shown of it."""

from typing import Any

import pytest

from host_tools import view
from host_tools.wear import ENDURANCE, LEAST_UPTIME_MS, wear

DAY_MS = 86_400_000
DAYS_PER_YEAR = 365.25


def status(uptime_ms: int = DAY_MS, **flash: int) -> dict[str, Any]:
    """Of a node whose ring of 100 sectors has been erased twice in a day, and 10 times before."""
    usual = {
        "sectors": 100, "used": 11, "left_out": 1, "snapshot": 4567, "snapshot_bytes": 3000,
        "written": 1200, "entries": 8000, "erases": 200, "late_erases": 0, "programs": 9000,
        "pages": 9100, "bytes": 900_000,
    }  # fmt: skip
    return {"uptime_ms": uptime_ms, "flash": {**usual, **flash}}


def test_the_years_are_what_is_left_of_its_endurance_at_the_rate_since_start() -> None:
    years = wear(status()).years_left

    # two erases a day for each sector, of which it has had twelve
    assert years == pytest.approx((ENDURANCE - 12) / 2 / DAYS_PER_YEAR)


def test_half_the_time_is_half_the_years_and_twice_the_sectors_twice_as_many() -> None:
    usual = wear(status(written=0)).years_left
    assert usual

    assert wear(status(DAY_MS // 2, written=0)).years_left == pytest.approx(usual / 2)
    assert wear(status(written=0, sectors=200)).years_left == pytest.approx(usual * 2)


def test_what_is_worn_out_has_no_years_left_and_not_less() -> None:
    assert wear(status(written=100 * ENDURANCE)).years_left == 0
    assert wear(status(written=101 * ENDURANCE)).years_left == 0


def test_before_the_first_erase_there_is_nothing_to_tell() -> None:
    found = wear(status(erases=0))

    assert (found.entries_per_erase, found.years_left) == (None, None)
    assert wear(status(erases=1)).years_left


def test_the_first_minute_tells_nothing_of_years() -> None:
    for uptime_ms in (0, LEAST_UPTIME_MS - 1):
        found = wear(status(uptime_ms))

        assert (found.entries_per_erase, found.years_left) == (40, None)
    assert wear(status(LEAST_UPTIME_MS)).years_left


def test_entries_count_for_each_erase() -> None:
    assert wear(status()).entries_per_erase == 40
    assert wear(status(entries=0)).entries_per_erase == 0
    assert wear(status(entries=1, erases=3)).entries_per_erase == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, "-"), (0.0, "0.0"), (0.04, "0.0"), (9.94, "9.9"), (10.0, "10"), (136.9, "137"),
     (999.9, "1000"), (1000.0, ">1000"), (1e9, ">1000")],
)  # fmt: skip
def test_years_are_shown_as_far_as_they_mean_something(number: float | None, shown: str) -> None:
    assert view.years(number) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (900_000, "878.9 KB"), (1 << 20, "1.0 MB"),
     (50 << 30, "51200.0 MB")],
)  # fmt: skip
def test_sizes_are_shown_with_a_unit(count: int, shown: str) -> None:
    assert view.size(count) == shown
