"""Mistakes in what has to be in flash, and when; and in what to do if it is there no more."""

from typing import Any

from raft.core import NOBODY, Core, Ready
from raft.leading import Leading
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    DOUBT_REJECT,
    DOUBT_REPLY,
    TRUST,
    Message,
)
from raft.progress import Progress
from raft.store import Store
from tests.cluster.board import US
from tests.cluster.invariants import WatchedStore
from tests.cluster.simulator import Plan, World
from tests.mutants.mutant import Mutant
from tests.store.model import Write

CACHE = 8  # programs


class VoteNotSavedBeforeTheAnswer(Core):
    """A vote isn't durable when it is given.

    PySyncObj#84
    """

    def ready(self) -> Ready | None:
        ready: Ready | None = super().ready()
        if ready and ready.term == self._saved_term:
            ready.save = False
        return ready


class TermNotSavedBeforeTheAnswer(Core):
    """A term without a vote isn't durable when it is answered in.

    PySyncObj#84
    """

    def ready(self) -> Ready | None:
        ready: Ready | None = super().ready()
        if ready and ready.vote == NOBODY:
            ready.save = False
        return ready


class FirstTermNeverSaved(Core):
    """The first term and vote of all aren't made durable.

    etcd-io/etcd#2878
    """

    def ready(self) -> Ready | None:
        ready: Ready | None = super().ready()
        if ready and not self._saved_term:
            ready.save = False
        return ready


class TermBeginsAnewAtAStart(WatchedStore):
    """Term and vote aren't read at a start.

    PySyncObj#202
    """

    def __init__(self, device, node: int) -> None:  # type: ignore[no-untyped-def]
        super().__init__(device, node)
        self.term, self.vote = 0, NOBODY


class TermAndVoteWrittenApart(WatchedStore):
    """A power cut may leave a new term with the vote of the one before.

    hashicorp/raft#661, willemt/raft#47
    """

    def append(self, save, term, vote, first, entries, doubt=None):  # type: ignore[no-untyped-def]
        if save and self.life:
            self.life.writes(Write(save, term, vote, first, list(entries)))
            Store.append(self, True, term, self.vote, 0, (), doubt)
            Store.append(self, True, term, vote, first, entries, doubt)
            self.life.has_written()
        else:
            super().append(save, term, vote, first, entries, doubt)


class EntriesWrittenBeforeTheTerm(WatchedStore):
    """A power cut may leave entries without the term that they came in."""

    def append(self, save, term, vote, first, entries, doubt=None):  # type: ignore[no-untyped-def]
        if self.life:
            self.life.writes(Write(save, term, vote, first, list(entries)))
        Store.append(self, False, term, vote, first, entries)
        Store.append(self, save, term, vote, 0, (), doubt)
        if self.life:
            self.life.has_written()


class AcknowledgedBeforeDurable(Core):
    """A follower's answer leaves before what it acknowledges is durable.

    etcd-io/etcd#10166
    """

    def _accept(self, m: Message, index: int) -> None:
        super()._accept(m, index)
        if m.kind == APPEND:
            self._ready.early.append(self._ready.after.pop())


