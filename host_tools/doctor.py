"""What is wrong with boards and their cluster, and what to do about it: judged, not measured."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from host_tools.attached import AT_REPL, JOINING, NOTHING, OTHER, Silent
from host_tools.cluster import Cluster, Member, is_address
from host_tools.deploying import OLDEST
from host_tools.examining import Board, Link
from host_tools.view import LEARNER, OUT, failed

ERROR, WARNING = "error", "warning"
SEVERITIES = (ERROR, WARNING)

WEAK_DBM = -75  # below it, Wi-Fi falls back to slow rates, and sends much of it again
# A leader lives in 76 KB of a heap of 84 (README.md): that much has to be free for what comes and
# goes.
LOW_HEAP_BYTES = 8 * 1024
CLOCK_TOLERANCE = 0.05  # crystals are a thousand times better; a wrong one is off by a half
MOST_LOST = 0.05  # of the probes; a heartbeat may get lost, two in a row should not
ERASE_MS = 45  # a sector's, as a rule (firmware/README.md); everything stands still meanwhile
STEP_MS = 50  # advice is rounded up to that

JOIN_REMEDIES = {
    "no_ap_found": "correct its name in secrets.toml, or put the board nearer to it; an ESP32 "
    "knows 2.4 GHz alone",
    "wrong_password": "correct its password in secrets.toml, and `raftctl deploy`",
    "no_address": "see to the DHCP of the router",
}


@dataclass(frozen=True)
class Finding:
    """severity: ERROR or WARNING. where: a board, a pair of nodes, or the cluster."""

    severity: str
    where: str
    what: str
    remedy: str

    @property
    def line(self) -> str:
        return f"{self.where}: {self.what}: {self.remedy}"


@dataclass(frozen=True)
class Pair:
    """The links between two nodes, both ways together: the worse of their round trips (ms)."""

    nodes: tuple[int, int]
    sent: int
    lost: int
    median: int | None
    max: int | None

    @property
    def title(self) -> str:
        return f"nodes {self.nodes[0]} and {self.nodes[1]}"


def findings(
    boards: Sequence[Board],
    silent: Sequence[Silent],
    described: Cluster | None,
    marks: Mapping[int, str],
) -> list[Finding]:
    """All that is wrong, the worst first.

    described: None where there is no cluster.toml; boards that aren't in it are left alone.
    marks: by nodes that run, what a deployment of now would be marked with (deploying.mark).
    """
    ours = [board for board in boards if described is None or member_of(board, described)]
    found = [*_ports(silent), *_doubles(boards), *_versions(ours)]
    for board in ours:
        member = member_of(board, described)
        found += _board(board)
        if member or board.asked.node is not None:
            found += _not_running(board)
        if member:
            found += _not_as_described(board, member, marks)
    measured = pairs(ours)
    found += _cluster(ours, described)
    found += _links(measured, answering(ours))
    if described:
        found += timing(described.heartbeat_ms, described.election_ms, measured)
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def member_of(board: Board, described: Cluster | None) -> Member | None:
    members = described.nodes.values() if described else ()
    return next((m for m in members if m.mac == board.asked.mac), None)


def pairs(boards: Sequence[Board]) -> list[Pair]:
    """Of all links that were measured."""
    found: defaultdict[tuple[int, int], list[Link]] = defaultdict(list)
    for link in (link for board in boards for link in board.links):
        found[min(link.node, link.peer), max(link.node, link.peer)].append(link)
    return [
        Pair(
            nodes,
            sum(link.sent for link in links),
            sum(link.lost for link in links),
            max((link.median for link in links if link.median is not None), default=None),
            max((link.max for link in links if link.max is not None), default=None),
        )
        for nodes, links in sorted(found.items())
    ]


def answering(boards: Sequence[Board]) -> set[int]:
    """The nodes that run: those that say so, and those that have answered another's probe."""
    run = {board.asked.node for board in boards if is_up(board)}
    heard = {link.peer for board in boards for link in board.links if link.lost < link.sent}
    return {node for node in run | heard if node is not None}


def is_up(board: Board) -> bool:
    return board.asked.is_running and board.runs != JOINING


