"""Clients of a real cluster that record what they ask for and are told."""

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from host_tools.client import Client, NotCommitted, Unknown
from tests.cluster.history import (
    ADD,
    CAS,
    DELETE,
    GET,
    LOCK,
    PUT,
    UNLOCK,
    UNSEEN,
    Operation,
    Result,
    Value,
)

TIMEOUT_S = 1.0  # of a command: after that its outcome is known, or unknown for ever
READ_TIMEOUT_S = 0.25
MOST_PAUSE_S = 0.004  # between two operations of a client
KEYS = 3  # in use at a time
EPOCH_S = 10.0  # then there are new ones
SHARES = {
    GET: 35,
    PUT: 20,
    CAS: 20,
    DELETE: 5,
    ADD: 10,
    LOCK: 5,
    UNLOCK: 5,
}  # of all operations, in percent
READERS = 3  # clients that do nothing but read: they aren't held up by a leader that is cut off
COUNTER = KEYS  # the number of the key that is a counter, beside the others
THE_LOCK = KEYS + 1  # and of the one that is a lock
LOCK_S = 3600  # longer than any history: nobody loses it by time
OLD_EXPECTATION = 0.1  # share of the cas that expect a value from longer ago


ADDED = (1,)

Arguments = tuple[Value, ...] | tuple[int]
Reading = Callable[[Client, str, int], tuple[bytes | None, float | None]]


def by_leader(client: Client, key: str, node: int) -> tuple[bytes | None, float | None]:
    return client.get(key), None


def by_any(client: Client, key: str, node: int) -> tuple[bytes | None, float | None]:
    return client.get(key, node), None


def by_own_copy(client: Client, key: str, node: int) -> tuple[bytes | None, float | None]:
    copy = client.local(key, node)
    return copy.value, math.inf if copy.age_s is None else copy.age_s


# Kinds of reads: each gives the value, read at that node where one has a choice, and how old (s)
# that may be if it isn't the latest, math.inf if nobody knows.
READINGS: dict[str, Reading] = {"leader": by_leader, "any": by_any, "local": by_own_copy}


class Recorder(threading.Thread):
    """One client, which does one thing after the other until it is stopped.

    began: when the history begins (monotonic s), from which it counts. history: what it has done.
    failed: how often it was told that something had no effect.
    """

    def __init__(self, clients_file: Path, number: int, seed: int, began: float) -> None:
        super().__init__(daemon=True)
        self.history: list[Operation] = []
        self.failed = 0
        self.failure: BaseException | None = None
        self.number = number
        self._clients_file = clients_file
        self._dice = random.Random(f"{seed} {number}")
        self._began = began
        self._values: dict[str, list[Value]] = {}  # key: what it was, as far as this client knows
        self._open: list[int] = []  # places of commands that may yet take effect
        self._written = 0
        self._end = threading.Event()

    def run(self) -> None:
        try:
            with (
                Client(self._clients_file, TIMEOUT_S) as writer,
                Client(self._clients_file, READ_TIMEOUT_S) as reader,
            ):
                self._nodes = sorted(writer.cluster.nodes)
                while not self._end.wait(self._dice.uniform(0, MOST_PAUSE_S)):
                    self._turn(writer, reader)
                for key in list(self._values)[-KEYS - 1 :]:
                    self._read(reader, key, "any")  # what is lost or doubled shows in the end
        except BaseException as e:
            self.failure = e

    def stop(self) -> None:
        """Raises what it has failed with."""
        self._end.set()
        self.join()
        if self.failure:
            raise self.failure

    def counts(self) -> Counter[str]:
        """How often it did what."""
        found = Counter(
            f"reads by {o.how.split()[0]}" if o.how else o.kind
            for o in self.history
            if not o.is_open
        )
        found["unknown"] = sum(o.is_open for o in self.history)
        found["failed"] = self.failed
        return found

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _turn(self, writer: Client, reader: Client) -> None:
        dice = self._dice
        epoch = int(self._now() / EPOCH_S)
        kind = GET
        if self.number >= READERS:
            kind = dice.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == GET:
            how = dice.choice(sorted(READINGS))
            number = dice.randrange(KEYS if how == "local" else KEYS + 1)
            self._read(reader, f"{epoch}-{number}", how)
        else:
            special = {ADD: COUNTER, LOCK: THE_LOCK, UNLOCK: THE_LOCK}
            number = special[kind] if kind in UNSEEN else dice.randrange(KEYS)
            self._write(writer, kind, f"{epoch}-{number}")

    def _read(self, client: Client, key: str, how: str) -> None:
        node = self._dice.choice(self._nodes)
        called = self._now()
        try:
            found, age = READINGS[how](client, key, node)
        except NotCommitted:
            self.failed += 1
            return
        value = None if found is None else found.decode()
        answered = client.leader if how == "leader" else node
        self._record(GET, key, (), value, called, f"{how} {answered}", age)
        self._met(key, value)

    def _arguments(self, kind: str, key: str) -> Arguments:
        if kind == ADD:
            return ADDED
        if kind in (LOCK, UNLOCK):
            return (str(self.number),)
        if kind == DELETE:
            return ()
        self._written += 1
        new = f"{self.number}.{self._written}"
        if kind == PUT:
            return (new,)
        known = self._values.get(key, [None])
        is_old = self._dice.random() < OLD_EXPECTATION
        return self._dice.choice(known) if is_old else known[-1], new

    def _write(self, client: Client, kind: str, key: str) -> None:
        arguments = self._arguments(kind, key)
        called = self._now()
        try:
            result = _command(client, kind, key, arguments)
        except NotCommitted:
            self.failed += 1
        except Unknown:
            self._open.append(len(self.history))
            self._record(kind, key, arguments, None, called, is_open=True)
        else:
            self._record(kind, key, arguments, result, called)
            self._close()
            if result is not False and kind not in UNSEEN:
                self._met(key, self.history[-1].written)

    def _record(
        self,
        kind: str,
        key: str,
        arguments: Arguments,
        result: Result,
        called: float,
        how: str = "",
        age: float | None = None,
        is_open: bool = False,
    ) -> None:
        returned = None if is_open else self._now()
        self.history.append(
            Operation(self.number, kind, key, arguments, result, called, returned, how=how, age=age)
        )

    def _close(self) -> None:
        """Once a client's next command is done, a late copy of one before it does nothing."""
        returned = self.history[-1].returned
        assert returned is not None
        for place in self._open:
            self.history[place] = replace(self.history[place], void_after=returned)
        self._open.clear()

    def _met(self, key: str, value: Value) -> None:
        self._values.setdefault(key, [None]).append(value)


def _command(client: Client, kind: str, key: str, arguments: Arguments) -> Result:
    if kind == ADD:
        return client.add(key, *ADDED)
    if kind == DELETE:
        return client.delete(key)
    if kind == LOCK:
        return client.lock(key, str(arguments[0]), LOCK_S)[0]
    if kind == UNLOCK:
        return client.unlock(key, str(arguments[0]))
    *expected, new = [None if a is None else str(a).encode() for a in arguments]
    assert new is not None
    if kind == PUT:
        client.put(key, new)
        return None
    return client.cas(key, expected[0], new)
