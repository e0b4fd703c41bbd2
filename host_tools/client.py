"""A client of a cluster, for programs on a host.

    with Client("cluster.toml") as client:
        client.put("color", b"blue")
        client.get("color")

Keys are str (UTF-8) or bytes of at most 64 bytes, values bytes of at most 1,024; what is longer
raises ValueError before anything is sent. A command takes effect once, however many copies of
it are sent: each carries the client's session and its number in it (firmware/raft/sessions.py).
"""

# mypy: allow-untyped-calls

import json
import os
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from host_tools import asking, membership
from host_tools.asking import NO_EFFECT, OPEN_OUTCOME, Asking, Request, as_bytes
from host_tools.cluster import AUTO, DEFAULT_FILE, Member
from host_tools.firmware import admin, kv, members, messages, requests, sessions
from host_tools.membership import Membership
from host_tools.watching import Watch

OPEN_CHANGE = "it may have taken effect, or may yet: see `raftctl members`, or do it again"

ClusterError = asking.ClusterError
Gone = requests.Gone
NotCommitted = asking.NotCommitted
Refused = asking.Refused
Unknown = asking.Unknown


@dataclass(frozen=True)
class Copy:
    """A value as `node` has it. age_s: how old it may be, in s; None: that isn't known."""

    value: bytes | None
    age_s: float | None
    node: int


