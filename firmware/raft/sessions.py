"""Client sessions: each command takes effect once, however often it is sent or logged.

What a client sends, little endian:

    offset  size  what
    0       4     session: the index of the log entry that opened it; 0: none
    4       4     number of the command within its session: 1, 2, 3, ... one at a time
    8       n     the state machine's part (machines.py); empty with session 0: open a session

The leader stamps it, and that is the log entry:

    0       4     cluster time in s, by the clock of whoever leads (leading.py)
    4       n     what the client has sent
    4 + n   4     if that opens a session: for how many seconds all of them live unused
    8 + n   2     and by which credential (access.py)

(Ongaro's dissertation, 6.3.) A client has one command under way per session; a command that
is older than the session's newest is a copy of one long answered, and has no effect.

Time is the greatest stamp applied, and how long a session lives stands in the log as well: all
nodes forget the same sessions at the same index, be their clocks and configurations as they may.
"""

import struct

STAMP_BYTES = 4
HEADER_BYTES = 8  # of what a client sends, before the machine's part
SESSION_S = 3600  # how long a session lives that isn't used
MAX_SESSIONS = 128  # the one unused longest makes room for a new one
MAX_OWN_SESSIONS = 32  # of a credential but the owner's, whose own makes room then
MAX_RESULT = 16  # bytes of what a state machine's `apply` returns
MAX_CHUNK = 1200  # bytes of one chunk of a state machine's snapshot
CLOCK_BYTES = 8  # of the chunk behind the sessions of a snapshot: shorter than any of them

_PAYLOAD = STAMP_BYTES + HEADER_BYTES  # where the machine's part of an entry begins
_KNOWN_BYTES = 14  # of what is known of a session, without the result

# First byte of every result
DONE = 0  # what follows is the machine's result, or the new session: u32 number, u32 life in s
EXPIRED = 1  # the session is not, or no longer, known: this copy had no effect


def command(session, number, payload):
    """The bytes of a command of a session, as a client sends them."""
    return struct.pack("<II", session, number) + payload


OPEN = command(0, 0, b"")


def entry(stamp, command, session_s=SESSION_S, credential=0):
    """The data of the log entry for a client's command. credential: the client's number."""
    data = struct.pack("<I", stamp) + command
    return data + struct.pack("<IH", session_s, credential) if command == OPEN else data


def restamped(data, stamp):
    """The data of an entry of one leader as another one logs it.

    Its time may have stood still meanwhile, and must not leap by the old stamp.
    """
    return struct.pack("<I", stamp) + data[STAMP_BYTES:]


def has_session(data):
    """Whether a session watches over the command of an entry's data (bytes)."""
    return len(data) >= _PAYLOAD and data[STAMP_BYTES : STAMP_BYTES + 4] != b"\0\0\0\0"


def same_command(a, b):
    """Whether two entries' data are copies of one command of a session."""
    return a[STAMP_BYTES:_PAYLOAD] == b[STAMP_BYTES:_PAYLOAD]


