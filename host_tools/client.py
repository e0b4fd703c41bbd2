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
import math
import os
import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from host_tools import cluster as cluster_file
from host_tools import membership
from host_tools.cluster import AUTO
from host_tools.discovery import Finder
from host_tools.firmware import admin, kv, members, messages, requests, sessions
from host_tools.membership import Membership

if TYPE_CHECKING:
    from host_tools.watching import Watch

RESEND_S = 0.02  # to a leader that doesn't answer; twice as long each time ...
USUAL_WAITS = 3  # ... or this many times as long as its answers usually take, if that is longer
MAX_RESEND_S = 0.2
MAX_QUICK_REDIRECTS = 3
PROBE_S = 0.02  # between two questions to all nodes who leads ...
PROBE_SHARE = 0.1  # ... or this share of the time without a leader, if that is longer
PROBE = requests.read(requests.get_query(b"?"), messages.LEADER)

NO_EFFECT = "nothing was changed; try again"
OPEN_OUTCOME = "the command may have taken effect, or may yet: read the key before you go on"
OPEN_CHANGE = "it may have taken effect, or may yet: see `raftctl members`, or do it again"

ClusterError = requests.ClusterError
Gone = requests.Gone
NotCommitted = requests.NotCommitted
Unknown = requests.Unknown


@dataclass(frozen=True)
class Copy:
    """A value as `node` has it. age_s: how old it may be, in s; None: that isn't known."""

    value: bytes | None
    age_s: float | None
    node: int


class Refused(NotCommitted):
    """The cluster can't do that; it says why, and what to do."""


class _Request(requests.Attempts):
    """One request, and what has become of the copies that were sent."""

    def __init__(self, kind: int, payload: bytes) -> None:
        super().__init__()
        self.kind = kind
        self.payload = payload
        self.heard: set[int] = set()  # nodes that have answered anything
        self.numbers: dict[int, int] = {}  # number of an attempt -> node
        self.number = 0  # of this attempt
        self.began = 0.0
        self.leader = 0  # named in the answer
        self.refusal = ""  # why it can't be done

    def begin(self, number: int, node: int, now: float) -> None:
        """A new attempt."""
        self.number = number
        self.numbers[number] = node
        self.began = now


