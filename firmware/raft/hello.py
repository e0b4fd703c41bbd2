"""By hellos, nodes learn each other's incarnation (seal.py), and find those whose host is "auto".

One datagram, between the client ports: where one came from is told there. After the 8 bytes with
which every frame begins (messages.py; `to` is 0 for whoever hears it):

    offset  size  what
    8       8     incarnation of the sender
    16      8     question: a nonce to be given back; zeros ask nothing
    24      8     answer: the question that this answers; zeros answer none
    32      2     the sender's port for other nodes
    34      16    tag

Whoever hears a question answers it. Neither incarnation nor address are ever taken from a question,
which somebody may have kept and sent again, from elsewhere: only from the answer to one's own
latest question to that node, and once. So a node that is asked by one that it doesn't know like
that asks back.

Nothing is sent while all is well. A node asks all others when it starts, when it has got another
address, and as long as it has no leader, which is what it notices when others have moved; and one
that it has no session with, when it hears of it or has something to tell it. A leader asks those
who leave its messages without an answer, too: they may not know it, and have no place to ask it at.
Who doesn't answer is asked again, with twice the pause each time; those whose host is "auto" by
broadcast, at each client port that the configuration names. The pause is short again after some
seconds without a question.
"""

import struct

from raft import udp
from raft.messages import HEADER_BYTES, HELLO, MARK
from raft.seal import NONCE_BYTES, TAG_BYTES, nonce
from raft.udp import AUTO, resolve, with_port

ALONE_MS = 1000  # without a leader: longer than an election takes
FIRST_PAUSE_MS = 60  # between two questions; more than a round trip
LAST_PAUSE_MS = 4000
EVERYBODY = 0
NOTHING = bytes(NONCE_BYTES)

_HELLO = "<BBBBHH8s8s8sH"
_BYTES = HEADER_BYTES + 3 * NONCE_BYTES + 2
HELLO_BYTES = _BYTES + TAG_BYTES


