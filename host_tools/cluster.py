"""A cluster as `cluster.toml` describes it."""

# mypy: allow-untyped-calls

import errno
import ipaddress
import json
import os
import random
import re
import socket
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tomlkit

from host_tools import settings
from host_tools.desktop.habits import ALL, HABITS
from host_tools.firmware import FIRMWARE, Machines, kv, members, sectors_needed, sessions, udp
from host_tools.settings import FileError, Table

DEFAULT_FILE = "cluster.toml"
MAX_NODE = 254
MAX_NODES = members.MAX_MEMBERS
MAX_PORT = 65535
PORT = 7100  # a board's ports; on a desk, these plus the node's id
CLIENT_PORT = 7200
HEARTBEAT_MS = 50
ELECTION_MS = (150, 300)
FLASH_KB = 4096
STATE_KB = 256
BLOCK_KB = 4
MAX_KB = 1 << 20
SESSION_S = 3600
MAX_S = 1_000_000  # a node counts in ms, up to 2^30
MAX_PRIORITY = 255
LOOPBACK = "127.0.0.1"
AUTO = udp.AUTO  # the host of a node that is found wherever it is on the local network
FREE_PORTS = range(20_000, 32_768)  # Linux and macOS hand out those from 32,768 and 49,152 on
APPS = FIRMWARE / "apps"

MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")

HEADER = """\
# A Raft cluster. `raftctl` reads this file; {how}

[cluster]
name = {quoted}
heartbeat_ms = {heartbeat_ms}
# A node that hears no leader for a random time between these two stands for election.
election_ms = [{election_ms[0]}, {election_ms[1]}]
# The nodes that a new cluster begins with. Any other waits until `raftctl add` makes it a member:
# two parts of a cluster that was made larger in this file alone could each elect a leader.
founders = {founders}{options}

# A voter unheard of for so long is named by `raftctl status`, and removed if `remove` is true and
# so many others stay.
[dead]
after_s = {dead.after_s}
remove = {remove}
least = {dead.least}
"""
DESK = """
# Nodes on this machine only: the size of a new node's flash log, and of its keys and values.
# `habits` of a real board that they are to have, such as ["flash"] or ["all"]: firmware/README.md.
[desk]
flash_kb = {flash_kb}
state_kb = {state_kb}{habits}
"""
APP = """
# What runs on every board beside its node: a file in firmware/apps/, and its settings.
# [app]
# name = "leader_led"
# pin = 4
"""
NODES = """
# One of these per node: the id is from 1 to 254; nodes talk to each other at `port`, and
# clients to them at `client_port`, both by UDP. `voter = false`: it has a copy, and no vote.
# `priority` (0 to 255): of the nodes that could lead, the one with the highest does.
"""
BOARD_NODES = """\
# A board is known by its MAC, wherever it is plugged in; `board` is its folder in boards/. With
# the host "auto" it is found at whatever address your router gives it; or give its address.
"""


class ClusterFileError(FileError):
    """`cluster.toml` can't be used; the message names the file, the key and the remedy."""


@dataclass(frozen=True)
class Member:
    """Where a node is: `port` for other nodes, `client_port` for clients.

    host: an address, a name, or AUTO. mac, board: which board it is (lower case, with colons), and
    of which kind (a folder in boards/); empty on a desk.
    voter: false for a learner that stays one. priority: of those that can lead, the highest
    does. join: it isn't one of the founders, and waits until it is added.
    """

    id: int
    host: str
    port: int
    client_port: int
    mac: str = ""
    board: str = ""
    voter: bool = True
    priority: int = 0
    join: bool = False


@dataclass(frozen=True)
class Dead:
    """When a voter that isn't heard counts as dead (s), and whether it is removed then.

    least: so many voters stay.
    """

    after_s: int = 600
    remove: bool = False
    least: int = 3