class Client(Asking):
    """Talks to the cluster of the file `cluster`; each call takes at most `timeout` seconds.

    A context manager; not for several threads at once. Every method but `statuses` raises
    NotCommitted or Unknown when the cluster can't answer. After Unknown the client may go
    on: copies of the old command that arrive later than its next one are ignored. Members that
    the file doesn't know are found by those that it knows; those whose host is "auto", wherever
    they are on the local network.
    Raises ClusterFileError, and OSError if no host of the file can be found.
    """

    def __init__(
        self, cluster: str | os.PathLike[str] = DEFAULT_FILE, timeout: float = 5.0
    ) -> None:
        super().__init__(cluster, timeout)
        self._session = 0  # not opened yet
        self._number = 0  # of the session's last command
        self._life_s = 0  # of the session, unused
        self._used = 0.0  # when it last was
        self._in_doubt = False  # its last command

    def __enter__(self) -> "Client":
        return self

    def put(self, key: str | bytes, value: bytes) -> None:
        """Store `value` under `key`."""
        self._command(requests.put(as_bytes(key), _value(value)))

    def get(self, key: str | bytes, node: int = 0) -> bytes | None:
        """The value of `key`, None if there is none: the latest one, whoever wrote it.

        node: who is to answer; by default the leader, whom it costs least.
        """
        query = requests.get_query(as_bytes(key))
        answer = self._read_at(node, requests.read(query)) if node else self._read(query)
        value: bytes | None = requests.get_answer(answer)
        return value

    def delete(self, key: str | bytes) -> bool:
        """Remove `key`; whether it was there."""
        return self._command(requests.delete(as_bytes(key))) == b"\1"

    def cas(self, key: str | bytes, expected: bytes | None, new: bytes) -> bool:
        """Store `new` if the value of `key` is `expected` (None: there is no such key).

        Whether it was stored.
        """
        return self._command(requests.cas(as_bytes(key), expected, _value(new))) == b"\1"

    def add(self, key: str | bytes, delta: int = 1) -> int:
        """Add `delta` to the number at `key` (decimal text; 0 if there is none); the sum.

        Raises ValueError if the value is no number, or the sum is beyond 64 bits.
        """
        sum_: int = requests.add_result(self._command(requests.add(as_bytes(key), delta)))
        return sum_

    def lock(self, key: str | bytes, owner: str | bytes, ttl_s: int) -> tuple[int, int]:
        """Take the lock `key` for `ttl_s` seconds of the cluster's time, or keep it for longer.

        (fencing number, ttl_s), or (0, seconds until it is free) if another owner has it.
        `owner` (at most 32 bytes) should be no one else's, not even one's own before a restart.
        Raises ValueError if the value at `key` is no lock.
        """
        result = self._command(requests.lock(as_bytes(key), as_bytes(owner), ttl_s))
        number, seconds = requests.lock_result(result)
        return number, seconds

    def unlock(self, key: str | bytes, owner: str | bytes) -> bool:
        """Give the lock `key` back; whether it was the owner's."""
        return self._command(requests.unlock(as_bytes(key), as_bytes(owner))) == b"\1"

    def keys(self, prefix: str | bytes = "") -> list[Any]:
        """All keys that begin with `prefix`, in order; of the same type as `prefix`.

        Each page of some dozen keys is one read: what changes meanwhile may be seen or not.
        """
        start = as_bytes(prefix)
        if len(start) > kv.MAX_KEY:
            raise ValueError(f"a prefix has at most {kv.MAX_KEY} bytes, this one {len(start)}")
        found: list[bytes] = []
        more = True
        while more:
            after = found[-1] if found else b""
            page, more = requests.keys_answer(self._read(requests.keys_query(start, after)))
            found += page
        if isinstance(prefix, bytes):
            return found
        return [key.decode("utf-8", "surrogateescape") for key in found]

    def local(self, key: str | bytes, node: int = 0) -> Copy:
        """The value of `key` in the node's own copy (0: whichever answers first): maybe an old one.

        From a node that neither leads nor hears a leader, too. Raises ValueError if there is no
        such node.
        """
        if node and node not in self._known():
            raise ValueError(f"there is no node {node}")
        query = requests.read(requests.get_query(as_bytes(key)), messages.LOCAL)
        asked = [node] if node else self._known()
        for answering, status, _, result in self._ask_each(asked, messages.READ, query):
            if status == messages.OK:
                age_ms, answer = requests.age_of(result)
                age_s = None if age_ms is None else age_ms / 1000
                return Copy(requests.get_answer(answer), age_s, answering)
        if not node:
            raise NotCommitted(self._unheard())
        raise NotCommitted(f"node {node} has not answered within {self.timeout:g} s: {self.advice}")

    def watch(self, prefix: str | bytes = "", after: int | None = None) -> Watch:
        """An iterator of all changes of keys that begin with `prefix`, each once and in order.

            for change in client.watch("lamp"):
                print(change.index, change.key, change.value)

        after: the index up to which they are known already; None: from now on. It goes on for
        ever, from one node to another when that is needed. Raises Gone (a ClusterError) when
        changes were missed because nobody knows them any more: read the keys anew, and go on with
        the iterator, or with another one after the error's `index`. Close it, or use it in a
        `with`: it has a socket of its own.
        """
        return Watch(self.cluster.path, prefix, after, self.timeout)

    def statuses(self, nodes: Iterable[int] | None = None) -> dict[int, dict[str, Any]]:
        """What each of `nodes` (all of them) says of itself; those that don't answer lack."""
        wanted = self._known() if nodes is None else nodes
        found = {
            node: json.loads(result)
            for node, status, _, result in self._ask_each(wanted, messages.STATUS, b"")
            if status == messages.OK
        }
        return dict(sorted(found.items()))

    # Members. To ask for what is so already is well; Refused says why something can't be.

    def members(self) -> Membership:
        """Who is one, told by the leader if it answers; else the newest that any node knows."""
        newest = None
        for node, status, _, result in self._ask_each(self._known(), messages.MEMBERS, b""):
            if status == messages.OK:
                told = membership.read(node, result)
                self._meet(told)
                if told.leader:
                    return told
                if newest is None or told.index > newest.index:
                    newest = told
        if newest is None:
            raise NotCommitted(self._unheard())
        return newest

    def add_member(self, member: Member) -> None:
        """Make it a member: a learner, which becomes a voter by itself unless it is to be none.

        Of one that is a member already, address and priority are changed. Nodes are told its
        address, not its name: raises OSError if there is no such name.
        """
        role = members.STANDBY if member.voter else members.LEARNER
        host = AUTO if member.host == AUTO else asking.address(member)[0]
        place = host, member.port, member.client_port
        record = members.record(member.id, role, member.priority, *place)
        self._change(bytes((admin.ADD,)) + record)

    def remove_member(self, node: int) -> None:
        self._change(bytes((admin.REMOVE, node)))

    def promote(self, node: int) -> None:
        """Let a learner become a voter."""
        self._change(bytes((admin.PROMOTE, node)))

    def transfer(self, node: int = 0) -> int:
        """Let that node lead, or whichever fits best; the node that leads now, if it is told."""
        hint = self._change(bytes((admin.TRANSFER, node)))
        self.leader = hint if hint in self._addresses else 0
        return hint

    def recover(self, node: int, survivors: Iterable[int]) -> None:
        """Let `node` make a new cluster of itself and the other survivors of one.

        For a cluster that has lost its majority for good: what only the dead had is lost.
        """
        request = bytes((admin.RECOVER, *survivors))
        for _, status, _, result in self._ask_each([node], messages.ADMIN, request):
            if status == messages.OK:
                return
            raise Refused(asking.text(result) or f"node {node} can't do that now; try again")
        raise Unknown(f"node {node} has not answered within {self.timeout:g} s; {OPEN_CHANGE}")

    def _change(self, payload: bytes) -> int:
        """The leader that is named in the answer."""
        request = Request(messages.ADMIN, payload)
        if self._ask(request, time.monotonic() + self.timeout) is None:
            raise self._failure(request, OPEN_CHANGE)
        return request.leader

    # Commands and reads

    def _command(self, payload: bytes) -> bytes:
        deadline = time.monotonic() + self.timeout
        while True:
            began = time.monotonic()
            # Half its life: the cluster's time may run faster. But what is in doubt can have its
            # effect until a later command of the same session is done, or the session is over.
            is_old = began - self._used >= self._life_s / 2 and not self._in_doubt
            if not self._session or is_old:
                self._open_session(deadline)
            self._number += 1  # never used again: a copy may still be on its way
            data = sessions.command(self._session, self._number, payload)
            request = Request(messages.WRITE, data)
            result = self._ask(request, deadline)
            if result is None:
                self._in_doubt = self._in_doubt or request.may_have_effect()
                raise self._failure(request)
            self._in_doubt = False
            if result[0] == sessions.DONE:
                self._used = began
                return result[1:]
            # The session has made room for others. A command sent but once has had no effect
            # and is given another session; an earlier copy may have come before that.
            self._session = 0
            if request.in_doubt or request.copies > 1:
                raise Unknown(f"the client's session expired meanwhile; {OPEN_OUTCOME}")

    def _open_session(self, deadline: float) -> None:
        self._used = time.monotonic()
        request = Request(messages.WRITE, sessions.OPEN)
        result = self._ask(request, deadline)
        if request.refusal:
            raise Refused(request.refusal)
        if result is None:
            raise NotCommitted(f"{self._reason(request)}; {NO_EFFECT}")
        self._session, self._life_s = struct.unpack_from("<II", result, 1)
        self._number = 0

    def _read(self, query: bytes) -> bytes:
        request = Request(messages.READ, requests.read(query))
        answer = self._ask(request, time.monotonic() + self.timeout)
        if answer is None:
            raise NotCommitted(f"{self._reason(request)}; nothing was read; try again")
        return answer


def _value(value: bytes) -> bytes:
    return bytes(memoryview(value))  # unlike bytes(5), refuses what isn't bytes
