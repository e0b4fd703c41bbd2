"""Maps what an implementation does to the actions of the specification, one by one.

Each event of a trace is taken for a sequence of actions, each of which must be enabled; after them
the specification's state must be what is seen of the implementation: term, role, vote, log, commit
index, and a leader's match indexes. Else Broken is raised, and names the action and its guard.

How the two differ, and what is made of it:
- Terms begin with 0 here, and with 1 there: one is added to each.
- A datagram of many entries is as many requests, and its one answer is that to the last of them:
  the others are lost.
- What a node does is heard of by nobody before it is durable; so it happens, there, when it has
  become durable, or when something of it has left. What was not at a power cut hasn't happened, and
  messages that were taken in for it are lost. Of a torn program, that part has happened which is
  found.
- A request that is ignored is lost.
- The log of a node begins behind its snapshot, and there it is always whole.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMIT,
    CONFIG,
    DOUBT_REJECT,
    DOUBT_REPLY,
    OUT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    SNAPSHOT,
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
    NotEnabled,
    RequestVoteRequest,
    require,
)
from tests.specification.extensions import Extended, Extra
from tests.specification.mapping import Seen, entry_of, messages_of, seen_in, term_of
from tests.specification.trace import Event, Found, Letter

ANSWERS = (VOTE_REPLY, APPEND_REPLY, APPEND_REJECT)
LAST = 20  # events that are shown when one is broken


class Broken(Exception):
    """A trace that isn't one of the specification. action, guard: what was not enabled, and why."""

    def __init__(self, error: NotEnabled, event: Event, before: Iterable[Event]) -> None:
        super().__init__(error, event)
        self.action, self.guard = error.action, error.guard
        self._error, self.event, self.before = error, event, list(before)

    def __str__(self) -> str:
        lines = [str(event) for event in self.before]
        return "\n".join([*lines, f"in the last of these events {self._error}"])


