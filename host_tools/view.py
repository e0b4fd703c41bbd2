"""How the state of a cluster looks on a terminal."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from host_tools.cluster import Cluster
from host_tools.firmware import Store
from host_tools.wear import Wear, wear

LEARNER, OUT = "learner", "out"  # firmware/raft/core.py, role_name
PIPE_WIDTH = 120  # where there is no terminal that has one
ROLE_STYLES = {
    "leader": "bold green",
    "candidate": "yellow",
    "precandidate": "yellow",
    LEARNER: "yellow",
    "standby": "yellow",
    "dead": "yellow",
    OUT: "red",
}
NO_MEMBERS: dict[str, Any] = {"index": 0, "voters": [], "standby": [], "learners": [], "dead": []}
UNTOLD = "-"
GONE = "gone"  # for the role of a board whose port is
MAX_NAME = 12  # characters of a port
MANY_YEARS = 1000
UNREACHABLE = "unreachable"
MANY_REFUSED = 100  # datagrams; fewer are what any restart, or a doubling network, brings
CAUSES = {
    "forged": "forged, or by another key",
    "repeated": "that had been there before",
    "strangers": "from nodes and clients that it has not met",
    "limited": "requests too many of a credential",
}


@dataclass
class Row:
    """A board as its serial line shows it. restarts: those seen; facts: the latest of each."""

    port: str
    node: int | None = None
    role: str = ""
    restarts: int = 0
    is_gone: bool = False  # its port
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def all_restarts(self) -> int:
        """Those too that only the board has seen: because of failures, since its power came."""
        return max(self.restarts, self.facts.get("restarts") or 0)


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


def members_of(statuses: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The newest configuration of those that nodes know: ids by `voters`, `standby`..."""
    known: list[dict[str, Any]] = [status["members"] for status in statuses.values()]
    return max(known, key=lambda members: members["index"], default=NO_MEMBERS)


def table(cluster: Cluster, statuses: Mapping[int, Mapping[str, Any]], absent: str) -> Table:
    """One line per node; `absent` is what is shown for the role of one that doesn't answer."""
    names = ("node", "role", "term", "leader", "commit", "applied", "last", "flash", "up")
    made = plain_table(*names, "interpreter", left=("role", "interpreter"))
    for node in sorted(cluster.nodes.keys() | statuses):
        status = statuses.get(node)
        if status is None:
            made.add_row(str(node), absent, style="red")
        else:
            role = _role(status, members_of(statuses))
            made.add_row(*_cells(status, role), style=ROLE_STYLES.get(role))
    return made


def flash_table(cluster: Cluster, statuses: Mapping[int, Mapping[str, Any]], absent: str) -> Table:
    """One line per node about its flash; counted since the node's start."""
    names = ("node", "sectors", "left out", "snapshot", "size", "erases", "written")
    made = plain_table(*names, "entries/erase", "years")
    for node in sorted(cluster.nodes):
        if node in statuses:
            made.add_row(str(node), *_flash_cells(wear(statuses[node])))
        else:
            made.add_row(str(node), absent, style="red")
    return made


def glance(rows: Sequence[Row]) -> Table:
    """One line per board, of what it has said on its serial line."""
    names = ("node", "role", "term", "leader", "commit", "heap", "RSSI", "restarts", "port")
    made = plain_table(*names, left=("role", "port"))
    for row in rows:
        facts = [str(row.facts.get(name) or UNTOLD) for name in ("term", "leader", "commit")]
        heap, rssi = row.facts.get("heap"), row.facts.get("rssi")
        made.add_row(
            UNTOLD if row.node is None else str(row.node),
            GONE if row.is_gone else row.role or UNTOLD,
            *facts,
            size(heap) if heap else UNTOLD,
            UNTOLD if rssi is None else f"{rssi} dBm",
            str(row.all_restarts),
            row.port,
            style="red" if row.is_gone else ROLE_STYLES.get(row.role),
        )
    return made


