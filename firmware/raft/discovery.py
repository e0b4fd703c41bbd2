"""Finds the nodes whose `host` is "auto", and lets others find this one.

All by one datagram, the hello, between the client ports: where one came from is told there. After
the 8 bytes with which every frame begins (messages.py; `to` is 0 for whoever hears it):

    offset  size  what
    8       4     question: a number to be given back; 0 asks nothing
    12      4     answer: the question that this answers; 0 answers none
    16      2     the sender's port for other nodes; 0 is a client's
    18      4     seal

Who looks for others asks by broadcast, at each client port that the configuration names, and is
answered at once by whoever hears it. An address is never taken from a question, which somebody
else may have kept and sent again from elsewhere: only from the answer to the latest question to
that node, and once. So a node that is asked from an address that it doesn't know asks back.

Nothing is sent while all is well. A node looks for all others when it starts or has got another
address, and as long as it has no leader, which is what it notices when either has moved; for one
that hasn't answered, until it does; with twice the pause each time.
"""

import struct

from raft import seal, udp
from raft.interpreter import draw, sleep_ms, ticks_diff, ticks_ms
from raft.messages import HEADER_BYTES, HELLO, MARK, MAX_NUMBER
from raft.udp import AUTO, resolve, with_port

STEP_MS = 100
ALONE_MS = 1000  # without a leader: longer than an election takes
FIRST_PAUSE_MS = 250  # between two questions; more than a round trip
LAST_PAUSE_MS = 8000
EVERYBODY = 0
CLIENT = 0

_HELLO = "<BBBBHHIIH"
_BYTES = HEADER_BYTES + 10


class Discovery:
    """Keeps `addresses` (id -> address of a node's port, None while it isn't known) up to date.

    node: a `Node`. endpoint: of its clients. places: of all nodes, itself included, id -> (host,
    port, client port), which may change; whose host isn't "auto" stays where it is. asked: whoever
    hasn't answered yet -> the latest question to it.
    """

    def __init__(self, node, endpoint, places, addresses):
        self.asked = {}
        self._node = node
        self._endpoint = endpoint
        self._places = places
        self._addresses = addresses
        self._alone_ms = 0
        self.look()

    def meet(self):
        """There are other places: look for those whose address isn't known."""
        self._begin([peer for peer in self._others() if self._addresses.get(peer) is None])

    def look(self):
        """Ask all others where they are; they ask back if they don't know where this one is."""
        self._begin(self._others())

    def _others(self):
        return [peer for peer in self._places if peer != self._node.id]

    def _begin(self, peers):
        for peer in peers:
            self.asked[peer] = 0
        self._pause_ms = FIRST_PAUSE_MS
        self._left_ms = 0  # until the next question

    async def run(self):
        """Look for others whenever that is called for."""
        before = ticks_ms()
        while True:
            now = ticks_ms()
            self.step(ticks_diff(now, before))
            before = now
            await sleep_ms(STEP_MS)

    def step(self, elapsed_ms):
        """Time has gone by: ask, if it is time to."""
        was_alone = self._alone_ms >= ALONE_MS
        self._alone_ms = 0 if self._node.core.leader else min(ALONE_MS, self._alone_ms + elapsed_ms)
        is_alone = self._alone_ms >= ALONE_MS
        if is_alone and not was_alone:
            self.look()
        self._left_ms = max(0, self._left_ms - elapsed_ms)
        if self._left_ms or not (self.asked or is_alone):
            return
        for peer in self._others() if is_alone else ():
            self.asked[peer] = 0  # who has answered may have moved since
        self._ask()
        self._left_ms = self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, LAST_PAUSE_MS)

    def _ask(self):
        question = draw(1, MAX_NUMBER)
        ports = set()
        for peer in list(self.asked):
            if peer not in self._places:
                del self.asked[peer]  # it was asked back, and is none of the others
                continue
            self.asked[peer] = question
            host, _, port = self._places[peer]
            if host == AUTO:
                ports.add(port)
            else:
                self._send(peer, question, 0, with_port(self._addresses[peer], port))
        for port in ports:
            for host in udp.BROADCAST:
                self._send(EVERYBODY, question, 0, resolve(host, port))

    def hear(self, frame, sender):
        """Take in a hello that came from the address `sender`; False: it is none, or not sealed."""
        hello = read(self._node.codec, frame)
        if hello is None:
            return False
        peer, question, answer, port = hello
        if peer == self._node.id:
            return True  # a broadcast comes back
        address = with_port(sender, port)
        if answer and self.asked.get(peer) == answer:
            del self.asked[peer]
            self._learn(peer, address)
        if question:
            self._send(peer, self._question_back(peer, address), question, sender)
        return True

    def _question_back(self, peer, address):
        """What to ask a node that was heard from this address; 0: nothing."""
        if peer == CLIENT or not self._is_auto(peer) or self._addresses.get(peer) == address:
            return 0
        if not self.asked:
            self._begin((peer,))
        self._left_ms = max(self._left_ms, FIRST_PAUSE_MS)  # for the answer
        self.asked[peer] = self.asked.get(peer) or draw(1, MAX_NUMBER)
        return self.asked[peer]

    def _is_auto(self, peer):
        return peer not in self._places or self._places[peer][0] == AUTO

    def _learn(self, peer, address):
        before = self._addresses.get(peer)
        if before != address and self._is_auto(peer):
            self._addresses[peer] = address
            what = "moved" if before else "found"
            self._node.events(what, peer=peer, ip=udp.host_of(address))

    def _send(self, peer, question, answer, address):
        codec = self._node.codec  # its buffer is free whenever a task has its turn
        n = write(codec, peer, question, answer, self._places[codec.node][1])
        self._endpoint.send(codec.frame(n), address)


def write(codec, to, question, answer, port):
    """A hello into the buffer of the codec; returns the frame's bytes."""
    struct.pack_into(
        _HELLO, codec.buf, 0, MARK, HELLO, codec.node, to,
        codec.cluster, _BYTES + seal.SEAL_BYTES, question, answer, port,
    )  # fmt: skip
    return seal.close(codec.buf, codec.view, _BYTES)


def read(codec, frame):
    """(from, question, answer, port) of a hello to this node; None: `frame` (bytes) is none."""
    if len(frame) != _BYTES + seal.SEAL_BYTES or frame[0] != MARK or frame[1] != HELLO:
        return None
    if frame[3] not in (codec.node, EVERYBODY) or not seal.open(frame):
        return None
    if struct.unpack_from("<HH", frame, 4) != (codec.cluster, len(frame)):
        return None
    question, answer = struct.unpack_from("<II", frame, HEADER_BYTES)
    return frame[2], question, answer, struct.unpack_from("<H", frame, HEADER_BYTES + 8)[0]
