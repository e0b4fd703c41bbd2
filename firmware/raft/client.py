"""The key-value store, for a program on a board; a node doesn't need it.

    client = Client(node, 5000)
    await client.put(b"lamp", b"on")
    await client.cas(b"lamp", b"on", b"off")

A client like any other, by UDP to the node that leads, which may be the board's own: lwIP hands
a datagram to the board's own address back to it (LWIP_NETIF_LOOPBACK, which ESP-IDF switches on
by default and MicroPython leaves alone).

Keys are bytes of at most 64, values of at most 1,024 bytes; what is longer raises ValueError.
"""

import asyncio
import struct

from raft import messages, requests, sessions
from raft.calling import caller_of
from raft.interpreter import draw, sleep_ms, ticks_diff, ticks_ms
from raft.requests import Attempts, ClusterError, Gone, NotCommitted, Unknown  # noqa: F401
from raft.udp import Endpoint

LISTEN_MS = 5  # between two looks for an answer, while one is awaited
RESEND_MS = 50  # to a leader that doesn't answer; twice as long each time
MAX_RESEND_MS = 400
MAX_QUICK_REDIRECTS = 3  # then nodes contradict each other, and are asked no faster than that


class Client:
    """Asks the cluster of `node`.

    Each call takes at most `timeout_ms`, and raises NotCommitted or Unknown if the cluster can't
    answer, OSError if there is no socket to be had. A command takes effect once, however many
    copies of it are sent; after Unknown one may go on: once the next command is done, a late
    copy does nothing. Commands of several tasks wait for each other.
    """

    def __init__(self, node, timeout_ms):
        self.timeout_ms = timeout_ms
        self._node = node
        self._one_command = asyncio.Lock()
        self._session = 0  # not opened yet
        self._number = 0  # of the session's last command
        self._life_s = 0  # of the session, unused
        self._used = 0  # when it last was, in ticks
        self._in_doubt = False  # its last command
        self._caller = caller_of(node)

    async def get(self, key):
        """The value (bytes) of `key` at some time during the call, or None."""
        return requests.get_answer(await self.query(requests.get_query(key)))

    async def put(self, key, value):
        """Store `value` under `key`."""
        await self.command(requests.put(key, value))

    async def delete(self, key):
        """Remove `key`; whether it was there."""
        return await self.command(requests.delete(key)) == b"\1"

    async def cas(self, key, expected, new):
        """Store `new` if the value of `key` is `expected` (None: there is none); whether it was."""
        return await self.command(requests.cas(key, expected, new)) == b"\1"

    async def add(self, key, delta=1):
        """Add `delta` to the number at `key`, 0 if there is none; the sum.

        The value is decimal text. Raises ValueError if it is none, or the sum beyond 64 bits.
        """
        return requests.add_result(await self.command(requests.add(key, delta)))

    async def lock(self, key, owner, ttl_s):
        """Take the lock `key` for `ttl_s` seconds of the cluster's time, or keep it for longer.

        (fencing number, ttl_s), or (0, seconds until it is free) if another owner has it.
        owner: at most 32 bytes, no one else's, not even one's own before a restart. Raises
        ValueError if the value is no lock (counters.py).
        """
        return requests.lock_result(await self.command(requests.lock(key, owner, ttl_s)))

    async def unlock(self, key, owner):
        """Give the lock `key` back; whether it was the owner's."""
        return await self.command(requests.unlock(key, owner)) == b"\1"

    def watch(self, prefix=b"", after=None):
        """The changes of keys that begin with `prefix`, in order, as this board hears of them:

            async for index, key, value in client.watch(b"lamp"):

        value: None if the key was removed. after: the index up to which they are known already;
        None: from now on. Raises Gone when changes were missed: its `index` is where to go on
        from, once the keys were read anew.
        """
        from raft.watch import Watch  # here: few programs want it

        return Watch(self._node, prefix, self._node.applied if after is None else after)

    # What any state machine is asked (machines.py)

    async def query(self, payload):
        """The answer (bytes) to a query."""
        request = _Request(messages.READ, requests.read(payload))
        answer = await self._ask(request, ticks_ms())
        if answer is None:
            raise NotCommitted("%s; nothing was read, try again" % self._reason(request))
        return answer

    async def command(self, payload):
        """The result (bytes) of a command."""
        async with self._one_command:
            began = ticks_ms()
            while True:
                # Half its life: the cluster's time may run faster. But what is in doubt can have
                # its effect until a later command of the session is done, or the session is over.
                unused_ms = ticks_diff(began, self._used)  # negative after six days: ticks wrap
                is_old = not 0 <= unused_ms < self._life_s * 500
                if not self._session or is_old and not self._in_doubt:
                    await self._open_session(began)
                self._number += 1  # never used again: a copy may still be on its way
                command = sessions.command(self._session, self._number, payload)
                request = _Request(messages.WRITE, command)
                was_in_doubt = self._in_doubt
                self._in_doubt = True  # if this task is cancelled while it waits
                result = await self._ask(request, began)
                if result is None:
                    self._in_doubt = was_in_doubt or request.may_have_effect()
                    raise self._failure(request)
                self._in_doubt = False
                if result[0] == sessions.DONE:
                    self._used = began
                    return result[1:]
                # So many have opened theirs that this one is forgotten. A command sent but once
                # has had no effect and gets another session; an earlier copy may have had one.
                self._session = 0
                if request.in_doubt or request.copies > 1:
                    raise Unknown("the session has expired; read the key before you go on")

    async def _open_session(self, began):
        request = _Request(messages.WRITE, sessions.OPEN)
        result = await self._ask(request, began)
        if result is None:
            raise NotCommitted("%s; nothing was changed, try again" % self._reason(request))
        self._session, self._life_s = struct.unpack_from("<II", result, 1)
        self._used = began
        self._number = 0

    def _failure(self, request):
        reason = self._reason(request)
        if request.may_have_effect():
            return Unknown("%s; it may have an effect: read the key before you go on" % reason)
        return NotCommitted("%s; nothing was changed, try again" % reason)

    def _reason(self, request):
        if request.problem:
            return request.problem
        most = len(self._node.core.members.voters)
        return "no leader has done it within %d ms: do %d of %d boards reach each other?" % (
            self.timeout_ms, most // 2 + 1, most,
        )  # fmt: skip

    # Asking until the leader has answered

    async def _ask(self, request, began):
        """The leader's answer (bytes); None if there is none in time, or can be none."""
        # A socket of its own: late answers to an earlier question don't reach it, and a program
        # that fails leaves none open.
        endpoint = Endpoint(None, self._node.codec.buf)
        try:
            while not request.is_hopeless:
                passed_ms = ticks_diff(ticks_ms(), began)
                if passed_ms >= self.timeout_ms:
                    break
                if request.is_due(passed_ms):
                    self._send(endpoint, request, passed_ms)
                await sleep_ms(LISTEN_MS)
                answer = self._hear(endpoint, request)
                if answer is not None:
                    return answer
            return None
        finally:
            endpoint.close()

    def _send(self, endpoint, request, passed_ms):
        # Whoever has just been named, or whom the board's own node follows; 0: nobody.
        leader = request.hint or self._node.core.leader
        address = self._node.client_address(leader)
        if address:
            request.sent(leader, passed_ms)
            # The codec's buffer is free whenever a task has its turn.
            n = self._caller.request(leader, request.kind, request.number, request.payload)
            endpoint.send(self._caller.frame(n), address)

    def _hear(self, endpoint, request):
        """Take in what has come; the leader's answer, if it was there."""
        answer = None
        frame = endpoint.receive()
        while frame is not None:  # all of it, for the buffer is used to send, too
            reply = self._caller.read(frame)
            if reply is not None and request.first <= reply[1] <= request.number:
                node, number, status, hint, result = reply
                if status == messages.OK:
                    answer = result
                elif status == messages.STALE:
                    if result and number == request.number:
                        request.unheard(node)
                elif number == request.number and request.copies:
                    request.refused(status)
                    request.redirected(hint)
            frame = endpoint.receive()
        return answer


