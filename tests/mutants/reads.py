"""Mistakes in what makes a read the latest there is."""

from raft.core import Core
from raft.leading import Leading
from raft.messages import APPEND, APPEND_REJECT, COMMIT, Message
from tests.mutants.mutant import Mutant


class ReadWithoutAsking(Leading):
    """A leader answers reads without having heard a majority.

    etcd-io/etcd#741
    """

    def read(self, token: object, asking: int = 0) -> None:
        self._answer_read(token, self.core.commit, asking)


class ReadBeforeAnEntryOfItsTerm(Leading):
    """A leader answers reads before it knows what is committed.

    etcd-io/etcd#7331
    """

    def read(self, token: object, asking: int = 0) -> None:
        self._reads.append([token, self.core.commit, self.round + 1, asking])
        self._must_send = True


class LateAnswersConfirmReads(Leading):
    """Any answer confirms a read, be it one to an earlier round.

    etcd-io/etcd#20418
    """

    def handle_append_reply(self, m: Message) -> None:
        self.peers[m.src].round = self.round
        self._confirm_reads()
        super().handle_append_reply(m)


class LateAnswersToAQuestionCount(Core):
    """A follower takes a leader's answer to an earlier question for one to its last.

    etcd-io/etcd#20418, between a follower and its leader
    """

    def _handle_read_reply(self, m: Message) -> None:
        m.ctx = self._question
        super()._handle_read_reply(m)


class AnswerToAnEarlierTermCountsAsARound(Core):
    """An ex-leader's late heartbeat is answered as if it were of the term that it leads by now."""

    def _answer_old(self, m: Message) -> None:
        super()._answer_old(m)
        if m.kind in (APPEND, COMMIT):
            reply = self._ready.after[-1]
            assert reply.kind == APPEND_REJECT
            reply.ctx = m.ctx


MUTANTS = [
    Mutant(ReadWithoutAsking),
    Mutant(ReadBeforeAnEntryOfItsTerm),
    Mutant(LateAnswersConfirmReads),
    Mutant(LateAnswersToAQuestionCount, first=168),
    Mutant(AnswerToAnEarlierTermCountsAsARound),
]
