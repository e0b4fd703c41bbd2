"""The messages, and how each of them lies in a datagram.

Every datagram is one frame, little endian, of at most 1,400 bytes:

    offset  size  what
    0       1     0xA2: mark 0xA, format version 2
    1       1     kind
    2       1     from: node id 1..254; 0 is a client
    3       1     to: node id 1..254; 0 is a client
    4       2     key: the number of the cluster's key by which it is sealed
    6       2     length of the frame, seal included
    8       n     body
    8 + n   m     seal: 20 bytes between nodes (`seal.py`), 35 from clients and 16 to them
                  (`access.py`)

A kind above 0x80 tells that what follows the fixed part of the body is hidden (`secrecy.py`).

All messages between nodes have one body of 20 bytes, and so a frame of 48 without entries:

    kind             term       index         log term      commit     ctx
    PRE_VOTE         would-be   last index    its term      own commit 0
    PRE_VOTE_REPLY   see below  1 granted     0             own commit 0
    VOTE             own        last index    its term      own commit 1 sent
    VOTE_REPLY       own        1 granted     0             own commit 0
    APPEND           own        prev index    prev term     own commit round
    COMMIT           own        prev index    prev term     own commit round
    APPEND_REPLY     own        match index   0             own commit its round
    APPEND_REJECT    own        hint index    hint term     own commit its round
    RESCUE           own        0             0             own commit 0
    SNAPSHOT         own        its index     its term      own commit round
    SNAPSHOT_REPLY   own        its index     bytes held    own commit its round
    TRUST            own        index         0             own commit its doubt
    DOUBT_REPLY      own        match index   0             its doubt  its round
    DOUBT_REJECT     own        hint index    hint term     its doubt  its round
    TRANSFER         own        0             0             own commit 0
    READ_ASK         own        0             0             own commit question
    READ_REPLY       own        read index    0             own commit question
    OUT              own        see below     0             own commit 0

DOUBT_REPLY and DOUBT_REJECT are APPEND_REPLY and APPEND_REJECT of a node that can't trust its
flash: nothing may be counted on them. They carry a number that the node has drawn for this doubt
when it started. TRUST tells it, for the doubt of that number, that it has all that it ever
acknowledged once it holds that index. TRANSFER tells a voter to stand at once; it says so in its
VOTE, which the others take notice of although they hear a leader. READ_ASK asks the leader for a
read index. OUT tells whoever asks for a pre-vote, and is no member, the index of the committed
configuration that it isn't in. SNAPSHOT carries a piece of the leader's snapshot up to
the seal:

    offset  size  what
    0       4     offset of the piece
    4       4     bytes of the whole snapshot
    8       4     30 bits of the CRC-32 of them
    12      n     the piece

A round is the leader's own number for what it sent at one time; an answer gives it back. A
granted PRE_VOTE_REPLY carries the would-be term it answers, a refused one the voter's own.
APPEND without entries is the heartbeat. COMMIT is an APPEND without entries that wants no
answer when it is accepted. APPEND and RESCUE are followed by entries up to the seal:

    offset  size  what
    0       4     term
    4       2     length of the data
    6       1     kind: no-op, command, configuration
    7       n     data

Between clients and nodes (`request` is the client's own number, given back in the reply):

    WRITE    u32 request, command (`sessions.py`; the log has the leader's stamp in front of it)
    READ     u32 request, u8 how: 0 any node that knows a leader answers, and nobody ever with an
             old state; 1 the leader alone; 2 the node that is asked, from its own copy. Then the
             query (`machines.py`, `kv.py`). The answer to 2 begins with u32: the copy's age in
             ms, 2^30 - 1 if that isn't known
    STATUS   u32 request
    WATCH    u32 request, question (`watching.py`)
    ADMIN    u32 request, order (`admin.py`)
    MEMBERS  u32 request (the answer: `status.py`)
    REPLY    u32 request, u8 status, u8 leader's id or 0, result

A request to 0 is for every node that hears it, and answered with STALE.

Terms, indexes and rounds stay below 2^30, so that they are small integers on a 32-bit
MicroPython: no allocation, and 34 years of one entry a second.
"""

from struct import pack_into, unpack_from

from raft.members import is_valid
from raft.seal import SEAL_BYTES, TAG_BYTES

