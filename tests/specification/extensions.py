"""What this implementation does and raft.tla doesn't know, as actions of the same sort.

Each has guards from which follows that it can't harm: that is said with it. Four history variables
help: `committed`, all that any leader has committed, with the term of that leader; `leaders`, who
has led which term; `doubt`, who can't trust its flash, and `doubters`, who ever could not.

In EXTENSIONS they have their places. "Messages" are those that have no effect on any variable of
the specification, but for their term: pre-votes and their answers, commands that are rescued, the
word to stand (TimeoutNow), questions for a read index, pieces of snapshots, answers of nodes in
doubt.
"""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from tests.specification.actions import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    Candidate,
    Entry,
    Follower,
    Leader,
    Message,
    Nil,
    Raft,
    RequestVoteRequest,
    RequestVoteResponse,
    action,
    require,
)

EXTENSIONS = {
    "pre-vote and check-quorum": ("StepDown", "RefuseVote"),
    "datagrams": ("AskAgain", "ChooseNextIndex", "Heartbeat", "TakePrefixOfRequest"),
    "commit index": ("KeepCommitIndex", "AcceptUpToCommitIndex", "LearnCommitIndex"),
    "durability": ("RestartWithoutTail",),
    "snapshots": ("SendSnapshot", "InstallSnapshot", "LoadSnapshot", "RejectOldSnapshot"),
    "membership": ("ChangeMembers",),
    "doubt": ("RestartWithLoss", "Doubt", "EndDoubt", "Trust", "ForgetMatchIndex"),
    "messages": ("Say", "Hear"),
}


class Configuration(NamedTuple):
    """The value of an entry that says who votes."""

    voters: tuple[int, ...]
    checksum: int


class Extra(NamedTuple):
    """A message that raft.tla doesn't have. facts: what else is in it."""

    mtype: str
    mterm: int
    msource: int
    mdest: int
    facts: tuple[int, ...]