class Client:
    """Talks to the cluster of the file `cluster`; each call takes at most `timeout` seconds.

    A context manager; not for several threads at once. Every method but `statuses` raises
    NotCommitted or Unknown when the cluster can't answer. After Unknown the client may go
    on: copies of the old command that arrive later than its next one are ignored. Members that
    the file doesn't know are found by those that it knows; those whose host is "auto", wherever
    they are on the local network.
    Raises ClusterFileError, and OSError if no host of the file can be found.
    """

    def __init__(
        self, cluster: str | os.PathLike[str] = cluster_file.DEFAULT_FILE, timeout: float = 5.0
    ) -> None:
        self.cluster = cluster_file.load(cluster)
        self.timeout = timeout
        self.leader = 0  # the node that is believed to lead; 0: none
        self._addresses = _resolve(self.cluster)
        self._codec = messages.Codec(0, self.cluster.name)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._finder = Finder(self._codec, self._socket)
        for member in self.cluster.nodes.values():
            if member.host == AUTO:
                self._finder.ports[member.id] = member.client_port
        # (nodes, kind, number, payload): whom of them is found meanwhile is asked that at once
        self._open_question: tuple[Collection[int], int, int, bytes] = ((), 0, 0, b"")
        self._request = int.from_bytes(os.urandom(4), "little") & messages.MAX_NUMBER
        self._usual_s = 0.0  # how long an answer takes, smoothed
        self._session = 0  # not opened yet
        self._number = 0  # of the session's last command
        self._life_s = 0  # of the session, unused
        self._used = 0.0  # when it last was
        self._in_doubt = False  # its last command

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

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

    def local(self, key: str | bytes, node: int = 0) -> "Copy":
        """The value of `key` in the node's own copy (0: whichever answers first): maybe an old one.

        From a node that neither leads nor hears a leader, too. Raises ValueError if there is no
        such node.
        """
        if node and node not in self._addresses:
            raise ValueError(f"there is no node {node}")
        query = requests.read(requests.get_query(as_bytes(key)), messages.LOCAL)
        asked = [node] if node else self._addresses
        for answering, status, _, result in self._ask_each(asked, messages.READ, query):
            if status == messages.OK:
                age_ms, answer = requests.age_of(result)
                age_s = None if age_ms is None else age_ms / 1000
                return Copy(requests.get_answer(answer), age_s, answering)
        who = f"node {node}" if node else "no node"
        raise NotCommitted(f"{who} has its state to tell within {self.timeout:g} s; try again")

    def watch(self, prefix: str | bytes = "", after: int | None = None) -> "Watch":
        """An iterator of all changes of keys that begin with `prefix`, each once and in order.

            for change in client.watch("lamp"):
                print(change.index, change.key, change.value)

        after: the index up to which they are known already; None: from now on. It goes on for
        ever, from one node to another when that is needed. Raises Gone (a ClusterError) when
        changes were missed because nobody knows them any more: read the keys anew, and go on with
        the iterator, or with another one after the error's `index`. Close it, or use it in a
        `with`: it has a socket of its own.
        """
        from host_tools.watching import Watch

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
            raise NotCommitted(f"no node has answered within {self.timeout:g} s; try again")
        return newest

    def add_member(self, member: cluster_file.Member) -> None:
        """Make it a member: a learner, which becomes a voter by itself unless it is to be none.

        Of one that is a member already, address and priority are changed. Nodes are told its
        address, not its name: raises OSError if there is no such name.
        """
        role = members.STANDBY if member.voter else members.LEARNER
        host = AUTO if member.host == AUTO else _address(member)[0]
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
            raise Refused(_text(result) or f"node {node} can't do that now; try again")
        raise Unknown(f"node {node} has not answered within {self.timeout:g} s; {OPEN_CHANGE}")

    def _change(self, payload: bytes) -> int:
        """The leader that is named in the answer."""
        request = _Request(messages.ADMIN, payload)
        if self._ask(request, time.monotonic() + self.timeout) is None:
            raise self._failure(request, OPEN_CHANGE)
        return request.leader

    def _ask_each(
        self, nodes: Iterable[int], kind: int, payload: bytes
    ) -> Iterator[tuple[int, int, int, bytes]]:
        """(node, status, leader, result) of each node that answers, as they come."""
        deadline = time.monotonic() + self.timeout
        missing = set(nodes) & self._known()
        number = self._next_number()
        wait = RESEND_S
        self._open_question = missing, kind, number, payload
        while missing and (now := time.monotonic()) < deadline:
            self._finder.ask(now)
            for node in missing:
                self._send(node, kind, number, payload)
            until = min(time.monotonic() + wait, deadline)
            while missing and (reply := self._receive(until)):
                node, answered, status, hint, result = reply
                if answered == number and node in missing:
                    missing.remove(node)
                    yield node, status, hint, result
            wait = min(2 * wait, MAX_RESEND_S)

    def _meet(self, told: Membership) -> None:
        """Learn where members are that the file doesn't know."""
        for member in told.nodes.values():
            if member.id in self._known():
                continue
            if member.host == AUTO:
                self._finder.ports[member.id] = member.client_port
            elif cluster_file.is_address(member.host):
                self._addresses[member.id] = member.host, member.client_port

    def _known(self) -> set[int]:
        """The nodes that there are, also if it isn't known yet where."""
        return {*self._addresses, *self._finder.ports}

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
            request = _Request(messages.WRITE, data)
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
        request = _Request(messages.WRITE, sessions.OPEN)
        result = self._ask(request, deadline)
        if result is None:
            raise NotCommitted(f"{self._reason(request)}; {NO_EFFECT}")
        self._session, self._life_s = struct.unpack_from("<II", result, 1)
        self._number = 0

    def _read(self, query: bytes) -> bytes:
        request = _Request(messages.READ, requests.read(query))
        answer = self._ask(request, time.monotonic() + self.timeout)
        if answer is None:
            raise NotCommitted(f"{self._reason(request)}; nothing was read; try again")
        return answer

    def _read_at(self, node: int, payload: bytes) -> bytes:
        """That node's answer."""
        deadline = time.monotonic() + self.timeout
        number = self._next_number()
        wait = RESEND_S
        problem = "has not answered"
        while time.monotonic() < deadline:
            self._send(node, messages.READ, number, payload)
            until = min(time.monotonic() + wait, deadline)
            while reply := self._receive(until):
                _, answered, status, _, result = reply
                if answered == number and status == messages.OK:
                    return result
                if answered == number:
                    problem = requests.PROBLEMS.get(status, "knows no leader")
            wait = min(2 * wait, MAX_RESEND_S)
        raise NotCommitted(f"node {node} {problem} within {self.timeout:g} s; nothing was read")

    def _failure(self, request: _Request, outcome: str = OPEN_OUTCOME) -> ClusterError:
        if request.refusal:
            return Refused(request.refusal)
        if request.may_have_effect():
            return Unknown(f"{self._reason(request)}; {outcome}")
        return NotCommitted(f"{self._reason(request)}; {NO_EFFECT}")

    def _reason(self, request: _Request) -> str:
        count = len(self._known())
        if not request.heard:
            return f"none of the {count} nodes has answered within {self.timeout:g} s"
        if request.problem:
            return request.problem
        if self.leader in request.heard and request.copies > 1:
            return (
                f"node {self.leader} leads, but has not done it within {self.timeout:g} s: "
                "does it reach a majority of the voters (`raftctl members`)?"
            )
        return (
            f"no leader has answered within {self.timeout:g} s: {len(request.heard)} of {count} "
            "nodes answer, and a majority of the voters is needed (`raftctl members`)"
        )

    # Asking until the leader has answered

    def _ask(self, request: _Request, deadline: float) -> bytes | None:
        """The leader's answer to the request; None if there is none by `deadline`.

        Or if none can come, which `request.is_hopeless` tells.
        """
        pace = _Pace(self._usual_s)
        probe = asked = -1
        while (now := time.monotonic()) < deadline:
            if not self.leader:
                pace.suspect(now)
            elif now >= pace.send_at:
                if request.copies:
                    pace.suspect(now)
                else:
                    request.begin(self._next_number(), self.leader, now)
                self._send(self.leader, request.kind, request.number, request.payload)
                request.copies += 1
                pace.sent(now)
            if now >= pace.probe_at:
                probe = self._next_number()
                self._open_question = self._known(), messages.READ, probe, PROBE
                self._finder.ask(now)
                for node in self._addresses:
                    self._send(node, messages.READ, probe, PROBE)
                pace.probed(now)
            reply = self._receive(min(pace.wake_at(self.leader), deadline))
            if reply is None:
                continue
            node, number, status, hint, result = reply
            request.heard.add(node)
            if number == asked and status == messages.OK:
                self._meet(membership.read(node, result))
                continue
            if hint and hint not in self._known():
                asked = self._next_number()
                self._send(node, messages.MEMBERS, asked, b"")
            if request.numbers.get(number) == node:
                if status == messages.OK:
                    self.leader = node
                    request.leader = hint
                    took_s = min(time.monotonic() - request.began, MAX_RESEND_S)
                    self._usual_s += (took_s - self._usual_s) / 8
                    return result
                if number == request.number and request.copies:
                    self._refused(request, status, hint, pace)
                    if status == messages.REFUSED:
                        request.refusal = _text(result)
                    if request.is_hopeless or request.refusal:
                        return None
            elif number == probe and self._learned(request, node, status, hint):
                pace.trust()
        return None

    def _refused(self, request: _Request, status: int, hint: int, pace: "_Pace") -> None:
        request.refused(status)
        if status in (messages.NOT_LEADER, messages.LOST):
            self.leader = hint if hint in self._addresses else 0
            pace.redirected()

    def _learned(self, request: _Request, node: int, status: int, hint: int) -> bool:
        """Whether an answer to a probe tells of another leader than the one believed in."""
        leader = node if status == messages.OK else hint
        if leader == self.leader or leader not in self._addresses:
            return False
        self.leader = leader
        request.abandon()
        return True

    def _next_number(self) -> int:
        self._request = (self._request + 1) & messages.MAX_NUMBER
        return self._request

    def _send(self, node: int, kind: int, number: int, payload: bytes) -> None:
        if node not in self._addresses:
            return  # it has yet to be found
        n = self._codec.request(node, kind, number, payload)
        try:
            self._socket.sendto(self._codec.frame(n), self._addresses[node])
        except OSError:
            return  # a lost datagram, like any other

    def _receive(self, until: float) -> tuple[int, int, int, int, bytes] | None:
        """The next reply (see Codec.decode_reply) from where its node is; None at `until`."""
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data, sender = self._socket.recvfrom(messages.MAX_DATAGRAM + 1)
            except TimeoutError:
                return None
            except OSError:
                continue  # some systems tell here that a node's port is closed
            found = self._finder.hear(data, time.monotonic())
            if found:
                self._addresses[found] = sender
                nodes, kind, number, payload = self._open_question
                if found in nodes:
                    self._send(found, kind, number, payload)
                continue
            reply: tuple[int, int, int, int, bytes] | None = self._codec.decode_reply(data)
            if reply and self._addresses.get(reply[0]) == sender:
                return reply


