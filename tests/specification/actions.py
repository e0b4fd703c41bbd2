"""Ongaro's TLA+ specification of Raft, action by action, as a checker.

To be read beside raft.tla (github.com/ongardie/raft.tla, as of 2025-02-18): names, order, guards
and effects are those of that file, and a guard that doesn't hold is told in its words. An action
checks its guards, then has its effect; nothing has changed when it raises NotEnabled. Where the
file has a disjunction, the disjuncts are methods of their own, named by the file's comments, and
each is one way to take that action.

Left out are the history variables that only the proof has (elections, allLogs, voterLog, mlog).
What is known to be odd in the file, and is so here too:
- an accepted AppendEntries request may make commitIndex fall, and its response matchIndex;
- AdvanceCommitIndex counts the leader itself, whether its own entries are durable or not;
- HandleAppendEntriesResponse has no guard on state: whoever isn't leader takes it in as well;
- UpdateTerm leaves votesResponded and votesGranted of the old term: Timeout clears them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

ACTIONS = (
    "Restart", "Timeout", "RequestVote", "AppendEntries", "BecomeLeader", "ClientRequest",
    "AdvanceCommitIndex", "HandleRequestVoteRequest", "HandleRequestVoteResponse",
    "HandleAppendEntriesRequest", "HandleAppendEntriesResponse", "UpdateTerm",
    "DropStaleResponse", "DuplicateMessage", "DropMessage",
)  # fmt: skip

Follower, Candidate, Leader = "Follower", "Candidate", "Leader"
Nil = 0  # no server's id


class Entry(NamedTuple):
    """value: anything that tells one request of a client from another."""

    term: int
    value: Hashable


class RequestVoteRequest(NamedTuple):
    mterm: int
    mlastLogTerm: int
    mlastLogIndex: int
    msource: int
    mdest: int
    mtype: str = "RequestVoteRequest"


class RequestVoteResponse(NamedTuple):
    mterm: int
    mvoteGranted: bool
    msource: int
    mdest: int
    mtype: str = "RequestVoteResponse"


class AppendEntriesRequest(NamedTuple):
    mterm: int
    mprevLogIndex: int
    mprevLogTerm: int
    mentries: tuple[Entry, ...]  # at most one
    mcommitIndex: int
    msource: int
    mdest: int
    mtype: str = "AppendEntriesRequest"


class AppendEntriesResponse(NamedTuple):
    mterm: int
    msuccess: bool
    mmatchIndex: int
    msource: int
    mdest: int
    mtype: str = "AppendEntriesResponse"


Message = Any  # one of these, or of `extensions.py`; all have mtype, mterm, msource, mdest


class NotEnabled(Exception):
    """A step that the specification doesn't allow: `guard` of `action` doesn't hold."""

    def __init__(self, guard: str, *facts: object) -> None:
        super().__init__(guard, *facts)
        self.action = ""
        self.arguments: tuple[object, ...] = ()
        self.guard = guard
        self.facts = facts

    def __str__(self) -> str:
        facts = "".join(f"; {fact}" for fact in self.facts)
        arguments = ", ".join(map(str, self.arguments))
        return f"{self.action}({arguments}) is not enabled: {self.guard}{facts}"


def require(holds: bool, guard: str, *facts: object) -> None:
    if not holds:
        raise NotEnabled(guard, *facts)


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Raft")


def action(
    name: str = "",
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Counts how often it is taken, and notes it; name: if it isn't the method's."""

    def named(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        title = name or method.__name__

        def take(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if self.is_acting:  # a part of an action that extends it
                return method(self, *args, **kwargs)
            self.is_acting = True
            try:
                result = method(self, *args, **kwargs)
            except NotEnabled as e:
                e.action, e.arguments = title, args
                raise
            finally:
                self.is_acting = False
            self.taken[title] += 1
            self.last = title
            if self.note:
                self.note(title, args)
            return result

        return take

    return named


class Raft:
    """The state of the specification, and its actions.

    taken: how often each was. last: the last one. note: called with each, or None.
    """

    def __init__(self, servers: Iterable[int]) -> None:
        self.Server = tuple(servers)
        self.taken: Counter[str] = Counter()
        self.last = "Init"
        self.is_acting = False
        self.note: Callable[[str, tuple[Any, ...]], None] | None = None
        # Init
        self.messages: dict[Message, int] = {}
        self.currentTerm = {i: 1 for i in self.Server}
        self.state = {i: Follower for i in self.Server}
        self.votedFor = {i: Nil for i in self.Server}
        self.log: dict[int, list[Entry]] = {i: [] for i in self.Server}
        self.commitIndex = {i: 0 for i in self.Server}
        self.votesResponded: dict[int, set[int]] = {i: set() for i in self.Server}
        self.votesGranted: dict[int, set[int]] = {i: set() for i in self.Server}
        self.nextIndex = {i: {j: 1 for j in self.Server} for i in self.Server}
        self.matchIndex = {i: {j: 0 for j in self.Server} for i in self.Server}

    # Helpers

    def is_quorum(self, i: int, servers: Collection[int]) -> bool:
        """servers \\in Quorum. i: who counts, for that may matter where members change."""
        return len(servers) * 2 > len(self.Server)

    def LastTerm(self, xlog: list[Entry]) -> int:
        return xlog[-1].term if xlog else 0

    def term_at(self, i: int, index: int) -> int:
        """log[i][index].term, and 0 before the first."""
        return self.log[i][index - 1].term if index > 0 else 0

    def Send(self, m: Message) -> None:
        self.messages[m] = self.messages.get(m, 0) + 1

    def Discard(self, m: Message) -> None:
        if self.messages[m] <= 1:
            del self.messages[m]
        else:
            self.messages[m] -= 1

    def Reply(self, response: Message, request: Message) -> None:
        self.Send(response)
        self.Discard(request)

    def is_there(self, m: Message) -> None:
        require(m in self.messages, "m \\in DOMAIN messages", m)

    # State transitions

    @action()
    def Restart(self, i: int) -> None:
        self.state[i] = Follower
        self.votesResponded[i] = set()
        self.votesGranted[i] = set()
        self.nextIndex[i] = {j: 1 for j in self.Server}
        self.matchIndex[i] = {j: 0 for j in self.Server}
        self.commitIndex[i] = 0

    @action()
    def Timeout(self, i: int) -> None:
        require(self.state[i] in (Follower, Candidate), "state[i] \\in {Follower, Candidate}")
        self.state[i] = Candidate
        self.currentTerm[i] += 1
        self.votedFor[i] = Nil
        self.votesResponded[i] = set()
        self.votesGranted[i] = set()

    @action()
    def RequestVote(self, i: int, j: int) -> RequestVoteRequest:
        require(self.state[i] == Candidate, "state[i] = Candidate")
        require(j not in self.votesResponded[i], "j \\notin votesResponded[i]")
        m = self.vote_request(i, j)
        self.Send(m)
        return m

    def vote_request(self, i: int, j: int) -> RequestVoteRequest:
        return RequestVoteRequest(
            mterm=self.currentTerm[i],
            mlastLogTerm=self.LastTerm(self.log[i]),
            mlastLogIndex=len(self.log[i]),
            msource=i,
            mdest=j,
        )

    @action()
    def AppendEntries(self, i: int, j: int) -> AppendEntriesRequest:
        require(i != j, "i /= j")
        require(self.state[i] == Leader, "state[i] = Leader")
        lastEntry = min(len(self.log[i]), self.nextIndex[i][j])
        m = self.append_request(i, j, tuple(self.log[i][self.nextIndex[i][j] - 1 : lastEntry]))
        self.Send(m)
        return m

    def append_request(self, i: int, j: int, entries: tuple[Entry, ...]) -> AppendEntriesRequest:
        prevLogIndex = self.nextIndex[i][j] - 1
        return AppendEntriesRequest(
            mterm=self.currentTerm[i],
            mprevLogIndex=prevLogIndex,
            mprevLogTerm=self.term_at(i, prevLogIndex),
            mentries=entries,
            mcommitIndex=min(self.commitIndex[i], prevLogIndex + len(entries)),
            msource=i,
            mdest=j,
        )

    @action()
    def BecomeLeader(self, i: int) -> None:
        require(self.state[i] == Candidate, "state[i] = Candidate")
        granted = self.votesGranted[i]
        require(self.is_quorum(i, granted), "votesGranted[i] \\in Quorum", f"granted: {granted}")
        self.state[i] = Leader
        self.nextIndex[i] = {j: len(self.log[i]) + 1 for j in self.Server}
        self.matchIndex[i] = {j: 0 for j in self.Server}

    @action()
    def ClientRequest(self, i: int, v: Hashable) -> None:
        require(self.state[i] == Leader, "state[i] = Leader")
        self.log[i].append(Entry(self.currentTerm[i], v))

    @action()
    def AdvanceCommitIndex(self, i: int) -> None:
        # Where one of the last two guards fails, the file has a step that changes nothing.
        require(self.state[i] == Leader, "state[i] = Leader")
        matchIndex = self.matchIndex[i]

        def Agree(index: int) -> set[int]:
            return {i} | {k for k in self.Server if matchIndex[k] >= index}

        agreeIndexes = (x for x in range(len(self.log[i]), 0, -1) if self.is_quorum(i, Agree(x)))
        newCommitIndex = next(agreeIndexes, 0)  # Max(agreeIndexes)
        require(newCommitIndex > 0, "agreeIndexes /= {}")
        require(
            self.term_at(i, newCommitIndex) == self.currentTerm[i],
            "log[i][Max(agreeIndexes)].term = currentTerm[i]",
            f"Max(agreeIndexes) = {newCommitIndex}",
        )
        self.commitIndex[i] = newCommitIndex

    # Message handlers: i = recipient, j = sender, m = message

    def grant(self, i: int, j: int, m: RequestVoteRequest) -> bool:
        return (
            m.mterm == self.currentTerm[i]
            and self.logOk_to_vote(i, m)
            and self.votedFor[i] in (Nil, j)
        )

    def logOk_to_vote(self, i: int, m: RequestVoteRequest) -> bool:
        lastTerm = self.LastTerm(self.log[i])
        return m.mlastLogTerm > lastTerm or (
            m.mlastLogTerm == lastTerm and m.mlastLogIndex >= len(self.log[i])
        )

    @action("HandleRequestVoteRequest")
    def grant_vote(self, i: int, j: int, m: RequestVoteRequest) -> RequestVoteResponse:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        require(self.logOk_to_vote(i, m), "logOk", f"log: {last_of(self.log[i])}")
        votedFor = self.votedFor[i]
        require(votedFor in (Nil, j), "votedFor[i] \\in {Nil, j}", f"votedFor = {votedFor}")
        self.votedFor[i] = j
        return self._answer_vote(i, j, m, True)

    @action("HandleRequestVoteRequest")
    def deny_vote(self, i: int, j: int, m: RequestVoteRequest) -> RequestVoteResponse:
        self.is_there(m)
        require(m.mterm <= self.currentTerm[i], "m.mterm <= currentTerm[i]")
        require(not self.grant(i, j, m), "~grant")
        return self._answer_vote(i, j, m, False)

    def _answer_vote(
        self, i: int, j: int, m: RequestVoteRequest, grant: bool
    ) -> RequestVoteResponse:
        response = RequestVoteResponse(
            mterm=self.currentTerm[i], mvoteGranted=grant, msource=i, mdest=j
        )
        self.Reply(response, m)
        return response

    @action()
    def HandleRequestVoteResponse(self, i: int, j: int, m: RequestVoteResponse) -> None:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        self.votesResponded[i].add(j)
        if m.mvoteGranted:
            self.votesGranted[i].add(j)
        self.Discard(m)

    def logOk(self, i: int, m: AppendEntriesRequest) -> bool:
        return m.mprevLogIndex == 0 or (
            m.mprevLogIndex <= len(self.log[i])
            and m.mprevLogTerm == self.term_at(i, m.mprevLogIndex)
        )

    @action("HandleAppendEntriesRequest")
    def reject_request(self, i: int, j: int, m: AppendEntriesRequest) -> AppendEntriesResponse:
        self.is_there(m)
        require(m.mterm <= self.currentTerm[i], "m.mterm <= currentTerm[i]")
        if m.mterm == self.currentTerm[i]:
            require(self.state[i] == Follower, "state[i] = Follower")
            require(not self.logOk(i, m), "\\lnot logOk")
        return self._answer_append(i, j, m, False, 0)

    @action("HandleAppendEntriesRequest")
    def return_to_follower_state(self, i: int, j: int, m: AppendEntriesRequest) -> None:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        require(self.state[i] == Candidate, "state[i] = Candidate")
        self.state[i] = Follower

    def accepts(self, i: int, m: AppendEntriesRequest) -> None:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        require(self.state[i] == Follower, "state[i] = Follower")
        require(self.logOk(i, m), "logOk", f"log: {last_of(self.log[i])}")

    @action("HandleAppendEntriesRequest")
    def already_done_with_request(
        self, i: int, j: int, m: AppendEntriesRequest
    ) -> AppendEntriesResponse:
        self._is_done_with(i, m)
        self.commitIndex[i] = m.mcommitIndex
        return self._answer_append(i, j, m, True, m.mprevLogIndex + len(m.mentries))

    def _is_done_with(self, i: int, m: AppendEntriesRequest) -> None:
        self.accepts(i, m)
        if m.mentries:
            index = m.mprevLogIndex + 1
            require(len(self.log[i]) >= index, "Len(log[i]) >= index")
            require(
                self.term_at(i, index) == m.mentries[0].term,
                "log[i][index].term = m.mentries[1].term",
            )

    @action("HandleAppendEntriesRequest")
    def conflict_remove_1_entry(self, i: int, j: int, m: AppendEntriesRequest) -> None:
        self.accepts(i, m)
        index = m.mprevLogIndex + 1
        require(m.mentries != (), "m.mentries /= << >>")
        require(len(self.log[i]) >= index, "Len(log[i]) >= index")
        require(
            self.term_at(i, index) != m.mentries[0].term,
            "log[i][index].term /= m.mentries[1].term",
            f"index = {index}",
        )
        self.log[i].pop()

    @action("HandleAppendEntriesRequest")
    def no_conflict_append_entry(self, i: int, j: int, m: AppendEntriesRequest) -> None:
        self.accepts(i, m)
        require(m.mentries != (), "m.mentries /= << >>")
        require(len(self.log[i]) == m.mprevLogIndex, "Len(log[i]) = m.mprevLogIndex")
        self.log[i].append(m.mentries[0])

    def _answer_append(
        self, i: int, j: int, m: Message, success: bool, matchIndex: int
    ) -> AppendEntriesResponse:
        response = AppendEntriesResponse(
            mterm=self.currentTerm[i],
            msuccess=success,
            mmatchIndex=matchIndex,
            msource=i,
            mdest=j,
        )
        self.Reply(response, m)
        return response

    @action()
    def HandleAppendEntriesResponse(self, i: int, j: int, m: AppendEntriesResponse) -> None:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        if m.msuccess:
            self.nextIndex[i][j] = m.mmatchIndex + 1
            self.matchIndex[i][j] = m.mmatchIndex
        else:
            self.nextIndex[i][j] = max(self.nextIndex[i][j] - 1, 1)
        self.Discard(m)

    @action()
    def UpdateTerm(self, i: int, j: int, m: Message) -> None:
        self.is_there(m)
        require(m.mterm > self.currentTerm[i], "m.mterm > currentTerm[i]")
        self.currentTerm[i] = m.mterm
        self.state[i] = Follower
        self.votedFor[i] = Nil  # and the message stays, to be processed further

    @action()
    def DropStaleResponse(self, i: int, j: int, m: Message) -> None:
        self.is_there(m)
        require(m.mterm < self.currentTerm[i], "m.mterm < currentTerm[i]")
        self.Discard(m)

    # Network state transitions

    @action()
    def DuplicateMessage(self, m: Message) -> None:
        self.is_there(m)
        self.Send(m)

    @action()
    def DropMessage(self, m: Message) -> None:
        self.is_there(m)
        self.Discard(m)


def last_of(log: list[Entry]) -> str:
    """The end of a log, for people."""
    return f"{len(log)} entries, the last of term {log[-1].term}" if log else "empty"