@dataclass(frozen=True)
class Cluster:
    """path: of its file. app: what runs beside the node on each board, and its settings.

    The sizes (KB) and `habits` (desktop/habits.py) are those of nodes on a desk. lease: whether a
    leader answers reads by its lease. session_s: how long an unused client session lasts. secrecy:
    whether what is sent is hidden from whoever has no key.
    """

    path: Path
    name: str
    nodes: dict[int, Member]
    heartbeat_ms: int = HEARTBEAT_MS
    election_ms: tuple[int, int] = ELECTION_MS
    flash_kb: int = FLASH_KB
    state_kb: int = STATE_KB
    habits: tuple[str, ...] = ()
    app: dict[str, Any] = field(default_factory=dict)
    lease: bool = False
    session_s: int = SESSION_S
    dead: Dead = Dead()
    secrecy: bool = False

    @property
    def voters(self) -> list[int]:
        """As far as the file knows them; the members themselves know better."""
        return [member.id for member in self.nodes.values() if member.voter]

    @property
    def founders(self) -> list[int]:
        return [member.id for member in self.nodes.values() if not member.join]

    @property
    def has_boards(self) -> bool:
        return any(member.mac for member in self.nodes.values())

    def config(self, node: int, keys: Sequence[str]) -> dict[str, Any]:
        """What that node's `config.json` holds wherever it runs (firmware/README.md).

        keys: of the cluster (keys.py).
        """
        config = {
            "id": node,
            "cluster": self.name,
            "keys": list(keys),
            "nodes": {str(member.id): _node_config(member) for member in self.nodes.values()},
            "heartbeat_ms": self.heartbeat_ms,
            "election_ms": list(self.election_ms),
        }
        # What is as usual needs no room on a board.
        if self.lease:
            config["lease"] = True
        if self.secrecy:
            config["secrecy"] = True
        if self.session_s != SESSION_S:
            config["session_s"] = self.session_s
        if self.dead != Dead():
            config["dead"] = asdict(self.dead)
        return config

    def desk_config(self, node: int, keys: Sequence[str]) -> dict[str, Any]:
        """The same for a node that runs on a desk."""
        config = self.config(node, keys) | {"state_kb": self.state_kb}
        if self.habits:
            config["desk"] = {"habits": list(self.habits)}
        return config

    def to_toml(self) -> str:
        """The text of a new file for it."""
        how = "`raftctl up` brings its boards to life."
        if not self.has_boards:
            how = "`raftctl node --id 1` runs one of its nodes here."
        options = "\nlease = true" if self.lease else ""
        options += "\nsecrecy = true" if self.secrecy else ""
        if self.session_s != SESSION_S:
            options += f"\nsession_s = {self.session_s}"
        text = HEADER.format(
            how=how, quoted=tomlkit.string(self.name).as_string(), founders=self.founders,
            options=options, remove=str(self.dead.remove).lower(), **vars(self),
        )  # fmt: skip
        if self.has_boards:
            text += APP + NODES + BOARD_NODES
        else:
            habits = f"\nhabits = {json.dumps(self.habits)}" if self.habits else ""
            text += DESK.format(**vars(self) | {"habits": habits}) + NODES
        return text + "".join("\n" + node_text(member) for member in self.nodes.values())


def node_text(member: Member) -> str:
    """Its section of the file."""
    text = f"[[node]]\nid = {member.id}\n"
    if member.mac:
        text += f'mac = "{member.mac}"\nboard = "{member.board}"\n'
    text += f'host = "{member.host}"\n'
    text += f"port = {member.port}\nclient_port = {member.client_port}\n"
    if not member.voter:
        text += "voter = false\n"
    if member.priority:
        text += f"priority = {member.priority}\n"
    return text


def _node_config(member: Member) -> dict[str, Any]:
    config: dict[str, Any] = {
        "host": member.host, "port": member.port, "client_port": member.client_port,
    }  # fmt: skip
    if not member.voter:
        config["voter"] = False
    if member.priority:
        config["priority"] = member.priority
    if member.join:
        config["join"] = True
    return config


def on_desk(path: Path, nodes: int) -> Cluster:
    """A new cluster of that many nodes on this machine, with the usual ports."""
    members = [Member(i, LOOPBACK, PORT + i, CLIENT_PORT + i) for i in range(1, nodes + 1)]
    return Cluster(path, "demo", {m.id: m for m in members})


def on_free_ports(path: Path, nodes: int) -> Cluster:
    """The same, on UDP ports that were free a moment ago, and which no client is given while a
    node is down. Raises OSError if there are too few."""
    ports: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == 2 * nodes:
                break
        else:
            raise OSError(errno.EADDRINUSE, "too few UDP ports are free: stop other programs")
    members = [Member(i, LOOPBACK, ports.pop(), ports.pop()) for i in range(1, nodes + 1)]
    return Cluster(path, "demo", {m.id: m for m in members})


def is_address(host: str) -> bool:
    """Whether it is one, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def flash_kb_needed(state_kb: int) -> int:
    """The smallest flash log (KB) for a state machine of that size (firmware/raft/node.py)."""
    machine = sessions.Sessions(Machines(kv.KeyValue(state_kb * 1024)))
    return int(sectors_needed(machine.max_bytes)) * BLOCK_KB


def load(path: str | os.PathLike[str]) -> Cluster:
    """The cluster of that file. Raises ClusterFileError."""
    path = Path(path)
    absent = "write one with `raftctl init`, or name yours with --cluster"
    return _cluster(path, settings.read(path, absent, ClusterFileError))


def parse(path: Path, text: str) -> Cluster:
    """The cluster of a text that is to be that file's. Raises ClusterFileError."""
    return _cluster(path, settings.parse(path, text, ClusterFileError))


def _cluster(path: Path, root: Table) -> Cluster:
    root.known("cluster", "desk", "app", "dead", "node")
    cluster = root.table("cluster")
    cluster.known(
        "name", "heartbeat_ms", "election_ms", "founders", "lease", "session_s", "secrecy"
    )
    desk = root.table("desk", {})
    desk.known("flash_kb", "state_kb", "habits")
    heartbeat_ms = cluster.number("heartbeat_ms", 1, 10_000, HEARTBEAT_MS)
    flash_kb, state_kb = _sizes(desk)
    nodes = _with_founders(cluster, _nodes(root))
    return Cluster(
        path,
        cluster.text("name"),
        nodes,
        heartbeat_ms,
        cluster.election_ms(heartbeat_ms, ELECTION_MS),
        flash_kb,
        state_kb,
        _habits(desk),
        _app(root),
        cluster.flag("lease"),
        cluster.number("session_s", 1, MAX_S, SESSION_S),
        _dead(root),
        cluster.flag("secrecy"),
    )