class _Pace:
    """When to send again, and when to ask all nodes who leads. Times in s (monotonic)."""

    def __init__(self, usual_s: float) -> None:
        self.send_at = 0.0
        self.probe_at = math.inf  # while a leader is known and answers
        self._first_wait = min(max(RESEND_S, USUAL_WAITS * usual_s), MAX_RESEND_S)
        self._wait = self._first_wait
        self._redirects = 0
        self._leaderless_since: float | None = None
        self._next_probe = 0.0

    def wake_at(self, leader: int) -> float:
        return min(self.send_at, self.probe_at) if leader else self.probe_at

    def sent(self, now: float) -> None:
        self.send_at = now + self._wait
        self._wait = min(2 * self._wait, MAX_RESEND_S)

    def suspect(self, now: float) -> None:
        """No leader is known, or it doesn't answer."""
        if self.probe_at == math.inf:
            self.probe_at = max(now, self._next_probe)
            if self._leaderless_since is None:
                self._leaderless_since = now

    def probed(self, now: float) -> None:
        since = now if self._leaderless_since is None else self._leaderless_since
        self._next_probe = self.probe_at = now + max(PROBE_S, PROBE_SHARE * (now - since))

    def trust(self) -> None:
        """A leader has become known: send to it at once."""
        self.send_at = 0.0
        self.probe_at = math.inf
        self._wait = self._first_wait

    def redirected(self) -> None:
        """A node says that another one leads, or none."""
        self._redirects += 1
        send_at = self.send_at
        self.trust()
        if self._redirects > MAX_QUICK_REDIRECTS:
            self.send_at = send_at  # they contradict each other: no faster than resending


