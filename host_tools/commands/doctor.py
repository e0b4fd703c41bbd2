"""`raftctl doctor`"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from host_tools import attached, boards, cluster, deploying, ports, secret, view
from host_tools import doctor as judging
from host_tools.attached import Asked, Silent
from host_tools.cluster import DEFAULT_FILE, Cluster
from host_tools.deploying import DeployError
from host_tools.doctor import ERROR, WARNING, Finding, Pair
from host_tools.examining import Board, Report, examine
from host_tools.options import (
    NEGATIVE,
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    json_option,
    ports_option,
)
from host_tools.ports import PortError
from host_tools.secret import CLUSTER, WIFI, SecretsError

STYLES = {ERROR: "bold red", WARNING: "yellow"}
NOTHING_WRONG = "Nothing is wrong."


@click.command()
@cluster_option
@ports_option
@json_option
def doctor(cluster_file: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Find what is wrong with the boards, and what to do.

    Boards are asked how they are, and measure the links between them: round trips and losses.
    Nodes that run go on meanwhile. Other programs are stopped and started again; a board without
    MicroPython is reset. Without a cluster.toml, what that would say isn't looked at.

    The exit status is 1 if something is wrong.
    """
    described = _described(cluster_file)
    console = view.console()
    try:
        with _reporting(console, as_json) as report:
            report("asking the boards")
            found = attached.ask_all(names or ports.candidates())
            examined = examine([b for b in found if isinstance(b, Asked)], report)
            report("comparing what was deployed")
            marks, unknown = _marks(described, examined)
    except (PortError, DeployError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e
    silent = [board for board in found if isinstance(board, Silent)]
    findings = [*judging.findings(examined, silent, described, marks), *unknown]
    pairs = judging.pairs(examined)
    if as_json:
        shown: dict[str, Sequence[Board | Pair | Finding]] = {
            "boards": examined,
            "pairs": pairs,
            "findings": findings,
        }
        click.echo(json.dumps({key: [dataclasses.asdict(v) for v in shown[key]] for key in shown}))
    else:
        _show(console, examined, pairs, findings)
    if findings:
        raise SystemExit(NEGATIVE)


def _described(file: Path) -> Cluster | None:
    """None if nobody has written one, or if it isn't for boards."""
    if file == Path(DEFAULT_FILE) and not file.exists():
        return None
    described = cluster.load(file)
    if described.has_boards:
        return described
    click.echo(f"{file} is a cluster of this machine: boards are looked at without it.", err=True)
    return None


def _marks(
    described: Cluster | None, examined: Sequence[Board]
) -> tuple[dict[int, str], list[Finding]]:
    """By nodes, what `raftctl deploy` would mark them with; or why that isn't known."""
    if described is None:
        return {}, []
    try:
        secrets = secret.load(secret.path_beside(described.path), CLUSTER, WIFI)
    except SecretsError as e:
        what, _, remedy = str(e).rpartition(": ")
        return {}, [Finding(WARNING, "cluster", what, remedy)]
    marks = {}
    for board in examined:
        member = judging.member_of(board, described)
        if member and board.asked.is_running:
            config = deploying.config_of(described, member, boards.load(member.board), secrets)
            marks[member.id] = deploying.mark(config, board.asked.micropython)
    return marks, []


@contextmanager
def _reporting(console: Console, is_silent: bool) -> Iterator[Report]:
    """What is being done, in one line on a terminal, and elsewhere a line for each step."""
    if is_silent:
        yield lambda step: None
    elif console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        yield click.echo


def _show(
    console: Console, examined: Sequence[Board], pairs: Sequence[Pair], findings: Sequence[Finding]
) -> None:
    if examined:
        console.print(_board_table(examined))
        console.print()
    if pairs:
        console.print(_pair_table(pairs))
        console.print()
    for finding in findings:
        severity = f"{finding.severity:8}", STYLES[finding.severity]
        console.print(Text.assemble(severity, finding.line), soft_wrap=True)
    if not findings:
        click.echo(NOTHING_WRONG)


def _board_table(examined: Sequence[Board]) -> Table:
    left = "port", "runs", "MicroPython", "address"
    made = view.plain_table("node", *left, "RSSI", "heap", "clock", left=left)
    for board in sorted(examined, key=lambda b: (b.asked.node is None, b.asked.node)):
        made.add_row(
            _or_untold(board.asked.node), view.short(board.asked.port), board.runs,
            _or_untold(board.asked.micropython), _or_untold(board.ip),
            _or_untold(board.rssi, " dBm"), view.size(board.heap) if board.heap else view.UNTOLD,
            _rate(board), style=view.ROLE_STYLES.get(board.runs),
        )  # fmt: skip
    return made


def _pair_table(pairs: Sequence[Pair]) -> Table:
    made = view.plain_table("nodes", "lost", "of", "median", "slowest", left=("nodes",))
    for pair in pairs:
        made.add_row(
            f"{pair.nodes[0]} - {pair.nodes[1]}", str(pair.lost), str(pair.sent),
            _or_untold(pair.median, " ms"), _or_untold(pair.max, " ms"),
        )  # fmt: skip
    return made


def _or_untold(value: int | str | None, unit: str = "") -> str:
    return view.UNTOLD if value in (None, "") else f"{value}{unit}"


def _rate(board: Board) -> str:
    """How fast its clock is, compared to the host's."""
    clock = board.clock
    return f"{100 * clock.board / clock.host:.0f}%" if clock and clock.host else view.UNTOLD
