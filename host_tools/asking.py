"""Asks the nodes of a cluster: the leader, wherever it is, or each of them, until they answer."""

# mypy: allow-untyped-calls

import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator

from host_tools import cluster as cluster_file
from host_tools import keys, membership, secret
from host_tools.cluster import AUTO
from host_tools.finder import Finder, Reply
from host_tools.firmware import access, calling, draw, messages, requests
from host_tools.membership import Membership
from host_tools.pace import MAX_RESEND_S, RESEND_S, Pace
from host_tools.secret import SecretsError

PROBE = requests.read(requests.get_query(b"?"), messages.LEADER)
MAX_UNDER_WAY = 256  # requests that are remembered
NO_EFFECT = "nothing was changed; try again"
OPEN_OUTCOME = "the command may have taken effect, or may yet: read the key before you go on"

ClusterError = requests.ClusterError
NotCommitted = requests.NotCommitted
Unknown = requests.Unknown


class Refused(NotCommitted):
    """The cluster can't do that; it says why, and what to do."""


class Request(requests.Attempts):
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


class Asking:
    """A socket to the nodes of the cluster of that file; a context manager.

    timeout: how long to ask (s). leader: the node that is believed to lead; 0: none.
    advice: what to see to where no node answers.
    Raises ClusterFileError, SecretsError, and OSError if no host of the file can be found.
    """

    def __init__(self, cluster: str | os.PathLike[str], timeout: float) -> None:
        self.cluster = cluster_file.load(cluster)
        self.timeout = timeout
        self.leader = 0
        self._addresses = _resolve(self.cluster)
        self._secrets = secret.path_beside(self.cluster.path)
        self._read_ns = self._changed_ns()
        self._caller = self._new_caller()
        # (node, number) -> (kind, payload): to be sent again if the node's challenge was another.
        # Of the present question alone: an old STALE, sent again, must not ask an old one again
        self._under_way: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._finder = Finder(self._caller, self._socket)
        for member in self.cluster.nodes.values():
            if member.host == AUTO:
                self._finder.ports[member.id] = member.client_port
        # (nodes, kind, number, payload): whom of them is found meanwhile is asked that at once
        self._open_question: tuple[Collection[int], int, int, bytes] = ((), 0, 0, b"")
        self._request = int.from_bytes(os.urandom(4), "little") & messages.MAX_NUMBER
        self._usual_s = 0.0  # how long an answer takes, smoothed

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # Each of some nodes

    def _ask_each(
        self, nodes: Iterable[int], kind: int, payload: bytes
    ) -> Iterator[tuple[int, int, int, bytes]]:
        """(node, status, leader, result) of each node that answers, as they come."""
        self._under_way.clear()
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

    def _read_at(self, node: int, payload: bytes) -> bytes:
        """That node's answer."""
        self._under_way.clear()
        deadline = time.monotonic() + self.timeout
        number = self._next_number()
        wait = RESEND_S
        problem = "has not answered"
        self._open_question = (node,), messages.READ, number, payload
        while (now := time.monotonic()) < deadline:
            if node not in self._addresses or wait > RESEND_S:
                self._finder.ask(now)
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

    # Asking until the leader has answered

    def _ask(self, request: Request, deadline: float) -> bytes | None:
        """The leader's answer to the request; None if there is none by `deadline`.

        Or if none can come, which `request.is_hopeless` tells.
        """
        self._under_way.clear()
        pace = Pace(self._usual_s)
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
                        request.refusal = text(result)
                    if request.is_hopeless or request.refusal:
                        return None
            elif number == probe and self._learned(request, node, status, hint):
                pace.trust()
        return None

    def _refused(self, request: Request, status: int, hint: int, pace: Pace) -> None:
        request.refused(status)
        if status in (messages.NOT_LEADER, messages.LOST):
            self.leader = hint if hint in self._addresses else 0
            pace.redirected()

    def _learned(self, request: Request, node: int, status: int, hint: int) -> bool:
        """Whether an answer to a probe tells of another leader than the one believed in."""
        leader = node if status == messages.OK else hint
        if leader == self.leader or leader not in self._addresses:
            return False
        self.leader = leader
        request.abandon()
        return True

    # Who there is

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

    # Datagrams

    def _next_number(self) -> int:
        self._request = (self._request + 1) & messages.MAX_NUMBER
        return self._request

    def _send(self, node: int, kind: int, number: int, payload: bytes) -> None:
        self._take_new_keys()
        if node not in self._addresses:
            return  # it has yet to be found
        self._under_way.pop((node, number), None)
        self._under_way[node, number] = kind, payload
        if len(self._under_way) > MAX_UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        self._send_copy(node, kind, number, payload)

    def _send_copy(self, node: int, kind: int, number: int, payload: bytes) -> None:
        n = self._caller.request(node, kind, number, payload)
        try:
            self._socket.sendto(self._caller.frame(n), self._addresses[node])
        except OSError:
            return  # a lost datagram, like any other

    def _take_new_keys(self) -> None:
        """Who goes on for long must be heard after a change of the key, too (rotation.py)."""
        changed_ns = self._changed_ns()
        if changed_ns == self._read_ns:
            return
        self._read_ns = changed_ns
        try:
            self._caller = self._finder.caller = self._new_caller()
        except SecretsError:
            return  # those that it has may still do

    def _changed_ns(self) -> int:
        return self._secrets.stat().st_mtime_ns if self._secrets.exists() else 0

    def _new_caller(self) -> calling.Caller:
        own = keys.credentials(self.cluster)
        self.advice = "see that nodes run, with the key of secrets.toml"
        if own[0].number != access.OWNER:
            self.advice = "see that nodes run, and have the key that the credential is of"
        return calling.Caller(own, draw, self.cluster.secrecy)

    def _receive(self, until: float) -> Reply | None:
        """The next reply (see Caller.read) from where its node is; None at `until`."""
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
            reply: Reply | None = self._caller.read(data)
            if reply is None:
                continue
            node, number, status, _, result = reply
            if self._finder.hear(reply, time.monotonic()):
                self._addresses[node] = sender
                nodes, kind, number, payload = self._open_question
                if node in nodes:
                    self._send(node, kind, number, payload)
            elif self._addresses.get(node) != sender:
                continue
            elif status != messages.STALE:
                return reply
            elif result and (node, number) in self._under_way:
                # Once: a second time would be somebody's who has kept it, and of two copies
                # that were let in one might be refused, as if there were no other.
                kind, payload = self._under_way.pop((node, number))
                self._send_copy(node, kind, number, payload)

    # What to say if there is no answer

    def _failure(self, request: Request, outcome: str = OPEN_OUTCOME) -> ClusterError:
        if request.refusal:
            return Refused(request.refusal)
        if request.may_have_effect():
            return Unknown(f"{self._reason(request)}; {outcome}")
        return NotCommitted(f"{self._reason(request)}; {NO_EFFECT}")

    def _unheard(self) -> str:
        return f"no node has answered within {self.timeout:g} s: {self.advice}"

    def _reason(self, request: Request) -> str:
        if not request.heard:
            return self._unheard()
        if request.problem:
            return request.problem
        if self.leader in request.heard and request.copies > 1:
            return (
                f"node {self.leader} leads, but has not done it within {self.timeout:g} s: "
                "`raftctl members` tells whether it hears a majority of the voters"
            )
        return (
            f"no leader has answered within {self.timeout:g} s: {len(request.heard)} of "
            f"{len(self._known())} nodes answer, and a majority of the voters is needed "
            "(`raftctl members`)"
        )


def _resolve(cluster: cluster_file.Cluster) -> dict[int, tuple[str, int]]:
    """Where the nodes listen to clients. A node whose name isn't known counts as silent."""
    addresses = {}
    problem = None
    for member in cluster.nodes.values():
        if member.host == AUTO:
            continue
        try:
            addresses[member.id] = address(member)
        except OSError as e:
            problem = e
    if problem and not addresses:
        raise OSError(f"{cluster.path}: no host of any node can be found: {problem}")
    return addresses


def address(member: cluster_file.Member) -> tuple[str, int]:
    """Where it listens to clients. Raises OSError if its host's name isn't known."""
    kind = socket.AF_INET, socket.SOCK_DGRAM
    try:
        found = socket.getaddrinfo(member.host, member.client_port, *kind)
    except (socket.gaierror, UnicodeError) as e:  # the latter: it can't be a name
        raise OSError(f"node {member.id}'s host {member.host!r} can't be found ({e})") from e
    return str(found[0][4][0]), member.client_port


def text(result: bytes) -> str:
    return result.decode("utf-8", "replace")


def as_bytes(key: str | bytes) -> bytes:
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