def timing(
    heartbeat_ms: int, election_ms: tuple[int, int], measured: Sequence[Pair]
) -> Iterator[Finding]:
    """Whether the timeouts of cluster.toml fit to the round trips that were measured."""
    worst = max((pair.max for pair in measured if pair.max is not None), default=None)
    median = max((pair.median for pair in measured if pair.median is not None), default=0)
    if worst is None:
        return
    low, high = election_ms
    # One heartbeat may be lost, the next be as late as the slowest round trip, and find its
    # leader or its follower erasing flash: that is no leader's death yet.
    least = 2 * heartbeat_ms + worst + ERASE_MS
    # A pre-vote and a vote are two round trips: before they are done, the next node that stands
    # for election splits the votes.
    spread = 2 * median
    if low >= least and high - low >= spread:
        return
    advised = max(low, -least // STEP_MS * -STEP_MS)
    remedy = (
        f"set election_ms = [{advised}, {2 * max(advised, -spread // STEP_MS * -STEP_MS)}] in "
        "cluster.toml, and `raftctl deploy`"
    )
    if low < least:
        why = (
            f"two heartbeats of {heartbeat_ms} ms, a round trip of {worst} ms and a flash erase "
            f"of {ERASE_MS} ms take longer than the shortest election timeout, {low} ms"
        )
        yield Finding(ERROR, "cluster", why, remedy)
    if high - low < spread:
        why = (
            f"election timeouts differ by no more than {high - low} ms, and a vote takes "
            f"{spread} ms"
        )
        yield Finding(WARNING, "cluster", why, remedy)


# One board


def _ports(silent: Sequence[Silent]) -> Iterator[Finding]:
    for port in silent:
        what, _, remedy = port.problem.removeprefix(f"{port.port} ").rpartition(": ")
        yield Finding(WARNING, port.port, what, remedy)


def _name(board: Board) -> str:
    node = board.asked.node
    return board.asked.port if node is None else f"node {node}"


def _board(board: Board) -> Iterator[Finding]:
    name, version = _name(board), board.asked.micropython
    if version and _number(version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        remedy = "`raftctl up` with a newer one (--firmware)"
        yield Finding(ERROR, name, f"MicroPython {version} is older than {oldest}", remedy)
    if board.has_raft is False:
        what = "its flash has no partition for the raft log"
        yield Finding(ERROR, name, what, "`raftctl up` flashes the table of its kind")
    if board.pm:
        what = f"Wi-Fi power save is on (pm={board.pm}) and holds datagrams back"
        remedy = "reset the board, and let no app set `pm`"
        yield Finding(ERROR, name, what, remedy)
    if board.rssi is not None and board.rssi < WEAK_DBM:
        what = f"its signal is weak, {board.rssi} dBm"
        remedy = f"put the board or the access point elsewhere, until it is {WEAK_DBM} or more"
        yield Finding(WARNING, name, what, remedy)
    if board.heap is not None and board.heap < LOW_HEAP_BYTES:
        what = f"{board.heap} bytes of heap are free, fewer than {LOW_HEAP_BYTES}"
        yield Finding(WARNING, name, what, "let its app keep less, or do without")
    if board.is_lost:
        what = "it hasn't answered all that it was asked"
        remedy = "see to its cable, or bring its firmware up to date with `raftctl deploy`"
        yield Finding(WARNING, name, what, remedy)
    if told := failed(board.restarts, board.failures):
        yield Finding(WARNING, name, told, f"see why with `raftctl monitor {board.asked.port}`")
    yield from _clock(board)


def _clock(board: Board) -> Iterator[Finding]:
    clock = board.clock
    if clock is None:
        return
    if clock.board < 0:
        remedy = f"see why with `raftctl monitor {board.asked.port}`"
        yield Finding(ERROR, _name(board), "it has restarted meanwhile", remedy)
    elif not (
        clock.least * (1 - CLOCK_TOLERANCE) <= clock.board <= clock.most * (1 + CLOCK_TOLERANCE)
    ):
        what = f"its clock has counted {clock.board:.0f} ms in {clock.least:.0f} to "
        remedy = "flash MicroPython for this kind of board; if it is, exchange the board"
        yield Finding(ERROR, _name(board), f"{what}{clock.most:.0f} ms", remedy)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _not_running(board: Board) -> Iterator[Finding]:
    name, port = _name(board), board.asked.port
    if board.runs == NOTHING:
        yield Finding(ERROR, name, "it has no MicroPython", "`raftctl up` flashes it")
    elif board.runs == OTHER:
        yield Finding(ERROR, name, "another program runs there", "`raftctl up` puts a node there")
    elif board.runs == AT_REPL and board.has_raft:
        what, remedy = "no node runs, and its REPL waits", "`raftctl deploy`"
        if board.reason:
            what += f" ({board.reason})"
        else:
            what += f" ({board.crashes} crashes in a row)" if board.crashes else ""
            remedy = f"press RESET, and see what it says with `raftctl monitor {port}`"
        yield Finding(ERROR, name, what, remedy)
    elif board.runs == JOINING:
        what = f"it doesn't come onto the Wi-Fi ({board.reason or 'nothing is known yet'})"
        remedy = JOIN_REMEDIES.get(board.reason, "put it nearer to the access point")
        yield Finding(ERROR, name, what, remedy)


def _not_as_described(board: Board, member: Member, marks: Mapping[int, str]) -> Iterator[Finding]:
    if board.ip and is_address(member.host) and is_up(board) and board.ip != member.host:
        what = f"its address is {board.ip}, and its host in cluster.toml {member.host}"
        remedy = "let the router always give it that one, or correct host and `raftctl deploy`"
        yield Finding(ERROR, f"node {member.id}", what, remedy)
    mark = board.asked.deployed.partition(".")[0]
    if marks.get(member.id, mark) != mark:
        what = "what was deployed isn't what cluster.toml and firmware/ say now"
        yield Finding(WARNING, f"node {member.id}", what, "`raftctl deploy`")


# Several


def _doubles(boards: Sequence[Board]) -> Iterator[Finding]:
    for node in sorted({b.asked.node for b in boards if b.asked.node is not None}):
        same = [board.asked.port for board in boards if board.asked.node == node]
        if len(same) > 1:
            what = f"there is more than one, at {' and '.join(same)}"
            remedy = "give each board its own node in cluster.toml, and `raftctl deploy`"
            yield Finding(ERROR, f"node {node}", what, remedy)


def _versions(boards: Sequence[Board]) -> Iterator[Finding]:
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for board in boards:
        if board.asked.micropython:
            versions[board.asked.micropython].append(_name(board))
    if len(versions) > 1:
        parts = [f"{version} on {', '.join(names)}" for version, names in sorted(versions.items())]
        remedy = "flash the newest onto all with `raftctl up`"
        yield Finding(WARNING, "boards", f"MicroPython {'; '.join(parts)}", remedy)


def _cluster(boards: Sequence[Board], described: Cluster | None) -> Iterator[Finding]:
    alive = answering(boards)
    known = alive | {link.peer for board in boards for link in board.links}
    for member in described.nodes.values() if described else ():
        known.add(member.id)
        is_here = any(board.asked.mac == member.mac for board in boards)
        if not is_here and member.id not in alive:
            what = f"its board, {member.mac}, isn't plugged in here, and answers no other"
            remedy = "give it power; plug it in here to learn more"
            yield Finding(ERROR, f"node {member.id}", what, remedy)
    voters = set(described.voters) if described else known
    without = [board for board in boards if board.runs in (LEARNER, OUT)]
    for board in without:
        if board.asked.node in voters:
            yield _without_a_vote(board)
    standing = (alive & voters) - {board.asked.node for board in without}
    needed = len(voters) // 2 + 1
    if voters and len(standing) < needed:
        what = f"{len(standing)} of {len(voters)} voters run, {needed} are needed"
        yield Finding(ERROR, "cluster", what, "bring up the others")
    else:
        yield from _leaders([board for board in boards if board.term is not None])


def _without_a_vote(board: Board) -> Finding:
    if board.runs == OUT:
        remedy = f"`raftctl add {board.asked.node}`, or take it out of cluster.toml"
        return Finding(WARNING, _name(board), "it is no member any more", remedy)
    what = "it has no vote: its flash was empty, exchanged or damaged, or it isn't added yet"
    remedy = (
        "let it run, and all other nodes, until they have vouched for it; see `raftctl members`"
    )
    return Finding(WARNING, _name(board), what, remedy)


def _leaders(nodes: Sequence[Board]) -> Iterator[Finding]:
    newest = max((node.term or 0 for node in nodes), default=0)
    leading = [node for node in nodes if node.runs == "leader"]
    names = " and ".join(_name(node) for node in leading)
    if sum(node.term == newest for node in leading) > 1:
        remedy = "this must never be: keep all logs (`raftctl monitor --log-dir`), and report it"
        yield Finding(ERROR, "cluster", f"{names} lead in the same term, {newest}", remedy)
    elif len(leading) > 1:
        remedy = "see whether they hear each other, and ask again in a moment"
        yield Finding(WARNING, "cluster", f"{names} lead, in different terms", remedy)
    elif nodes and not any(node.leader for node in nodes if node.term == newest):
        remedy = "see to links and timeouts, and watch an election with `raftctl monitor`"
        yield Finding(ERROR, "cluster", "no node leads", remedy)


def _links(measured: Sequence[Pair], alive: set[int]) -> Iterator[Finding]:
    for pair in measured:
        if not alive.issuperset(pair.nodes):
            continue  # one of them is dead, which is told
        if pair.lost == pair.sent:
            what = f"they don't hear each other, {pair.lost} of {pair.sent} probes were lost"
            remedy = (
                'switch off "client isolation" in the access point, and see to their hosts in '
                "cluster.toml"
            )
            yield Finding(ERROR, pair.title, what, remedy)
        elif pair.lost > MOST_LOST * pair.sent:
            what = f"{pair.lost} of {pair.sent} probes were lost"
            remedy = "put them nearer to the access point, or let that use another channel"
            yield Finding(WARNING, pair.title, what, remedy)
