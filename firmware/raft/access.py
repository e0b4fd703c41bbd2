"""Clients: what each may do, and how a node and a client know each other's datagrams.

A client has a credential: a number, a role, and a key that nodes make of the cluster's key, the
number and the role. So a node needs no list, and who steals a client can't speak as a node. Whoever
has the cluster's key has all credentials; its own is number 0.

A request is sealed at its end with

    offset  size  what
    0       2     number of the credential
    2       1     its role
    3       8     challenge: the node's, as the client last heard it; zeros if it never has
    11      4     channel: 30 bits that the client has drawn when it was started
    15      4     number of the datagram: each copy of a request has another
    19      16    tag

A node remembers some channels, and which datagrams have come by each. By one that it doesn't
know, a request is let in only with the node's present challenge, which is another one after each
start, and whenever a channel is forgotten that was let in with it: so no datagram is ever let in
twice, however old it is. Who comes without it is told it by a reply, STALE. A reply has a tag
alone; what that is made of names the channel, so that nobody takes somebody else's for his own.
"""

import struct

from raft import messages
from raft.interpreter import ticks_diff
from raft.messages import (
    HEADER_BYTES,
    HIDDEN,
    MARK,
    MAX_DATAGRAM,
    REPLY_BYTES,
    REQUEST_BYTES,
    ROOM,
)
from raft.seal import REPLY, REQUEST, TAG_BYTES, Mac, Window, nonce

# Roles: each may do what those before it may
READ = 1
WRITE = 2
ADMIN = 3
ROLES = ("", "read", "write", "admin")

OWNER = 0  # the credential of whoever has the cluster's key
UNKNOWN, TOO_OFTEN = 0, 1  # of a request: why it isn't let in
EVERYBODY = 0  # a request to all who hear it, which is answered with STALE
MAX_CHANNELS = 64  # that a node remembers
MAX_OWN_CHANNELS = 16  # of them, of one credential but the owner's
REQUESTS_PER_S = 100  # of one credential but the owner's, and as many at once
STRANGERS_PER_S = 500  # requests by channels that a node doesn't know that it looks into
MAX_CREDENTIALS = 8  # that a node keeps ready

TRAILER = "<HB8sII"
TRAILER_BYTES = 19 + TAG_BYTES
_REPLY = "<BBBBHHIBB"


class Credential:
    """A client's. secret: its key (32 bytes); key_number: of the cluster's key it is made of."""

    def __init__(self, key_number, number, role, secret):
        self.key_number = key_number
        self.number = number
        self.role = role
        self.secret = secret
        self.mac = Mac(secret)
        self.requests = self.mac.inner + REQUEST  # what is sealed begins with
        self._cipher = None

    @property
    def cipher(self):
        if self._cipher is None:
            from raft.secrecy import Cipher  # some heap, where it is needed

            self._cipher = Cipher(self.mac.derive(b"secrecy"))
        return self._cipher

    def replies(self, channel):
        """What a reply begins with, as it is sealed."""
        return self.mac.inner + REPLY + struct.pack("<I", channel)


def credential(key, number, role):
    """The credential that `key` (seal.Key) makes of number (0 to 65535) and role."""
    secret = key.clients.derive(struct.pack("<HB", number, role))
    return Credential(key.number, number, role, secret)


def role_for(kind):
    """Who may send a request of that kind."""
    if kind == messages.WRITE:
        return WRITE
    return ADMIN if kind == messages.ADMIN else READ


class Limit:
    """Of `per_s` requests a second, and as many at once. now: in ticks. used: as in _Channel."""

    def __init__(self, per_s, now):
        self.used = 0
        self._each_ms = 1000 // per_s
        self._left_ms = 1000
        self._now = now

    def takes(self, now):
        """Whether one more request is not too much now."""
        passed = ticks_diff(now, self._now)
        if passed < 0:
            passed = 1000  # so long that the ticks have wrapped
        left = min(self._left_ms + passed, 1000) - self._each_ms
        if left < 0:
            return False
        self._left_ms = left
        self._now = now
        return True


class _Channel(Window):
    """used: when it last was; a greater number is later."""

    def __init__(self, challenge):
        super().__init__()
        self.challenge = challenge
        self.used = 0


