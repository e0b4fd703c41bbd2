"""Who belongs to a cluster, who of them votes, and what a majority is.

A configuration, as a log entry and a snapshot carry it, is one record per member, by rising id,
little endian:

    offset  size  what
    0       1     id: 1..254
    1       1     role: VOTER, STANDBY, LEARNER or DEAD
    2       1     priority: 0..255, of two that could lead the higher one should
    3       2     port, for other nodes
    5       2     client port
    7       1     length of the host
    8       n     host: an address, or "auto"

A majority is a strict majority of *all* voters: a dead one counts in the total and never as a
vote, or else two halves of a cluster could each elect a leader. It counts no more once it is
no voter any more, which takes a majority that is alive: see `Leading.look_after_members`.
"""

import struct

VOTER = 1
STANDBY = 2  # has no vote, and is given one when it has caught up
LEARNER = 3  # has no vote, and holds a copy of the log
DEAD = 4  # was a voter, and unheard of for too long; when it is heard again it is a STANDBY
ROLES = ("", "voter", "standby", "learner", "dead")

MAX_MEMBERS = 32
MAX_BYTES = 1000  # of a configuration

_RECORD = "<BBBHHB"
RECORD_BYTES = 8


class Members:
    """A configuration. Never changed: `changed` and `without` give another one.

    data: its bytes, which `is_valid`, or none. ids: of all members, in that order; voters, others:
    of those with and without a vote. quorum: how many voters are a majority. has_priorities:
    whether any isn't 0.
    """

    def __init__(self, data):
        self.data = data
        voters = []
        others = []
        self.has_priorities = False
        at = 0
        while at < len(data):
            if data[at + 2]:
                self.has_priorities = True
            (voters if data[at + 1] == VOTER else others).append(data[at])
            at += RECORD_BYTES + data[at + 7]
        self.voters = tuple(voters)
        self.others = tuple(others)
        self.ids = tuple(sorted(voters + others))
        self.quorum = len(voters) // 2 + 1
        self._sorted = [0] * len(voters)  # reused

    def agreed(self, value):
        """The highest number that a majority has reached; `value(node id)` is one voter's.

        Match indexes give the commit index, rounds heard give the confirmed round
        (Raft paper, figure 2: "a majority of matchIndex[i] >= N").
        """
        ranked = self._sorted
        for i in range(len(ranked)):
            ranked[i] = value(self.voters[i])
        ranked.sort()
        return ranked[-self.quorum]

    def role(self, node):
        """Its role, 0 of whoever is no member."""
        at = self._find(node)
        return 0 if at is None else self.data[at + 1]

    def priority(self, node):
        at = self._find(node)
        return 0 if at is None else self.data[at + 2]

    def place(self, node):
        """(host, port, client port) of a member."""
        at = self._find(node)
        port, client_port = struct.unpack_from("<HH", self.data, at + 3)
        start = at + RECORD_BYTES
        return self.data[start : start + self.data[at + 7]].decode(), port, client_port

    def with_role(self, node, role):
        """The same configuration but for the role of one member: its bytes."""
        at = self._find(node)
        return self.data[: at + 1] + bytes((role,)) + self.data[at + 2 :]

    def with_member(self, new):
        """The same configuration with one more member, or another record of one: its bytes."""
        data = self.without(new[0])
        at = 0
        while at < len(data) and data[at] < new[0]:
            at += RECORD_BYTES + data[at + 7]
        return data[:at] + new + data[at:]

    def without(self, node):
        """The same configuration without one member: its bytes."""
        at = self._find(node)
        if at is None:
            return self.data
        return self.data[:at] + self.data[at + RECORD_BYTES + self.data[at + 7] :]

    def _find(self, node):
        data = self.data
        at = 0
        while at < len(data):
            if data[at] == node:
                return at
            at += RECORD_BYTES + data[at + 7]
        return None


def record(node, role, priority=0, host="", port=0, client_port=0):
    """One member's part of a configuration (bytes)."""
    host = host.encode()
    return struct.pack(_RECORD, node, role, priority, port, client_port, len(host)) + host


def founders(voters):
    """The configuration of a cluster of these voters, whose places are known otherwise."""
    return Members(b"".join([record(node, VOTER) for node in sorted(voters)]))


def is_valid(data):
    """Whether these bytes are a configuration; the empty one is none."""
    at = count = before = 0
    n = len(data)
    while at < n:
        if at + RECORD_BYTES > n or not before < data[at] < 255:
            return False
        if not VOTER <= data[at + 1] <= DEAD:
            return False
        before = data[at]
        at += RECORD_BYTES + data[at + 7]
        count += 1
    return at == n and 0 < count <= MAX_MEMBERS and n <= MAX_BYTES
