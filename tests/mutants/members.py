"""Mistakes with members, leases and who may lead."""

from functools import partial
from typing import Any

from raft.core import Core
from raft.leading import Leading
from raft.members import Members
from raft.messages import Message
from tests.cluster.board import Board
from tests.cluster.churn import ChurnPlan, ChurnWorld
from tests.mutants.mutant import Mutant

STEPS = 4000
LONG = 12_000  # for what takes boards that were replaced several times


class TwoChangesAtOnce(Leading):
    """A change is taken while the one before isn't committed."""

    def _changes(self) -> bool:
        return bool(self.core.commit < self.own_term_from)


class ChangeBeforeAnEntryOfItsTerm(Leading):
    """A change is taken before an entry of the leader's own term is committed.

    Ongaro on raft-dev, 2015: two majorities that don't overlap
    """

    def _changes(self) -> bool:
        return bool(self.core.commit < self.core.members_index)


class RemovedLeaderCountsItself(Leading):
    """A leader that was removed counts itself for the majority.

    Dissertation 4.2.2
    """

    def advance_commit(self) -> None:
        members = self.core.members
        matches = sorted([self._match(node) for node in {*members.voters, self.core.node}])
        agreed = matches[-members.quorum]
        if agreed > self.core.commit and agreed >= self.own_term_from:
            self._set_commit(agreed)


class LearnersCount(Leading):
    """Members without a vote are counted for the majority."""

    def advance_commit(self) -> None:
        members = self.core.members
        ids = [node for node in members.ids if node == self.core.node or node in self.peers]
        agreed = sorted([self._match(node) for node in ids])[-members.quorum]
        if agreed > self.core.commit and agreed >= self.own_term_from:
            self._set_commit(agreed)


class ConfigurationStaysWhenItsEntryIsDropped(Core):
    """A configuration outlives the entry that it came by."""

    def adopt(self, index: int, members: Members) -> None:
        super().adopt(index, members)
        self._before = (index, members)


class ConfigurationOfASnapshotIgnored(Core):
    """Who is sent a snapshot doesn't take over the members in it."""

    def _take_members(self) -> None:
        pass


class RemovedLeaderDoesNotStand(Core):
    """Those who lack a removed leader's last entry wait for it for ever.

    Dissertation 4.2.2, figure 4.6
    """

    def _is_voter(self) -> bool:
        return self.node in self.members.voters


class BlankNodeVotes(Core):
    """A node that has forgotten that it was a member before votes at once."""

    def _has_vote(self) -> bool:
        self._is_new = False
        return not self.doubt


class LeaseOfTwoTimeouts(Leading):
    """A lease lasts longer than others wait before they elect."""

    def _lease_ms(self) -> int:
        return int(self.core.election_low * 2)


class LeaseAfterTheWordToStand(Leading):
    """A leader that hands over still trusts its lease."""

    def transfer(self, node: int = 0) -> None:
        before = self._gives_leases, self._has_lease
        super().transfer(node)
        self._gives_leases, self._has_lease = before


class WhoIsOutStandsAllTheSame(Core):
    """A node that was removed goes on to ask for votes.

    hashicorp/raft#524
    """

    def _handle_out(self, m: Message) -> None:
        pass


def with_leases(plan: ChurnPlan) -> None:
    """Leaders that are cut off and handed over while many read, and clocks differ."""
    plan.lease = True
    plan.voters = [1, 2, 3]
    plan.clients = 8
    plan.reads = 7
    plan.watchers = 0
    plan.faults = ["cut_off_one", "cut_off_one", "restore"]
    plan.fault_ms = 300
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.delay_us = (200, 900)
    plan.election_ms = [150, 300]
    plan.priorities = (0,)
    plan.changes = ["transfer"]
    plan.change_ms = 100
    plan.eager_at = 0
    plan.value_bytes = 1


def with_blank_nodes(plan: ChurnPlan) -> None:
    """Boards that are replaced again and again, while those before them are still there."""
    plan.voters = [1, 2]
    plan.remembers = False
    plan.fault_ms = 300
    plan.changes = ["add", "add", "remove", "remove_leader", "replace", "replace", "replace"]
    plan.change_ms = 100
    plan.watchers = 0


class PartedWorld(ChurnWorld):
    """Each new leader is parted from some of those who have elected it, as soon as may be.

    Nobody is removed but by a leader that is parted from others, of four voters: of an odd number
    one that comes or goes leaves no two majorities apart.
    """

    def __init__(self, *how: Any) -> None:
        self._latest = 0  # term of a leader
        super().__init__(*how)

    def _part(self) -> None:
        latest = max([board.disk.term for board in self.leaders()], default=0)
        if latest > self._latest:
            self._latest = latest
            self._cut_halves()
        elif self.dice.one_in(16):
            self.dice.pick((self._cut_off_one, self._restore))()

    def _remove(self, leader: Board) -> None:
        assert leader.node
        if self.cut and len(leader.node.core.members.voters) == 4:
            super()._remove(leader)


def with_hasty_changes(plan: ChurnPlan) -> None:
    """An administrator who is in a hurry."""
    plan.voters = [1, 2, 3, 4]
    plan.boards = 4
    plan.changes = ["add", "remove"]
    plan.change_ms = 30
    plan.remove_dead_ms = 0
    plan.priorities = (0,)
    plan.faults = ["part"]
    plan.fault_ms = 15
    plan.delay_us = (5000, 30_000)
    plan.election_ms = [150, 300]
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.clients = 1
    plan.watchers = 0


_changing = partial(Mutant, kind=ChurnWorld, steps=STEPS)

MUTANTS = [
    _changing(TwoChangesAtOnce, first=47),
    _changing(ChangeBeforeAnEntryOfItsTerm, kind=PartedWorld, adapt=with_hasty_changes, first=122),
    _changing(RemovedLeaderCountsItself),
    _changing(LearnersCount, first=14),
    _changing(ConfigurationStaysWhenItsEntryIsDropped, first=24),
    _changing(ConfigurationOfASnapshotIgnored),
    _changing(RemovedLeaderDoesNotStand, first=36),
    _changing(BlankNodeVotes, adapt=with_blank_nodes, steps=LONG, first=29),
    _changing(LeaseOfTwoTimeouts, adapt=with_leases, first=9),
    _changing(LeaseAfterTheWordToStand, adapt=with_leases, first=248),
    _changing(WhoIsOutStandsAllTheSame),
]
