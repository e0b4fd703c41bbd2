"""Who may speak: every datagram is sealed by a key, for one receiver, and counts but once.

A seal is an HMAC-SHA-256 (RFC 2104), cut to 128 bits. What a key is used for, and by whom, is in
what is sealed, so that nothing passes for something else: in front of the frame goes one of

    1                                            a hello (hello.py)
    2, from, to, incarnation of either (8 each)  between nodes
    3                                            a client's request (access.py)
    4, channel (4)                               a reply to a client

A cluster's secret is never used itself, but what HMAC(secret, purpose + cluster's name) is:

    "number "   its first 2 bytes: the key's number, by which frames name key and cluster
    "nodes "    the key of hellos and between nodes
    "clients "  of it HMAC(that, number, role): the key of a client's credential (access.py)
    "secrecy "  of it HMAC(that, from, to, incarnation of either): by which one node hides what it
                tells another (secrecy.py); a client and a node: HMAC(credential's key, "secrecy")

An incarnation is 60 random bits, drawn at each start of a node; its peers learn it by a hello.
What two nodes say to each other is sealed for the incarnations of both, and so void once either
has started anew. Within them each datagram has a number, by which a repeated one is known, and
one that comes so late that nobody remembers it (as in RFC 4303, section 3.4.3).
"""

import struct
from binascii import unhexlify
from hashlib import sha256
from struct import unpack_from

KEY_BYTES = 32
TAG_BYTES = 16
SEAL_BYTES = 4 + TAG_BYTES  # of a datagram between nodes: number and tag
NONCE_BYTES = 8
# Datagrams of one incarnation to one peer, about: two years of 16 a second. Then their numbers
# are no small integers any more, and after four times as many there are none.
MAX_SENT = (1 << 30) - 1
WINDOW = 30  # datagrams that may overtake one; as many as there are bits in a small integer

_HELLO = b"\1"
_PEER = b"\2"
REQUEST = b"\3"
REPLY = b"\4"

_BLOCK = 64  # bytes, of SHA-256
_INNER = int.from_bytes(b"\x36" * _BLOCK, "big")
_OUTER = int.from_bytes(b"\x5c" * _BLOCK, "big")
_TAG = "%ds" % TAG_BYTES  # of a digest: its first bytes, without another object
_BUT_OLDEST = (1 << WINDOW - 1) - 1  # what stays in a window of which another number is the last


class Mac:
    """HMAC-SHA-256 under one key (32 bytes). inner, outer: what its two hashes begin with."""

    def __init__(self, key):
        block = int.from_bytes(key, "big") << 8 * (_BLOCK - KEY_BYTES)
        self.inner = (block ^ _INNER).to_bytes(_BLOCK, "big")
        self.outer = (block ^ _OUTER).to_bytes(_BLOCK, "big")

    def digest(self, begun, view):
        """The 32 bytes for what `begun`, which begins with `inner`, and `view` are together."""
        return _hmac(begun, self.outer, view)

    def derive(self, purpose):
        """Another key."""
        return self.digest(self.inner, purpose)

    def is_sealed(self, begun, frame, n):
        """Whether the tag at the end of `frame` (n bytes) is the one that belongs there."""
        return Way(begun, self.outer).is_sealed(memoryview(frame), n - TAG_BYTES)


# What follows up to `open` is on the path of every heartbeat. A call of a function that needs more
# than eleven places, of variables and in the midst of an expression, takes a piece of MicroPython's
# heap (py/objfun.c), as do slices; so these are small, and there are few of those.


def _hmac(begun, outer, view):
    made = sha256(begun)
    made.update(view)
    digest = made.digest()
    made = sha256(outer)
    made.update(digest)
    return made.digest()


def is_same(digest, frame, tag):
    """Whether `digest` begins with the tag that `frame` has from offset `tag` on."""
    # All bytes, whatever they are: the time it takes doesn't tell which are wrong. And no long
    # integers of them, which take more of a board's heap than all the rest.
    wrong = 0
    i = TAG_BYTES
    while i:
        i -= 1
        wrong |= digest[i] ^ frame[tag + i]
    return wrong == 0


class Way:
    """What comes from a peer under one key. begun, outer: what the two hashes begin with."""

    def __init__(self, begun, outer):
        self.begun = begun
        self.outer = outer

    def is_sealed(self, frame, tag):
        """Whether the tag from `tag` on in `frame` (memoryview) belongs to what is before it."""
        digest = _hmac(self.begun, self.outer, frame[:tag])
        return is_same(digest, frame, tag)


class Window:
    """Knows a datagram that was there before by its number, 1 or more."""

    def __init__(self):
        self._last = 0  # the greatest number so far
        self._seen = 0  # bit i: `_last` - i was there

    def is_new(self, number):
        """Whether it wasn't there yet, and isn't so old that nobody knows."""
        age = self._last - number
        return age < 0 or age < WINDOW and not self._seen >> age & 1

    def add(self, number):
        """It was there. Only what is sealed may get here."""
        age = self._last - number
        if age >= 0:
            self._seen |= 1 << age
        else:
            kept = WINDOW + age  # bits
            self._seen = (self._seen & (1 << kept) - 1) << -age | 1 if kept > 0 else 1
            self._last = number


