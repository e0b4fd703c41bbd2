"""The search: what it finds, and what it takes for granted."""

import pytest

from raft.core import LEADER, Core
from raft.messages import COMMAND, VOTE
from tests.model.bounds import Bounds, Past
from tests.model.disk import Disk, Entry
from tests.model.node import REPLIES, Species, Value, is_dead
from tests.model.properties import (
    ELECTION_SAFETY,
    LEADER_COMPLETENESS,
    LOG_MATCHING,
    STATE_MACHINE_SAFETY,
    logs_match,
    look,
)
from tests.model.search import Search, hunt
from tests.mutants import named

ONE_TERM = Bounds(terms=1, commands=0, pre_votes=1)
TWO_TERMS = Bounds(terms=2, commands=1, letters=1)
HUNT_S = 120.0  # many times more than it takes

FIRST: Entry = (1, COMMAND, b"1")
OTHER: Entry = (2, COMMAND, b"2")


@pytest.fixture(scope="module")
def searched() -> Search:
    search = Search(Core, TWO_TERMS)
    search.run()
    return search


@pytest.mark.parametrize("bounds", [ONE_TERM, Bounds(terms=2, crashes=1, letters=1)], ids=str)
def test_no_state_of_a_small_instance_breaks_a_property(bounds: Bounds) -> None:
    result = Search(Core, bounds).run()
    assert result.complete and not result.broken
    assert result.states > 1000 and result.steps > result.states


def test_entries_are_committed_in_the_states_that_are_searched(searched: Search) -> None:
    committed = [past.committed for past in searched.space.pasts.things]
    assert max(len(entries) for entries in committed) >= 3  # two of leaders and the command
    assert {term for entries in committed for _, term in entries} == {1, 2}


@pytest.mark.parametrize(
    ("mistake", "prop"),
    [
        ("TwoVotesInATerm", ELECTION_SAFETY),
        ("PreVotesCounted", ELECTION_SAFETY),
        ("NewLeaderDropsWhatIsNotCommitted", LEADER_COMPLETENESS),
        ("LongerLogIsNewerLog", LEADER_COMPLETENESS),
        ("CommitBeyondWhatMatches", STATE_MACHINE_SAFETY),
    ],
)
def test_a_mistake_is_found_and_told_step_by_step(mistake: str, prop: str) -> None:
    core = named.mistake(mistake).core
    assert core
    catch = hunt(core, HUNT_S)
    assert catch and catch.prop == prop
    assert catch.depth == len(catch.script)
    assert catch.script[0] == "n1 times out"


def test_a_search_stops_when_its_time_is_over() -> None:
    result = Search(Core, Bounds(terms=3, elections=3, commands=2)).run(seconds=0)
    assert not result.complete and not result.broken


# What makes the search small


@pytest.mark.parametrize("bounds", [Bounds(terms=1, commands=0, letters=1), ONE_TERM], ids=str)
def test_each_state_stands_for_those_with_other_names(bounds: Bounds) -> None:
    search = Search(Core, bounds)
    search.run()
    states = [search.symmetry.state_of(packed) for packed in search.parents]
    every = Search(Core, bounds, symmetric=False)
    assert sum(search.symmetry.images(state) for state in states) == every.run().states
    assert len(states) < every.result.states


def test_a_dead_letter_does_nothing(searched: Search) -> None:
    space = searched.space
    dead = 0
    for value in space.values.things:
        for letter in space.letters.things:
            if letter.dst == value.node and is_dead(letter, value):
                dead += 1
                (outcome,) = space.species.hear(value, letter)
                assert outcome.value == value and not outcome.sent
    assert dead > 1000


