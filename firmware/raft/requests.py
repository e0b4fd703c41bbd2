"""What a client asks of the key-value store, and how that may fail. A node doesn't need it.

kv.py tells the bytes.
"""

import struct
from hashlib import sha256

from raft import messages
from raft.kv import (
    ABSENT,
    ADD,
    CAS,
    DELETE,
    DIGEST,
    GET,
    INLINE,
    KEYS,
    LOCK,
    MAX_KEY,
    MAX_OWNER,
    MAX_VALUE,
    PUT,
    UNLOCK,
    VALUE,
)
from raft.machines import BROKEN

NO_NAME = 0  # length of the name of the machine that is asked (machines.py)
MAX_COUNT = (1 << 63) - 1
MAX_TTL_S = 0xFFFF

# What a leader complains of -> what that means; and of these, where to ask again is in vain.
PROBLEMS = {
    messages.BUSY: "too many commands wait for commit, or for room in the flash, or a client's "
    "credential asks too often",
    messages.STATE_FULL: "the leader has no memory left for more keys and values (state_kb)",
    messages.BAD: "the leader doesn't understand the request: it runs another version or program",
}
HOPELESS = (messages.STATE_FULL, messages.BAD)


class ClusterError(Exception):
    """The cluster could not do what it was asked."""


class NotCommitted(ClusterError):
    """It certainly had no effect, and never will."""


class Unknown(ClusterError):
    """It may have had an effect, or may have one yet."""


class Gone(ClusterError):
    """Changes were missed: read the keys anew, and go on behind `index`."""

    def __init__(self, index):
        super().__init__("changes up to %d are forgotten: read the keys anew" % index)
        self.index = index


class Attempts:
    """What may have come of a request.

    An attempt is what was sent to one node under one number, until the node refuses it. copies:
    sent in this attempt. in_doubt: one of an earlier attempt may have taken effect. problem: what
    the leader has complained of. is_hopeless: to ask again is in vain.
    """

    def __init__(self):
        self.copies = 0
        self.in_doubt = False
        self.problem = ""
        self.is_hopeless = False

    def abandon(self):
        """The attempt has had no answer: what was sent stays in doubt."""
        self.in_doubt = self.may_have_effect()
        self.copies = 0

    def refused(self, status):
        """The node has refused one copy. Which settles the attempt only if there was one."""
        if status == messages.LOST or self.copies > 1:
            self.in_doubt = True
        self.copies = 0
        self.problem = PROBLEMS.get(status, "")
        self.is_hopeless = status in HOPELESS and not self.in_doubt

    def may_have_effect(self):
        return self.in_doubt or self.copies > 0


def put(key, value):
    """The command that stores `value` under `key` (bytes). Raises ValueError if too long."""
    return _command(PUT, key) + _checked_value(value)


def delete(key):
    return _command(DELETE, key)


def cas(key, expected, new):
    """Store `new` if the value of `key` is `expected` (None: there is none)."""
    if expected is None:
        expectation = bytes((ABSENT,))
    elif len(_checked_value(expected)) <= INLINE:
        expectation = bytes((VALUE, len(expected))) + expected
    else:
        expectation = bytes((DIGEST,)) + sha256(expected).digest()
    return _command(CAS, key) + expectation + _checked_value(new)


def add(key, delta):
    """Add `delta` (int) to the number at `key`; no such key counts as 0."""
    if not -MAX_COUNT <= delta <= MAX_COUNT:
        raise ValueError("a counter has 64 bits: %d is too much to add" % delta)
    return _command(ADD, key) + struct.pack("<q", delta)


def lock(key, owner, ttl_s):
    """Take the lock `key` for `ttl_s` seconds, or keep it as its `owner` (bytes)."""
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise ValueError("a lock is held for 1 to %d s, not %d" % (MAX_TTL_S, ttl_s))
    return _command(LOCK, key) + _owner(owner) + struct.pack("<H", ttl_s)


def unlock(key, owner):
    """Give the lock `key` back."""
    return _command(UNLOCK, key) + _owner(owner)


def get_query(key):
    return bytes((NO_NAME, GET)) + _checked(key)


def keys_query(prefix, after=b""):
    return bytes((NO_NAME, KEYS, len(prefix))) + prefix + after


def add_result(result):
    """The sum (int). Raises ValueError."""
    if result == BROKEN:
        raise ValueError("the value there is no number, or the sum is beyond 64 bits")
    return struct.unpack("<q", result)[0]


def lock_result(result):
    """(fencing number or 0: another one has it, seconds until it is free). Raises ValueError."""
    if result == BROKEN:
        raise ValueError("the value there is no lock")
    return struct.unpack("<II", result)


def read(query, how=messages.ANY):
    """What a READ carries."""
    return bytes((how,)) + query


def age_of(answer):
    """What a node has answered from its own copy -> (its age in ms or None, the answer)."""
    age_ms = struct.unpack_from("<I", answer)[0]
    return (None if age_ms == messages.MAX_NUMBER else age_ms), answer[4:]


def watch(after, prefix=b""):
    """What a WATCH carries (watching.py). after: None: from now on. Raises ValueError."""
    if len(prefix) > MAX_KEY:
        raise ValueError("a prefix has at most %d bytes, this one %d" % (MAX_KEY, len(prefix)))
    after = messages.MAX_NUMBER if after is None else after
    return struct.pack("<IB", after, len(prefix)) + prefix


def watch_answer(answer):
    """(upto, changes: list of (index, key, value or None))"""
    changes = []
    at = 4
    while at < len(answer):
        index, kind, key_bytes, value_bytes = struct.unpack_from("<IBBH", answer, at)
        at += 8
        end = at + key_bytes
        value = bytes(answer[end : end + value_bytes]) if kind == 1 else None
        changes.append((index, bytes(answer[at:end]), value))
        at = end + value_bytes
    return struct.unpack_from("<I", answer)[0], changes


def get_answer(answer):
    """The value (bytes) or None."""
    return answer[1:] if answer[0] else None


def own_value(node, key):
    """The value (bytes) of a key in the own copy of a program's node, or None."""
    return get_answer(node.local(get_query(key)))


def keys_answer(answer):
    """(list of keys, whether there are more)"""
    keys = []
    at = 1
    while at < len(answer):
        end = at + 1 + answer[at]
        keys.append(bytes(answer[at + 1 : end]))
        at = end
    return keys, answer[0] != 0


def _command(kind, key):
    return bytes((NO_NAME, kind, len(_checked(key)))) + key


def _owner(owner):
    if not 1 <= len(owner) <= MAX_OWNER:
        raise ValueError("an owner has 1 to %d bytes, this one %d" % (MAX_OWNER, len(owner)))
    return bytes((len(owner),)) + owner


def _checked(key):
    if not 1 <= len(key) <= MAX_KEY:
        raise ValueError("a key has 1 to %d bytes, this one %d" % (MAX_KEY, len(key)))
    return key


def _checked_value(value):
    if len(value) > MAX_VALUE:
        raise ValueError("a value has at most %d bytes, this one %d" % (MAX_VALUE, len(value)))
    return value
