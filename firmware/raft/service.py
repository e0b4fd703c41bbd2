"""What a node does for clients: their commands, reads and questions after its state."""

import struct

from raft import messages
from raft.access import ROLES, TOO_OFTEN, UNKNOWN, role_for
from raft.core import LEADER, Busy, HandingOver, NotLeader, Refused, TooLong
from raft.interpreter import ticks_diff
from raft.sessions import SESSION_S, entry

MAX_WAITING = 128  # commands, and reads, that may wait at one time
MAX_WAITING_BYTES = 8192  # of such commands and queries
BURST_MS = 10  # for requests, until peers have their turn
MAX_REQUEST = 1225  # bytes: the longest command is a cas of a key of 64 and a value of 1,024

_STATUS = {
    NotLeader: messages.NOT_LEADER,
    Busy: messages.BUSY,
    TooLong: messages.BAD,
    Refused: messages.REFUSED,
}


class Service:
    """Serves the clients of `node`, and answers through its gate and `endpoint`."""

    def __init__(self, node, endpoint, session_s=SESSION_S):
        self._node = node
        self._core = node.core
        self._session_s = session_s
        self._machine = node.sessions
        self._gate = node.gate
        self.endpoint = endpoint
        self._writes = {}  # index -> (term, client): commands in the log that wait
        self._clients = {}  # client -> index: so that a copy isn't proposed again
        self._reads = []  # (client, query): asked for, not yet confirmed
        self.reads_wait = []  # (index, client, query): confirmed, until that index is applied
        # (client, command; None if it is in the log; False if it is the wish for another leader):
        # until it is known who leads next
        self.held = []
        self.dropped = 0
        self.watching = None  # nobody has asked yet

    def receive(self, most):
        """Take in up to `most` waiting requests, or as many as BURST_MS are enough for."""
        node = self._node
        node.pass_time()
        began = node.now
        for _ in range(most):
            if ticks_diff(node.now, began) >= BURST_MS:
                return
            datagram = self.endpoint.receive_from(MAX_REQUEST)
            if datagram is None:
                return
            data, sender = datagram
            if not isinstance(sender, tuple):
                sender = bytes(sender)  # the unix port's raw address, made hashable
            if node.greeter.hear(data, sender):
                continue
            request = self._gate.hear(data, node.now)
            if request is None:
                self.dropped += 1
            else:
                node.pass_time()
                self._take(sender, *request)

    def _take(self, sender, kind, number, payload, guest):
        client = (sender, number, guest)
        if kind == UNKNOWN:
            self._reply(client, messages.STALE, self._gate.challenge)
        elif kind == TOO_OFTEN:
            self._reply(client, messages.BUSY)
        elif guest[0].role < role_for(kind):
            roles = ROLES[guest[0].role], ROLES[role_for(kind)]
            why = "the credential's role is %s, and this needs %s" % roles
            self._reply(client, messages.REFUSED, why.encode())
        elif kind == messages.WRITE:
            self._write(client, bytes(payload))
        elif kind == messages.READ:
            self._read(client, bytes(payload))
        elif kind == messages.WATCH:
            self._watch(client, bytes(payload))
        elif kind == messages.ADMIN:
            self._order(client, bytes(payload))
        else:
            self._tell(client, kind)

    def _tell(self, client, kind):
        from raft import status

        if kind == messages.STATUS:
            answer = status.packed(status.status(self._node))
        else:
            answer = status.members(self._core)
        self._reply(client, messages.OK, answer)

    def applied(self, index, term, result):
        """The entry at `index` is applied: answer whoever waits for it."""
        core = self._core
        if core.leading and core.term == term:
            core.leading.set_time(self._machine.time)
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
        if not self._node.compaction.restored:
            return  # a snapshot is being read back: the machine's state is none that ever was
        applied = self._node.applied
        while self.reads_wait and self.reads_wait[0][0] <= applied:
            _, client, query = self.reads_wait.pop(0)
            self._answer(client, query)

    def drop_reads(self):
        """This node is out: no leader will answer it, nor bring it what it would have to apply."""
        self._core.drop_reads()
        for client, _ in self._reads:
            self._reply(client, messages.NOT_LEADER)
        for _, client, _ in self.reads_wait:
            self._reply(client, messages.NOT_LEADER)
        self._reads.clear()
        self.reads_wait.clear()

    def lost_leadership(self):
        """What waits for a commit has an open outcome: told when there is another leader.

        Reads wait for that one, too.
        """
        for index in sorted(self._writes):  # a dictionary's order is the interpreter's
            self._hold(self._writes[index][1], None)
        self._writes.clear()
        self._clients.clear()

    def _hold(self, client, command):
        if not _is_full([held for _, held in self.held], command):
            self.held.append((client, command))
        else:
            self._reply(client, messages.LOST if command is None else messages.BUSY)

    def settle(self):
        """Leadership may have moved, or stayed: answer who has waited for that."""
        core = self._core
        leading = core.leading
        if leading and leading.successor or not (leading or core.leader or self._is_leaving()):
            return
        held, self.held = self.held, []
        for client, command in held:
            if command is None:
                self._reply(client, messages.LOST)
            elif command is False and leading:
                self._reply(client, messages.REFUSED, b"it wasn't elected in time: try again")
            elif command is False:
                self._reply(client, messages.OK)
            elif leading:
                self._write(client, command)
            else:
                self._reply(client, messages.NOT_LEADER)

    def _is_leaving(self):
        # Nobody will tell a node that has led, and is no member any more, who leads next.
        return self._core.successor and self._core.node not in self._core.members.ids

    def _write(self, client, data):
        if client in self._clients:
            return  # a copy of one that waits
        if self._core.role != LEADER:  # before all else: another node may see it differently
            return self._reply(client, messages.NOT_LEADER)
        if not self._machine.is_valid(data):
            return self._reply(client, messages.BAD)
        number = client[2][0].number  # of the credential
        if self._machine.opened_by(data) not in (None, number):
            return self._reply(client, messages.REFUSED, b"another client has opened this session")
        result = self._machine.known_result(data)
        if result is not None:
            return self._reply(client, messages.OK, result)
        if not self._machine.room_for(data):
            return self._reply(client, messages.STATE_FULL)
        if len(self._writes) >= MAX_WAITING:
            return self._reply(client, messages.BUSY)
        try:
            stamped = entry(self._core.leading.stamp(), data, self._session_s, number)
            index = self._core.propose(messages.COMMAND, stamped)
        except HandingOver:
            return self._hold(client, data)
        except Refused as e:
            return self._refuse(client, e)
        self._wait_for(index, client)

    def _refuse(self, client, error):
        status = _STATUS[type(error)]
        self._reply(client, status, str(error).encode() if status == messages.REFUSED else b"")

    def _wait_for(self, index, client):
        """Answer when the entry at `index` is applied."""
        self._writes[index] = (self._core.term, client)
        self._clients[client] = index

    def _order(self, client, order):
        from raft import admin

        if client in self._clients or (client, False) in self.held:
            return  # a copy of one that waits
        try:
            index = admin.execute(self._core, order)
        except admin.Senseless:
            return self._reply(client, messages.BAD)
        except Refused as e:
            return self._refuse(client, e)
        if self._core.leading and self._core.leading.successor:
            self._hold(client, False)
        elif index <= self._node.applied:
            self._reply(client, messages.OK)
        elif index in self._writes:
            self._reply(client, messages.BUSY)  # somebody else waits for the same
        else:
            self._wait_for(index, client)

    def _read(self, client, payload):
        how, query = payload[0] if payload else messages.LOCAL, payload[1:]
        if how > messages.LOCAL:
            return self._reply(client, messages.BAD)
        if how == messages.LOCAL:
            return self._read_here(client, query)
        if how == messages.LEADER and self._core.role != LEADER:
            return self._reply(client, messages.NOT_LEADER)
        token = (client, query)
        if token in self._reads:
            return  # a copy of one that waits
        waiting = [read[1] for read in self._reads] + [read[2] for read in self.reads_wait]
        if _is_full(waiting, query):
            return self._reply(client, messages.BUSY)
        try:
            self._core.read(token)
        except NotLeader:
            return self._reply(client, messages.NOT_LEADER)
        self._reads.append(token)

    def _watch(self, client, question):
        if self.watching is None:
            from raft.watching import Watching

            self.watching = Watching(self._node, self._reply)
        self.watching.ask(client, question)

    def _read_here(self, client, query):
        if not self._node.compaction.restored:
            return self._reply(client, messages.BUSY)  # its copy isn't whole yet
        age = struct.pack("<I", self._node.age_ms())
        self._answer(client, query, age)

    def _answer(self, client, query, before=b""):
        answer = self._machine.machine.query(query)
        if answer is None or len(before) + len(answer) > messages.MAX_REPLY:
            self._reply(client, messages.BAD)
        else:
            self._reply(client, messages.OK, before + answer)

    def _reply(self, client, status, result=b""):
        sender, number, guest = client
        leader = self._core.leader or self._core.successor
        n = self._gate.reply(guest, number, status, leader, result)
        self.endpoint.send(self._gate.frame(n), sender)


def _is_full(waiting, new):
    """Whether one more is too much to wait. Of each its bytes, or what has none."""
    total = sum([len(data) for data in waiting + [new] if data])
    return len(waiting) >= MAX_WAITING or total > MAX_WAITING_BYTES
