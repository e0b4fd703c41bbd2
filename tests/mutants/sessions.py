"""Mistakes in what makes a command take effect once, whenever its client sends it again."""

import struct

from raft.core import Core
from raft.leading import Leading
from raft.sessions import HEADER_BYTES, STAMP_BYTES, Sessions, has_session
from tests.mutants.mutant import Mutant


class RetriesAppliedAgain(Sessions):
    """A session forgets what it has done: a command that comes twice takes effect twice."""

    def apply(self, index: int, data: bytes) -> bytes:
        result = bytes(super().apply(index, data))
        if len(data) > STAMP_BYTES + HEADER_BYTES and has_session(data):
            session = int.from_bytes(data[STAMP_BYTES : STAMP_BYTES + 4], "little")
            if session in self._sessions:
                self._sessions[session] = struct.pack(">IIIH", self.time, session, 0, 0)
        return result


class SessionsExpireByTheNodesOwnClock(Sessions):
    """Nodes don't agree on when a session has ended."""

    lives = 0

    def _is_over(self, known: bytes) -> bool:
        type(self).lives += 1
        return self.lives % 3 == 0


class TimeThatLeapsAtEachElection(Leading):
    """A new leader's clock is ahead of what the cluster's time can be."""

    def __init__(self, core: Core, known_commit: int) -> None:
        super().__init__(core, known_commit)
        self._stamp = 5 * core.term


MUTANTS = [
    Mutant(RetriesAppliedAgain),
    Mutant(SessionsExpireByTheNodesOwnClock),
    Mutant(TimeThatLeapsAtEachElection),
]
