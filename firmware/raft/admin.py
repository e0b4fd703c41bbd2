"""Changes of members and leader, as a client asks for them. Loaded when somebody does.

An order, behind the header of a client's ADMIN frame:

    ADD       u8 1, a member's record (members.py) as STANDBY or LEARNER; of one that is a
              member already, priority and place are changed, and its role stays
    REMOVE    u8 2, u8 id
    PROMOTE   u8 3, u8 id: a learner is to become a voter as soon as it has caught up
    TRANSFER  u8 4, u8 id of the next leader, 0: whoever is fit
    RECOVER   u8 5, u8 id, ...: to a node without a leader: go on with these members alone
"""

from raft.core import NotLeader, Refused
from raft.members import DEAD, LEARNER, RECORD_BYTES, STANDBY, VOTER, Members, is_valid
from raft.udp import AUTO

ADD = 1
REMOVE = 2
PROMOTE = 3
TRANSFER = 4
RECOVER = 5


class Senseless(Exception):
    """These bytes are no order."""


def execute(core, order):
    """Do what `order` (bytes) says; returns the index of the entry to wait for, or 0: none.

    Raises Senseless, and what `Core.change`, `transfer` and `recover` raise.
    """
    op, rest = order[0] if order else 0, order[1:]
    if op == RECOVER and rest:
        return _recover(core, rest)
    if ADD <= op <= TRANSFER and not core.leading:
        raise NotLeader
    if op == ADD and is_valid(rest) and len(rest) == RECORD_BYTES + rest[7]:
        return _add(core, rest)
    if len(rest) != 1 or not REMOVE <= op <= TRANSFER:
        raise Senseless
    node = rest[0]
    if op == TRANSFER:
        if node != core.node:
            core.transfer(node)
        return 0
    members = core.members
    if op == REMOVE:
        return _change(core, members.without(node))
    role = members.role(node)
    if not role:
        raise Refused("node %d is no member: add it first" % node)
    return _change(core, members.with_role(node, STANDBY) if role != VOTER else members.data)


def _change(core, data):
    if data == core.members.data:
        return core.members_index  # as it is, or is about to be
    return core.change(data)


def _add(core, record):
    members = core.members
    role = members.role(record[0])
    if role:
        record = record[:1] + bytes((role,)) + record[2:]
    elif record[1] not in (STANDBY, LEARNER):
        raise Senseless
    if not _is_host(record[RECORD_BYTES:]):
        raise Refused("its host is no IP address and not %s" % AUTO)
    data = members.with_member(record)
    if not is_valid(data):
        raise Refused("the configuration is full: remove a member, or give shorter hosts")
    return _change(core, data)


def _is_host(host):
    """Whether every node can send there at once: to look up a name may take seconds, and fail."""
    if not host or host == AUTO.encode():
        return True  # known otherwise, or to be found
    parts = host.split(b".")
    return len(parts) == 4 and all([p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts])


def _recover(core, survivors):
    members = core.members
    if core.node not in survivors:
        raise Refused("node %d would not be one of these itself: ask a survivor" % core.node)
    for node in members.ids:
        if node not in survivors:
            members = Members(members.without(node))
        elif members.role(node) in (STANDBY, DEAD):
            members = Members(members.with_role(node, VOTER))
    if not members.voters or len(members.ids) != len(survivors):
        raise Refused("not all of these nodes are members, or none of them is a voter")
    core.recover(members.data)
    return core.members_index
