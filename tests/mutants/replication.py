"""Mistakes in how logs become the same, and in what is committed."""

from raft.core import Core
from raft.leading import Leading
from raft.messages import APPEND, APPEND_REJECT, COMMIT, Message
from tests.mutants.mutant import Mutant


class EarlierTermCommittedByCounting(Leading):
    """An entry of an earlier term is committed because a majority has it.

    logcabin#44, canonical/raft#220, async-raft#108; figure 8 of the paper
    """

    def advance_commit(self) -> None:
        agreed = self.core.members.agreed(self._match)
        if agreed > self.core.commit:
            self._set_commit(agreed)


class TruncatedAfterPrev(Core):
    """An append drops all behind it, and not only what conflicts.

    openraft 9540c904
    """

    def _handle_append(self, m: Message) -> None:
        if m.entries and self.commit <= m.index < self.log.last:
            if self.log.matches(m.index, m.log_term):
                self.log.truncate(m.index + 1)
        super()._handle_append(m)


class PrevNotCompared(Core):
    """Entries are taken whatever the term of the entry before them is."""

    def _handle_append(self, m: Message) -> None:
        if self.commit <= m.index <= self.log.last:
            m.log_term = self.log.term(m.index)
        super()._handle_append(m)


class EarlierTermsObeyed(Core):
    """A leader of an earlier term is followed still."""

    def _heeds(self, m: Message) -> bool:
        if m.kind in (APPEND, COMMIT) and m.term < self.term and not self.leading:
            return True
        return bool(super()._heeds(m))


class NewLeaderDropsWhatIsNotCommitted(Leading):
    """Who is elected drops what it doesn't know to be committed, and begins anew there."""

    def __init__(self, core: Core, known_commit: int) -> None:
        if core.log.last > core.commit and core.members_index <= core.commit:
            core.log.truncate(core.commit + 1)
        super().__init__(core, known_commit)


class AcknowledgesAllThatItHas(Core):
    """A follower acknowledges its whole log, and not only what it knows to match."""

    def _accept(self, m: Message, index: int) -> None:
        super()._accept(m, self.log.last)


class CommitBeyondWhatMatches(Core):
    """A follower commits what the leader has, be its own entries others."""

    def _handle_append(self, m: Message) -> None:
        super()._handle_append(m)
        self.commit = max(self.commit, min(m.commit, self.log.last))


class CommitGoesBack(Core):
    """A follower takes the leader's commit index for its own, be it a lower one.

    PySyncObj#166
    """

    def _handle_append(self, m: Message) -> None:
        super()._handle_append(m)
        if m.src == self.leader:
            self.commit = min(self.commit, m.commit)


class WhatWasSentIsCommitted(Leading):
    """What a majority was sent is committed, and not what it has.

    willemt/raft#15
    """

    def _match(self, node: int) -> int:
        if node == self.core.node:
            return int(super()._match(node))
        return int(self.peers[node].next - 1)


class RejectionsIgnored(Leading):
    """A leader doesn't step back to where the logs agree."""

    def handle_append_reply(self, m: Message) -> None:
        if m.kind != APPEND_REJECT:
            super().handle_append_reply(m)


MUTANTS = [
    Mutant(EarlierTermCommittedByCounting, is_of_ten=True),
    Mutant(TruncatedAfterPrev, is_of_ten=True),
    Mutant(PrevNotCompared),
    Mutant(EarlierTermsObeyed),
    Mutant(NewLeaderDropsWhatIsNotCommitted, is_of_ten=True),
    Mutant(AcknowledgesAllThatItHas),
    Mutant(CommitBeyondWhatMatches, is_of_ten=True),
    Mutant(CommitGoesBack),
    Mutant(WhatWasSentIsCommitted),
    Mutant(RejectionsIgnored),
]