class Sessions:
    """Applies committed commands to `machine`, each one once.

    What a state machine must have (`kv.KeyValue` is one; firmware/README.md tells more):
    `apply(payload, now) -> bytes` (at most MAX_RESULT; now: `time`) must be deterministic and
    must not raise; `is_valid(payload)` and `room_for(payload)` are asked by the leader before it
    proposes. `snapshot()` gives an iterator of chunks (bytes, at most MAX_CHUNK each) of the
    state at the time of the call, whatever is applied until it ends; `reset()` forgets all, and
    then `restore(chunk)` gets these chunks, one by one and in order. `max_bytes`: what all of
    them may have together, with 2 more for each.

    time: the greatest stamp applied, in s; it never falls.
    """

    def __init__(self, machine):
        self.machine = machine
        self.time = 0
        self._life = SESSION_S
        # session -> big endian: time last used, session, number, credential; and the result. One
        # object each, which is never changed, and of which the least is the one unused longest.
        self._sessions = {}

    def apply(self, index, data):
        """Apply the command in the `data` of the log entry `index`; returns the result (bytes)."""
        if len(data) < _PAYLOAD:
            return bytes((EXPIRED,))
        stamp, session = struct.unpack_from("<II", data, 0)
        number = struct.unpack_from("<I", data, 8)[0]
        if stamp > self.time:
            self.time = stamp
        if session == 0:
            return self._open(index, data)
        known = self._sessions.get(session)
        if known is None or number == 0 or self._is_over(known):
            return bytes((EXPIRED,))
        newest = struct.unpack_from(">I", known, 8)[0]
        if number < newest:
            return bytes((EXPIRED,))
        if number > newest:
            result = bytes((DONE,)) + self.machine.apply(memoryview(data)[_PAYLOAD:], self.time)
        else:
            result = known[_KNOWN_BYTES:]
        credential = struct.unpack_from(">H", known, 12)[0]
        self._sessions[session] = _known(self.time, session, number, credential) + result
        return result

    def is_valid(self, command):
        """Whether what a client has sent is a well-formed command."""
        if len(command) < HEADER_BYTES:
            return False
        session, number = struct.unpack_from("<II", command, 0)
        payload = memoryview(command)[HEADER_BYTES:]
        if session == 0:
            return number == 0 and len(payload) == 0
        return number > 0 and self.machine.is_valid(payload)

    def room_for(self, command):
        """Whether the machine has room for the well-formed `command` of a client."""
        return command == OPEN or self.machine.room_for(memoryview(command)[HEADER_BYTES:])

    def opened_by(self, command):
        """The number of the credential that has opened a command's session; None: not known."""
        known = self._sessions.get(struct.unpack_from("<I", command, 0)[0])
        return known and struct.unpack_from(">H", known, 12)[0]

    def known_result(self, command):
        """The result of a client's `command` if it was applied, and nothing came after it."""
        session, number = struct.unpack_from("<II", command, 0)
        known = self._sessions.get(session)
        if known is None or number == 0 or struct.unpack_from(">I", known, 8)[0] != number:
            return None
        return known[_KNOWN_BYTES:]

    def _is_over(self, known):
        return struct.unpack_from(">I", known, 0)[0] + self._life <= self.time

    def _open(self, index, data):
        credential = 0
        if len(data) == _PAYLOAD + 6:
            self._life, credential = struct.unpack_from("<IH", data, _PAYLOAD)
        for known in list(self._sessions.values()):
            if self._is_over(known):
                self._forget(known)
        all_known = list(self._sessions.values())
        own = [known for known in all_known if struct.unpack_from(">H", known, 12)[0] == credential]
        if credential and len(own) >= MAX_OWN_SESSIONS:
            self._forget(min(own))
        elif len(all_known) >= MAX_SESSIONS:
            self._forget(min(all_known))
        self._sessions[index] = _known(self.time, index, 0, credential)
        return struct.pack("<BII", DONE, index, self._life)

    def _forget(self, known):
        del self._sessions[struct.unpack_from(">I", known, 4)[0]]

    # Snapshots: the sessions; a chunk of time and life, which ends them; what the machine gives

    @property
    def max_bytes(self):
        """The most that all chunks of a snapshot may have, each with 2 bytes for its length."""
        sessions = MAX_SESSIONS * (2 + _KNOWN_BYTES + 1 + MAX_RESULT)
        return sessions + 2 + CLOCK_BYTES + self.machine.max_bytes

    def snapshot(self):
        """An iterator of chunks (bytes) of the state as it is now."""
        clock = struct.pack("<II", self.time, self._life)
        return _chunks(list(self._sessions.values()), clock, self.machine.snapshot())

    def reset(self):
        """Forget everything: `restore` begins."""
        self._sessions.clear()
        self._restores_sessions = True
        self.machine.reset()

    def restore(self, chunk):
        """The next chunk (bytes) of a snapshot."""
        if not self._restores_sessions:
            self.machine.restore(chunk)
        elif len(chunk) > CLOCK_BYTES:
            self._sessions[struct.unpack_from(">I", chunk, 4)[0]] = chunk
        else:
            self.time, self._life = struct.unpack("<II", chunk)
            self._restores_sessions = False


def _known(time, session, number, credential):
    return struct.pack(">IIIH", time, session, number, credential)


def _chunks(sessions, clock, chunks):
    for known in sessions:
        yield known
    yield clock
    for chunk in chunks:
        yield chunk
