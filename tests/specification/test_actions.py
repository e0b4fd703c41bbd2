"""Each action of the specification by itself: its effect, and what it refuses by which guard."""

import pytest

from tests.specification.actions import (
    Candidate,
    Entry,
    Follower,
    Leader,
    Nil,
    NotEnabled,
    Raft,
    RequestVoteRequest,
)
from tests.specification.extensions import Configuration, Extended, Extra

A, B, C = 1, 2, 3


def with_leader(spec: Raft, leader: int = A) -> Raft:
    """Elected by itself and the next one."""
    other = leader % 3 + 1
    spec.Timeout(leader)
    for voter in (leader, other):
        request = spec.RequestVote(leader, voter)
        if voter != leader:
            spec.UpdateTerm(voter, leader, request)
        response = spec.grant_vote(voter, leader, request)
        spec.HandleRequestVoteResponse(leader, voter, response)
    spec.BecomeLeader(leader)
    return spec


@pytest.fixture
def raft() -> Raft:
    return Raft((A, B, C))


@pytest.fixture
def led() -> Raft:
    """A leads term 2, has one entry, and C hasn't heard of it."""
    spec = with_leader(Raft((A, B, C)))
    spec.ClientRequest(A, "x")
    return spec


def refused(guard: str) -> "pytest.RaisesExc[NotEnabled]":
    return pytest.raises(NotEnabled, check=lambda e: e.guard == guard)


def test_timeout_begins_an_election_in_a_new_term(raft: Raft) -> None:
    raft.Timeout(A)

    assert (raft.state[A], raft.currentTerm[A], raft.votedFor[A]) == (Candidate, 2, Nil)
    with_leader(raft)
    with refused("state[i] \\in {Follower, Candidate}"):
        raft.Timeout(A)


def test_request_vote_is_for_candidates_and_for_those_who_have_not_answered(raft: Raft) -> None:
    with refused("state[i] = Candidate"):
        raft.RequestVote(A, B)
    raft.Timeout(A)

    request = raft.RequestVote(A, A)

    assert request == RequestVoteRequest(2, 0, 0, A, A)
    raft.HandleRequestVoteResponse(A, A, raft.grant_vote(A, A, request))
    with refused("j \\notin votesResponded[i]"):
        raft.RequestVote(A, A)


def test_a_leader_needs_a_quorum_of_votes(raft: Raft) -> None:
    with refused("state[i] = Candidate"):
        raft.BecomeLeader(A)
    raft.Timeout(A)
    response = raft.grant_vote(A, A, raft.RequestVote(A, A))
    raft.HandleRequestVoteResponse(A, A, response)
    with refused("votesGranted[i] \\in Quorum"):
        raft.BecomeLeader(A)

    with_leader(raft)

    assert raft.state[A] == Leader
    assert raft.nextIndex[A] == {A: 1, B: 1, C: 1}


def test_a_vote_is_given_once_and_to_whom_is_up_to_date(led: Raft) -> None:
    led.Timeout(C)
    behind = led.RequestVote(C, A)
    led.Timeout(C)
    late = led.RequestVote(C, A)
    with refused("m.mterm = currentTerm[i]"):
        led.grant_vote(A, C, late)
    with refused("m.mterm <= currentTerm[i]"):
        led.deny_vote(A, C, late)
    with refused("votedFor[i] \\in {Nil, j}"):
        led.votedFor[B], led.log[B] = A, []
        led.grant_vote(B, C, _delivered(led, behind._replace(mdest=B)))
    led.UpdateTerm(A, C, late)
    with refused("logOk"):
        led.grant_vote(A, C, late)

    response = led.deny_vote(A, C, late)

    assert not response.mvoteGranted and led.votedFor[A] == Nil
    with refused("~grant"):
        led.log[A], led.votedFor[A] = [], Nil
        led.deny_vote(A, C, _delivered(led, late))


def _delivered(spec: Raft, m: RequestVoteRequest) -> RequestVoteRequest:
    spec.Send(m)
    return m


def test_a_vote_of_another_term_is_not_counted(raft: Raft) -> None:
    raft.Timeout(A)
    request = raft.RequestVote(A, B)
    raft.UpdateTerm(B, A, request)
    response = raft.grant_vote(B, A, request)
    raft.Timeout(A)

    with refused("m.mterm = currentTerm[i]"):
        raft.HandleRequestVoteResponse(A, B, response)
    raft.DropStaleResponse(A, B, response)

    with refused("m \\in DOMAIN messages"):
        raft.DropStaleResponse(A, B, response)


def test_only_a_leader_takes_requests_and_sends_its_log_one_entry_at_a_time(led: Raft) -> None:
    with refused("state[i] = Leader"):
        led.ClientRequest(B, "y")
    with refused("state[i] = Leader"):
        led.AppendEntries(B, C)
    with refused("i /= j"):
        led.AppendEntries(A, A)
    led.ClientRequest(A, "y")

    request = led.AppendEntries(A, B)

    assert request.mentries == (Entry(2, "x"),)
    assert (request.mprevLogIndex, request.mprevLogTerm, request.mcommitIndex) == (0, 0, 0)