class Gate:
    """Lets clients of node `node` in, and seals what they are answered.

    keys: of the cluster (list of seal.Key). buf: where answers are written. forged, repeated,
    limited, strangers: how many datagrams were refused because of the tag, had been there before,
    were too many of a credential, or too many by channels that aren't known. limit: of the latter;
    whoever is known is let in however many others there are.
    """

    def __init__(self, node, keys, draw, buf):
        self.challenge = nonce(draw)
        self.forged = 0
        self.repeated = 0
        self.limited = 0
        self.strangers = 0
        self.limit = Limit(STRANGERS_PER_S, 0)
        self._node = node
        self._keys = {key.number: key for key in keys}
        self._draw = draw
        self._buf = buf
        self._view = memoryview(buf)
        self._credentials = {}  # (key's number, number, role) -> (Credential, Limit)
        self._channels = {}  # (key's number, number, role, channel) -> _Channel
        self._clock = 0

    def frame(self, n):
        return self._view[:n]

    def hear(self, frame, now=0):
        """(kind, request, payload, guest) of a client's frame (bytes) that is let in, or None.

        now: in ticks. guest: who has sent it, to be given to `reply`. kind: UNKNOWN if it doesn't
        show the challenge, TOO_OFTEN if it must be refused for that.
        """
        n = len(frame)
        trailer = n - TRAILER_BYTES
        kind = frame[1] & ~HIDDEN if trailer >= REQUEST_BYTES else 0
        # What costs least comes first: nobody has shown yet that he may speak.
        if not messages.WRITE <= kind <= messages.MEMBERS or kind == messages.REPLY:
            return None
        if frame[0] != MARK or frame[2] or n > MAX_DATAGRAM or frame[6] | frame[7] << 8 != n:
            return None
        key = self._keys.get(frame[4] | frame[5] << 8)
        is_to_all = frame[3] == EVERYBODY
        if key is None or not is_to_all and frame[3] != self._node:
            return None
        number, role, challenge, channel, copy = struct.unpack_from(TRAILER, frame, trailer)
        name = (key.number, number, role, channel)
        through = self._channels.get(name)
        is_known = through is not None and through.challenge == challenge
        if is_known and not is_to_all and not through.is_new(copy):
            self.repeated += 1
            return None
        if not is_known and not self.limit.takes(now):
            self.strangers += 1
            return None
        known, limit = self._credential(key, number, role, frame, now)
        if known is None:
            self.forged += 1
            return None
        request = struct.unpack_from("<I", frame, HEADER_BYTES)[0]
        is_hidden = frame[1] != kind
        guest = (known, channel, is_hidden)
        if is_to_all or not is_known and challenge != self.challenge:
            return UNKNOWN, request, b"", guest
        is_too_often = number != OWNER and not limit.takes(now)
        self.limited += is_too_often
        if not is_known:
            if is_too_often:
                # Not even refused, for that has to be remembered. And new channels cost the
                # challenge: who opened them at will would keep all others out that are new.
                return None
            through = self._begin(name)
        through.add(copy)
        through.used = self._clock
        if is_too_often:
            return TOO_OFTEN, request, b"", guest
        payload = memoryview(bytearray(frame[REQUEST_BYTES:trailer]))
        if is_hidden:
            start, end = known.cipher.reveal(payload, 0, len(payload))
            if not start:
                return None
            payload = payload[start:end]
        return kind, request, payload, guest

    def _credential(self, key, number, role, frame, now):
        """The credential by which a frame is sealed, and its limit, or None, None if it isn't."""
        if not READ <= role <= ADMIN:
            return None, None
        name = (key.number, number, role)
        known = self._credentials.get(name)
        found, limit = known or (credential(key, number, role), None)
        if not found.mac.is_sealed(found.requests, frame, len(frame)):
            return None, None
        if limit is None:
            # Not those that are in use: they would begin anew with all that they may ask.
            if len(self._credentials) >= MAX_CREDENTIALS:
                del self._credentials[min(self._credentials, key=self._credential_used)]
            limit = Limit(REQUESTS_PER_S, now)
            self._credentials[name] = found, limit
        self._clock += 1
        limit.used = self._clock
        return found, limit

    def _credential_used(self, name):
        return self._credentials[name][1].used

    def _begin(self, name):
        """A new channel of that name, let in with the present challenge."""
        challenge = self.challenge  # to forget another channel may change it
        if name not in self._channels:
            own = [other for other in self._channels if other[1] == name[1]]
            if name[1] != OWNER and len(own) >= MAX_OWN_CHANNELS:
                self._forget_one(own)
            elif len(self._channels) >= MAX_CHANNELS:
                self._forget_one(self._channels)
        channel = self._channels[name] = _Channel(challenge)
        return channel

    def _forget_one(self, names):
        """Of these channels the one that is unused longest; nothing that came by it may again."""
        name = min(names, key=lambda name: self._channels[name].used)
        if self._channels.pop(name).challenge == self.challenge:
            self.challenge = nonce(self._draw)

    def reply(self, guest, request, status, leader, result=b""):
        """The answer to a guest into the buffer; returns the frame's bytes."""
        known, channel, is_hidden = guest
        end = REPLY_BYTES + len(result)
        if end + TAG_BYTES + ROOM > MAX_DATAGRAM:
            raise ValueError("%d bytes don't fit into a datagram" % len(result))
        buf, kind = self._buf, messages.REPLY
        buf[REPLY_BYTES:end] = result
        if is_hidden and result:
            end = known.cipher.hide(buf, self._view, REPLY_BYTES, end)
            kind |= HIDDEN
        n = end + TAG_BYTES
        struct.pack_into(
            _REPLY, buf, 0, MARK, kind, self._node, 0, known.key_number, n, request, status, leader
        )
        buf[end:n] = known.mac.digest(known.replies(channel), self._view[:end])[:TAG_BYTES]
        return n
