"""The boards that are plugged in: which they are, and what runs on them.

Who asks disturbs a board as little as can be: a running node answers Enter and goes on, a REPL
waits anyway, any other program is stopped and started again, and only a board without MicroPython
is reset, by esptool.
"""

import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from esptool import CHIP_DEFS

from host_tools import events, flashing, ports
from host_tools.boards import RAFT, Partition
from host_tools.events import Event
from host_tools.flashing import FlashError
from host_tools.ports import PortAbsent, PortError
from host_tools.repl import PROMPT, Repl, ReplError
from host_tools.view import LEARNER, OUT

ANSWER_S = 3.0  # for a node to answer; it may be measuring its links, or erasing flash
READ_S = 0.1
# What the boot loaders say where there is nothing to start
NOTHING_TO_START = re.compile(rb"invalid header: 0x|invalid magic|waiting for download|No bootable")
AT_REPL, OTHER, NOTHING = "REPL", "another program", "no MicroPython"
JOINING = "joining"  # a node that waits for its network (firmware/board/console.py)

FACTS = """
def facts():
    import sys, json, machine
    from esp32 import Partition
    config = {}
    try:
        with open("config.json") as f:
            config = json.load(f)
    except (OSError, ValueError):
        pass
    print(repr({
        "chip": sys.implementation._machine.split(" ")[-1].replace("-", "").lower(),
        "mac": machine.unique_id().hex(),
        "version": "%d.%d.%d" % sys.implementation.version[:3],
        "mpy": sys.implementation._mpy & 0xFF,
        "node": config.get("id"),
        "deployed": config.get("deployed", ""),
        "partitions": [p.info()[:5] for kind in (0, 1) for p in Partition.find(kind)],
    }))
facts()
"""


@dataclass(frozen=True)
class Asked:
    """A board as it has answered.

    chip: as in board.toml. mac: lower case, with colons. micropython: its version; empty if there
    is none. node: its id, if it was deployed. runs: a role, `joining`, or one of AT_REPL, OTHER,
    NOTHING. deployed: the mark of what was deployed. address: in its network, if it tells. term: of
    a node that runs; 0 if it has known none yet, nor any leader.
    """

    port: str
    chip: str
    mac: str
    micropython: str
    node: int | None
    runs: str
    deployed: str = ""
    address: str = ""
    term: int = 0

    @property
    def is_running(self) -> bool:
        """Whether a node of ours runs there."""
        return self.runs not in (AT_REPL, OTHER, NOTHING)

    @property
    def takes_part(self) -> bool:
        """Whether it does in its cluster: it has joined its network."""
        return self.is_running and self.runs != JOINING

    @property
    def has_vote(self) -> bool:
        """Whether it counts for a majority: a learner, and who is no member, does not."""
        return self.takes_part and self.runs not in (LEARNER, OUT)


@dataclass(frozen=True)
class Silent:
    """A port with no board that answers; problem: why, and what to do."""

    port: str
    problem: str


@dataclass(frozen=True)
class Facts:
    """What a board tells at its REPL. mpy: the format of its bytecode."""

    chip: str
    mac: str
    version: str
    mpy: int
    node: int | None
    deployed: str
    partitions: tuple[Partition, ...]

    @property
    def has_raft(self) -> bool:
        """Whether there is a place for the raft log."""
        return any(partition.name == RAFT for partition in self.partitions)


def ask_all(names: Iterable[str], may_reset: bool = True) -> list[Asked | Silent]:
    """All at the same time, in the order of the names; may_reset: see `ask`."""
    names = list(dict.fromkeys(names))
    if not names:
        return []

    def attempt(name: str) -> Asked | Silent:
        try:
            return ask(name, may_reset)
        except (PortError, ReplError, FlashError) as e:
            return Silent(name, str(e))

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(attempt, names))


def ask(name: str, may_reset: bool = True) -> Asked:
    """The board at that port. Raises PortError, ReplError, FlashError.

    may_reset: whether one without MicroPython is reset, to be asked by esptool.
    """
    answer, heard = _greet(name)
    if answer:
        said = answer.facts
        return Asked(
            name, chip_of(said["chip"]), with_colons(said["mac"]),
            said["interpreter"].rpartition("_")[2], answer.node, said["role"], said["deployed"],
            said.get("ip", ""),
            int(said.get("term", 0)),
        )  # fmt: skip
    if not NOTHING_TO_START.search(heard):
        is_at_prompt = heard.endswith(PROMPT)
        try:
            with Repl(name, fresh=False) as repl:
                told = facts(repl)
                if not is_at_prompt:
                    repl.restart()
        except (ReplError, PortAbsent):  # the latter: a USB of its own comes and goes with resets
            if is_at_prompt or not may_reset:
                raise
        else:
            runs = AT_REPL if is_at_prompt else OTHER
            return Asked(name, told.chip, told.mac, told.version, told.node, runs, told.deployed)
    if not may_reset:
        raise ReplError(f"{name} has a board without MicroPython: `raftctl up` flashes it")
    board = flashing.ask(name)
    return Asked(name, board.chip, board.mac, "", None, NOTHING)


def facts(repl: Repl) -> Facts:
    """Raises ReplError."""
    told: dict[str, Any] = repl.value(FACTS)
    parts = [
        Partition(label, kind, subtype, offset, size)
        for kind, subtype, offset, size, label in told.pop("partitions")
    ]
    mac, chip = with_colons(told.pop("mac")), chip_of(told.pop("chip"))
    return Facts(
        chip=chip, mac=mac, partitions=tuple(sorted(parts, key=lambda p: p.offset)), **told
    )


def chip_of(machine: str) -> str:
    """The chip, as esptool says it, of what MicroPython says: `esp32c3fh4` is an esp32c3."""
    fitting = [chip for chip in CHIP_DEFS if machine.startswith(chip)]
    return max(fitting, key=len, default=machine)


def with_colons(mac: str) -> str:
    return ":".join(mac[i : i + 2] for i in range(0, len(mac), 2))


def _greet(name: str) -> tuple[Event | None, bytes]:
    """Press Enter: a node's answer, if one comes, and all that has come."""
    heard = b""
    port = ports.open_port(name)
    try:
        port.write(b"\r")
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end and not _is_clear(heard):
            heard += ports.read(port, READ_S)
            for line in heard.split(b"\n")[:-1]:
                event = events.parse(line.decode(errors="replace").rstrip("\r"))
                if event and event.what == "board":
                    return event, heard
    except OSError:
        pass  # it has gone away, and perhaps comes again
    finally:
        ports.close(port)
    return None, heard


def _is_clear(heard: bytes) -> bool:
    """Whether no node runs where that was heard."""
    return heard.endswith(PROMPT) or NOTHING_TO_START.search(heard) is not None