class _Cached:
    """A flash whose last programs wait in RAM, as with a disk that isn't told to sync."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._held: list[tuple[int, bytes, int]] = []  # sector, data, offset

    def ioctl(self, op: int, arg: int) -> Any:
        self._catch_up(0)
        return self._device.ioctl(op, arg)

    def writeblocks(self, block: int, buf: memoryview, offset: int) -> None:
        self._held.append((block, bytes(buf), offset))
        self._catch_up(CACHE)

    def readblocks(self, block: int, buf: memoryview, offset: int = 0) -> None:
        self._device.readblocks(block, buf, offset)
        for sector, data, at in self._held:
            start, end = max(offset, at), min(offset + len(buf), at + len(data))
            if sector == block and start < end:
                buf[start - offset : end - offset] = data[start - at : end - at]

    def _catch_up(self, left: int) -> None:
        while len(self._held) > left:
            self._device.writeblocks(*self._held.pop(0))


class WritesStayInACache(WatchedStore):
    """What was written last is lost with the power: it waits in a cache for what comes next."""

    def __init__(self, device, node: int) -> None:  # type: ignore[no-untyped-def]
        super().__init__(_Cached(device), node)


class FailedWritesPassForDone(WatchedStore):
    """Entries that the flash has failed to take are taken for durable.

    canonical/raft#450
    """

    def _is_programmed(self) -> bool:
        before = self.bytes
        if not super()._is_programmed():
            self.end += self.bytes - before
            self.ends[self.newest % self.sectors] = self.end
        return True


class AllThatIsFoundIsCommitted(Core):
    """At a start all that is in flash is taken for committed.

    Nearly PySyncObj#197, whose commit index and log didn't survive together
    """

    def __init__(self, *how, **more) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*how, **more)
        self.commit = self.log.last


class DamageIgnored(WatchedStore):
    """What is left of the log is taken for all that was acknowledged."""

    def __init__(self, device, node: int) -> None:  # type: ignore[no-untyped-def]
        super().__init__(device, node)
        self.doubt = 0


class DoubtForgottenAtOnce(Core):
    """A node that has lost entries votes and counts again once a leader is there."""

    def _handle_append(self, m: Message) -> None:
        super()._handle_append(m)
        self.doubt = 0


class TrustWithoutAskingTheOthers(Leading):
    """A leader vouches for a node that has lost entries without having heard all voters."""

    def _vouch(self, peer: Progress, m: Message) -> None:
        if m.index >= peer.doubt_last:
            trust = self.core.new(self.core.after, TRUST, m.src)
            trust.index = peer.doubt_last
            trust.ctx = peer.doubt_number


class ForgetfulWorld(World):
    """A leader is cut off, and whoever follows the next one loses all, and hears none but the
    former."""

    FORGET_MS = 1500  # until all hear each other again

    def __init__(self, *how: Any) -> None:
        self._former = 0
        self._restored_at = 0
        super().__init__(*how)

    def _forget(self) -> None:
        leaders = [board.id for board in sorted(self.leaders(), key=lambda b: b.disk.term)]
        if not self.cut and leaders:
            self._former = leaders[0]
            self._restored_at = 0
            self._cut_off(self._former)
        elif self._restored_at:
            if self.now >= self._restored_at:
                self._restore()
        elif len(leaders) == 2:
            self.does("wipe", self.dice.pick([n for n in self.nodes() if n not in leaders]))
            self._cut_off(leaders[1])
            self._restored_at = self.now + self.FORGET_MS * US
        elif self._former not in leaders:
            self._restore()

    def _cut_off(self, one: int) -> None:
        self.does("cut", {link for n in self.nodes() for link in ((one, n), (n, one))})


def with_old_leaders(plan: Plan) -> None:
    """A leader that is cut off takes long to notice, and clients write to it meanwhile."""
    plan.voters = [1, 2, 3]
    plan.remembers = True
    plan.clients = 8
    plan.reads = 2
    plan.value_bytes = 1
    plan.election_ms = [150, 1000]
    plan.faults = ["forget"]
    plan.fault_ms = 40
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.delay_us = (1000, 10_000)


class DoubtfulAnswersCount(Leading):
    """A leader counts what a node says that has lost entries."""

    def handle_append_reply(self, m: Message) -> None:
        if m.kind in (DOUBT_REPLY, DOUBT_REJECT):
            m.kind = APPEND_REPLY if m.kind == DOUBT_REPLY else APPEND_REJECT
            m.commit = 0  # where the number of its doubt was
        super().handle_append_reply(m)


MUTANTS = [
    Mutant(VoteNotSavedBeforeTheAnswer, is_of_ten=True),
    Mutant(TermNotSavedBeforeTheAnswer),
    Mutant(FirstTermNeverSaved),
    Mutant(TermBeginsAnewAtAStart),
    Mutant(TermAndVoteWrittenApart, first=17),
    Mutant(EntriesWrittenBeforeTheTerm, first=36),
    Mutant(AcknowledgedBeforeDurable, is_of_ten=True),
    Mutant(WritesStayInACache),
    Mutant(FailedWritesPassForDone),
    Mutant(AllThatIsFoundIsCommitted),
    Mutant(DamageIgnored, first=9),
    Mutant(DoubtForgottenAtOnce, first=9),
    Mutant(TrustWithoutAskingTheOthers, kind=ForgetfulWorld, adapt=with_old_leaders),
    Mutant(DoubtfulAnswersCount),
]
