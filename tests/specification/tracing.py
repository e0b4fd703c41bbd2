"""Records what a node does: its core is listened to, and its firmware stays as it is; portable.

`Tracer` puts itself around the calls by which the driver works a node's core (`step`, `tick`,
`ready`...), and after each tells what has happened as one record (`trace.py`). Nothing is told of
calls that had no effect.
"""

from binascii import crc32

from raft.members import Members
from raft.messages import APPEND, CONFIG, SNAPSHOT, Message
from raft.store import Compacted

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALLS = ("step", "tick", "propose", "change", "transfer", "read", "ready", "advance")


def entry_of(entry: "tuple[int, int, bytes]") -> "tuple[Any, ...]":
    """(term, kind, checksum of the data), and of a configuration its voters."""
    term, kind, data = entry
    checksum = crc32(data)
    if kind == CONFIG:
        return term, kind, checksum, Members(data).voters
    return term, kind, checksum


def message_of(m: Message) -> "tuple[Any, ...]":
    carried: list[tuple[int, int, bytes]] = list(m.entries) if m.kind == APPEND else []
    entries = tuple([entry_of(entry) for entry in carried])
    offset = m.offset if m.kind == SNAPSHOT else 0
    return (m.kind, m.src, m.dst, m.term, m.index, m.log_term, m.commit, m.ctx, offset, entries)


def found_on(store) -> "tuple[Any, ...]":  # type: ignore[no-untyped-def]
    """What a flash gives back: term, vote, entries behind `base`, its term, the snapshot."""
    store.reaches(store.last)  # which finds out what the base is
    entries: list[Any] = []
    while store.base + len(entries) < store.last:
        base = store.base
        try:
            entries += [entry_of(entry) for entry in store.live(base + len(entries) + 1, 4096)]
        except Compacted:  # damaged, and not needed: only now it is seen
            entries.clear()
    snapshot = store.snapshot
    return (
        store.term, store.vote, store.base, store.base_term, tuple(entries),
        snapshot.index, snapshot.term,
    )  # fmt: skip


class Tracer:
    """Tells what `node` does from its start on. tell(record): what is done with a record."""

    def __init__(self, node, tell: "Callable[[dict[str, Any]], None]") -> None:  # type: ignore[no-untyped-def]
        self._tell = tell
        self._node = node
        self._core = node.core
        self._log: list[Any] = []  # how the log has changed during a call
        self._is_told = False  # something that isn't known to be durable, or to have left
        self._state = self._state_now()
        tell(
            {
                "node": node.id, "what": "boot", "found": found_on(node.store),
                "founders": node._founders.voters, "state": self._state,
            }
        )  # fmt: skip
        for name in CALLS:
            setattr(self._core, name, self._listened(name, getattr(self._core, name)))
        log = self._core.log
        self._append, log.append = log.append, self._appends
        self._truncate, log.truncate = log.truncate, self._truncates
        self._install, log._install = log._install, self._installs
        self._send, node._send = node._send, self._sends

    def _state_now(self) -> "tuple[Any, ...]":
        core = self._core
        log = core.log
        matches: list[Any] = []
        if core.leading:
            for peer in core.peers.values():
                matches.append((peer.node, 0 if peer.doubts else peer.match))
        return (
            core.term, core.role, core.vote, core.commit, log.last, log.last_term, log.durable,
            core.doubt or int(core._is_new), core.members.voters, tuple(sorted(matches)),
        )  # fmt: skip

    def _listened(self, name: str, call):  # type: ignore[no-untyped-def]
        core = self._core

        def listened(*args, **more):  # type: ignore[no-untyped-def]
            heard = message_of(args[0]) if name == "step" else None
            if name == "advance":
                self._all_is_durable()
                begun = (0, 0)  # what had been said leaves the lists
            else:
                begun = (len(core.early), len(core.after))
            done = False
            try:
                result = call(*args, **more)
                done = True
            finally:
                self._tell_of(name, heard, begun)
            if name == "ready" and done and result is None:
                self._all_is_durable()
            return result

        return listened

    def _tell_of(self, name: str, heard: "Any", begun: "tuple[int, int]") -> None:
        core = self._core
        made = [message_of(m) for m in core.early[begun[0] :] + core.after[begun[1] :]]
        state = self._state_now()
        if heard is None and not made and not self._log and state == self._state:
            return
        self._state = state
        self._is_told = True
        changes, self._log = self._log, []
        self._tell(
            {
                "node": self._node.id, "what": name, "heard": heard, "made": made,
                "log": changes, "state": state,
            }
        )  # fmt: skip

    def _all_is_durable(self) -> None:
        if self._is_told:
            self._is_told = False
            self._tell({"node": self._node.id, "what": "durable"})

    def _appends(self, entry: "tuple[int, int, bytes]") -> None:
        self._log.append(("append", self._core.log.last + 1, entry_of(entry)))
        self._append(entry)

    def _truncates(self, index: int) -> None:
        self._log.append(("truncate", index))
        self._truncate(index)

    def _installs(self, snapshot) -> None:  # type: ignore[no-untyped-def]
        self._install(snapshot)
        self._log.append(("install", snapshot.index, snapshot.term, self._core.log.keeps))

    def _sends(self, letters: "list[Message]") -> None:
        if letters:
            store = self._node.store
            self._is_told = False
            self._tell(
                {
                    "node": self._node.id, "what": "left", "made": [message_of(m) for m in letters],
                    "durable": (store.term, store.vote, store.last),
                }
            )  # fmt: skip
        self._send(letters)
