"""Traces of the shipped core are ones of the specification; those of a mistaken core are not."""

import pytest

from host_tools import micropython
from host_tools.desk import CPYTHON, MICROPYTHON
from raft.core import FOLLOWER
from raft.messages import APPEND, APPEND_REPLY, DOUBT_REPLY
from tests.cluster.churn import ChurnWorld
from tests.cluster.simulator import World
from tests.mutants.named import mistake
from tests.specification import real
from tests.specification.actions import ACTIONS
from tests.specification.mapping import messages_of
from tests.specification.refine import Broken, Refinement
from tests.specification.simulated import Traced, recorded, refined
from tests.specification.trace import Event, Found, Letter, State

SEEDS = 3
MOST_SEEDS = 60  # of a mistake; most show in one of the first three
STEPS = 2500
REAL_S = 1.0
KILLS = 1
ONLY_EXTRA = {"DropStaleResponse"}  # which needs more luck than these seeds have


@pytest.mark.parametrize("kind", [World, ChurnWorld], ids=["voters stay", "members change"])
def test_simulated_traces_are_of_the_specification(kind: type[World]) -> None:
    taken: set[str] = set()
    for seed in range(1, 1 + SEEDS):
        world, error = recorded(seed, STEPS, kind)
        assert error is None
        refinement = refined(world)
        assert refinement.events == len(world.events) > STEPS / 5
        taken.update(refinement.spec.taken)

    assert set(ACTIONS) - taken <= ONLY_EXTRA


@pytest.mark.parametrize("interpreter", [CPYTHON, MICROPYTHON])
def test_traces_of_real_processes_are_of_the_specification(interpreter: str) -> None:
    if interpreter != CPYTHON and not micropython.interpreters():
        pytest.skip("no MicroPython: make micropython")
    events, kills = real.recorded(REAL_S, 1, interpreter)

    refinement = real.refined(events)

    assert kills >= KILLS and refinement.spec.taken["Restart"] >= KILLS
    assert refinement.spec.taken["AdvanceCommitIndex"] > 2 * real.DOWN_WRITES


# The action that a mistake breaks, and of its guard what doesn't depend on the seed
BROKEN_BY = {
    "VoteErasedAtStepDown": ("StepDown", "votedFor' = "),
    "TwoVotesInATerm": ("HandleRequestVoteRequest", "votedFor[i] \\in {Nil, j}"),
    "PreVotesCounted": ("BecomeLeader", "votesGranted[i] \\in Quorum"),
    "HalfIsAMajority": ("BecomeLeader", "votesGranted[i] \\in Quorum"),
    "LongerLogIsNewerLog": ("HandleRequestVoteRequest", "logOk"),
    "EarlierTermCommittedByCounting": (
        "AdvanceCommitIndex",
        "log[i][Max(agreeIndexes)].term = currentTerm[i]",
    ),
    "TruncatedAfterPrev": (
        "HandleAppendEntriesRequest",
        "log[i][index].term /= m.mentries[1].term",
    ),
    "CommitBeyondWhatMatches": ("HandleAppendEntriesRequest", "commitIndex' = "),
    "WhatWasSentIsCommitted": ("AdvanceCommitIndex", "durable on a quorum"),
    "VoteNotSavedBeforeTheAnswer": ("HandleRequestVoteRequest", "votedFor[i] is durable"),
    "AcknowledgedBeforeDurable": (
        "HandleAppendEntriesRequest",
        "log[i][m.mmatchIndex] is durable",
    ),
    "NewLeaderDropsWhatIsNotCommitted": (
        "BecomeLeader",
        "only a client's request changes a leader's log",
    ),
    "DamageIgnored": ("EndDoubt", "doubt[i] <= commitIndex[i]"),
    "TwoChangesAtOnce": ("ChangeMembers", "the last configuration is committed"),
}


@pytest.mark.parametrize("name", BROKEN_BY)
def test_a_mistaken_core_is_refused(name: str) -> None:
    mutant = mistake(name)
    for seed in range(mutant.first, mutant.first + MOST_SEEDS):
        world, _ = recorded(seed, mutant.steps, mutant.kind, mutant.parts, mutant.adapt)
        try:
            refined(world)
        except Broken as e:
            action, guard = BROKEN_BY[name]
            assert (e.action, e.guard[: len(guard)]) == (action, guard)
            return
    raise AssertionError(f"{name} isn't refused in {MOST_SEEDS} traces")


# Traces that are made by hand, or broken so