MAX_DATAGRAM = 1400  # bytes; lwIP never delivers a fragmented one (over 1,472)
BUFFER_BYTES = 2 * MAX_DATAGRAM  # room to receive what a leader has under way to one peer
HEADER_BYTES = 8
PEER_BYTES = 28  # header and body of a message between nodes
EMPTY_BYTES = PEER_BYTES + SEAL_BYTES  # a heartbeat, a vote request
ENTRY_HEADER_BYTES = 7
HIDDEN = 0x80  # in the kind of a frame: see secrecy.py
ROOM = 32  # bytes by which that may make it longer
ENTRIES_BYTES = MAX_DATAGRAM - EMPTY_BYTES - ROOM  # room for entries in one datagram
MAX_DATA = 1200  # bytes of one entry's data
PIECE_HEADER_BYTES = 12
MAX_PIECE = 512  # bytes of one piece of a snapshot
MAX_NUMBER = (1 << 30) - 1

PRE_VOTE = 1
PRE_VOTE_REPLY = 2
VOTE = 3
VOTE_REPLY = 4
APPEND = 5
COMMIT = 6
APPEND_REPLY = 7
APPEND_REJECT = 8
RESCUE = 9
SNAPSHOT = 10
SNAPSHOT_REPLY = 11
TRUST = 12
DOUBT_REPLY = 13
DOUBT_REJECT = 14
TRANSFER = 15
READ_ASK = 16
READ_REPLY = 17
OUT = 18
WRITE = 32
READ = 33
STATUS = 34
REPLY = 35
WATCH = 36
ADMIN = 37
MEMBERS = 38
HELLO = 39  # between nodes (hello.py)

# How a READ is to be answered
ANY = 0
LEADER = 1
LOCAL = 2

# Kinds of log entries
NOOP = 0
COMMAND = 1
CONFIG = 2

# Statuses of a REPLY
OK = 0
NOT_LEADER = 1  # ask the leader named in the reply; this request had no effect
BUSY = 2  # too much waits for commit or for room in the flash; this request had no effect
STATE_FULL = 3  # the state machine is full; this request had no effect
LOST = 4  # leadership ended while the command was waiting: ask again, under the same number
BAD = 5  # malformed; this request had no effect
GONE = 6  # what was to be told has been forgotten; the result says from where on it is known
REFUSED = 7  # the result says why (text); this request had no effect
STALE = 8  # it doesn't show the node's challenge, which is the result; it had no effect

MARK = 0xA2
REQUEST_BYTES = HEADER_BYTES + 4
REPLY_BYTES = HEADER_BYTES + 6
LEAST_BYTES = REPLY_BYTES + TAG_BYTES  # of any frame
MAX_REPLY = MAX_DATAGRAM - REPLY_BYTES - TAG_BYTES - ROOM  # bytes of the result in a REPLY


class Message:
    """What one node says to another. Reused: whoever keeps one copies what it needs."""

    # SNAPSHOT; here, where they take no heap for each of all the others
    offset = 0
    size = 0
    crc = 0
    data = b""

    def __init__(self):
        self.kind = 0
        self.src = 0
        self.dst = 0
        self.term = 0
        self.index = 0
        self.log_term = 0
        self.commit = 0
        self.ctx = 0
        self.entries = ()  # of (term: int, kind: int, data: bytes)


def frame_bytes(buf, at, end):
    """The length of the frame that begins at `at` in `buf`, or `end` - `at` if none does.

    For whoever has several datagrams in one piece (`udp.py`).
    """
    size = buf[at + 6] | buf[at + 7] << 8 if end - at >= HEADER_BYTES else 0
    if buf[at] != MARK or not LEAST_BYTES <= size <= end - at:
        return end - at
    return size


def heads_of(node, keys):
    """What bytes 3 to 5 are of all frames to `node` that may be sealed by `keys` (seal.Key)."""
    return [bytes((node, key.number & 0xFF, key.number >> 8)) for key in keys]


def next_frame(buf, at, end, heads):
    """Where from `at` on a frame with one of these heads may begin in `buf`; `end`: nowhere."""
    found = [buf.find(head, at + 3, end) for head in heads]
    return min([place - 3 for place in found if place >= 0] or [end])


