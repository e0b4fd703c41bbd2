"""How the state of a cluster looks on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from host_tools.cluster import Cluster

PIPE_WIDTH = 120  # where there is no terminal that has one
ROLE_STYLES = {"leader": "bold green", "candidate": "yellow", "precandidate": "yellow"}
UNREACHABLE = "unreachable"


def console() -> Console:
    """Writes to stdout: with colours on a terminal only, and not where NO_COLOR is set."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made


def leader_of(statuses: Mapping[int, Mapping[str, Any]]) -> int:
    """The node that leads in the newest term of those that answer; 0: none."""
    leaders = {s["term"]: node for node, s in statuses.items() if s["role"] == "leader"}
    newest = max((s["term"] for s in statuses.values()), default=0)
    return leaders.get(newest, 0)


def table(cluster: Cluster, statuses: Mapping[int, Mapping[str, Any]], absent: str) -> Table:
    """One line per node; `absent` is what is shown for the role of one that doesn't answer."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("node", "role", "term", "leader", "commit", "applied", "last", "flash", "up"):
        made.add_column(name, justify="left" if name == "role" else "right", no_wrap=True)
    made.add_column("interpreter", no_wrap=True)
    for node in sorted(cluster.nodes):
        status = statuses.get(node)
        if status is None:
            made.add_row(str(node), absent, style="red")
        else:
            made.add_row(*_cells(status), style=ROLE_STYLES.get(status["role"]))
    return made


def _cells(status: Mapping[str, Any]) -> list[str]:
    flash = status["flash"]
    numbers = [str(status[name]) for name in ("commit", "applied", "last")]
    return [
        str(status["node"]),
        status["role"],
        str(status["term"]),
        str(status["leader"] or "-"),
        *numbers,
        f"{100 * flash['used'] / flash['sectors']:.0f}%",
        duration(status["uptime_ms"]),
        status["interpreter"],
    ]


def duration(ms: int) -> str:
    """Such as 12s, 3m05s, 2h30m, 4d02h."""
    s = ms // 1000
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02}s"
    if s < 86400:
        return f"{s // 3600}h{s // 60 % 60:02}m"
    return f"{s // 86400}d{s // 3600 % 24:02}h"