def test_entries_are_appended_answered_and_counted(led: Raft) -> None:
    request = led.AppendEntries(A, B)
    with refused("log[i][index].term = m.mentries[1].term"):
        led.log[B].append(Entry(1, "old"))
        led.already_done_with_request(B, A, request)
    led.conflict_remove_1_entry(B, A, request)
    with refused("Len(log[i]) >= index"):
        led.conflict_remove_1_entry(B, A, request)
    led.no_conflict_append_entry(B, A, request)
    with refused("Len(log[i]) = m.mprevLogIndex"):
        led.no_conflict_append_entry(B, A, request)
    with refused("log[i][index].term /= m.mentries[1].term"):
        led.conflict_remove_1_entry(B, A, request)

    response = led.already_done_with_request(B, A, request)
    led.HandleAppendEntriesResponse(A, B, response)
    led.AdvanceCommitIndex(A)

    assert (led.matchIndex[A][B], led.nextIndex[A][B], led.commitIndex[A]) == (1, 2, 1)
    heartbeat = led.AppendEntries(A, B)
    with refused("m.mentries /= << >>"):
        led.no_conflict_append_entry(B, A, heartbeat)
    led.already_done_with_request(B, A, heartbeat)
    assert led.commitIndex[B] == 1


def test_a_follower_rejects_what_it_lacks_the_entry_before(led: Raft) -> None:
    led.nextIndex[A][B] = 2
    request = led.AppendEntries(A, B)
    with refused("logOk"):
        led.already_done_with_request(B, A, request)

    response = led.reject_request(B, A, request)
    led.HandleAppendEntriesResponse(A, B, response)

    assert led.nextIndex[A][B] == 1
    request = led.AppendEntries(A, B)
    with refused("\\lnot logOk"):
        led.reject_request(B, A, request)


def test_a_candidate_returns_to_follower_state_when_another_leads(led: Raft) -> None:
    led.Timeout(C)
    request = led.AppendEntries(A, C)
    with refused("state[i] = Follower"):
        led.no_conflict_append_entry(C, A, request)

    led.return_to_follower_state(C, A, request)

    assert led.state[C] == Follower
    with refused("state[i] = Candidate"):
        led.return_to_follower_state(C, A, request)


def test_no_commit_by_counting_of_an_earlier_terms_entry(raft: Raft) -> None:
    """Figure 8 of the paper."""
    with_leader(raft)
    with refused("agreeIndexes /= {}"):
        raft.AdvanceCommitIndex(A)
    raft.ClientRequest(A, "x")
    request = raft.AppendEntries(A, B)
    raft.no_conflict_append_entry(B, A, request)
    raft.Restart(A)
    with refused("state[i] = Leader"):
        raft.AdvanceCommitIndex(A)
    with_leader(raft)
    request = raft.AppendEntries(A, B)
    raft.HandleAppendEntriesResponse(A, B, raft.already_done_with_request(B, A, request))

    with refused("log[i][Max(agreeIndexes)].term = currentTerm[i]"):
        raft.AdvanceCommitIndex(A)


def test_a_restart_keeps_term_vote_and_log(led: Raft) -> None:
    led.commitIndex[A] = 1

    led.Restart(A)

    assert (led.currentTerm[A], led.votedFor[A], led.log[A]) == (2, A, [Entry(2, "x")])
    assert (led.state[A], led.commitIndex[A], led.votesGranted[A]) == (Follower, 0, set())


def test_an_older_term_is_not_taken_over(led: Raft) -> None:
    request = led.AppendEntries(A, C)

    led.UpdateTerm(C, A, request)

    assert (led.currentTerm[C], led.state[C]) == (2, Follower)
    with refused("m.mterm > currentTerm[i]"):
        led.UpdateTerm(C, A, request)


def test_what_the_network_doubles_and_drops(led: Raft) -> None:
    request = led.AppendEntries(A, B)
    led.DuplicateMessage(request)
    assert led.messages[request] == 2

    led.DropMessage(request)
    led.DropMessage(request)

    for action in (led.DropMessage, led.DuplicateMessage):
        with refused("m \\in DOMAIN messages"):
            action(request)


def test_each_is_counted_and_noted_under_its_name(raft: Raft) -> None:
    noted: list[str] = []
    raft.note = lambda name, args: noted.append(name)

    with_leader(raft)

    assert noted[:3] == ["Timeout", "RequestVote", "HandleRequestVoteRequest"]
    assert raft.taken["HandleRequestVoteRequest"] == 2 and raft.last == "BecomeLeader"


# Extensions


