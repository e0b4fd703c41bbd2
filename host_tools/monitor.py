"""Boards watched over their serial ports, all at once."""

import json
import queue
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import serial
from rich.console import Console, Group
from rich.text import Text

from host_tools import ports, view
from host_tools.firmware import ROLES
from host_tools.screens import STYLES, Screenful
from host_tools.serial_lines import Board, Item

READ_S = 0.1  # the longest wait for bytes, before other things are looked at
REOPEN_S = 0.2  # between two attempts to open a port that has gone
REFRESH_S = 0.1  # of a terminal, however much comes
OWN = "--"  # in the place of a board's time: said by the monitor itself
NODE_STYLES = ("cyan", "magenta", "blue", "yellow", "green", "bright_red")
KIND_STYLES = {"traceback": "red", "reset": "yellow"}
PORT_STYLES = {"open": "bold", "gone": "bold red", "absent": "bold red"}


class Watcher:
    """Reads ports, each in a thread of its own, and loses nothing; a context manager.

    A port that goes away is waited for. Raises PortError on entry if one can't be used.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(dict.fromkeys(names))
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Watcher":
        opened: dict[str, serial.Serial | None] = {}
        try:
            for name in self._names:
                opened[name] = None
                with suppress(ports.PortAbsent):
                    opened[name] = ports.open_port(name)
        except ports.PortError:
            for port in opened.values():
                if port:
                    ports.close(port)
            raise
        for name, port in opened.items():
            thread = threading.Thread(target=self._watch, args=(name, port), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def items(self, wait_s: float) -> list[Item]:
        """All that has come, in order; waits for the first."""
        taken = []
        with suppress(queue.Empty):
            taken.append(self._items.get(timeout=wait_s))
            while True:
                taken.append(self._items.get_nowait())
        return taken

    def _watch(self, name: str, port: serial.Serial | None) -> None:
        board = Board(name)
        while not self._stopping.is_set():
            port = port or self._reopened(board)
            if port is None:
                return
            self._items.put(board.told(time.time(), "open", "opened"))
            try:
                self._read(board, port)
            except OSError:
                self._put(board.rest(time.time(), quiet_s=0))
                self._items.put(board.told(time.time(), "gone", "gone: waiting for it"))
            finally:
                ports.close(port)
            port = None

    def _reopened(self, board: Board) -> serial.Serial | None:
        """The port when it is there (again); None if the monitor ends before."""
        said = ""
        while not self._stopping.is_set():
            try:
                return ports.open_port(board.port)
            except ports.PortError as e:
                if str(e) != said:
                    said = str(e)
                    self._items.put(board.told(time.time(), "absent", f"waiting: {said}"))
                self._stopping.wait(REOPEN_S)
        return None

    def _read(self, board: Board, port: serial.Serial) -> None:
        while not self._stopping.is_set():
            data = ports.read(port, READ_S)
            now = time.time()
            self._put(board.feed(data, now) if data else board.rest(now))
        self._put(board.rest(time.time(), quiet_s=0))

    def _put(self, items: Iterable[Item]) -> None:
        for item in items:
            self._items.put(item)


class Glance:
    """How the boards stand, by what they say."""

    def __init__(self) -> None:
        self._rows: dict[str, view.Row] = {}
        self._starting: set[str] = set()  # ports whose reset was seen, and no `boot` since

    def take(self, item: Item) -> None:
        row = self._rows.setdefault(item.port, view.Row(item.port))
        if item.kind == "port":
            row.is_gone = item.facts["state"] != "open"
        elif item.kind == "reset":
            self._restart(row)
            self._starting.add(item.port)
        elif item.kind == "event":
            self._take_event(row, item)

    def rows(self) -> list[view.Row]:
        """By node; what has not said which it is comes last."""
        return sorted(self._rows.values(), key=lambda row: (row.node is None, row.node, row.port))

    def statuses(self) -> dict[int, dict[str, Any]]:
        """Role and term of each node that has told them, and is there."""
        return {
            row.node: {"role": row.role, "term": row.facts["term"]}
            for row in self._rows.values()
            if row.node is not None and row.role and not row.is_gone and "term" in row.facts
        }

    def _restart(self, row: view.Row) -> None:
        row.restarts += 1
        row.role = ""
        row.facts = {}

    def _take_event(self, row: view.Row, item: Item) -> None:
        for other in list(self._rows.values()):  # a board that was plugged in elsewhere
            if other.node == item.node and other.port != row.port and other.is_gone:
                del self._rows[other.port]
        if item.what == "boot":
            if row.port not in self._starting and row.node is not None:
                self._restart(row)
            self._starting.discard(row.port)
        row.node = item.node
        if item.what == "stat":
            row.role = item.facts.get("role", "")
        elif item.what in ROLES:
            row.role = item.what
            row.facts["leader"] = item.node if item.what == "leader" else 0
        row.facts.update(item.facts)


class Lines:
    """The stream as plain lines."""

    def __init__(self, names: Iterable[str], out: IO[str]) -> None:
        self._width = max(len(view.short(name)) for name in names)
        self._out = out

    def show(self, items: list[Item]) -> None:
        for item in items:
            for line in item.text.split("\n"):
                print(prefix(item, self._width), marked(item, line), file=self._out)
        self._out.flush()


class JsonLines:
    """The stream as JSON, an object per line."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def show(self, items: list[Item]) -> None:
        for item in items:
            print(json.dumps(as_object(item)), file=self._out)
        self._out.flush()