class Codec:
    """Frames between node `node` and its peers. sessions: peer -> its `seal.Session`.

    Frames are written into `buf`; `frame(n)` is a view of its first n bytes, valid until the
    next one is written. stranger: who, without a session, claims to have sent what was refused
    last; 0: nobody. strangers, forged, repeated: how many frames were refused because there is no
    session, because of the key or the tag, or because they had been there before.
    """

    def __init__(self, node, sessions):
        self.node = node
        self.sessions = sessions
        self.stranger = 0
        self.strangers = 0
        self.forged = 0
        self.repeated = 0
        self.buf = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buf)
        self._empty = self.view[:EMPTY_BYTES]

    def frame(self, n):
        return self._empty if n == EMPTY_BYTES else self.view[:n]

    def encode(self, m):
        """Write Message `m` into the buffer; returns the frame's bytes, 0 without a session."""
        session = self.sessions.get(m.dst)
        if session is None:
            return 0
        n = PEER_BYTES
        self.buf[1] = m.kind
        if m.entries or m.kind == SNAPSHOT:
            n = self._encode_more(m, session)
        self.buf[0] = MARK
        self.buf[2] = self.node
        self.buf[3] = m.dst
        pack_into("<HH", self.buf, 4, session.key_number, n + SEAL_BYTES)
        _encode_body(self.buf, m)
        return session.close(self.buf, self.view, n)

    def _encode_more(self, m, session):
        """What follows the body; returns where that ends."""
        buf = self.buf
        n = PEER_BYTES
        for term, kind, data in m.entries:
            size = len(data)
            pack_into("<IHB", buf, n, term, size, kind)
            n += ENTRY_HEADER_BYTES
            buf[n : n + size] = data
            n += size
        if m.kind == SNAPSHOT:
            pack_into("<III", buf, n, m.offset, m.size, m.crc)
            n += PIECE_HEADER_BYTES
            buf[n : n + len(m.data)] = m.data
            n += len(m.data)
        if session.hides:
            n = session.hides.hide(buf, self.view, PEER_BYTES, n)
            buf[1] |= HIDDEN
        return n

    def decode(self, buf, m):
        """Read the frame `buf` (memoryview of what may be written) into Message `m`.

        Returns False, with nothing but `m` touched, for whatever isn't a well-formed
        message to this node from another one, as both are now, or was there before.
        """
        n = len(buf)
        if n < EMPTY_BYTES or n > MAX_DATAGRAM or buf[0] != MARK or buf[3] != self.node:
            return False
        if buf[6] | buf[7] << 8 != n:
            return False
        session = self.sessions.get(buf[2])
        if session is None:
            self.stranger = buf[2]
            self.strangers += 1
            return False
        if not session.open(buf, n):
            if session.was_there(buf, n):
                self.repeated += 1
            else:
                self.forged += 1
            return False
        if buf[1] & HIDDEN:
            return self._decode_hidden(session, buf, m)
        return parse(buf, m, PEER_BYTES, n - SEAL_BYTES)

    def _decode_hidden(self, session, buf, m):
        start, end = session.reveal(buf, PEER_BYTES, len(buf) - SEAL_BYTES)
        return start > 0 and parse(buf, m, start, end)


def _encode_body(buf, m):  # a function of its own: see seal.py
    pack_into("<IIIII", buf, HEADER_BYTES, m.term, m.index, m.log_term, m.commit, m.ctx)


def parse(buf, m, start, end):
    """Read a frame that is known to be from a peer into Message `m`.

    What follows its body lies from `start` to `end`. Returns False for what is not well-formed.
    """
    kind = m.kind = buf[1] & ~HIDDEN
    m.src = buf[2]
    m.dst = buf[3]
    # In pairs: a tuple of two lies in one block of MicroPython's heap, a longer one makes
    # it search for neighbours, which costs more than all the rest.
    m.term, m.index = unpack_from("<II", buf, 8)
    m.log_term, m.commit = unpack_from("<II", buf, 16)
    m.ctx = unpack_from("<I", buf, 24)[0]
    if kind < PRE_VOTE or kind > OUT or m.term == 0:
        return False
    if (m.term | m.index | m.log_term | m.commit | m.ctx) > MAX_NUMBER:
        return False
    if start == end:
        m.entries = ()
        return kind != SNAPSHOT
    if kind == SNAPSHOT:
        return _piece(buf, start, end, m)
    if kind != APPEND and kind != RESCUE:
        return False
    return _entries(buf, start, end, m)


def _piece(buf, at, end, m):
    start = at + PIECE_HEADER_BYTES
    if not 0 < end - start <= MAX_PIECE:
        return False
    m.entries = ()
    m.offset, m.size = unpack_from("<II", buf, at)
    m.crc = unpack_from("<I", buf, at + 8)[0]
    m.data = bytes(buf[start:end])
    return m.size <= MAX_NUMBER and m.crc <= MAX_NUMBER and m.offset + len(m.data) <= m.size


def _entries(buf, n, end, m):
    # The terms of a log never fall, and none is above the sender's own.
    out = []
    floor = m.log_term if m.kind == APPEND else 1
    while n < end:
        if n + ENTRY_HEADER_BYTES > end:
            return False
        term, size = unpack_from("<IH", buf, n)
        kind = buf[n + 6]
        n += ENTRY_HEADER_BYTES
        if term < floor or term == 0 or term > m.term or kind > CONFIG:
            return False
        if size > MAX_DATA or n + size > end:
            return False
        if kind == CONFIG and not is_valid(buf[n : n + size]):
            return False
        if m.kind == APPEND:
            floor = term
        out.append((term, kind, bytes(buf[n : n + size])))
        n += size
    m.entries = out
    return True
