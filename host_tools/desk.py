"""Nodes as processes of this machine, each in a folder that takes the place of a board."""

import errno
import fcntl
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from host_tools import keys, micropython, secret
from host_tools.cluster import AUTO, LOOPBACK, Cluster, Member

CPYTHON = "cpython"
MICROPYTHON = "micropython"
RUN = Path(__file__).resolve().parent / "desktop" / "run.py"
CONFIG_FILE = "config.json"
FLASH_FILE = "raft.flash"
ERASED_KB = b"\xff" * 1024


class DeskError(Exception):
    """A node can't run here; the message says why and what to do."""


def become_node(
    cluster: Cluster,
    node: int,
    interpreter: str = CPYTHON,
    state: Path | None = None,
    app: Path | None = None,
) -> None:
    """Turn this process into that node. Doesn't return; raises DeskError, SecretsError.

    app: the program that has the node; its settings are those of `[app]` in the cluster's file.
    """
    member = cluster.nodes.get(node)
    if member is None:
        known = ", ".join(str(i) for i in sorted(cluster.nodes))
        raise DeskError(f"{cluster.path} has no node {node}: its nodes are {known}")
    if member.mac:
        raise DeskError(
            f"node {node} is the board {member.mac}, and not on this machine: `raftctl up {node}` "
            "starts it"
        )
    command = interpreter_command(interpreter)
    config = _config(cluster, node, app)
    state = (state or state_folder(cluster, node)).resolve()
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = _lock(state)
        secret.write(state / CONFIG_FILE, json.dumps(config).encode())
        if not (state / FLASH_FILE).exists():
            _write(state / FLASH_FILE, ERASED_KB * cluster.flash_kb)
    except OSError as e:
        raise DeskError(f"the folder {state} can't be used: {e.strerror}") from e
    _check_ports(cluster, member)
    os.execv(command[0], [*command, str(RUN), str(state), str(lock), *command])


def _config(cluster: Cluster, node: int, app: Path | None) -> dict[str, Any]:
    config = cluster.desk_config(node, keys.of(cluster.path))
    if app is not None:
        config["app"] = cluster.app | {"name": app.stem}
        config.setdefault("desk", {})["apps"] = str(app.resolve().parent)
    return config


def state_folder(cluster: Cluster, node: int) -> Path:
    """Where a node has its state unless told otherwise."""
    return cluster.path.parent / "state" / f"node-{node}"


def interpreter_command(name: str) -> list[str]:
    """The command of the interpreter of that name: cpython, micropython, micropython-i386...

    `micropython` is the first of those that this machine should have: the one of 32 bits, as
    a board is, if it runs here. Raises DeskError.
    """
    if name == CPYTHON:
        return [sys.executable]
    if name != MICROPYTHON and not name.startswith(micropython.PREFIX):
        raise DeskError(f"no interpreter is called {name}: use {CPYTHON} or {MICROPYTHON}")
    reasons = []
    for candidate in micropython.expected() if name == MICROPYTHON else [name]:
        try:
            return micropython.find(candidate).argv
        except micropython.Unavailable as e:
            reasons.append(f"{candidate}: {e}")
    raise DeskError(f"no MicroPython ({'; '.join(reasons)}): run `make micropython` first")


def _lock(state: Path) -> int:
    """The number of an open file that keeps other nodes out of the folder.

    The lock goes with the process, however that ends, and with whatever it becomes.
    """
    lock = os.open(state, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DeskError(
            f"another node runs in {state}: stop it first, or choose a folder with --state"
        ) from None
    os.set_inheritable(lock, True)
    return lock


def _write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def _check_ports(cluster: Cluster, member: Member) -> None:
    host = LOOPBACK if member.host == AUTO else member.host
    for key, port in (("port", member.port), ("client_port", member.client_port)):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))
        except OSError as e:
            what = f"node {member.id}: its {key}, UDP {host}:{port},"
            if e.errno == errno.EADDRINUSE:
                problem = "is in use: stop the other program, or change it"
            elif e.errno == errno.EADDRNOTAVAIL:
                problem = "is not on this machine: run the node where it is, or change its host"
            else:
                problem = f"can't be used ({e.strerror}): change it"
            raise DeskError(f"{what} {problem} in {cluster.path}") from e
