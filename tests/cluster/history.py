"""Histories: what clients asked of the key-value store and what they were told, and when."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

PUT = "put"  # (value) -> None
DELETE = "delete"  # () -> whether the key was there
CAS = "cas"  # (expected or None, new) -> whether it was stored
ADD = "add"  # (delta) -> the new value, which is stored as a decimal text
LOCK = "lock"  # (owner) -> the lock's number, 0 if another owner has it
UNLOCK = "unlock"  # (owner) -> whether it had it
GET = "get"  # () -> the value or None
UNSEEN = (ADD, LOCK, UNLOCK)  # what these write can't be told without what was there before

Value = str | None  # of a key; None: there is no such key
Result = str | int | bool | None


@dataclass(frozen=True)
class Operation:
    """One operation on one key, from its call to its return (s, of one clock).

    returned: None if its outcome is unknown: it may take effect at any time after its call, or
    never; but not later than at `void_after`. An operation that certainly had no effect isn't
    told of. how: what else is to be known of it, such as the kind of a read. age: of a read that
    may be stale, how long ago (s) at most its result was right, as it says; math.inf: unknown.
    """

    client: int
    kind: str
    key: str
    arguments: tuple[str | int | None, ...]
    result: Result
    called: float
    returned: float | None
    void_after: float = math.inf
    how: str = ""
    age: float | None = None

    @property
    def is_open(self) -> bool:
        return self.returned is None

    def step(self, value: Value) -> tuple[Result, Value]:
        """What it results in, and the key's new value, if it meets `value`: the specification."""
        if self.kind == GET:
            return value, value
        if self.kind == DELETE:
            return value is not None, None
        argument = self.arguments[-1]
        if self.kind == ADD:
            assert isinstance(argument, int)
            total = int(value or 0) + argument
            return total, str(total)
        if self.kind in (LOCK, UNLOCK):
            assert isinstance(argument, str)
            return self._step_of_lock(value, argument)
        assert not isinstance(argument, int)
        if self.kind == PUT:
            return None, argument
        assert self.kind == CAS
        is_expected = value == self.arguments[0]
        return is_expected, argument if is_expected else value

    def _step_of_lock(self, value: Value, owner: str) -> tuple[Result, Value]:
        """Of a lock that nobody loses by time: its number, and its owner if it has one."""
        number, _, holder = (value or "0").partition(" ")
        if self.kind == UNLOCK:
            return holder == owner, number if holder == owner else value
        if not holder:
            number, holder = str(int(number) + 1), owner
        return int(number) if holder == owner else 0, f"{number} {holder}"

    @property
    def written(self) -> Value:
        """What it writes if it does; of what is UNSEEN without its result, if it is the first."""
        if self.kind == ADD and self.result is not None:
            return str(self.result)
        if self.kind == LOCK and self.result:
            return f"{self.result} {self.arguments[0]}"
        expected = self.arguments[0] if self.kind == CAS else None
        assert not isinstance(expected, int)
        return self.step(expected)[1]

    @property
    def is_observation(self) -> bool:
        """Whether it tells of the value and, with the result it had, leaves it as it is."""
        if self.kind == LOCK:
            return self.result == 0
        return self.kind == GET or self.kind in (CAS, DELETE, UNLOCK) and self.result is False

    @property
    def is_conditional(self) -> bool:
        """Whether it had, or may have, its effect, or this one, on some values alone."""
        if self.kind in (DELETE, UNLOCK):
            return self.result is True
        if self.kind in (ADD, LOCK):
            return self.result is not None
        return self.kind == CAS and self.result is not False

    def __str__(self) -> str:
        what = " ".join([self.kind, self.key, *map(_text, self.arguments)])
        if self.how:
            what += f" ({self.how})"
        if self.age is not None:
            what += f" (at most {self.age:.3f} s old)"
        if self.is_open:
            what += ", or never"
        elif self.kind != PUT:
            what += f" -> {_text(self.result)}"
        last = self.void_after if self.returned is None else self.returned
        end = "open".rjust(10) if last == math.inf else f"{last:10.6f}"
        return f"{self.called:10.6f} - {end} client {self.client}: {what}"


def _text(value: Result) -> str:
    return "none" if value is None else str(value)


def save(path: Path, history: Iterable[Operation]) -> None:
    """Write it into the file, a line of JSON for each operation (Python's: with Infinity)."""
    with path.open("w", encoding="utf-8") as file:
        for operation in history:
            fields = asdict(operation)
            file.write(json.dumps(fields) + "\n")


def load(path: Path) -> list[Operation]:
    """What `save` wrote. Raises OSError."""
    with path.open(encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    return [Operation(**entry | {"arguments": tuple(entry["arguments"])}) for entry in entries]
