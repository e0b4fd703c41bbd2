"""What a node does for clients: their commands, reads and questions after its state."""

import json

from raft import messages
from raft.core import LEADER, Busy, NotLeader, Refused, TooLong

MAX_WAITING = 128  # commands, and reads, that may wait at one time
MAX_REQUEST = 1160  # bytes: the longest command is a cas of a key of 64 and a value of 1,024

_STATUS = {
    NotLeader: messages.NOT_LEADER,
    Busy: messages.BUSY,
    TooLong: messages.BAD,
}


class Service:
    """Serves the clients of `node`, and answers through its codec and `endpoint`."""

    def __init__(self, node, endpoint):
        self._node = node
        self._core = node.core
        self._machine = node.machine
        self._codec = node.codec
        self.endpoint = endpoint
        self._writes = {}  # index -> (term, client): commands in the log that wait
        self._clients = {}  # client -> index: so that a copy isn't proposed again
        self._reads = []  # (client, query): asked for, not yet confirmed
        self.reads_wait = []  # (index, client, query): confirmed, until that index is applied
        self.dropped = 0

    def receive(self, most):
        """Take in up to `most` waiting requests."""
        for _ in range(most):
            datagram = self.endpoint.receive_from(MAX_REQUEST)
            if datagram is None:
                return
            data, sender = datagram
            if not isinstance(sender, tuple):
                sender = bytes(sender)  # the unix port's raw address, made hashable
            request = self._codec.decode_request(data)
            if request is None:
                self.dropped += 1
                continue
            kind, number, payload = request
            client = (sender, number)
            if kind == messages.WRITE:
                self._write(client, bytes(payload))
            elif kind == messages.READ:
                self._read(client, bytes(payload))
            else:
                self._reply(client, messages.OK, self._status())

    def _status(self):
        from raft.status import status

        return json.dumps(status(self._node)).encode()

    def applied(self, index, term, result):
        """The command at `index` is applied: answer whoever waits for it."""
        waiting = self._writes.pop(index, None)
        if waiting is None:
            return
        proposed_in, client = waiting
        del self._clients[client]
        if proposed_in == term:
            self._reply(client, messages.OK, result)
        else:
            self._reply(client, messages.LOST)

    def confirmed(self, reads):
        """These (token, index) may be answered once `index` is applied."""
        for token, index in reads:
            self._reads.remove(token)
            self.reads_wait.append((index, token[0], token[1]))

    def answer_reads(self):
        """Answer the confirmed reads whose index is applied."""
        applied = self._node.applied
        while self.reads_wait and self.reads_wait[0][0] <= applied:
            _, client, query = self.reads_wait.pop(0)
            answer = self._machine.machine.query(query)
            if answer is None:
                self._reply(client, messages.BAD)
            else:
                self._reply(client, messages.OK, answer)

    def lost_leadership(self):
        """What waits for a commit has an open outcome. Reads wait for the next leader."""
        for index in sorted(self._writes):  # a dictionary's order is the interpreter's
            self._reply(self._writes[index][1], messages.LOST)
        self._writes.clear()
        self._clients.clear()

    def _write(self, client, data):
        if client in self._clients:
            return  # a copy of one that waits
        if self._core.role != LEADER:  # before all else: another node may see it differently
            return self._reply(client, messages.NOT_LEADER)
        if not self._machine.is_valid(data):
            return self._reply(client, messages.BAD)
        result = self._machine.known_result(data)
        if result is not None:
            return self._reply(client, messages.OK, result)
        if not self._machine.room_for(data):
            return self._reply(client, messages.STATE_FULL)
        if len(self._writes) >= MAX_WAITING:
            return self._reply(client, messages.BUSY)
        try:
            index = self._core.propose(messages.COMMAND, data)
        except Refused as e:
            return self._reply(client, _STATUS[type(e)])
        self._writes[index] = (self._core.term, client)
        self._clients[client] = index

    def _read(self, client, query):
        token = (client, query)
        if token in self._reads:
            return  # a copy of one that waits
        if len(self._reads) + len(self.reads_wait) >= MAX_WAITING:
            return self._reply(client, messages.BUSY)
        try:
            self._core.read(token)
        except NotLeader:
            return self._reply(client, messages.NOT_LEADER)
        self._reads.append(token)

    def _reply(self, client, status, result=b""):
        sender, number = client
        n = self._codec.reply(number, status, self._core.leader, result)
        self.endpoint.send(self._codec.frame(n), sender)
