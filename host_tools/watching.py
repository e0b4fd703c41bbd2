"""Every change of some keys, in order, from whichever node answers."""

# mypy: allow-untyped-calls

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from host_tools.asking import Asking, NotCommitted, as_bytes
from host_tools.firmware import messages, requests, watching

ANSWER_S = watching.WATCH_MS / 1000 + 0.5  # then a question or its answer is lost, or the node
REFUSED_S = 0.1  # before another node is asked

Gone = requests.Gone


@dataclass(frozen=True)
class Change:
    """index: of its log entry. key: of the type of the prefix. value: None: it was removed."""

    index: int
    key: Any
    value: bytes | None


class Watch(Asking):
    """An iterator of `Change`s; see `Client.watch`.

    after: the index up to which all changes were told.
    """

    def __init__(
        self,
        cluster: str | os.PathLike[str],
        prefix: str | bytes,
        after: int | None,
        timeout: float,
    ) -> None:
        super().__init__(cluster, timeout)
        self._prefix = prefix
        self._start = as_bytes(prefix)
        requests.watch(after, self._start)  # raises ValueError
        self._found: deque[Change] = deque()
        self._upto = 0  # where to go on when all that was found is told
        self._nodes = deque(sorted(self._known()))
        try:
            self.after = self._now() if after is None else after
        except NotCommitted:
            self.close()
            raise

    def __enter__(self) -> "Watch":
        return self

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        while not self._found:
            self.after = max(self.after, self._upto)
            self._ask_for_changes(self.after)
        change = self._found.popleft()
        self.after = change.index
        return change

    def _now(self) -> int:
        """The index up to which some node knows the state, which is where to begin."""
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if self._ask_for_changes(None):
                return self._upto
        raise NotCommitted(self._unheard())

    def _ask_for_changes(self, after: int | None) -> bool:
        """Ask one node; whether it has answered. Raises Gone."""
        node, number = self._nodes[0], self._next_number()
        question = messages.WATCH, number, requests.watch(after, self._start)
        self._open_question = (node,), *question
        if node not in self._addresses:
            self._finder.ask(time.monotonic())
        self._send(node, *question)
        wait = ANSWER_S if after is not None else ANSWER_S - watching.WATCH_MS / 1000
        until = time.monotonic() + wait
        while reply := self._receive(until):
            _, answered, status, _, result = reply
            if answered != number:
                continue
            if status == messages.OK:
                self._take(result)
                return True
            if status == messages.GONE:
                self.after = int.from_bytes(result, "little")
                raise Gone(self.after)
            time.sleep(REFUSED_S)
            break
        self._finder.ask(time.monotonic())  # it may be elsewhere by now
        self._nodes.rotate(-1)
        return False

    def _take(self, answer: bytes) -> None:
        self._upto, changes = requests.watch_answer(answer)
        for index, key, value in changes:
            told = key.decode("utf-8", "surrogateescape") if isinstance(self._prefix, str) else key
            self._found.append(Change(index, told, value))
