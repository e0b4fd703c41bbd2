"""What is recorded of an implementation: one event for each thing that happens in it.

A record, as `tracing.py` tells it and a file holds it (JSON, one in a line), is a dict:

    node      who
    what      boot: it starts, and has found on its flash what `found` says
              step: it takes in the message `heard`
              tick, propose, change, transfer, read, ready, advance: its core is called by that name
              left: the messages `made` leave it, and with them what it has told until now
              durable: all that it has told until now would survive a power cut
              lost, doubled: the network does so with the message `heard`
    heard     a message: kind, src, dst, term, index, log_term, commit, ctx, offset, entries
    made      the messages that it says meanwhile
    log       how its log changes: ("append", index, entry), ("truncate", index),
              ("install", index, term, whether the log goes on behind it)
    state     of it afterwards: term, role, vote, commit index, last index, its term, last durable
              index, doubt, voters, and as a leader (peer, match index) of each peer
    found     term, vote, base, its term, entries behind it, index and term of the snapshot
    durable   term, vote and last index that its flash holds
    founders  the voters that it starts from as long as its log has no configuration
    at        when: in us, of whatever clock

An entry is its term, kind, the checksum of its data, and of a configuration its voters.
"""

from typing import Any, NamedTuple

from raft.core import ROLES
from tests.cluster.datagrams import KINDS


class Letter(NamedTuple):
    """A message, as a record has it."""

    kind: int
    src: int
    dst: int
    term: int
    index: int  # type: ignore[assignment] # no method of tuples
    log_term: int
    commit: int
    ctx: int
    offset: int
    entries: tuple[tuple[Any, ...], ...]

    def __str__(self) -> str:
        entries = "".join(f" e{entry[0]}" for entry in self.entries)
        return (
            f"n{self.src} -> n{self.dst} {KINDS[self.kind]} t{self.term} "
            f"i{self.index}/{self.log_term} c{self.commit} r{self.ctx}{entries}"
        )


class State(NamedTuple):
    """What is seen of a node."""

    term: int
    role: int
    vote: int
    commit: int
    last: int
    last_term: int
    durable: int
    doubt: int
    voters: tuple[int, ...]
    matches: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return (
            f"{ROLES[self.role]} t{self.term} v{self.vote} last {self.last}/{self.last_term} "
            f"durable {self.durable} commit {self.commit}"
            + f" doubt {self.doubt}"
            * (self.doubt > 0)
        )


class Found(NamedTuple):
    """What a node finds on its flash."""

    term: int
    vote: int
    base: int
    base_term: int
    entries: tuple[tuple[Any, ...], ...]
    snapshot_index: int
    snapshot_term: int


NOTHING_SEEN = State(0, 0, 0, 0, 0, 0, 0, 0, (), ())


class Event(NamedTuple):
    """One record."""

    at: int
    node: int
    what: str
    heard: Letter | None
    made: tuple[Letter, ...]
    log: tuple[tuple[Any, ...], ...]
    state: State
    found: Found | None
    founders: tuple[int, ...]
    durable: tuple[int, int, int]

    def __str__(self) -> str:
        line = f"{self.at / 1000:11.3f} n{self.node} {self.what}"
        if self.heard:
            line += f" [{self.heard}]"
        if self.state is NOTHING_SEEN:
            return line
        line += f": {self.state}"
        return line + "".join(f"\n{'':16}says [{m}]" for m in self.made)


def event_of(record: dict[str, Any], at: int) -> Event:
    """A record that has been told just now."""
    heard, found, state = record.get("heard"), record.get("found"), record.get("state")
    return Event(
        at,
        record["node"],
        record["what"],
        Letter(*heard) if heard else None,
        tuple([Letter(*m) for m in record.get("made", ())]),
        tuple(record.get("log", ())),
        State(*state) if state else NOTHING_SEEN,
        Found(*found) if found else None,
        record.get("founders", ()),
        record.get("durable", (0, 0, 0)),
    )
