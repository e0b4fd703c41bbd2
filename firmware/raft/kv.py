"""The default state machine: a key-value store.

Commands (the machine's part of them, machines.py), little endian; keys have 1 to 64 bytes, values
up to 1,024:

    PUT     u8 1, u8 key length, key, value
    DELETE  u8 2, u8 key length, key
    CAS     u8 3, u8 key length, key, expectation, new value
            expectation: u8 0: no such key
                         u8 1, u8 length, value: this value, of at most 32 bytes
                         u8 2, 32 bytes: the value with this SHA-256
    ADD     u8 4, u8 key length, key, i64 what is added to the number there
    LOCK    u8 5, u8 key length, key, u8 owner length, owner, u16 for how many seconds
    UNLOCK  u8 6, u8 key length, key, u8 owner length, owner

Results: PUT nothing; DELETE, CAS and UNLOCK u8 1 if they changed something, else u8 0; ADD i64 the
sum; LOCK u32 fencing number or 0, u32 seconds until it is free (counters.py). An unknown or broken
command, or one that the value at its key isn't made for, changes nothing and results in u8 255.

A snapshot's chunk is one key: u8 key length, key, value.

Queries, and their answers:

    GET     u8 1, key                              u8 0 / u8 1, value
    KEYS    u8 2, u8 prefix length, prefix, after  u8 more, then per key: u8 length, key
            keys that begin with the prefix and are greater than `after`, in order
"""

from hashlib import sha256

from raft.machines import BROKEN

PUT = 1
DELETE = 2
CAS = 3
ADD = 4
LOCK = 5
UNLOCK = 6
GET = 1
KEYS = 2

MAX_KEY = 64  # bytes
MAX_VALUE = 1024  # bytes
MAX_OWNER = 32  # bytes
INLINE = 32  # longest expected value that is sent whole; as long as a SHA-256
ABSENT = 0
VALUE = 1
DIGEST = 2

KEY_RAM_BYTES = 64  # what a key costs in RAM beside its bytes and its value's
NUMBERS_BYTES = 24  # most that a number takes more in the store than in its command
MAX_ANSWER = 1024  # bytes of keys in one answer to KEYS

_NOTHING = b""
_NO = b"\0"
_YES = b"\1"


class KeyValue:
    """max_bytes: how much RAM its contents may take, by its own estimate (`used`).

    The leader refuses commands that would lead beyond (`room_for`); what is committed is
    applied on every node, whatever its own limit. on_change(key, value): called with what a
    command changes; value: None if the key was removed.
    """

    def __init__(self, max_bytes):
        self.max_bytes = max_bytes
        self.used = 0
        self.on_change = None
        self._values = {}

    def is_valid(self, payload):
        """Whether `payload` is a well-formed command."""
        return _parse(payload) is not None

    def room_for(self, payload):
        """Whether there is room to apply `payload`: bytes or memoryview."""
        if payload[0] in (DELETE, UNLOCK):
            return True
        needed = KEY_RAM_BYTES + len(payload) + (NUMBERS_BYTES if payload[0] > CAS else 0)
        return self.used + needed <= self.max_bytes

    def apply(self, payload, now):
        """Apply one command at `now` (s); returns its result."""
        parsed = _parse(payload)
        if parsed is None:
            return BROKEN
        kind, key, expectation, value = parsed
        old = self._values.get(key)
        if kind > CAS:
            return self._calculate(kind, key, old, value, now)
        if kind == PUT:
            self._change(key, old, value)
            return _NOTHING
        if kind == DELETE:
            if old is None:
                return _NO
            self._change(key, old, None)
            return _YES
        if not _is_expected(expectation, old):
            return _NO
        self._change(key, old, value)
        return _YES

    def _calculate(self, kind, key, old, operand, now):
        # Here: who has no counters and locks does without its heap.
        from raft.counters import add, lock, unlock

        if kind == ADD:
            new, result = add(old, operand)
        elif kind == LOCK:
            new, result = lock(old, operand, now)
        else:
            new, result = unlock(old, operand)
        if new is not None:
            self._change(key, old, new)
        return result

    def _change(self, key, old, value):
        if value is None:
            del self._values[key]
            self.used -= KEY_RAM_BYTES + len(key) + len(old)
        else:
            self._store(key, old, value)
        if self.on_change:
            self.on_change(key, value)

    def _store(self, key, old, value):
        self.used += len(value)
        if old is None:
            self.used += KEY_RAM_BYTES + len(key)
        else:
            self.used -= len(old)
        self._values[key] = value

    def snapshot(self):
        """An iterator of chunks (bytes) that make up the contents as they are now."""
        # Two lists of what is there already; values are never changed in place.
        return _chunks(list(self._values.keys()), list(self._values.values()))

    def reset(self):
        """Forget everything."""
        self._values.clear()
        self.used = 0

    def restore(self, chunk):
        """Take in one chunk of a snapshot."""
        end = 1 + chunk[0]
        key = chunk[1:end]
        self._store(key, self._values.get(key), chunk[end:])

    def query(self, payload):
        """Answer one query, or None if it is malformed."""
        if len(payload) < 2:
            return None
        if payload[0] == GET:
            value = self._values.get(bytes(payload[1:]))
            return _NO if value is None else _YES + value
        if payload[0] == KEYS and len(payload) >= 2 + payload[1]:
            end = 2 + payload[1]
            return self._keys(bytes(payload[2:end]), bytes(payload[end:]))
        return None

    def _keys(self, prefix, after):
        found = sorted(k for k in self._values if k > after and k.startswith(prefix))
        answer = bytearray(1)
        for key in found:
            if len(answer) + 1 + len(key) > MAX_ANSWER:
                answer[0] = 1
                break
            answer.append(len(key))
            answer.extend(key)
        return bytes(answer)


def _chunks(keys, values):
    for i in range(len(keys)):
        yield bytes((len(keys[i]),)) + keys[i] + values[i]


def _parse(payload):
    """(kind, key, expectation, value) of a command, or None if it is malformed."""
    n = len(payload)
    if n < 3 or not 1 <= payload[1] <= MAX_KEY or n < 2 + payload[1]:
        return None
    kind = payload[0]
    end = 2 + payload[1]
    key = bytes(payload[2:end])
    expectation = None
    if kind == CAS:
        start = end
        end += _expectation_bytes(payload, start, n)
        if end == start or end > n:
            return None
        expectation = bytes(payload[start:end])
    elif kind == DELETE:
        return (kind, key, None, _NOTHING) if n == end else None
    elif kind != PUT:
        if not _is_operand(kind, payload, end, n):
            return None
    if n - end > MAX_VALUE:
        return None
    return kind, key, expectation, bytes(payload[end:])


def _is_operand(kind, payload, at, n):
    """Whether an ADD, LOCK or UNLOCK goes on well-formed from `at` on."""
    if kind == ADD:
        return n == at + 8
    if kind not in (LOCK, UNLOCK) or at == n or not 1 <= payload[at] <= MAX_OWNER:
        return False
    return n == at + 1 + payload[at] + (2 if kind == LOCK else 0)


def _expectation_bytes(payload, at, n):
    if at >= n:
        return 0
    if payload[at] == ABSENT:
        return 1
    if payload[at] == VALUE and at + 1 < n and payload[at + 1] <= INLINE:
        return 2 + payload[at + 1]
    return 1 + 32 if payload[at] == DIGEST else 0


def _is_expected(expectation, value):
    if expectation[0] == ABSENT or value is None:
        return expectation[0] == ABSENT and value is None
    if expectation[0] == VALUE:
        return value == expectation[2:]
    return sha256(value).digest() == expectation[1:]