def _with_founders(cluster: Table, nodes: dict[int, Member]) -> dict[int, Member]:
    """The same nodes; those that aren't named among the founders, if these are named, join."""
    founders = cluster.values.get("founders", list(nodes))
    if not isinstance(founders, list) or not all(type(node) is int for node in founders):
        cluster.fail("founders", f"is {founders!r}, and must be a list of ids such as [1, 2, 3]")
    for node in founders:
        if node not in nodes:
            cluster.fail("founders", f"names {node}, and no [[node]] has that id: remove it there")
    if founders and not any(nodes[node].voter for node in founders):
        problem = "has no voter, so nobody could lead: remove `voter = false` of some of them"
        cluster.fail("founders", problem)
    return {i: replace(member, join=i not in founders) for i, member in nodes.items()}


def _dead(root: Table) -> Dead:
    table = root.table("dead", {})
    table.known("after_s", "remove", "least")
    return Dead(
        table.number("after_s", 1, MAX_S, Dead.after_s),
        table.flag("remove"),
        table.number("least", 1, MAX_NODES, Dead.least),
    )


def _app(root: Table) -> dict[str, Any]:
    if "app" not in root.values:
        return {}
    app = root.table("app")
    name = app.text("name")
    if not (APPS / f"{name}.py").is_file():
        known = ", ".join(sorted(file.stem for file in APPS.glob("[!_]*.py")))
        app.fail("name", f"is {name}: choose one of {known}, or add {name}.py to firmware/apps/")
    return app.values


def _sizes(desk: Table) -> tuple[int, int]:
    flash_kb = desk.number("flash_kb", flash_kb_needed(1), MAX_KB, FLASH_KB)
    state_kb = desk.number("state_kb", 1, MAX_KB, STATE_KB)
    if flash_kb % BLOCK_KB:
        desk.fail("flash_kb", f"must be a multiple of {BLOCK_KB}, the size of a flash sector")
    needed = flash_kb_needed(state_kb)
    if flash_kb < needed:
        fits = bisect_right(range(MAX_KB), flash_kb, key=flash_kb_needed) - 1
        desk.fail(
            "flash_kb",
            f"is {flash_kb}, and state_kb = {state_kb} needs {needed}, for snapshots: raise "
            f"flash_kb to that, or lower state_kb to {fits}",
        )
    return flash_kb, state_kb


def _habits(desk: Table) -> tuple[str, ...]:
    names = desk.values.get("habits", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        desk.fail("habits", f'is {names!r}, and must be a list such as ["flash", "empty"]')
    if ALL in names:
        return HABITS
    for name in names:
        if name not in HABITS:
            desk.fail("habits", f"names {name}: choose of {', '.join(HABITS)}, or {ALL}")
    return tuple(names)


def _mac(entry: Table) -> str:
    if "mac" not in entry.values:
        return ""
    mac = entry.text("mac").lower()
    if not MAC.fullmatch(mac):
        entry.fail("mac", f"is {mac}: give it as `raftctl boards` does, such as 24:0a:c4:00:01:02")
    return mac


def _nodes(root: Table) -> dict[int, Member]:
    nodes: dict[int, Member] = {}
    taken: dict[tuple[str, int], str] = {}
    for entry in root.entries("node"):
        entry.known("id", "mac", "board", "host", "port", "client_port", "voter", "priority")
        node = entry.number("id", 1, MAX_NODE)
        if node in nodes:
            entry.fail("id", f"is {node} like another node's: give each node its own")
        mac, board = _mac(entry), ""
        if mac:
            board = entry.text("board")
            taker = next((other.id for other in nodes.values() if other.mac == mac), None)
            if taker is not None:
                entry.fail("mac", f"is {mac}, which is node {taker}'s too: give each its own board")
        member = Member(
            node,
            AUTO if mac and not entry.values.get("host") else entry.text("host"),
            entry.number("port", 1, MAX_PORT),
            entry.number("client_port", 1, MAX_PORT),
            mac,
            board,
            entry.flag("voter", True),
            entry.number("priority", 0, MAX_PRIORITY, 0),
        )
        for key in ("port", "client_port"):
            # Whoever is found has an address of its own.
            host = f"{AUTO} {node}" if member.host == AUTO else member.host
            place = host, getattr(member, key)
            if place in taken:
                entry.fail(key, f"is {place[1]}, which is {taken[place]} too: choose another one")
            taken[place] = f"the {key} of node {node}"
        nodes[node] = member
    if len(nodes) > MAX_NODES:
        root.fail("node", f"is there {len(nodes)} times, and a cluster has at most {MAX_NODES}")
    return nodes
