"""Client sessions: each command takes effect once, however often it is sent or logged.

A command, as a log entry carries it, little endian:

    offset  size  what
    0       4     session: the index of the log entry that opened it; 0: none
    4       4     number of the command within its session: 1, 2, 3, ... one at a time
    8       n     the state machine's part; empty with session 0: open a session

(Ongaro's dissertation, 6.3.) A client has one command under way per session; a command that
is older than the session's newest is a copy of one long answered, and has no effect.
"""

import struct

HEADER_BYTES = 8
MAX_SESSIONS = 128  # the one unused longest (in log entries) makes room for a new one

# First byte of every result
DONE = 0  # what follows is the machine's result, or the new session's number (u32)
EXPIRED = 1  # the session is not, or no longer, known: this copy had no effect


def has_session(command):
    """Whether a session watches over this command (bytes)."""
    return len(command) >= HEADER_BYTES and command[:4] != b"\0\0\0\0"


def same_command(a, b):
    """Whether two entries' data are copies of one command of a session."""
    return a[:HEADER_BYTES] == b[:HEADER_BYTES]


def command(session, number, payload):
    """The bytes of a command of a session."""
    return struct.pack("<II", session, number) + payload


OPEN = command(0, 0, b"")


class Sessions:
    """Applies committed commands to `machine`, each one once.

    `machine.apply(payload) -> bytes` must be deterministic and must not raise;
    `is_valid(payload)` and `room_for(payload)` are asked by the leader before it proposes.
    """

    def __init__(self, machine):
        self.machine = machine
        self._sessions = {}  # session -> [number, result, index last used]

    def apply(self, index, data):
        """Apply the command `data` of the log entry `index`; returns the result (bytes)."""
        if len(data) < HEADER_BYTES:
            return bytes((EXPIRED,))
        session, number = struct.unpack_from("<II", data, 0)
        if session == 0:
            return self._open(index)
        known = self._sessions.get(session)
        if known is None or number < known[0] or number == 0:
            return bytes((EXPIRED,))
        known[2] = index
        if number > known[0]:
            known[0] = number
            known[1] = bytes((DONE,)) + self.machine.apply(memoryview(data)[HEADER_BYTES:])
        return known[1]

    def is_valid(self, data):
        """Whether `data` is a well-formed command."""
        if len(data) < HEADER_BYTES:
            return False
        session, number = struct.unpack_from("<II", data, 0)
        payload = memoryview(data)[HEADER_BYTES:]
        if session == 0:
            return number == 0 and len(payload) == 0
        return number > 0 and self.machine.is_valid(payload)

    def room_for(self, data):
        """Whether the machine has room for the well-formed command `data`."""
        return not has_session(data) or self.machine.room_for(memoryview(data)[HEADER_BYTES:])

    def known_result(self, data):
        """The result of the command `data` if it was applied, and nothing came after it."""
        session, number = struct.unpack_from("<II", data, 0)
        known = self._sessions.get(session)
        return known[1] if known and known[0] == number else None

    def _open(self, index):
        if len(self._sessions) >= MAX_SESSIONS:
            oldest = min(self._sessions, key=lambda s: self._sessions[s][2])
            del self._sessions[oldest]
        self._sessions[index] = [0, b"", index]
        return struct.pack("<BI", DONE, index)
