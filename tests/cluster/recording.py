"""Clients of a real cluster that record what they ask for and are told."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from host_tools.client import Client, NotCommitted, Unknown
from tests.cluster.history import CAS, DELETE, GET, PUT, Operation, Result, Value

TIMEOUT_S = 1.0  # of an operation: after that its outcome is known, or unknown for ever
MOST_PAUSE_S = 0.004  # between two operations of a client
KEYS = 3  # in use at a time
EPOCH_S = 10.0  # then there are new ones
SHARES = {GET: 45, PUT: 25, CAS: 25, DELETE: 5}  # of all operations, in percent
OLD_EXPECTATION = 0.1  # share of the cas that expect a value from longer ago


@dataclass(frozen=True)
class Reading:
    """A kind of read. ask(client, key, node): the value, from that node if it is for any to say."""

    name: str
    ask: Callable[[Client, str, int], bytes | None]


BY_LEADER = Reading("leader", lambda client, key, node: client.get(key))
READINGS = [BY_LEADER]


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
            with Client(self._clients_file, TIMEOUT_S) as client:
                self._nodes = sorted(client.cluster.nodes)
                while not self._end.wait(self._dice.uniform(0, MOST_PAUSE_S)):
                    self._turn(client)
                for key in list(self._values)[-KEYS:]:
                    self._read(client, key)  # what is lost or doubled shows in the end
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
        found = Counter(o.how or o.kind for o in self.history if not o.is_open)
        found["unknown"] = sum(o.is_open for o in self.history)
        found["failed"] = self.failed
        return found

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _turn(self, client: Client) -> None:
        dice = self._dice
        epoch = int(self._now() / EPOCH_S)
        key = f"{epoch}-{dice.randrange(KEYS)}"
        kind = dice.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == GET:
            self._read(client, key)
        else:
            self._write(client, kind, key)

    def _read(self, client: Client, key: str) -> None:
        reading, node = self._dice.choice(READINGS), self._dice.choice(self._nodes)
        called = self._now()
        try:
            value = _text(reading.ask(client, key, node))
        except NotCommitted:
            self.failed += 1
            return
        self._record(GET, key, (), value, called, reading.name)
        self._met(key, value)

    def _write(self, client: Client, kind: str, key: str) -> None:
        known = self._values.setdefault(key, [None])
        self._written += 1
        new = f"{self.number}.{self._written}"
        expected = known[-1]
        if self._dice.random() < OLD_EXPECTATION:
            expected = self._dice.choice(known)
        arguments: tuple[Value, ...] = {PUT: (new,), CAS: (expected, new), DELETE: ()}[kind]
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
            if result is not False:
                self._met(key, None if kind == DELETE else new)

    def _record(
        self,
        kind: str,
        key: str,
        arguments: tuple[Value, ...],
        result: Result,
        called: float,
        how: str = "",
        is_open: bool = False,
    ) -> None:
        returned = None if is_open else self._now()
        self.history.append(
            Operation(self.number, kind, key, arguments, result, called, returned, how=how)
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


def _command(client: Client, kind: str, key: str, arguments: tuple[Value, ...]) -> Result:
    if kind == DELETE:
        return client.delete(key)
    new = arguments[-1]
    assert new is not None
    if kind == PUT:
        client.put(key, new.encode())
        return None
    expected = arguments[0]
    return client.cas(key, None if expected is None else expected.encode(), new.encode())


def _text(value: bytes | None) -> Value:
    return None if value is None else value.decode()
