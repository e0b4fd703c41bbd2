"""A client's side of access.py: how it asks nodes, and knows their answers."""

import struct

from raft import messages
from raft.access import ADMIN, OWNER, TRAILER, TRAILER_BYTES, credential
from raft.interpreter import draw
from raft.messages import (
    HEADER_BYTES,
    HIDDEN,
    MARK,
    MAX_DATAGRAM,
    REPLY_BYTES,
    REQUEST_BYTES,
    ROOM,
)
from raft.seal import NONCE_BYTES, TAG_BYTES

TRIES = 2  # requests without an answer, until another credential is tried

_NO_CHALLENGE = bytes(NONCE_BYTES)
_REQUEST = "<BBBBHHI"


def caller_of(node):
    """The client that a node itself is: a `Caller` that writes into the codec's buffer."""
    own = [credential(key, OWNER, ADMIN) for key in node.seal.keys]
    return Caller(own, draw, node.is_secret, node.codec.buf)


class _Node:
    """What a client knows of a node. challenge: the node's."""

    def __init__(self):
        self.challenge = _NO_CHALLENGE
        self.credential = 0  # which of them it is asked with
        self.unanswered = 0  # requests


class Caller:
    """A client's requests and what it is answered.

    credentials: one, or several while the cluster's key is changed: the best first. draw: the
    source of randomness. is_secret: whether to hide what is asked and answered. buf: where
    requests are written, which `frame` shows.
    """

    def __init__(self, credentials, draw, is_secret=False, buf=None):
        self._credentials = credentials
        self._is_secret = is_secret
        self._buf = bytearray(MAX_DATAGRAM) if buf is None else buf
        self._view = memoryview(self._buf)
        self._draw = draw
        self._nodes = {}
        self._begin()

    def _begin(self):
        """A channel, in which nothing was sent yet."""
        self._channel = self._draw(1, messages.MAX_NUMBER)
        self._copy = 0

    def frame(self, n):
        return self._view[:n]

    def knows(self, node):
        """What it knows of a node."""
        if node not in self._nodes:
            self._nodes[node] = _Node()
        return self._nodes[node]

    def request(self, node, kind, number, payload=b""):
        """A frame to `node` into the buffer; returns its bytes."""
        buf, end = self._buf, REQUEST_BYTES + len(payload)
        if end + TRAILER_BYTES + ROOM > MAX_DATAGRAM:
            raise ValueError("%d bytes don't fit into a datagram" % len(payload))
        known = self.knows(node)
        if known.unanswered >= TRIES and len(self._credentials) > 1:
            known.credential = (known.credential + 1) % len(self._credentials)
            known.unanswered = 0
        known.unanswered += 1
        own = self._credentials[known.credential]
        buf[REQUEST_BYTES:end] = payload
        if self._is_secret and payload:
            end = own.cipher.hide(buf, self._view, REQUEST_BYTES, end)
            kind |= HIDDEN
        n = end + TRAILER_BYTES
        if self._copy == messages.MAX_NUMBER:
            self._begin()  # what is answered in the old one has to be asked again
        self._copy += 1
        struct.pack_into(_REQUEST, buf, 0, MARK, kind, 0, node, own.key_number, n, number)
        struct.pack_into(
            TRAILER, buf, end, own.number, own.role, known.challenge, self._channel, self._copy
        )
        tag = n - TAG_BYTES
        buf[tag:n] = own.mac.digest(own.requests, self._view[:tag])[:TAG_BYTES]
        return n

    def read(self, frame):
        """(node, request, status, leader, result: bytes) of a reply (bytes), or None.

        STALE: the datagram, of this number, had no effect; another copy may have had one. If the
        challenge is news there is a result, and the request has to be made again, now that it is
        known. It may be a reply that somebody has kept.
        """
        n = len(frame)
        if n < REPLY_BYTES + TAG_BYTES or frame[0] != MARK or frame[3]:
            return None
        if frame[1] & ~HIDDEN != messages.REPLY:
            return None
        number = frame[4] | frame[5] << 8
        for i, own in enumerate(self._credentials):
            if own.key_number == number and own.mac.is_sealed(own.replies(self._channel), frame, n):
                return self._opened(frame, n - TAG_BYTES, i)
        return None

    def _opened(self, frame, end, i):
        own = self._credentials[i]
        node, request = frame[2], struct.unpack_from("<I", frame, HEADER_BYTES)[0]
        status, leader = frame[HEADER_BYTES + 4], frame[HEADER_BYTES + 5]
        result = bytes(frame[REPLY_BYTES:end])
        if frame[1] & HIDDEN:
            hidden = bytearray(result)
            start, end = own.cipher.reveal(memoryview(hidden), 0, len(hidden))
            result = bytes(hidden[start:end])
        known = self.knows(node)
        known.credential = i
        known.unanswered = 0
        if status == messages.STALE:
            if len(result) != NONCE_BYTES or result == known.challenge:
                result = b""
            else:
                known.challenge = result
        return node, request, status, leader, result
