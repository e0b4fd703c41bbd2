"""Curves as in the paper's figure 16: what part of the trials was over when; needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.elections.experiments import BOARD_RANGES, LOSSES, Experiment
from tests.elections.figures import Figures
from tests.elections.paper import BOTTOM, PAPER, TOP

matplotlib.rcParams.update(
    {"svg.hashsalt": "elections", "svg.fonttype": "none", "font.size": 10, "lines.linewidth": 1.5}
)

PAPERS = "The shipped core (lines), LogCabin in the paper (circles)"
SIZE = (7.5, 4.0)  # inches
POINTS = 100  # of a curve, at most, and as many for its last percent
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")  # Okabe and Ito


class Chart:
    """One picture. from_ms, to_ms: what its time axis shows; is_log: whether by powers of ten."""

    def __init__(self, title: str, from_ms: float, to_ms: float, is_log: bool) -> None:
        self._to_ms = to_ms
        self._figure = Figure(figsize=SIZE, layout="constrained")
        self._axes = axes = self._figure.add_subplot()
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("time without leader, ms")
        axes.set_ylabel("of all trials, %")
        if is_log:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.set_xlim(from_ms, to_ms)
        axes.set_ylim(0, 101)
        axes.grid(True, color="#dddddd", linewidth=0.6)

    def add(self, times: list[float], label: str, color: int, is_dashed: bool = False) -> None:
        """One curve, of that number among the colours."""
        xs, ys = curve(times)
        style = "--" if is_dashed else "-"
        self._axes.plot(xs, ys, label=label, color=COLORS[color], linestyle=style)

    def mark(self, figures: Figures, color: int) -> None:
        """Circles where the paper's curve begins, ends, and has its 50 and 99 percent, if shown."""
        at = [(figures.least, 0), (figures.median, 50), (figures.p99, 99), (figures.worst, 100)]
        shown = [(x, y) for x, y in at if x <= self._to_ms]
        self._axes.plot(
            [x for x, _ in shown], [y for _, y in shown], "o", color=COLORS[color],
            markerfacecolor="white", markersize=5, clip_on=False,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        self._axes.legend(loc="lower right", fontsize=9, frameon=False)
        self._figure.savefig(path, metadata={"Date": None})


def curve(times: list[float]) -> tuple[list[float], list[float]]:
    """x and y of the cumulative curve, thinned but for its tail."""
    ordered = sorted(times)
    count = len(ordered)
    step = max(1, count // POINTS)
    kept = [i for i in range(count) if i % step == 0 or i >= count - max(1, count // 100)]
    return [round(ordered[i], 1) for i in kept], [100 * (i + 1) / count for i in kept]


def _named(timeout_ms: tuple[int, int]) -> str:
    return "%d-%d ms" % timeout_ms


def draw(made: list[Experiment], folder: Path) -> list[Path]:
    """All pictures of these experiments; where they are."""
    charts = {
        "figure16_top": _figure16(made, TOP, Chart(PAPERS, 80, 60_000, True)),
        "figure16_bottom": _figure16(made, BOTTOM, Chart(PAPERS, 0, 650, False)),
        "loss": _loss(made),
        "stalls": _stalls(made),
    }
    paths = [folder / f"{name}.svg" for name in charts]
    for path, chart in zip(paths, charts.values()):
        chart.save(path)
    return paths


def _figure16(made: list[Experiment], ranges: Sequence[tuple[int, int]], chart: Chart) -> Chart:
    for color, timeout_ms in enumerate(ranges):
        for experiment in made:
            if experiment.group == "paper" and experiment.conditions.timeout_ms == timeout_ms:
                chart.add(experiment.times(), _named(timeout_ms), color)
                chart.mark(PAPER[timeout_ms], color)
    return chart


def _loss(made: list[Experiment]) -> Chart:
    chart = Chart("Messages lost", 80, 2000, True)
    for experiment in made:
        if experiment.group == "loss":
            conditions = experiment.conditions
            label = f"{conditions.loss} %, {_named(conditions.timeout_ms)}"
            is_narrow = conditions.timeout_ms == (150, 155)
            chart.add(experiment.times(), label, LOSSES.index(conditions.loss), is_narrow)
    return chart


def _stalls(made: list[Experiment]) -> Chart:
    chart = Chart(
        "Boards: nothing is erased (lines); a sector each second (dashed)", 80, 3000, True
    )
    for experiment in made:
        if experiment.group == "boards" or experiment.group == "worn":
            timeout_ms = experiment.conditions.timeout_ms
            if timeout_ms in BOARD_RANGES:
                is_worn = experiment.group == "worn"
                label = (
                    f"{_named(timeout_ms)}, erases of 45-300 ms" if is_worn else _named(timeout_ms)
                )
                chart.add(experiment.times(), label, BOARD_RANGES.index(timeout_ms), is_worn)
    return chart