def test_what_is_left_out_of_a_node_changes_nothing_that_it_does(searched: Search) -> None:
    """Of what is put in its place when a node is made of a value, anything would do as well."""
    space = searched.space
    cores = {"_told_commit": 7, "_told_term": 1, "_since_ask": 3, "_elapsed": 20, "silence_ms": 1}
    leaders = {"clock": 5, "_stamp": 9, "_turn": 1, "_checked_ms": 300, "_settled": 1}
    peers = {"steady": 3, "sent_at": 4, "answered": True, "round": 1}
    other = Altered(cores, leaders, peers)
    heard = 0
    for value in space.values.things[::5]:
        for letter in space.letters.things:
            if letter.dst == value.node and letter.kind in (*REPLIES, VOTE):
                heard += 1
                assert other.hear(value, letter) == space.species.hear(value, letter)
    assert heard > 1000


class Altered(Species):
    """Nodes with other times and the like."""

    def __init__(self, *others: dict[str, int]) -> None:
        super().__init__(Core, 3)
        self._others = others

    def thaw(self, value: Value) -> Core:
        core = super().thaw(value)
        cores, leaders, peers = self._others
        vars(core).update(cores)
        if core.leading:
            vars(core.leading).update(leaders)
            for peer in core.peers.values():
                vars(peer).update(peers)
        return core


def test_an_attribute_that_nobody_has_thought_of_is_told() -> None:
    class More(Core):
        def _draw_timeout(self) -> None:
            super()._draw_timeout()
            self.notes = {"something": "else"}

    with pytest.raises(TypeError, match="notes"):
        Species(More, 3).newborn(1)


# Its parts


def test_a_power_cut_leaves_the_records_that_were_written_before_it() -> None:
    class Wanted:
        save, term, vote, first, entries = True, 3, 2, 2, [OTHER, OTHER]

    before = Disk(2, 0, (FIRST, FIRST, FIRST))
    states = before.states_of_writing(Wanted())  # type: ignore[arg-type]
    assert [(state.term, state.vote) for state in states] == [(2, 0), (3, 2), (3, 2), (3, 2)]
    assert [state.entries for state in states] == [
        (FIRST, FIRST, FIRST), (FIRST, FIRST, FIRST), (FIRST, OTHER), (FIRST, OTHER, OTHER),
    ]  # fmt: skip


def node(number: int, role: int, term: int, commit: int, *log: Entry) -> Value:
    return Value(number, role, commit, term, 0, log, (("term", term),), (0,), None)


NONE = Past((0, 0, 0, 0))


def test_two_leaders_of_a_term_break_election_safety() -> None:
    first, second = node(1, LEADER, 1, 0), node(2, LEADER, 1, 0)
    past, broken = look([first, second], 0, True, False, NONE)
    assert not broken
    assert look([first, second], 1, True, False, past)[1] == ELECTION_SAFETY


def test_logs_that_part_and_meet_again_break_log_matching() -> None:
    assert logs_match((FIRST, OTHER), (FIRST,))
    assert logs_match((FIRST,), (OTHER,))
    assert not logs_match((FIRST, OTHER), ((1, COMMAND, b"x"), OTHER))
    nodes = [node(1, 0, 2, 0, FIRST, OTHER), node(2, 0, 2, 0, (1, COMMAND, b"x"), OTHER)]
    assert look(nodes, 0, False, True, NONE)[1] == LOG_MATCHING


def test_a_leader_without_a_committed_entry_breaks_leader_completeness() -> None:
    leads, lacks = node(1, LEADER, 1, 1, FIRST), node(2, LEADER, 2, 0, OTHER)
    past, broken = look([leads, node(2, 0, 0, 0)], 0, False, True, NONE)
    assert not broken and past.committed == ((FIRST, 1),)
    assert look([leads, lacks], 1, True, False, past)[1] == LEADER_COMPLETENESS
    # or it leads already when that is committed
    assert look([leads, lacks], 0, False, True, NONE)[1] == LEADER_COMPLETENESS


def test_two_entries_that_are_committed_at_one_index_break_state_machine_safety() -> None:
    past, _ = look([node(1, LEADER, 1, 1, FIRST), node(2, 0, 0, 0)], 0, False, True, NONE)
    nodes = [node(1, 0, 2, 0), node(2, 0, 2, 1, OTHER)]
    assert look(nodes, 1, False, True, past)[1] == STATE_MACHINE_SAFETY
