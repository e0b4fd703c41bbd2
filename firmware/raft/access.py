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
EVERYBODY = 0  # a request to all who hear it, which is answered with STALE
MAX_CHANNELS = 64  # that a node remembers
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


class _Channel(Window):
    """used: when it last was; a greater number is later."""

    def __init__(self, challenge):
        super().__init__()
        self.challenge = challenge
        self.used = 0


class Gate:
    """Lets clients of node `node` in, and seals what they are answered.

    keys: of the cluster (list of seal.Key). buf: where answers are written. forged, repeated: how
    many datagrams were refused because of the tag, or had been there before.
    """

    def __init__(self, node, keys, draw, buf):
        self.challenge = nonce(draw)
        self.forged = 0
        self.repeated = 0
        self._node = node
        self._keys = {key.number: key for key in keys}
        self._draw = draw
        self._buf = buf
        self._view = memoryview(buf)
        self._credentials = {}
        self._channels = {}
        self._clock = 0

    def frame(self, n):
        return self._view[:n]

    def hear(self, frame):
        """(kind, request, payload, guest) of a client's frame (bytes) that is let in, or None.

        guest: who has sent it, to be given to `reply`. kind: 0 if it doesn't show the challenge.
        """
        n = len(frame)
        trailer = n - TRAILER_BYTES
        if trailer < REQUEST_BYTES or n > MAX_DATAGRAM or frame[0] != MARK or frame[2]:
            return None
        key = self._keys.get(frame[4] | frame[5] << 8)
        if key is None or frame[3] not in (self._node, EVERYBODY):
            return None
        number, role, challenge, channel, copy = struct.unpack_from(TRAILER, frame, trailer)
        known = self._credential(key, number, role, frame)
        if known is None:
            self.forged += 1
            return None
        kind, request = frame[1] & ~HIDDEN, struct.unpack_from("<I", frame, HEADER_BYTES)[0]
        is_hidden = frame[1] != kind
        guest = (known, channel, is_hidden)
        if frame[3] == EVERYBODY:
            return 0, request, b"", guest
        if not messages.WRITE <= kind <= messages.MEMBERS or kind == messages.REPLY:
            return None
        through = self._through((key.number, number, role, channel), challenge)
        if through is None:
            return 0, request, b"", guest
        if not through.is_new(copy):
            self.repeated += 1
            return None
        through.add(copy)
        payload = memoryview(bytearray(frame[REQUEST_BYTES:trailer]))
        if is_hidden:
            start, end = known.cipher.reveal(payload, 0, len(payload))
            if not start:
                return None
            payload = payload[start:end]
        return kind, request, payload, guest

    def _credential(self, key, number, role, frame):
        """The credential by which a frame is sealed, or None if it isn't."""
        name = (key.number, number, role)
        known = self._credentials.get(name)
        found = known or credential(key, number, role)
        if not READ <= role <= ADMIN or not found.mac.is_sealed(found.requests, frame, len(frame)):
            return None
        if known is None:
            if len(self._credentials) >= MAX_CREDENTIALS:
                self._credentials.clear()
            self._credentials[name] = found
        return found

    def _through(self, name, challenge):
        """The channel of that name, a new one if the challenge is the present one; or None."""
        channel = self._channels.get(name)
        if channel is None or channel.challenge != challenge:
            if challenge != self.challenge:
                return None
            if channel is None and len(self._channels) >= MAX_CHANNELS:
                self._forget_one()
            channel = self._channels[name] = _Channel(challenge)
        self._clock += 1
        channel.used = self._clock
        return channel

    def _forget_one(self):
        name = min(self._channels, key=lambda name: self._channels[name].used)
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
