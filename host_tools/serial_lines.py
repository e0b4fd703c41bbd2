"""What a board's serial line says, taken apart: lines, events, tracebacks, resets, noise."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from host_tools import events

QUIET_S = 1.0  # after which a line without an end is shown (a prompt), or a traceback is whole
MAX_LINE = 4096  # bytes; what is longer is cut
MAX_KEPT_TOGETHER = 200  # lines

# How a group of lines begins, and which lines go on with it; the one behind these ends it.
TRACEBACK = (
    re.compile(r"Traceback \(most recent call last\):|Task exception wasn't retrieved"),
    re.compile(r"\s|future: |Traceback \("),
)
PANIC = (
    re.compile(r"Guru Meditation Error|abort\(\) was called|assert failed:"),
    re.compile(r"(?!Rebooting\.\.\.)"),
)
RESET = re.compile(r"rst:(0x[0-9a-f]+) \(([A-Z0-9_]+)\),boot:0x[0-9a-f]+ \(([^)]*)\)?")
SOFT_RESET = "MPY: soft reboot"
# What the boot ROM and the second-stage loader print at every start.
BOOT = re.compile(
    r"ets [A-Z][a-z]{2} +\d+ \d{4}|ESP-ROM:|Build:|rst:0x|configsip:|clk_drv:|mode:D|load:0x|"
    r"entry 0x|ho \d+ tail|SPIWP:0x|Saved PC:0x|[DIV] \(\d+\) "
)
# Parts of the names that the chips give their reasons, first come first served. A press of EN
# can't be told from power on.
REASONS = {
    "POWERON": "power on, or EN pressed",
    "BROWN": "brown-out: the supply voltage fell",
    "DEEPSLEEP": "woke from deep sleep",
    "DSLEEP": "woke from deep sleep",
    "WDT": "watchdog: the program hung",
    "USB": "by USB",
    "SW": "by software",
    "EXT_CPU": "by the other core",
    "GLITCH": "glitch of the supply voltage",
}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ufffd]")
MOST_UNPRINTABLE = 0.3  # of a line that says something


@dataclass(frozen=True)
class Item:
    """One thing that came from a port, or happened to it.

    at: host time, s since the epoch. kind: event, line, traceback, reset or port. text: without
    control characters; of a traceback all lines. raw: as it came, less the line's end.
    """

    at: float
    port: str
    node: int | None  # unknown before its first event
    kind: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)
    ms: int | None = None  # board time of an event
    raw: bytes = b""

    @property
    def what(self) -> str:
        """An event's name; else empty."""
        return self.text.split(" ", 1)[0] if self.kind == "event" else ""


class Board:
    """Makes items of the bytes of one port."""

    def __init__(self, port: str) -> None:
        self.port = port
        self.node: int | None = None
        self._half = b""
        self._changed = 0.0
        self._kept: list[bytes] = []  # lines of a traceback that goes on
        self._going_on = TRACEBACK[1]

    def feed(self, data: bytes, at: float) -> Iterator[Item]:
        """What those bytes complete."""
        self._changed = at
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            yield from self._take(line.rstrip(b"\r"), at)
        while len(self._half) > MAX_LINE:
            line, self._half = self._half[:MAX_LINE], self._half[MAX_LINE:]
            yield from self._take(line, at)

    def rest(self, at: float, quiet_s: float = QUIET_S) -> Iterator[Item]:
        """What has waited for its end for so long that none will come."""
        if at - self._changed < quiet_s:
            return
        half, self._half = self._half, b""
        if half:
            yield from self._take(half, at)
        yield from self._end_group(at)

    def told(self, at: float, state: str, text: str) -> Item:
        """What happened to the port itself."""
        return Item(at, self.port, self.node, "port", text, {"state": state})

    def _take(self, raw: bytes, at: float) -> Iterator[Item]:
        text = _readable(raw)
        event = events.parse(text)
        is_boot = BOOT.match(text) is not None
        if self._kept:
            if not event and not is_boot:
                self._kept.append(raw)
                if not self._going_on.match(text) or len(self._kept) == MAX_KEPT_TOGETHER:
                    yield from self._end_group(at)
                return
            yield from self._end_group(at)  # it was cut off
        if event:
            self.node = event.node
            said = " ".join([event.what, *(f"{k}={v}" for k, v in event.facts.items())])
            facts = {name: _number(value) for name, value in event.facts.items()}
            yield Item(at, self.port, self.node, "event", said, facts, event.ms, raw)
        elif reset := _reset(text):
            why, facts = reset
            yield Item(at, self.port, self.node, "reset", f"reset: {why}", facts, raw=raw)
        elif going_on := next((on for begin, on in (TRACEBACK, PANIC) if begin.match(text)), None):
            self._kept, self._going_on = [raw], going_on
        elif text.strip():
            yield self._line(text, is_boot, raw, at)

    def _line(self, text: str, is_boot: bool, raw: bytes, at: float) -> Item:
        facts = {"noise": "boot"} if is_boot else {}
        if len(UNPRINTABLE.findall(text)) > MOST_UNPRINTABLE * len(text):
            facts = {"noise": "garbage"}
            text = f"{len(raw)} bytes of noise: has the board another speed for a moment?"
        return Item(
            at, self.port, self.node, "line", UNPRINTABLE.sub("\ufffd", text), facts, raw=raw
        )

    def _end_group(self, at: float) -> Iterator[Item]:
        kept, self._kept = self._kept, []
        if kept:
            text = "\n".join(UNPRINTABLE.sub("\ufffd", _readable(line)) for line in kept)
            yield Item(at, self.port, self.node, "traceback", text, raw=b"\n".join(kept))


def _readable(raw: bytes) -> str:
    return COLOURS.sub("", raw.decode(errors="replace"))


def _number(value: str) -> int | str:
    return int(value) if value.isdecimal() else value


def _reset(text: str) -> tuple[str, dict[str, Any]] | None:
    """Why a board starts, if that line tells: for people, and the facts."""
    if SOFT_RESET in text:
        return "soft, from the REPL", {"name": "SOFT", "reason": "soft, from the REPL"}
    match = RESET.search(text)  # it may follow half a line, which the reset has cut off
    if match is None:
        return None
    code, name, boot = match.groups()
    reason = next((said for part, said in REASONS.items() if part in name), name)
    facts = {"code": code, "name": name, "reason": reason, "boot": boot}
    if boot.startswith("DOWNLOAD"):
        reason += "; it waits for a download: let go of BOOT and press EN"
    return f"{reason} ({name})", facts
