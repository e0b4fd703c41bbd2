"""Mistakes in who votes for whom, and who is elected by that."""

from raft.core import CANDIDATE, FOLLOWER, NOBODY, PRE_CANDIDATE, Core
from raft.messages import PRE_VOTE_REPLY, VOTE_REPLY, Message
from tests.mutants.mutant import Mutant


class VoteErasedAtStepDown(Core):
    """Who ceases to stand or to lead forgets whom it has voted for in this term."""

    def _follow(self, term: int, leader: int) -> None:
        was = self.role
        super()._follow(term, leader)
        if was != FOLLOWER:
            self.vote = NOBODY


class TwoVotesInATerm(Core):
    """A node votes for whoever asks, and may do so twice in a term."""

    def _handle_vote(self, m: Message) -> None:
        self.vote = NOBODY
        super()._handle_vote(m)


class PreVotesCounted(Core):
    """Answers to a pre-vote are counted as votes.

    canonical/raft#196
    """

    def _handle_vote_reply(self, m: Message) -> None:
        if m.kind == PRE_VOTE_REPLY and self.role == CANDIDATE:
            m.kind = VOTE_REPLY
        super()._handle_vote_reply(m)


class PreVoteClearsTheVote(Core):
    """Who asks for pre-votes forgets whom it has voted for in this term.

    canonical/raft#196
    """

    def _stand(self, role: int, is_sent: bool = False) -> None:
        if role == PRE_CANDIDATE:
            self.vote = NOBODY
        super()._stand(role, is_sent)


class LongerLogIsNewerLog(Core):
    """Of two logs the longer one is taken for the newer one.

    openraft a48a3282
    """

    def _up_to_date(self, m: Message) -> bool:
        return bool(m.index >= self.log.last)


class HalfIsAMajority(Core):
    """Half of the votes are enough to lead."""

    def _count_votes(self) -> None:
        granted = sum(self._answers.get(voter, False) for voter in self.members.voters)
        if self.role == CANDIDATE and granted * 2 >= len(self.members.voters):
            self._lead()
        else:
            super()._count_votes()


class SilentToEarlierTerms(Core):
    """Messages of an earlier term aren't answered: who is ahead is never led again.

    etcd-io/etcd#8501
    """

    def _answer_old(self, m: Message) -> None:
        pass


class LaggingTermsAreNotRaised(Core):
    """The higher term in a refused pre-vote is overlooked: who lags behind is never elected.

    canonical/raft#279
    """

    def _heeds(self, m: Message) -> bool:
        if m.kind == PRE_VOTE_REPLY and m.term > self.term and not m.index:
            return False
        return bool(super()._heeds(m))


MUTANTS = [
    Mutant(VoteErasedAtStepDown, is_of_ten=True),
    Mutant(TwoVotesInATerm, is_of_ten=True),
    Mutant(PreVotesCounted, is_of_ten=True),
    Mutant(PreVoteClearsTheVote),
    Mutant(LongerLogIsNewerLog, is_of_ten=True),
    Mutant(HalfIsAMajority),
    Mutant(SilentToEarlierTerms, first=504),
    Mutant(LaggingTermsAreNotRaised, first=72),
]