class Terminal(Screenful):
    """The cluster at a glance, and below it the stream."""

    def __init__(self, names: Iterable[str], glance: Glance, console: Console) -> None:
        super().__init__(console)
        self._width = max(len(view.short(name)) for name in names)
        self._glance = glance
        self._refreshed = 0.0

    def show(self, items: list[Item]) -> None:
        for item in items:
            style = STYLES.get(item.what) or KIND_STYLES.get(item.kind, "")
            style = PORT_STYLES.get(item.facts.get("state", ""), style)
            style = "dim" if item.facts.get("noise") else style
            colour = "" if item.node is None else NODE_STYLES[item.node % len(NODE_STYLES)]
            for line in item.text.split("\n"):
                clock, rest = prefix(item, self._width).split(" ", 1)
                name, at = rest[: self._width], rest[self._width :]
                text = Text.assemble(
                    (clock, "dim"), " ", (name, colour), (at, "dim"), " ",
                    (marked(item, line), style), no_wrap=True, overflow="ellipsis",
                )  # fmt: skip
                self.add(text)
        now = time.monotonic()
        if now - self._refreshed >= REFRESH_S:
            self._refreshed = now
            self.refresh()

    def head(self) -> Group:
        rows = self._glance.rows()
        leader = view.leader_of(self._glance.statuses())
        title = f"{len(rows)} boards, leader: {leader or 'none'}"
        return Group(
            Text(title, "bold", end=""),
            Text("   Ctrl-] quits\n"),
            view.glance([replace(row, port=view.short(row.port)) for row in rows]),
            Text(""),
        )


class Filter:
    """What of the boards' lines is shown: where the pattern is found in `n2 leader term=4`."""

    def __init__(self, pattern: str) -> None:
        """Raises re.error."""
        self._pattern = re.compile(pattern)

    def passes(self, item: Item) -> bool:
        return item.kind == "port" or self._pattern.search(f"{label(item)} {item.text}") is not None


class LogError(Exception):
    """The log folder can't be written to; the message says why."""


class Logs:
    """A file per node in a folder: each line as it came, behind the host's time.

    What a board says before it has told its node goes into a file named after its port.
    """

    def __init__(self, folder: Path) -> None:
        """Raises LogError."""
        self._folder = folder
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, items: list[Item]) -> None:
        """Raises LogError."""
        texts: defaultdict[str, bytearray] = defaultdict(bytearray)
        for item in items:
            if item.kind != "port":
                stamp = host_time(item).isoformat(timespec="milliseconds").encode()
                for line in item.raw.split(b"\n"):
                    texts[label(item)] += stamp + b" " + line + b"\n"
        with self._explained():
            for name, text in texts.items():
                file_name = re.sub(r"[^\w.-]", "_", name) + ".log"
                with open(self._folder / file_name, "ab") as file:
                    file.write(text)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise LogError(
                f"no logs can be written in {self._folder} ({e.strerror}): choose another folder"
            ) from e


def label(item: Item) -> str:
    return view.short(item.port) if item.node is None else f"n{item.node}"


def host_time(item: Item) -> datetime:
    return datetime.fromtimestamp(item.at).astimezone()


def prefix(item: Item, width: int) -> str:
    """Host time, who, board time (s since its start)."""
    clock = f"{host_time(item):%H:%M:%S.%f}"[:-3]
    at = "" if item.ms is None else f"{item.ms / 1000:.3f}"
    return f"{clock} {label(item):{width}} {OWN if item.kind == 'port' else at:>10}"


def marked(item: Item, line: str) -> str:
    """What is no event stands behind a bar; what the monitor says names the port."""
    if item.kind == "port":
        return f"{view.short(item.port)} {line}"
    return line if item.kind in ("event", "reset") else f"| {line}"


def as_object(item: Item) -> dict[str, Any]:
    """The form of `--json`."""
    made = {
        "time": host_time(item).isoformat(timespec="milliseconds"),
        "port": item.port,
        "node": item.node,
        "kind": item.kind,
        "text": item.text,
        "facts": item.facts,
    }
    if item.kind == "event":
        made |= {"event": item.what, "ms": item.ms}
    return made