class Extended(Raft):
    """The specification, with extensions."""

    def __init__(self, servers: Collection[int]) -> None:
        super().__init__(servers)
        self.founders: dict[int, tuple[int, ...]] = {i: () for i in self.Server}
        self.committed: list[Entry] = []
        self.committed_in: list[int] = []
        self.leaders: dict[int, int] = {}
        self.doubt = {i: 0 for i in self.Server}
        self.doubters: set[int] = set()
        self.said: Counter[str] = Counter()  # messages that raft.tla doesn't have

    # What has to hold whatever happens (paper, figure 3): the specification's proof doesn't
    # cover extensions

    @action()
    def BecomeLeader(self, i: int) -> None:
        super().BecomeLeader(i)
        term = self.currentTerm[i]
        other = self.leaders.setdefault(term, i)
        require(other == i, "Election Safety", f"term {term} has been led by {other}")
        self.holds_committed(i)

    def holds_committed(self, i: int) -> None:
        index = len(self.committed)
        while index and self.committed_in[index - 1] >= self.currentTerm[i]:
            index -= 1
        require(
            self.log[i][:index] == self.committed[:index],
            "Leader Completeness",
            f"{index} entries are committed",
        )

    def knows_committed(self, i: int, before: int) -> None:
        """commitIndex[i] was `before`."""
        index = self.commitIndex[i]
        require(index <= len(self.log[i]), "commitIndex[i] <= Len(log[i])")
        if index > len(self.committed):
            require(self.state[i] == Leader, "only a leader commits", f"commitIndex = {index}")
            for entry in self.log[i][len(self.committed) : index]:
                self.committed.append(entry)
                self.committed_in.append(self.currentTerm[i])
        require(
            self.log[i][before:index] == self.committed[before:index],
            "State Machine Safety",
            f"commitIndex = {index}",
        )

    # membership. A majority is one of the voters that the last configuration in a server's own log
    # names, committed or not. Two majorities of configurations that follow on each other overlap,
    # for they differ by one voter; and one that doesn't follow can't be in use, for each has to be
    # committed before the next one (4.1), and the term's first entry before any (Ongaro 2015).

    def voters(self, i: int) -> tuple[int, ...]:
        return self.voters_after(i, len(self.log[i]))

    def voters_after(self, i: int, index: int) -> tuple[int, ...]:
        for entry in reversed(self.log[i][:index]):
            if isinstance(entry.value, Configuration):
                return entry.value.voters
        return self.founders[i]

    def is_quorum(self, i: int, servers: Collection[int]) -> bool:
        voters = self.voters(i)
        return len([j for j in voters if j in servers]) * 2 > len(voters)

    @action()
    def ChangeMembers(self, i: int, v: Configuration) -> None:
        require(self.state[i] == Leader, "state[i] = Leader")
        first = not any(isinstance(entry.value, Configuration) for entry in self.log[i])
        if not first:  # the first leader writes down what the cluster was founded with
            self._may_change(i)
        moved = set(v.voters) ^ set(self.voters(i))
        require(len(moved) <= (not first), "one voter at a time comes or goes", f"moved: {moved}")
        self.log[i].append(Entry(self.currentTerm[i], v))

    def _may_change(self, i: int) -> None:
        commit = self.commitIndex[i]
        changing = [e for e in self.log[i][commit:] if isinstance(e.value, Configuration)]
        require(not changing, "the last configuration is committed")
        require(self.term_at(i, commit) == self.currentTerm[i], "an entry of the term is committed")

    # pre-vote, check-quorum. A server that ceases to stand or to lead in the middle of a term keeps
    # its vote, and can't lead that term again: it is as if it were only slow. A vote that isn't
    # given is as if the request were lost: the refusal counts for nothing.

    @action()
    def StepDown(self, i: int) -> None:
        require(self.state[i] in (Candidate, Leader), "state[i] \\in {Candidate, Leader}")
        self.state[i] = Follower

    @action()
    def RefuseVote(self, i: int, j: int, m: RequestVoteRequest) -> RequestVoteResponse:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        return self._answer_vote(i, j, m, False)

    # datagrams. What is sent is always a piece of the leader's own log, whatever nextIndex says;
    # with none of its entries it says less than the specification's.

    @action()
    def AskAgain(self, i: int, j: int) -> RequestVoteRequest:
        require(self.state[i] == Candidate, "state[i] = Candidate")
        m = self.vote_request(i, j)
        self.Send(m)
        return m

    @action()
    def ChooseNextIndex(self, i: int, j: int, index: int) -> None:
        require(self.state[i] == Leader, "state[i] = Leader")
        require(1 <= index <= len(self.log[i]) + 1, "index \\in 1..Len(log[i]) + 1")
        self.nextIndex[i][j] = index

    @action()
    def Heartbeat(self, i: int, j: int) -> AppendEntriesRequest:
        require(i != j, "i /= j")
        require(self.state[i] == Leader, "state[i] = Leader")
        m = self.append_request(i, j, ())
        self.Send(m)
        return m

    @action()
    def TakePrefixOfRequest(self, i: int, j: int, m: AppendEntriesRequest) -> None:
        """There is no room for its entry: it is taken as if it had none."""
        self.accepts(i, m)
        self.commitIndex[i] = max(self.commitIndex[i], min(m.mcommitIndex, m.mprevLogIndex))
        self.Discard(m)

    # commit index. It tells of what is committed, and that stays so: it need not fall. Up to there
    # all servers have the same entries, so that one may say so whatever it was asked, and a
    # leader may learn it from whoever knows.

    @action()
    def KeepCommitIndex(self, i: int, j: int, m: AppendEntriesRequest) -> AppendEntriesResponse:
        """As if already done with the request, but commitIndex stays."""
        self._is_done_with(i, m)
        require(m.mcommitIndex < self.commitIndex[i], "m.mcommitIndex < commitIndex[i]")
        return self._answer_append(i, j, m, True, m.mprevLogIndex + len(m.mentries))

    @action()
    def AcceptUpToCommitIndex(self, i: int, j: int, m: Message) -> AppendEntriesResponse:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        require(self.state[i] == Follower, "state[i] = Follower")
        require(self.leaders.get(m.mterm) == j, "j leads the term")
        return self._answer_append(i, j, m, True, self.commitIndex[i])

    @action()
    def LearnCommitIndex(self, i: int, index: int) -> None:
        require(self.state[i] == Leader, "state[i] = Leader")
        require(index > self.commitIndex[i], "index > commitIndex[i]")
        require(index <= len(self.committed), "index <= Len(committed)")
        before = self.commitIndex[i]
        self.commitIndex[i] = index
        self.knows_committed(i, before)

    # durability. A leader that loses its last entries hasn't counted itself for them: see
    # `Refinement`, where it commits.

    @action()
    def RestartWithoutTail(self, i: int, length: int) -> None:
        require(self.state[i] == Leader, "UNCHANGED <<currentTerm, votedFor, log>>")
        lost = self.log[i][length:]
        require(bool(lost), "UNCHANGED <<currentTerm, votedFor, log>>")
        for entry in lost:
            require(entry.term == self.currentTerm[i], "log[i][index].term = currentTerm[i]")
        del self.log[i][length:]
        super().Restart(i)

    # snapshots. They stand for what is committed, and for nothing else.

    @action()
    def SendSnapshot(self, m: Extra) -> None:
        i = m.msource
        require(self.state[i] == Leader, "state[i] = Leader")
        index, term = m.facts[:2]
        require(index <= self.commitIndex[i], "lastIndex <= commitIndex[i]")
        require(self.term_at(i, index) == term, "lastTerm = log[i][lastIndex].term")
        self.Send(m)

    @action()
    def InstallSnapshot(self, i: int, j: int, m: Extra) -> AppendEntriesResponse:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        require(self.state[i] == Follower, "state[i] = Follower")
        index, term = m.facts[:2]
        require(index <= len(self.committed), "lastIndex <= Len(committed)")
        require(index > self.commitIndex[i], "lastIndex > commitIndex[i]")
        if not (index <= len(self.log[i]) and self.term_at(i, index) == term):
            self.log[i] = self.committed[:index]
        self.commitIndex[i] = index
        return self._answer_append(i, j, m, True, index)

    @action()
    def LoadSnapshot(self, i: int, index: int) -> None:
        """After a restart: what it stands for is committed."""
        require(index <= len(self.committed), "lastIndex <= Len(committed)")
        require(self.log[i][:index] == self.committed[:index], "log[i] begins with it")
        self.commitIndex[i] = index

    # doubt. A server that may have forgotten what it promised is none until it holds again all that
    # it ever acknowledged, and can't have voted: it gives no vote, doesn't stand, and no leader
    # counts what it says.

    @action()
    def RestartWithLoss(self, i: int, term: int, vote: int, log: list[Entry], doubt: int) -> None:
        """With anything, so long as it is in doubt; not that it doubts far enough."""
        require(doubt > 0, "UNCHANGED <<currentTerm, votedFor, log>>")
        self.currentTerm[i] = term
        self.votedFor[i] = vote
        self.log[i] = log
        self.doubt[i] = doubt
        self.doubters.add(i)
        super().Restart(i)

    @action()
    def Doubt(self, i: int, index: int) -> None:
        require(index > self.doubt[i], "index > doubt[i]")
        self.doubt[i] = index
        self.doubters.add(i)

    @action()
    def EndDoubt(self, i: int) -> None:
        """So much is committed without it: none of that has counted on it."""
        require(self.doubt[i] <= self.commitIndex[i], "doubt[i] <= commitIndex[i]")
        self.doubt[i] = 0

    @action()
    def Trust(self, i: int, m: Extra) -> None:
        self.is_there(m)
        require(m.mterm == self.currentTerm[i], "m.mterm = currentTerm[i]")
        require(self.leaders.get(m.mterm) == m.msource, "m.msource leads the term")
        require(m.facts[0] <= len(self.log[i]), "m.index <= Len(log[i])")
        for j in self.voters(m.msource):
            if j != i and not self.doubt[j]:
                require(self.currentTerm[j] >= m.mterm, "all other voters are in the term", j)
        self.doubt[i] = 0
        if self.votedFor[i] == Nil:
            self.votedFor[i] = m.msource
        self.Discard(m)

    @action()
    def ForgetMatchIndex(self, i: int, j: int) -> None:
        """Of one in doubt, or that was: its word of it may come late. Less is committed so."""
        require(j in self.doubters, "j \\in doubters")
        self.matchIndex[i][j] = 0

    @action()
    def Timeout(self, i: int) -> None:
        require(not self.doubt[i], "doubt[i] = 0")
        super().Timeout(i)

    @action("HandleRequestVoteRequest")
    def grant_vote(self, i: int, j: int, m: RequestVoteRequest) -> RequestVoteResponse:
        require(not self.doubt[i], "doubt[i] = 0")
        return super().grant_vote(i, j, m)

    # others. They are in the bag as all messages are, for a newer term is taken from any of them.

    @action()
    def RejectOldSnapshot(self, i: int, j: int, m: Extra) -> AppendEntriesResponse:
        self.is_there(m)
        require(m.mterm < self.currentTerm[i], "m.mterm < currentTerm[i]")
        return self._answer_append(i, j, m, False, 0)

    @action()
    def Say(self, m: Extra) -> None:
        i, gives = m.msource, m.mtype == "PreVoteResponse" and m.facts[0] > 0
        if not gives:  # a term that nobody is in yet, and which is told back
            ahead = int(m.mtype == "PreVoteRequest")
            require(m.mterm <= self.currentTerm[i] + ahead, "m.mterm <= currentTerm[i]")
        self.said[m.mtype] += 1
        self.Send(m)

    @action()
    def Hear(self, m: Extra) -> None:
        self.is_there(m)
        self.Discard(m)