@pytest.fixture
def extended() -> Extended:
    spec = Extended((A, B, C))
    spec.founders = {i: (A, B, C) for i in spec.Server}
    with_leader(spec)
    return spec


def test_two_leaders_of_one_term_and_what_was_committed_is_kept(extended: Extended) -> None:
    extended.leaders[3] = A
    with refused("Election Safety"):
        with_leader(extended, B)
    extended.committed, extended.committed_in = [Entry(2, "x")], [2]
    extended.leaders[3] = B
    with refused("Leader Completeness"):
        extended.holds_committed(B)
    extended.log[B], extended.commitIndex[B] = [Entry(2, "y")], 1
    with refused("State Machine Safety"):
        extended.knows_committed(B, 0)


def test_members_change_by_one_voter_at_a_time(extended: Extended) -> None:
    with refused("one voter at a time comes or goes"):
        extended.ChangeMembers(A, Configuration((A, B), 0))
    extended.ChangeMembers(A, Configuration((A, B, C), 0))
    with refused("the last configuration is committed"):
        extended.ChangeMembers(A, Configuration((A, B), 0))
    extended.commitIndex[A] = 1
    with refused("one voter at a time comes or goes"):
        extended.ChangeMembers(A, Configuration((A,), 0))

    extended.ChangeMembers(A, Configuration((A, B), 0))

    assert extended.voters(A) == (A, B) and extended.voters_after(A, 1) == (A, B, C)
    assert not extended.is_quorum(A, (A, C)) and extended.is_quorum(A, (A, B))


def test_no_change_of_members_before_an_entry_of_the_term_is_committed(extended: Extended) -> None:
    extended.log[A] = [Entry(1, Configuration((A, B, C), 0))]
    extended.commitIndex[A] = 1

    with refused("an entry of the term is committed"):
        extended.ChangeMembers(A, Configuration((A, B), 0))


def test_a_leader_that_restarts_loses_its_own_entries_alone(extended: Extended) -> None:
    extended.log[A] = [Entry(1, "x"), Entry(2, "y")]
    with refused("log[i][index].term = currentTerm[i]"):
        extended.RestartWithoutTail(A, 0)
    with refused("UNCHANGED <<currentTerm, votedFor, log>>"):
        extended.RestartWithoutTail(B, 0)

    extended.RestartWithoutTail(A, 1)

    assert extended.log[A] == [Entry(1, "x")] and extended.state[A] == Follower


def test_one_in_doubt_gives_no_vote_and_does_not_stand(extended: Extended) -> None:
    with refused("UNCHANGED <<currentTerm, votedFor, log>>"):
        extended.RestartWithLoss(B, 1, Nil, [], 0)
    with refused("j \\in doubters"):
        extended.ForgetMatchIndex(A, B)
    extended.RestartWithLoss(B, 1, Nil, [], 5)
    extended.ForgetMatchIndex(A, B)
    with refused("doubt[i] = 0"):
        extended.Timeout(B)
    extended.Timeout(C)
    request = extended.RequestVote(C, B)
    extended.UpdateTerm(B, C, request)
    with refused("doubt[i] = 0"):
        extended.grant_vote(B, C, request)
    with refused("index > doubt[i]"):
        extended.Doubt(B, 4)
    with refused("doubt[i] <= commitIndex[i]"):
        extended.EndDoubt(B)


def test_a_snapshot_stands_for_what_is_committed(extended: Extended) -> None:
    snapshot = Extra("InstallSnapshotRequest", 2, A, B, (1, 2))
    with refused("lastIndex <= commitIndex[i]"):
        extended.SendSnapshot(snapshot)
    extended.log[A], extended.commitIndex[A] = [Entry(2, "x")], 1
    extended.SendSnapshot(snapshot)
    with refused("lastIndex <= Len(committed)"):
        extended.InstallSnapshot(B, A, snapshot)
    extended.knows_committed(A, 0)

    response = extended.InstallSnapshot(B, A, snapshot)

    assert response.mmatchIndex == 1 and extended.log[B] == [Entry(2, "x")]
    old = snapshot._replace(mterm=1)
    extended.Send(old)
    assert not extended.RejectOldSnapshot(B, A, old).msuccess
    with refused("m.mterm <= currentTerm[i]"):
        extended.Say(snapshot._replace(mterm=9))


def test_a_request_without_room_for_its_entry_tells_of_a_commit(extended: Extended) -> None:
    extended.log[A] = [Entry(2, "x"), Entry(2, "y")]
    extended.log[B] = [Entry(2, "x")]
    extended.commitIndex[A] = 1
    extended.ChooseNextIndex(A, B, 2)
    request = extended.AppendEntries(A, B)

    extended.TakePrefixOfRequest(B, A, request)

    assert extended.commitIndex[B] == 1 and extended.log[B] == [Entry(2, "x")]
    with refused("index \\in 1..Len(log[i]) + 1"):
        extended.ChooseNextIndex(A, B, 4)