class Session(Window):
    """What is sealed between this node and one peer.

    key: by which this node seals. keys: by which the peer may. own, incarnation: this node's and
    the peer's. hides: by what it is hidden (secrecy.Cipher), or None.
    """

    def __init__(self, key, keys, node, own, peer, incarnation, is_secret):
        super().__init__()
        self.incarnation = incarnation
        self.key_number = key.number
        self.sent = 0
        out = bytes((node, peer)) + own + incarnation
        back = bytes((peer, node)) + incarnation + own
        self._begun = key.nodes.inner + _PEER + out  # what is sealed begins with
        self._outer = key.nodes.outer
        self._ways = {k.number: Way(k.nodes.inner + _PEER + back, k.nodes.outer) for k in keys}
        self.hides = _cipher(key.secrecy.derive(out)) if is_secret else None
        self._back = back
        self._keys = keys
        self._reveals = {}

    def close(self, buf, view, n):
        """Seal the first n bytes of `buf` (`view` is its memoryview); returns the frame's bytes."""
        self.sent += 1
        struct.pack_into("<I", buf, n, self.sent)
        n += 4
        tag = _hmac(self._begun, self._outer, view[:n])
        struct.pack_into(_TAG, buf, n, tag)
        return n + TAG_BYTES

    def open(self, frame, n):
        """Whether `frame` (memoryview, n bytes) is from the peer, as it is now, and is new."""
        way = self._ways.get(frame[4] | frame[5] << 8)
        if way is None:
            return False
        number = unpack_from("<I", frame, n - SEAL_BYTES)[0]
        age = self._last - number
        if age >= 0 and not self.is_new(number):
            return False
        if not way.is_sealed(frame, n - TAG_BYTES):
            return False
        if age == -1:  # as most do, the next one
            self._last = number
            self._seen = (self._seen & _BUT_OLDEST) << 1 | 1  # never more than a small integer
        else:
            self.add(number)
        return True

    def was_there(self, frame, n):
        """Whether the number of what can't be opened is one that isn't new."""
        return not self.is_new(struct.unpack_from("<I", frame, n - SEAL_BYTES)[0])

    def reveal(self, frame, start, end):
        """As Cipher.reveal. A peer may hide what it sends although this node doesn't."""
        number = frame[4] | frame[5] << 8
        if number not in self._reveals:
            key = next(key for key in self._keys if key.number == number)
            self._reveals[number] = _cipher(key.secrecy.derive(self._back))
        return self._reveals[number].reveal(frame, start, end)


class Key:
    """A key of the cluster `name`. number: 16 bits by which frames tell which key they mean.

    secret: 32 bytes. nodes, clients, secrecy: what is made of it for either.
    """

    def __init__(self, secret, name):
        root = Mac(secret)
        name = name.encode()
        self.number = unpack_from("<H", root.derive(b"number " + name))[0]
        self.nodes = Mac(root.derive(b"nodes " + name))
        self.clients = Mac(root.derive(b"clients " + name))
        self.secrecy = Mac(root.derive(b"secrecy " + name))
        self._hello = self.nodes.inner + _HELLO

    def close_hello(self, buf, view, n):
        """Seal the hello in the first n bytes of `buf`; returns the frame's bytes."""
        end = n + TAG_BYTES
        buf[n:end] = self.nodes.digest(self._hello, view[:n])[:TAG_BYTES]
        return end

    def is_hello(self, frame):
        """Whether a hello (bytes) is sealed by a node that has this key."""
        return self.nodes.is_sealed(self._hello, frame, len(frame))


class Seal:
    """What one node seals by. keys: of the cluster, the newest first (list of `Key`).

    draw: the source of randomness. is_secret: whether to hide what it says to its peers.
    incarnation: of this start (bytes). sessions: peer -> Session.
    """

    def __init__(self, node, keys, draw, is_secret=False):
        self.keys = keys
        self.sessions = {}
        self._node = node
        self._draw = draw
        self._is_secret = is_secret
        self._begin()

    def _begin(self):
        self.incarnation = nonce(self._draw)
        self.sessions.clear()

    def renew(self):
        """Take another incarnation before the numbers of this one are used up; whether it did."""
        is_worn = any([session.sent >= MAX_SENT for session in self.sessions.values()])
        if is_worn:
            self._begin()
        return is_worn

    def key(self, number):
        """The key of that number, or None."""
        for key in self.keys:
            if key.number == number:
                return key
        return None

    def knows(self, peer, incarnation):
        """Whether that is the incarnation of the peer that there is a session with."""
        session = self.sessions.get(peer)
        return session is not None and session.incarnation == incarnation

    def meet(self, key, peer, incarnation):
        """The peer has just shown that this is its incarnation, and that it has the key."""
        if not self.knows(peer, incarnation):
            self.sessions[peer] = Session(
                key, self.keys, self._node, self.incarnation, peer, incarnation, self._is_secret
            )


def keys_of(secrets, cluster):
    """The keys (list of Key) that `config.json` has as hexadecimal digits."""
    return [Key(unhexlify(secret), cluster) for secret in secrets]


def _cipher(key):
    from raft.secrecy import Cipher  # some heap, where it is needed

    return Cipher(key)


def nonce(draw):
    """60 random bits (8 bytes), never all zero."""
    return struct.pack("<II", draw(1, MAX_SENT), draw(0, MAX_SENT))