def _resolve(cluster: cluster_file.Cluster) -> dict[int, tuple[str, int]]:
    """Where the nodes listen to clients. A node whose name isn't known counts as silent."""
    addresses = {}
    problem = None
    for member in cluster.nodes.values():
        if member.host == AUTO:
            continue
        try:
            addresses[member.id] = _address(member)
        except OSError as e:
            problem = e
    if problem and not addresses:
        raise OSError(f"{cluster.path}: no host of any node can be found: {problem}")
    return addresses


def _address(member: cluster_file.Member) -> tuple[str, int]:
    """Where it listens to clients. Raises OSError if its host's name isn't known."""
    kind = socket.AF_INET, socket.SOCK_DGRAM
    try:
        found = socket.getaddrinfo(member.host, member.client_port, *kind)
    except (socket.gaierror, UnicodeError) as e:  # the latter: it can't be a name
        raise OSError(f"node {member.id}'s host {member.host!r} can't be found ({e})") from e
    return str(found[0][4][0]), member.client_port


def _text(result: bytes) -> str:
    return result.decode("utf-8", "replace")


def as_bytes(key: str | bytes) -> bytes:
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def _value(value: bytes) -> bytes:
    return bytes(memoryview(value))  # unlike bytes(5), refuses what isn't bytes