class _Request(Attempts):
    """One request, and what has become of the copies that were sent. Times in ms since the call."""

    def __init__(self, kind, payload):
        super().__init__()
        self.kind = kind
        self.payload = payload
        self.first = draw(0, messages.MAX_NUMBER >> 1)  # numbers of its attempts: from here ...
        self.number = self.first - 1  # ... to this one's
        self.hint = 0  # who leads, says the node that was asked last
        self._node = 0  # that node
        self._redirects = 0
        self._wait_ms = RESEND_MS
        self._due_ms = 0

    def is_due(self, passed_ms):
        return passed_ms >= self._due_ms

    def sent(self, node, passed_ms):
        """A copy goes to `node`."""
        if node != self._node:
            self._node = node
            self._wait_ms = RESEND_MS
            self.abandon()
        if self.copies == 0:
            self.number += 1
        self.copies += 1
        self.hint = 0
        self._due_ms = passed_ms + self._wait_ms
        self._wait_ms = min(2 * self._wait_ms, MAX_RESEND_MS)

    def unheard(self, node):
        """One copy wasn't let in, and `node` has told how it would be.

        Of several it isn't known which, nor whether it is said of one for the second time.
        """
        if self.copies == 0:
            return
        if self.copies == 1:
            self.copies = 0
        self.hint = node
        self._due_ms = 0

    def redirected(self, hint):
        """The node that was asked last names another one."""
        if hint not in (0, self._node):
            self.hint = hint
            self._redirects += 1
            if self._redirects <= MAX_QUICK_REDIRECTS:
                self._due_ms = 0