def doubts(statuses: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A sentence for each node that can't trust its own flash: why, and until when."""
    found = []
    for node, status in statuses.items():
        why, until = "", "all other nodes have answered a leader"
        if status["doubt"] == Store.ALL:
            why = "its flash was replaced, or has lost what it had promised"
        elif status["doubt"]:
            why = f"its flash may have lost entries up to {status['doubt']}"
            until = f"these are committed, or {until}"
        if why:
            found.append(f"node {node} has no vote: {why}; it has one again when {until}")
    return found


def silences(statuses: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A sentence for each voter that the leader hasn't heard for long."""
    return [
        f"node {node}, a voter, is unheard of for {duration(ms)}: start it, or `raftctl remove "
        f"{node}`, or `raftctl replace {node} NEW`"
        for status in statuses.values()
        for node, ms in sorted(status["silent"].items())
    ]


def strangers(statuses: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A sentence for each node that is no member."""
    members = members_of(statuses)
    known = {node for ids in members.values() if isinstance(ids, list) for node in ids}
    return [
        f"node {node} is no member: `raftctl add {node}`" for node in statuses if node not in known
    ]


def refusals(statuses: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A sentence for each node that somebody sends what it doesn't take."""
    sentences = []
    for node, status in statuses.items():
        counts = {cause: status.get("udp", {}).get(cause, 0) for cause in CAUSES}
        if sum(counts.values()) >= MANY_REFUSED:
            told = ", ".join(f"{n} {CAUSES[cause]}" for cause, n in counts.items() if n)
            sentences.append(f"node {node} has refused datagrams since its start: {told}")
    return sentences


def failures(statuses: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A sentence for each node that has failed, or something beside it."""
    return [
        f"node {node}: {sentence}"
        for node, status in statuses.items()
        if (sentence := failed(status.get("restarts", 0), status.get("failures", 0)))
    ]


def failed(restarts: int, tasks: int) -> str:
    """So often, since its power came, a node has started anew by itself, and tasks beside it."""
    told = []
    if restarts:
        told.append(f"it has failed and started anew {times(restarts)}")
    if tasks:
        told.append(f"tasks beside it have failed {times(tasks)}")
    return f"{' and '.join(told)} since its power came" if told else ""


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def key_changes(statuses: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A sentence if nodes have more than one key, or not the same."""
    held = {tuple(status["keys"]) for status in statuses.values()}
    if len(held) <= 1 and all(len(keys) == 1 for keys in held):
        return []
    return ["the cluster's key is being changed: `raftctl key show` tells how far that is"]


def listed(nodes: Iterable[int]) -> str:
    """Such as 1, 2 and 3; of one at least."""
    *others, last = map(str, nodes)
    return f"{', '.join(others)} and {last}" if others else last


def nodes(nodes: Collection[int]) -> str:
    """Such as node 1, or nodes 1 and 2."""
    return f"node{'s' if len(nodes) > 1 else ''} {listed(nodes)}"


def short(port: str) -> str:
    """Its name in few letters: ttyUSB0 of /dev/ttyUSB0."""
    return port.rstrip("/").rsplit("/", 1)[-1][-MAX_NAME:]


def plain_table(*names: str, left: Sequence[str] = ()) -> Table:
    """Without lines; numbers stand to the right, and what is to stand to the left is named."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        made.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return made


def _role(status: Mapping[str, Any], members: Mapping[str, Any]) -> str:
    """What it does; of one without a vote, whether it is to have one."""
    if status["role"] == LEARNER and not status["doubt"]:
        node = status["node"]
        return next((role for role in ("standby", "dead") if node in members[role]), LEARNER)
    return str(status["role"])


def _cells(status: Mapping[str, Any], role: str) -> list[str]:
    flash = status["flash"]
    numbers = [str(status[name]) for name in ("commit", "applied", "last")]
    return [
        str(status["node"]),
        role,
        str(status["term"]),
        str(status["leader"] or "-"),
        *numbers,
        f"{100 * flash['used'] / flash['sectors']:.0f}%",
        duration(status["uptime_ms"]),
        status["interpreter"],
    ]


def _flash_cells(flash: Wear) -> list[str]:
    per_erase, has_snapshot = flash.entries_per_erase, flash.snapshot_index > 0
    return [
        f"{flash.used}/{flash.sectors}",
        str(flash.left_out),
        str(flash.snapshot_index) if has_snapshot else UNTOLD,
        size(flash.snapshot_bytes) if has_snapshot else UNTOLD,
        str(flash.erases),
        size(flash.bytes_programmed),
        UNTOLD if per_erase is None else f"{per_erase:.1f}",
        years(flash.years_left),
    ]


def years(number: float | None) -> str:
    if number is None:
        return UNTOLD
    if number >= MANY_YEARS:
        return f">{MANY_YEARS}"
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def size(count: int) -> str:
    """Such as 812 B, 3.4 KB, 12.0 MB."""
    if count < 1024:
        return f"{count} B"
    kb = count / 1024
    return f"{kb:.1f} KB" if kb < 1024 else f"{kb / 1024:.1f} MB"


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