@pytest.fixture(scope="module")
def world() -> Traced:
    world, error = recorded(1, STEPS)
    assert error is None
    return world


def broken(world: Traced, events: list[Event]) -> Broken:
    world.events, kept = events, world.events
    try:
        refined(world)
    except Broken as e:
        return e
    finally:
        world.events = kept
    raise AssertionError("it isn't refused")


def altered(world: Traced, at: int, event: Event) -> list[Event]:
    return [*world.events[:at], event, *world.events[at + 1 :]]


def first(world: Traced, what: str) -> int:
    return next(n for n, event in enumerate(world.events) if event.what == what)


def test_a_message_that_nobody_has_sent_is_refused(world: Traced) -> None:
    at = first(world, "step")
    heard = world.events[at].heard
    assert heard
    event = world.events[at]._replace(heard=heard._replace(term=heard.term + 5))

    error = broken(world, altered(world, at, event))

    assert (error.action, error.guard) == ("Receive", "m \\in DOMAIN messages")


def test_an_answer_that_nobody_has_asked_for_is_refused(world: Traced) -> None:
    at = first(world, "tick")
    event = world.events[at]
    said = Letter(APPEND_REPLY, event.node, 1, event.state.term, 0, 0, 0, 0, 0, ())

    error = broken(world, altered(world, at, event._replace(made=(*event.made, said))))

    assert error.guard == "an answer that nobody has asked for"


def test_a_state_that_is_not_the_specifications_is_refused(world: Traced) -> None:
    at = next(n for n, event in enumerate(world.events) if event.state.last > 0)
    event = world.events[at]
    for state, guard in (
        (event.state._replace(commit=event.state.commit + 1), "commitIndex"),
        (event.state._replace(last=event.state.last + 1), "Len(log') is that of the node's log"),
        (event.state._replace(vote=9), "votedFor"),
    ):
        error = broken(world, altered(world, at, event._replace(state=state)))
        assert guard in error.guard or error.guard == "agreeIndexes /= {}"


def test_a_restart_that_has_forgotten_its_vote_is_refused(world: Traced) -> None:
    restarts = [n for n, event in enumerate(world.events) if event.found and event.found.vote]
    event = world.events[restarts[0]]
    assert event.found
    found = event.found._replace(vote=0)
    state = event.state._replace(vote=0)

    error = broken(world, altered(world, restarts[0], event._replace(found=found, state=state)))

    assert (error.action, error.guard) == ("Restart", "UNCHANGED <<currentTerm, votedFor, log>>")


def test_the_last_events_are_told(world: Traced) -> None:
    at = len(world.events) // 2
    event = world.events[at]._replace(
        what="tick", heard=None, state=State(3, 3, 3, 3, 3, 3, 3, 3, (), ())
    )

    text = str(broken(world, altered(world, at, event)))

    assert "is not enabled: " in text and str(world.events[at - 2]) in text


def seen(last: int = 0, commit: int = 0, doubt: int = 0) -> State:
    return State(0, FOLLOWER, 0, commit, last, 0, last, doubt, (1, 2), ())


def test_of_a_torn_write_only_what_is_found_has_happened() -> None:
    """Two entries come in one datagram, and the power fails when the first is written."""
    refinement = Refinement((1, 2))
    entries = ((0, 1, 7), (0, 1, 8))
    append = Letter(APPEND, 1, 2, 0, 0, 0, 0, 1, 0, entries)
    answer = Letter(DOUBT_REPLY, 2, 1, 0, 2, 0, 0, 1, 0, ())
    for node in (1, 2):
        refinement.take(boot(node, ()))
    for request in messages_of(append):
        refinement.spec.Send(request)
    changes = tuple([("append", n + 1, entry) for n, entry in enumerate(entries)])
    refinement.take(event(2, "step", append, (answer,), changes, seen(2)))

    refinement.take(boot(2, entries[:1]))

    assert [entry.value for entry in refinement.spec.log[2]] == [(1, 7)]
    assert refinement.spec.taken["Restart"] == 1 and not refinement.spec.messages


def boot(node: int, entries: tuple[tuple[int, ...], ...]) -> Event:
    found = Found(0, 0, 0, 0, entries, 0, 0)
    return event(node, "boot", None, (), (), seen(len(entries)))._replace(
        found=found, founders=(1, 2)
    )


def event(
    node: int,
    what: str,
    heard: Letter | None,
    made: tuple[Letter, ...],
    log: tuple[tuple[object, ...], ...],
    state: State,
) -> Event:
    return Event(0, node, what, heard, made, log, state, None, (), (0, 0, 0))