class Greeter:
    """Keeps the sessions of `seal`, and `addresses`, up to date.

    node: a `Node`. endpoint: of its clients. places: of all nodes, itself included, id -> (host,
    port, client port), which may change; whose host isn't "auto" stays where it is. addresses: id
    -> address of a node's port, None while it isn't known. asked: whoever hasn't answered yet ->
    the latest question to it. forged: hellos that were refused.
    """

    def __init__(self, node, seal, endpoint, places, addresses):
        self.asked = {}
        self.forged = 0
        self._node = node
        self._seal = seal
        self._endpoint = endpoint
        self._places = places
        self._addresses = addresses
        self._alone_ms = 0
        self._quiet_ms = 0  # without a question; at most LAST_PAUSE_MS
        self._since_check_ms = 0  # of who is silent
        self._key = 0  # which of the keys the next question is sealed by
        self.look()

    def look(self):
        """Ask all others who and where they are; they ask back if they don't know this one."""
        for peer in self._others():
            self.asked[peer] = NOTHING
        self._begin()

    def meet(self, peer):
        """Ask one that is in a place, and isn't known."""
        if peer in self._places and peer not in self.asked and peer != self._node.id:
            self.asked[peer] = NOTHING
            self._begin()

    def _others(self):
        return [peer for peer in self._places if peer != self._node.id]

    def _begin(self):
        self._pause_ms = FIRST_PAUSE_MS
        self._left_ms = 0  # until the next questions

    def step(self, elapsed_ms):
        """Time has gone by: ask, if it is time to."""
        was_alone = self._alone_ms >= ALONE_MS
        self._alone_ms = 0 if self._node.core.leader else min(ALONE_MS, self._alone_ms + elapsed_ms)
        is_alone = self._alone_ms >= ALONE_MS
        if is_alone and not was_alone:
            self.look()
        self._left_ms = max(0, self._left_ms - elapsed_ms)
        self._quiet_ms = min(LAST_PAUSE_MS, self._quiet_ms + elapsed_ms)
        self._since_check_ms += elapsed_ms
        if self._since_check_ms >= LAST_PAUSE_MS:
            self._since_check_ms = 0
            self._meet_silent()
        if self._left_ms or not (self.asked or is_alone):
            return
        for peer in self._others() if is_alone else ():
            self.asked[peer] = NOTHING  # who has answered may have moved since
        self._ask()
        self._quiet_ms = 0
        self._left_ms = self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, LAST_PAUSE_MS)

    def _meet_silent(self):
        """Who hasn't answered this leader of late may have a log so old that it isn't in it."""
        leading = self._node.core.leading
        if leading:
            for peer in leading.peers.values():
                if peer.silent:
                    self.meet(peer.node)

    def _ask(self):
        keys = self._seal.keys
        key = keys[self._key % len(keys)]  # while they are changed, each in turn
        self._key += 1
        question = nonce(self._node.draw)
        ports = set()
        for peer in sorted(self.asked):  # in one order, whatever the interpreter
            if peer not in self._places:
                del self.asked[peer]  # it was asked back, and is none of the others
                continue
            self.asked[peer] = question
            host, _, port = self._places[peer]
            if host == AUTO:
                ports.add(port)
            else:
                self._send(key, peer, question, NOTHING, self._client_port_of(peer))
        for port in ports:
            for host in udp.BROADCAST:
                self._send(key, EVERYBODY, question, NOTHING, resolve(host, port))

    def hear(self, frame, sender):
        """Take in a hello that came from the address `sender`; False: it is none."""
        if len(frame) != HELLO_BYTES or frame[0] != MARK or frame[1] != HELLO:
            return False
        peer = frame[2]
        key = self._seal.key(frame[4] | frame[5] << 8)
        if key is None or frame[3] not in (self._node.id, EVERYBODY) or not key.is_hello(frame):
            self.forged += 1
            return True
        if peer == self._node.id:
            return True  # a broadcast comes back
        at = HEADER_BYTES
        incarnation = frame[at : at + 8]
        question = frame[at + 8 : at + 16]
        answer = frame[at + 16 : at + 24]
        address = with_port(sender, struct.unpack_from("<H", frame, at + 24)[0])
        if answer != NOTHING and self.asked.get(peer) == answer:
            del self.asked[peer]
            self._seal.meet(key, peer, incarnation)
            self._learn(peer, address)
        back = self._question_back(peer, incarnation, address)
        if question != NOTHING:
            where = sender if self._is_auto(peer) else self._client_port_of(peer)
            self._send(key, peer, back, question, where)
        return True

    def _question_back(self, peer, incarnation, address):
        """What to ask a node that was heard like this; NOTHING if it is known."""
        is_where_it_was = not self._is_auto(peer) or self._addresses.get(peer) == address
        if is_where_it_was and self._seal.knows(peer, incarnation):
            return NOTHING
        if not self.asked:
            # An old question that somebody sends again and again would else have all boards ask
            # by broadcast, and each of them answer all others, as often.
            if self._quiet_ms == LAST_PAUSE_MS:
                self._pause_ms = FIRST_PAUSE_MS
            self._left_ms = self._pause_ms  # for the answer
        if self.asked.get(peer, NOTHING) == NOTHING:
            self.asked[peer] = nonce(self._node.draw)
        return self.asked[peer]

    def _is_auto(self, peer):
        return peer not in self._places or self._places[peer][0] == AUTO

    def _client_port_of(self, peer):
        return with_port(self._addresses[peer], self._places[peer][2])

    def _learn(self, peer, address):
        before = self._addresses.get(peer)
        if before != address and self._is_auto(peer):
            self._addresses[peer] = address
            what = "moved" if before else "found"
            self._node.events(what, peer=peer, ip=udp.host_of(address))

    def _send(self, key, peer, question, answer, address):
        codec = self._node.codec  # its buffer is free whenever a task has its turn
        n = write(
            codec, key, peer, self._seal.incarnation, question, answer, self._places[codec.node][1]
        )
        self._endpoint.send(codec.frame(n), address)


def write(codec, key, to, incarnation, question, answer, port):
    """A hello into the buffer of the codec; returns the frame's bytes."""
    struct.pack_into(
        _HELLO, codec.buf, 0, MARK, HELLO, codec.node, to, key.number, HELLO_BYTES,
        incarnation, question, answer, port,
    )  # fmt: skip
    return key.close_hello(codec.buf, codec.view, _BYTES)
