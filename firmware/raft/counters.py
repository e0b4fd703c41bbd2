"""What ADD, LOCK and UNLOCK make of a value of the key-value store: counters and locks.

Both are text, for people to read. A counter is its number: "-12". A lock that is taken is
"NUMBER OWNER UNTIL", for example "7 pump-3 1250": until that cluster time (s) it belongs to that
owner alone. A free one is its "NUMBER". That grows each time the lock gets another owner: whoever
is told to act under the lock refuses a number that is less than one it has seen, for that comes
from an owner which hasn't noticed yet that its time is over (a fencing number).

Each function returns the new value, or None if it stays as it is, and the command's result.
"""

import struct

from raft.machines import BROKEN

_MAX_DIGITS = 19  # of a number of 64 bits
_LOCK_DIGITS = 9  # of numbers and times that stay small integers on a 32-bit MicroPython
_LIMIT = 1 << 63
_NO = b"\0"
_YES = b"\1"


def add(old, operand):
    """operand: i64. A value that is no number, or a sum beyond 64 bits, stays as it is."""
    number = 0 if old is None else _number(old)
    if number is not None:
        number += struct.unpack("<q", operand)[0]
        if -_LIMIT <= number < _LIMIT:
            return b"%d" % number, struct.pack("<q", number)
    return None, BROKEN


def lock(old, operand, now):
    """operand: u8 length, owner, u16 seconds. Its owner keeps it so for longer."""
    parsed = _lock(old)
    if parsed is None:
        return None, BROKEN
    number, owner, until = parsed
    end = 1 + operand[0]
    asks = operand[1:end]
    if owner != asks:
        if owner and now < until:
            return None, struct.pack("<II", 0, until - now)
        number += 1
    elif now >= until:
        number += 1  # it may have thought that it still had it
    seconds = struct.unpack("<H", operand[end:])[0]
    return b"%d %s %d" % (number, asks, now + seconds), struct.pack("<II", number, seconds)


def unlock(old, operand):
    """operand: u8 length, owner."""
    parsed = _lock(old)
    if parsed is None or parsed[1] != operand[1:]:
        return None, _NO
    return b"%d" % parsed[0], _YES


def _lock(value):
    """(number, owner, until) of a lock, which is free without an owner; None if it is none."""
    if value is None:
        return 0, b"", 0
    first = value.split(b" ", 1)
    last = first[-1].rsplit(b" ", 1)
    number, until = first[0], last[-1]
    if not (_is_natural(number, _LOCK_DIGITS) and _is_natural(until, _LOCK_DIGITS)):
        return None
    if len(first) == 1:
        return int(number), b"", 0
    return (int(number), last[0], int(until)) if len(last) == 2 else None


def _number(text):
    digits = text[1:] if text[:1] == b"-" else text
    return int(text) if _is_natural(digits, _MAX_DIGITS) else None


def _is_natural(text, most):
    # More strictly than `int`, which doesn't take the same texts in every interpreter.
    return len(text) <= most and text.isdigit()
