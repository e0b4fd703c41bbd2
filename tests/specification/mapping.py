"""What an implementation says and is, in the words of the specification."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from raft.core import CANDIDATE, LEADER
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMIT,
    DOUBT_REJECT,
    DOUBT_REPLY,
    OUT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_ASK,
    READ_REPLY,
    RESCUE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TRANSFER,
    TRUST,
    VOTE,
    VOTE_REPLY,
)
from tests.specification.actions import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    Candidate,
    Entry,
    Follower,
    Leader,
    Message,
    RequestVoteRequest,
    RequestVoteResponse,
)
from tests.specification.extensions import Configuration, Extra
from tests.specification.trace import Letter, State

EXTRA = {
    PRE_VOTE: "PreVoteRequest",
    PRE_VOTE_REPLY: "PreVoteResponse",
    RESCUE: "Rescue",
    SNAPSHOT: "InstallSnapshotRequest",
    SNAPSHOT_REPLY: "InstallSnapshotResponse",
    TRUST: "Trust",
    DOUBT_REPLY: "DoubtResponse",
    DOUBT_REJECT: "DoubtRejection",
    TRANSFER: "TimeoutNow",
    READ_ASK: "ReadIndexRequest",
    READ_REPLY: "ReadIndexResponse",
    OUT: "Removed",
}


def term_of(term: int) -> int:
    """As the specification counts them."""
    return term + 1


def entry_of(told: tuple[Any, ...]) -> Entry:
    """An entry that a trace tells so."""
    term, kind, checksum, *voters = told
    value = Configuration(tuple(voters[0]), checksum) if voters else (kind, checksum)
    return Entry(term_of(term), value)


def messages_of(m: Letter) -> list[Message]:
    """What a datagram is in the specification: a message, or one for each entry."""
    term = term_of(m.term)
    last_term = term_of(m.log_term) if m.index else 0
    if m.kind == VOTE:
        return [RequestVoteRequest(term, last_term, m.index, m.src, m.dst)]
    if m.kind == VOTE_REPLY:
        return [RequestVoteResponse(term, m.index > 0, m.src, m.dst)]
    if m.kind in (APPEND_REPLY, APPEND_REJECT):
        accepts = m.kind == APPEND_REPLY
        return [AppendEntriesResponse(term, accepts, m.index * accepts, m.src, m.dst)]
    if m.kind in (APPEND, COMMIT):
        return list(_requests(m, term, last_term))
    facts = (m.index, last_term, m.commit, m.ctx, m.offset)
    return [Extra(EXTRA[m.kind], term, m.src, m.dst, facts)]


def _requests(m: Letter, term: int, prev_term: int) -> Iterable[AppendEntriesRequest]:
    prev = m.index
    for told in m.entries or (None,):
        entries = (entry_of(told),) if told else ()
        commit = min(m.commit, prev + len(entries))
        yield AppendEntriesRequest(term, prev, prev_term, entries, commit, m.src, m.dst)
        if entries:
            prev, prev_term = prev + 1, entries[0].term


class Seen(NamedTuple):
    """A state of an implementation, in the specification's words."""

    currentTerm: int
    state: str
    votedFor: int
    commitIndex: int


def seen_in(state: State) -> Seen:
    role = {CANDIDATE: Candidate, LEADER: Leader}.get(state.role, Follower)
    return Seen(term_of(state.term), role, state.vote, state.commit)
