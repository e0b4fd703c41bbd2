"""The pictures: all that matters of a curve is in them, and each run draws the same."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="matplotlib comes with the extra `proof`")

from tests.elections.charts import Chart, curve
from tests.elections.paper import PAPER


def test_a_curve_is_thinned_but_for_its_tail() -> None:
    xs, ys = curve([float(n) for n in range(1000, 0, -1)])
    assert len(xs) < 120
    assert (xs[0], ys[0]) == (1, 0.1)
    assert xs[-10:] == [float(n) for n in range(991, 1001)] and ys[-1] == 100


def test_a_picture_is_the_same_each_time(tmp_path: Path) -> None:
    pictures = []
    for name in ("one.svg", "two.svg"):
        chart = Chart("times", 80, 1000, True)
        chart.add([float(n) for n in range(100, 900)], "a curve", 0)
        chart.mark(PAPER[150, 155], 0)
        chart.save(tmp_path / name)
        pictures.append((tmp_path / name).read_text())
    assert pictures[0] == pictures[1]
    assert "a curve" in pictures[0] and len(pictures[0]) < 30_000
