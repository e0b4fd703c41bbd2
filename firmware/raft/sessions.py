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
MAX_RESULT = 16  # bytes of what a state machine's `apply` returns
MAX_CHUNK = 1200  # bytes of one chunk of a state machine's snapshot

_KNOWN_BYTES = 12  # of what is known of a session, without the result

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

    What a state machine must have (`kv.KeyValue` is one; firmware/README.md tells more):
    `apply(payload) -> bytes` (at most MAX_RESULT) must be deterministic and must not raise;
    `is_valid(payload)` and `room_for(payload)` are asked by the leader before it proposes.
    `snapshot()` gives an iterator of chunks (bytes, at most MAX_CHUNK each) of the state at the
    time of the call, whatever is applied until it ends; `reset()` forgets all, and then
    `restore(chunk)` gets these chunks, one by one and in order. `max_bytes`: what all of them
    may have together, with 2 more for each.
    """

    def __init__(self, machine):
        self.machine = machine
        # session -> big endian: index last used, session, number; and the result. One object
        # each, which is never changed, and of which the least is the one unused longest.
        self._sessions = {}

    def apply(self, index, data):
        """Apply the command `data` of the log entry `index`; returns the result (bytes)."""
        if len(data) < HEADER_BYTES:
            return bytes((EXPIRED,))
        session, number = struct.unpack_from("<II", data, 0)
        if session == 0:
            return self._open(index)
        known = self._sessions.get(session)
        if known is None or number == 0:
            return bytes((EXPIRED,))
        newest = struct.unpack_from(">I", known, 8)[0]
        if number < newest:
            return bytes((EXPIRED,))
        if number > newest:
            result = bytes((DONE,)) + self.machine.apply(memoryview(data)[HEADER_BYTES:])
        else:
            result = known[_KNOWN_BYTES:]
        self._sessions[session] = struct.pack(">III", index, session, number) + result
        return result

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
        if known is None or number == 0 or struct.unpack_from(">I", known, 8)[0] != number:
            return None
        return known[_KNOWN_BYTES:]

    def _open(self, index):
        if len(self._sessions) >= MAX_SESSIONS:
            oldest = min(self._sessions.values())
            del self._sessions[struct.unpack_from(">I", oldest, 4)[0]]
        self._sessions[index] = struct.pack(">III", index, index, 0)
        return struct.pack("<BI", DONE, index)

    # Snapshots: the sessions, an empty chunk, and what the machine gives

    @property
    def max_bytes(self):
        """The most that all chunks of a snapshot may have, each with 2 bytes for its length."""
        return MAX_SESSIONS * (2 + _KNOWN_BYTES + 1 + MAX_RESULT) + 2 + self.machine.max_bytes

    def snapshot(self):
        """An iterator of chunks (bytes) of the state as it is now."""
        return _chunks(list(self._sessions.values()), self.machine.snapshot())

    def reset(self):
        """Forget everything: `restore` begins."""
        self._sessions.clear()
        self._restores_sessions = True
        self.machine.reset()

    def restore(self, chunk):
        """The next chunk (bytes) of a snapshot."""
        if not self._restores_sessions:
            self.machine.restore(chunk)
        elif chunk:
            self._sessions[struct.unpack_from(">I", chunk, 4)[0]] = chunk
        else:
            self._restores_sessions = False


def _chunks(sessions, chunks):
    for known in sessions:
        yield known
    yield b""
    for chunk in chunks:
        yield chunk
