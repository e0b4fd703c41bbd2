"""The event lines of nodes (firmware/raft/events.py), taken apart."""

import re
from dataclasses import dataclass

LINE = re.compile(r"^\[raft\] n(\d+) (\d{7,}) ([a-z_]+)((?: [a-z_]+=\S*)*)$")


@dataclass(frozen=True)
class Event:
    """What happened at a node, `ms` after its start; facts: name -> value as text."""

    node: int
    ms: int
    what: str
    facts: dict[str, str]


def parse(line: str) -> Event | None:
    """The event of that line; None if it is another one."""
    match = LINE.match(line)
    if match is None:
        return None
    facts = dict(fact.split("=", 1) for fact in match[4].split())
    return Event(int(match[1]), int(match[2]), match[3], facts)