class Refinement:
    """Takes the events of a trace, in an order in which causes come before effects.

    servers: all that there ever are. spec: the specification's state so far. events: how many.
    """

    def __init__(self, servers: Iterable[int]) -> None:
        self.spec = Extended(tuple(servers))
        self.events = 0
        self._last: deque[Event] = deque(maxlen=LAST)
        self._waiting: dict[int, list[Event]] = {i: [] for i in self.spec.Server}
        self._logs: dict[int, list[Entry]] = {i: [] for i in self.spec.Server}  # as implemented
        self._booted: set[int] = set()
        # While it is found out what of a torn program has happened: the log that there is then
        self._found_log: list[Entry] | None = None
        self._answered: set[Letter] = set()

    def take(self, event: Event) -> None:
        """Raises Broken."""
        self.events += 1
        self._last.append(event)
        with self._watched(event):
            self._take(event)

    def end(self) -> None:
        """That was the last one: what has happened by then, has happened. Raises Broken."""
        for node, waiting in self._waiting.items():
            if waiting:
                with self._watched(waiting[-1]):
                    self._settle(node)

    @contextmanager
    def _watched(self, event: Event) -> Iterator[None]:
        try:
            yield
        except NotEnabled as e:
            e.action = e.action or self.spec.last
            raise Broken(e, event, self._last) from e

    def _take(self, event: Event) -> None:
        if event.what == "durable":
            self._settle(event.node)
        elif event.what == "left":
            self._settle(event.node)
            self._is_durable(event)
        elif event.what == "boot":
            self._boot(event)
        elif event.heard and event.what in ("lost", "doubled"):
            for m in messages_of(event.heard):
                if event.what == "lost":
                    self.spec.DropMessage(m)
                else:
                    self.spec.DuplicateMessage(m)
        else:
            self._waiting[event.node].append(event)

    def _settle(self, node: int) -> None:
        for event in self._waiting[node]:
            self._happens(event)
        self._waiting[node].clear()

    def _happens(self, event: Event) -> None:
        i = event.node
        before = self.spec.commitIndex[i]
        self._answered.clear()
        if event.heard:
            self._hear(event, event.heard)
        self._act(event)
        if self._found_log is None:
            self._say(event)
            if self.spec.commitIndex[i] != before:
                self.spec.knows_committed(i, before)
            self._follow_log(event)
            self._compare(event)

    def _is_durable(self, event: Event) -> None:
        """What others hear of must be there after a restart, but for a leader's own entries."""
        i, spec = event.node, self.spec
        term, vote, last = event.durable
        require(spec.currentTerm[i] == term_of(term), "currentTerm[i] is durable")
        require(spec.votedFor[i] == vote, "votedFor[i] is durable")
        for m in event.made:
            is_answer = m.kind in (APPEND_REPLY, DOUBT_REPLY)
            require(not is_answer or m.index <= last, "log[i][m.mmatchIndex] is durable")

    # What must be the same

    def _follow_log(self, event: Event) -> None:
        """Keep a copy of the implementation's log."""
        log = self._logs[event.node]
        for what, index, *more in event.log:
            if what == "append":
                del log[index - 1 :]
                log.append(entry_of(more[0]))
            elif what == "truncate":
                del log[index - 1 :]
            elif not more[1]:
                log[:] = self.spec.committed[:index]

    def _compare(self, event: Event) -> None:
        i, spec = event.node, self.spec
        seen = seen_in(event.state)
        there = Seen(spec.currentTerm[i], spec.state[i], spec.votedFor[i], spec.commitIndex[i])
        for name, ours, theirs in zip(Seen._fields, seen, there):
            require(ours == theirs, f"{name}' = {theirs}", f"node {i} has {ours}")
        log = self._logs[i]
        if event.log or event.what == "boot":
            require(spec.log[i] == log, "log' is the node's log", f"node {i} has {log[-3:]}")
        require(event.state.last == len(log), "Len(log') is that of the node's log")
        if event.what in ("boot", "advance"):
            voters = spec.voters(i)
            require(event.state.voters == voters, f"the voters are {voters}")

    # Starting

    def _boot(self, event: Event) -> None:
        i, spec, found = event.node, self.spec, event.found
        assert found
        spec.founders[i] = event.founders
        log = self._log_found(found)
        if i in self._booted:
            self._happens_in_part(i, found, log)
            self._restart(event, found, log)
        self._booted.add(i)
        self._logs[i] = log
        if event.state.commit:
            spec.LoadSnapshot(i, event.state.commit)
        self._doubt_or_not(event)
        self._compare(event)

    def _log_found(self, found: Found) -> list[Entry]:
        committed = self.spec.committed
        require(found.base <= len(committed), "lastIndex <= Len(committed)")
        log = committed[: found.base] + [entry_of(told) for told in found.entries]
        if found.base:
            same = committed[found.base - 1].term == term_of(found.base_term)
            require(same, "lastTerm = committed[lastIndex].term")
        return log

    def _happens_in_part(self, i: int, found: Found, log: list[Entry]) -> None:
        """Of what was under way when the power failed, that has happened which is found."""
        waiting = self._waiting[i]
        if waiting:
            last = waiting[-1].state
            if (last.term, last.vote) == (found.term, found.vote):
                self._found_log = log
                for event in waiting:
                    self._happens(event)
                self._found_log = None
            waiting.clear()

    def _restart(self, event: Event, found: Found, log: list[Entry]) -> None:
        i, spec = event.node, self.spec
        term = term_of(found.term)
        is_same = (spec.currentTerm[i], spec.votedFor[i]) == (term, found.vote)
        forgets_doubt = 0 < event.state.doubt < spec.doubt[i]  # another flash, and a blank one
        if is_same and spec.log[i] == log and not forgets_doubt:
            spec.Restart(i)
        elif event.state.doubt:
            spec.RestartWithLoss(i, term, found.vote, log, event.state.doubt)
        else:
            unchanged = "UNCHANGED <<currentTerm, votedFor, log>>"
            is_shorter = is_same and spec.log[i][: len(log)] == log
            facts = f"found: term {term}, vote {found.vote}, {len(log)} entries"
            if not is_shorter or spec.state[i] != Leader:
                spec.last = "Restart"
                raise NotEnabled(unchanged, facts)
            spec.RestartWithoutTail(i, len(log))

    # Messages that come

    def _hear(self, event: Event, m: Letter) -> None:
        spec, i = self.spec, event.node
        messages = messages_of(m)
        for message in messages:
            if message not in spec.messages:
                spec.last = "Receive"
                raise NotEnabled("m \\in DOMAIN messages", message)
        is_ahead = m.kind == PRE_VOTE or m.kind == PRE_VOTE_REPLY and m.index > 0
        if messages[0].mterm > spec.currentTerm[i] and not is_ahead and m.kind != OUT:
            if event.state.term < m.term:
                return self._lose(messages)
            spec.UpdateTerm(i, m.src, messages[0])
        if m.kind in (APPEND, COMMIT):
            self._hear_append(event, m, messages)
        elif m.kind == VOTE:
            self._hear_vote(event, m, messages[0])
        elif m.kind == VOTE_REPLY:
            if messages[0].mterm < spec.currentTerm[i]:
                spec.DropStaleResponse(i, m.src, messages[0])
            else:
                spec.HandleRequestVoteResponse(i, m.src, messages[0])
        elif m.kind in (APPEND_REPLY, APPEND_REJECT):
            self._hear_append_answer(event, m, messages[0])
        elif m.kind == SNAPSHOT:
            self._hear_snapshot(event, m, messages[0])
        elif m.kind == TRUST and spec.doubt[i] and not event.state.doubt:
            spec.Trust(i, messages[0])
        else:
            spec.Hear(messages[0])

    def _lose(self, messages: Iterable[Message]) -> None:
        for m in messages:
            self.spec.DropMessage(m)

    def _answer(self, event: Event, m: Letter, *kinds: int) -> Letter | None:
        for said in event.made:
            if said.kind in kinds and said.dst == m.src and said not in self._answered:
                self._answered.add(said)
                return said
        return None

    def _is_said(self, response: Message, said: Letter | None) -> None:
        """That answer is given, or not at all: in another's place, or by one in doubt."""
        if said is None or said.kind not in ANSWERS or self._found_log is not None:
            self.spec.DropMessage(response)
        else:
            (message,) = messages_of(said)
            require(message == response, f"the answer is {response}", f"it was {message}")

    def _hear_vote(self, event: Event, m: Letter, message: RequestVoteRequest) -> None:
        spec, i, j = self.spec, event.node, m.src
        said = self._answer(event, m, VOTE_REPLY)
        if said is None:
            return self._lose([message])
        if said.index:
            response = spec.grant_vote(i, j, message)
        elif not spec.grant(i, j, message):
            response = spec.deny_vote(i, j, message)
        else:
            response = spec.RefuseVote(i, j, message)
        self._is_said(response, said)

    def _hear_append(self, event: Event, m: Letter, requests: list[AppendEntriesRequest]) -> None:
        spec, i, j = self.spec, event.node, m.src
        said = self._answer(event, m, APPEND_REPLY, APPEND_REJECT, DOUBT_REPLY, DOUBT_REJECT)
        is_old = requests[0].mterm < spec.currentTerm[i]
        rejects = said is not None and said.kind in (APPEND_REJECT, DOUBT_REJECT)
        if self._found_log is not None and not is_old and rejects == spec.logOk(i, requests[0]):
            return self._lose(requests)  # what it was compared with hasn't been written
        if not is_old and spec.state[i] == Candidate:
            spec.return_to_follower_state(i, j, requests[0])
        if rejects:
            self._is_said(spec.reject_request(i, j, requests[0]), said)
            self._lose(requests[1:])
        elif is_old or said is None and (m.kind == APPEND and not m.entries):
            self._lose(requests)  # it is not taken notice of
        elif said is None and m.entries and not event.log:
            self._hear_append_without_room(event, requests)
        elif said is None and not spec.logOk(i, requests[0]):
            self._lose(requests)  # it hasn't even been counted in yet
        elif m.index < spec.commitIndex[i]:
            self._is_said(spec.AcceptUpToCommitIndex(i, j, requests[0]), said)
            self._lose(requests[1:])
        else:
            taken = (said.index if said else m.index) - m.index
            self._hear_entries(event, requests, taken, said)

    def _hear_append_without_room(self, event: Event, requests: list[AppendEntriesRequest]) -> None:
        i, j = event.node, requests[0].msource
        if event.state.commit > self.spec.commitIndex[i]:
            self.spec.TakePrefixOfRequest(i, j, requests[0])
            requests = requests[1:]
        self._lose(requests)

    def _hear_entries(
        self,
        event: Event,
        requests: list[AppendEntriesRequest],
        taken: int,
        said: Letter | None,
    ) -> None:
        """The first `taken` of these requests are accepted; a heartbeat is one without entries."""
        last = max(0, taken - 1)
        for n, request in enumerate(requests):
            if n > last or not self._is_found(request):
                return self._lose(requests[n:])
            response = self._accept(event, request)
            if n < last:
                self.spec.DropMessage(response)
            else:
                self._is_said(response, said)

    def _is_found(self, request: AppendEntriesRequest) -> bool:
        """Whether its entry is in the log, as far as that is known to have been written."""
        found, at = self._found_log, request.mprevLogIndex
        return found is None or found[at : at + 1] == list(request.mentries)[:1]

    def _accept(self, event: Event, request: AppendEntriesRequest) -> AppendEntriesResponse:
        spec, i, j = self.spec, event.node, request.msource
        index = request.mprevLogIndex + 1
        if request.mentries:
            if ("truncate", index) in [tuple(change[:2]) for change in event.log]:
                spec.conflict_remove_1_entry(i, j, request)
                while len(spec.log[i]) >= index:
                    spec.conflict_remove_1_entry(i, j, request)
            if ("append", index) in [tuple(change[:2]) for change in event.log]:
                spec.no_conflict_append_entry(i, j, request)
        if request.mcommitIndex < spec.commitIndex[i]:
            return spec.KeepCommitIndex(i, j, request)
        return spec.already_done_with_request(i, j, request)

    def _hear_append_answer(self, event: Event, m: Letter, message: AppendEntriesResponse) -> None:
        spec, i, j = self.spec, event.node, m.src
        if message.mterm < spec.currentTerm[i]:
            return spec.DropStaleResponse(i, j, message)
        # A match index never falls here: an answer that came late is lost.
        is_news = message.mmatchIndex > spec.matchIndex[i][j]
        if message.msuccess and not (is_news and (j, m.index) in event.state.matches):
            return spec.DropMessage(message)
        spec.HandleAppendEntriesResponse(i, j, message)

    def _hear_snapshot(self, event: Event, m: Letter, message: Extra) -> None:
        spec, i, j = self.spec, event.node, m.src
        said = self._answer(event, m, APPEND_REPLY, APPEND_REJECT, DOUBT_REPLY, DOUBT_REJECT)
        if message.mterm == spec.currentTerm[i] and spec.state[i] == Candidate:
            spec.StepDown(i)
        installed = [change for change in event.log if change[0] == "install"]
        if said is None or self._found_log is not None and not (
            installed and len(self._found_log) >= m.index
        ):  # fmt: skip
            spec.Hear(message)
        elif said.kind in (APPEND_REJECT, DOUBT_REJECT):
            self._is_said(spec.RejectOldSnapshot(i, j, message), said)
        elif installed:
            self._is_said(spec.InstallSnapshot(i, j, message), said)
        else:
            self._is_said(spec.AcceptUpToCommitIndex(i, j, message), said)

    # What it does by itself

    def _act(self, event: Event) -> None:
        spec, i, state = self.spec, event.node, event.state
        seen = seen_in(state)
        if seen.currentTerm > spec.currentTerm[i]:
            self._stand(i)
        if seen.state == Leader and spec.state[i] != Leader:
            spec.BecomeLeader(i)
        elif seen.state == Follower and spec.state[i] != Follower:
            spec.StepDown(i)
        if spec.state[i] == Leader:
            self._lead(event)
        self._doubt_or_not(event)

    def _stand(self, i: int) -> None:
        spec = self.spec
        spec.Timeout(i)
        request = spec.RequestVote(i, i)
        response = spec.grant_vote(i, i, request)
        spec.HandleRequestVoteResponse(i, i, response)

    def _lead(self, event: Event) -> None:
        spec, i, state = self.spec, event.node, event.state
        for what, index, *more in event.log:
            require(what == "append", "only a client's request changes a leader's log", what, index)
            (told,) = more
            entry = entry_of(told)
            if self._found_log is not None and self._found_log[index - 1 : index] != [entry]:
                return
            if told[1] == CONFIG:
                spec.ChangeMembers(i, entry.value)  # type: ignore[arg-type]
            else:
                spec.ClientRequest(i, entry.value)
        for j, match in state.matches:
            if match < spec.matchIndex[i][j]:
                spec.ForgetMatchIndex(i, j)
            require(match == spec.matchIndex[i][j], "matchIndex[i][j]", f"node {i} has {match}")
        if self._found_log is None and state.commit > spec.commitIndex[i]:
            self._commit(event)

    def _commit(self, event: Event) -> None:
        spec, i, state = self.spec, event.node, event.state
        told = event.heard.commit if event.heard else 0
        if spec.term_at(i, state.commit) != spec.currentTerm[i] and (
            told >= state.commit or event.heard and event.heard.kind == VOTE_REPLY
        ):
            return spec.LearnCommitIndex(i, state.commit)
        spec.AdvanceCommitIndex(i)
        agree = [j for j, match in state.matches if match >= state.commit]
        agree += [i] * (state.durable >= state.commit)
        require(spec.is_quorum(i, agree), "durable on a quorum", f"commitIndex = {state.commit}")

    def _doubt_or_not(self, event: Event) -> None:
        spec, i, doubt = self.spec, event.node, event.state.doubt
        if spec.doubt[i] and not doubt:
            spec.EndDoubt(i)
        elif doubt != spec.doubt[i]:
            spec.Doubt(i, doubt)

    # Messages that leave

    def _say(self, event: Event) -> None:
        for m in event.made:
            if m not in self._answered or m.kind not in ANSWERS:
                self._send(m)

    def _send(self, m: Letter) -> None:
        spec, i, j = self.spec, m.src, m.dst
        messages = messages_of(m)
        if m.kind == VOTE:
            asks = spec.AskAgain if j in spec.votesResponded[i] else spec.RequestVote
            self._is_sent(asks(i, j), messages[0])
        elif m.kind in (APPEND, COMMIT):
            for message in messages:
                self._is_sent(self._append_to(i, j, message), message)
        elif m.kind in ANSWERS:
            raise NotEnabled("an answer that nobody has asked for", m)
        elif m.kind == SNAPSHOT:
            spec.SendSnapshot(messages[0])
        else:
            spec.Say(messages[0])

    def _append_to(self, i: int, j: int, message: AppendEntriesRequest) -> Message:
        spec = self.spec
        index = message.mprevLogIndex + 1
        if spec.nextIndex[i][j] != index:
            spec.ChooseNextIndex(i, j, index)
        if message.mentries or index > len(spec.log[i]):
            return spec.AppendEntries(i, j)
        return spec.Heartbeat(i, j)

    def _is_sent(self, message: Message, said: Message) -> None:
        require(message == said, f"the message is {message}", f"it was {said}")
