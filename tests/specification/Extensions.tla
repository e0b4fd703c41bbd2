----------------------------- MODULE Extensions -----------------------------
\* What this implementation does beside the actions of raft.tla, as actions of the
\* same sort: those of extensions.py, where it is said why none of them can harm.
\* Members don't change here, and no flash loses anything.

EXTENDS raft

\* A history variable: all that any leader has committed.
VARIABLE committed

extendedVars == <<vars, committed>>

TermAt(i, index) == IF index > 0 THEN log[i][index].term ELSE 0

\* pre-vote, check-quorum

StepDown(i) ==
    /\ state[i] \in {Candidate, Leader}
    /\ state' = [state EXCEPT ![i] = Follower]
    /\ UNCHANGED <<messages, currentTerm, votedFor, candidateVars, leaderVars, logVars>>

RefuseVote(i, j, m) ==
    /\ m.mtype = RequestVoteRequest
    /\ m.mterm = currentTerm[i]
    /\ Reply([mtype        |-> RequestVoteResponse,
              mterm        |-> currentTerm[i],
              mvoteGranted |-> FALSE,
              mlog         |-> log[i],
              msource      |-> i,
              mdest        |-> j],
              m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

\* datagrams

AskAgain(i, j) ==
    /\ state[i] = Candidate
    /\ Send([mtype         |-> RequestVoteRequest,
             mterm         |-> currentTerm[i],
             mlastLogTerm  |-> LastTerm(log[i]),
             mlastLogIndex |-> Len(log[i]),
             msource       |-> i,
             mdest         |-> j])
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

ChooseNextIndex(i, j, index) ==
    /\ state[i] = Leader
    /\ index \in 1..(Len(log[i]) + 1)
    /\ nextIndex' = [nextIndex EXCEPT ![i][j] = index]
    /\ UNCHANGED <<messages, serverVars, candidateVars, matchIndex, elections, logVars>>

Heartbeat(i, j) ==
    /\ i /= j
    /\ state[i] = Leader
    /\ LET prevLogIndex == nextIndex[i][j] - 1
       IN Send([mtype          |-> AppendEntriesRequest,
                mterm          |-> currentTerm[i],
                mprevLogIndex  |-> prevLogIndex,
                mprevLogTerm   |-> TermAt(i, prevLogIndex),
                mentries       |-> << >>,
                mlog           |-> log[i],
                mcommitIndex   |-> Min({commitIndex[i], prevLogIndex}),
                msource        |-> i,
                mdest          |-> j])
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

Accepts(i, m) ==
    /\ m.mtype = AppendEntriesRequest
    /\ m.mterm = currentTerm[i]
    /\ state[i] = Follower
    /\ \/ m.mprevLogIndex = 0
       \/ /\ m.mprevLogIndex <= Len(log[i])
          /\ m.mprevLogTerm = TermAt(i, m.mprevLogIndex)

Response(i, j, success, matchIndex_) ==
    [mtype       |-> AppendEntriesResponse,
     mterm       |-> currentTerm[i],
     msuccess    |-> success,
     mmatchIndex |-> matchIndex_,
     msource     |-> i,
     mdest       |-> j]

TakePrefixOfRequest(i, j, m) ==
    /\ Accepts(i, m)
    /\ commitIndex' = [commitIndex EXCEPT ![i] =
           Max({commitIndex[i], Min({m.mcommitIndex, m.mprevLogIndex})})]
    /\ Discard(m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, log>>

\* commit index

KeepCommitIndex(i, j, m) ==
    /\ Accepts(i, m)
    /\ \/ m.mentries = << >>
       \/ /\ Len(log[i]) > m.mprevLogIndex
          /\ TermAt(i, m.mprevLogIndex + 1) = m.mentries[1].term
    /\ m.mcommitIndex < commitIndex[i]
    /\ Reply(Response(i, j, TRUE, m.mprevLogIndex + Len(m.mentries)), m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

Led(term) == {e.eleader : e \in {e \in elections : e.eterm = term}}

AcceptUpToCommitIndex(i, j, m) ==
    /\ m.mterm = currentTerm[i]
    /\ state[i] = Follower
    /\ j \in Led(m.mterm)
    /\ Reply(Response(i, j, TRUE, commitIndex[i]), m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

LearnCommitIndex(i, index) ==
    /\ state[i] = Leader
    /\ index > commitIndex[i]
    /\ index <= Min({Len(committed), Len(log[i])})
    /\ SubSeq(log[i], 1, index) = SubSeq(committed, 1, index)
    /\ commitIndex' = [commitIndex EXCEPT ![i] = index]
    /\ UNCHANGED <<messages, serverVars, candidateVars, leaderVars, log>>

\* durability

Restarts(i) ==
    /\ state'          = [state EXCEPT ![i] = Follower]
    /\ votesResponded' = [votesResponded EXCEPT ![i] = {}]
    /\ votesGranted'   = [votesGranted EXCEPT ![i] = {}]
    /\ voterLog'       = [voterLog EXCEPT ![i] = [j \in {} |-> <<>>]]
    /\ nextIndex'      = [nextIndex EXCEPT ![i] = [j \in Server |-> 1]]
    /\ matchIndex'     = [matchIndex EXCEPT ![i] = [j \in Server |-> 0]]
    /\ commitIndex'    = [commitIndex EXCEPT ![i] = 0]
    /\ UNCHANGED <<messages, currentTerm, votedFor, elections>>

RestartWithoutTail(i, length) ==
    /\ state[i] = Leader
    /\ length < Len(log[i])
    /\ \A index \in (length + 1)..Len(log[i]) : log[i][index].term = currentTerm[i]
    /\ log' = [log EXCEPT ![i] = SubSeq(log[i], 1, length)]
    /\ Restarts(i)

\* snapshots

SendSnapshot(m) ==
    LET i == m.msource
    IN /\ state[i] = Leader
       /\ m.facts[1] <= commitIndex[i]
       /\ TermAt(i, m.facts[1]) = m.facts[2]
       /\ Send(m)
       /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

InstallSnapshot(i, j, m) ==
    LET index == m.facts[1]
    IN /\ m.mterm = currentTerm[i]
       /\ state[i] = Follower
       /\ index <= Len(committed)
       /\ index > commitIndex[i]
       /\ IF index <= Len(log[i]) /\ TermAt(i, index) = m.facts[2]
          THEN UNCHANGED log
          ELSE log' = [log EXCEPT ![i] = SubSeq(committed, 1, index)]
       /\ commitIndex' = [commitIndex EXCEPT ![i] = index]
       /\ Reply(Response(i, j, TRUE, index), m)
       /\ UNCHANGED <<serverVars, candidateVars, leaderVars>>

LoadSnapshot(i, index) ==
    /\ index <= Min({Len(committed), Len(log[i])})
    /\ SubSeq(log[i], 1, index) = SubSeq(committed, 1, index)
    /\ commitIndex' = [commitIndex EXCEPT ![i] = index]
    /\ UNCHANGED <<messages, serverVars, candidateVars, leaderVars, log>>

RejectOldSnapshot(i, j, m) ==
    /\ m.mterm < currentTerm[i]
    /\ Reply(Response(i, j, FALSE, 0), m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

\* a leader discards what it knew of one whose flash has lost something

ForgetMatchIndex(i, j) ==
    /\ matchIndex' = [matchIndex EXCEPT ![i][j] = 0]
    /\ UNCHANGED <<messages, serverVars, candidateVars, nextIndex, elections, logVars>>

\* messages that have no effect but that of their term

Extra == {"PreVoteRequest", "PreVoteResponse", "Rescue", "InstallSnapshotRequest",
          "InstallSnapshotResponse", "TimeoutNow", "ReadIndexRequest", "ReadIndexResponse"}

Say(m) ==
    /\ m.mtype \in Extra
    /\ \/ m.mterm <= currentTerm[m.msource]
       \/ m.mtype = "PreVoteRequest" /\ m.mterm = currentTerm[m.msource] + 1
       \/ m.mtype = "PreVoteResponse" /\ m.facts[1] > 0
    /\ Send(m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

Hear(m) ==
    /\ m.mtype \in Extra
    /\ Discard(m)
    /\ UNCHANGED <<serverVars, candidateVars, leaderVars, logVars>>

\* Of any step

Remember ==
    /\ allLogs' = allLogs \cup {log[i] : i \in Server}
    /\ committed' =
           LET ahead == {i \in Server : commitIndex'[i] > Len(committed)}
           IN IF ahead = {} THEN committed
              ELSE LET i == CHOOSE i \in ahead : TRUE
                   IN SubSeq(log'[i], 1, commitIndex'[i])

\* Some of these as they may be taken at any time; of what a message is needed for, with any.
ExtensionNext ==
    /\ \/ \E i \in Server : StepDown(i)
       \/ \E i, j \in Server : AskAgain(i, j)
       \/ \E i, j \in Server : \E n \in 1..(Len(log[i]) + 1) : ChooseNextIndex(i, j, n)
       \/ \E i, j \in Server : Heartbeat(i, j)
       \/ \E i \in Server : \E n \in 1..Len(committed) : LearnCommitIndex(i, n)
       \/ \E i \in Server : \E n \in 0..Len(log[i]) : RestartWithoutTail(i, n)
       \/ \E i \in Server : \E n \in 1..Len(committed) : LoadSnapshot(i, n)
       \/ \E i, j \in Server : ForgetMatchIndex(i, j)
       \/ \E m \in DOMAIN messages' : m.mtype \in Extra /\ (Say(m) \/ SendSnapshot(m))
       \/ \E m \in DOMAIN messages :
              \/ RefuseVote(m.mdest, m.msource, m)
              \/ TakePrefixOfRequest(m.mdest, m.msource, m)
              \/ KeepCommitIndex(m.mdest, m.msource, m)
              \/ AcceptUpToCommitIndex(m.mdest, m.msource, m)
              \/ /\ m.mtype = "InstallSnapshotRequest"
                 /\ \/ InstallSnapshot(m.mdest, m.msource, m)
                    \/ RejectOldSnapshot(m.mdest, m.msource, m)
              \/ Hear(m)
    /\ allLogs' = allLogs \cup {log[i] : i \in Server}

=============================================================================
