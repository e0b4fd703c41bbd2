"""Who belongs to a cluster, as its nodes tell it (firmware/raft/status.py)."""

# mypy: allow-untyped-calls

import struct
from dataclasses import dataclass

from host_tools.firmware import members

STATES = ("probe", "replicate", "snapshot")
LEADER = 255  # in place of the state of a peer

_HEAD = "<IBH"  # index of the configuration, bytes of one member's progress, of the configuration
_PROGRESS = "<BII"


@dataclass(frozen=True)
class Known:
    """A member. role: voter, standby, learner or dead (firmware/raft/members.py).

    From a leader: state (of STATES; empty for itself), match (how far it is known to hold the
    leader's log) and heard_ms ago. None of these from others.
    """

    id: int
    role: str
    priority: int
    host: str
    port: int
    client_port: int
    state: str | None = None
    match: int | None = None
    heard_ms: int | None = None


@dataclass(frozen=True)
class Membership:
    """index: of the configuration. leader: the node that leads, if it has told this itself, or 0.

    nodes: the members, by id; none if the node that was asked waits to be added.
    """

    index: int
    leader: int
    nodes: dict[int, Known]

    @property
    def voters(self) -> list[int]:
        voter = members.ROLES[members.VOTER]
        return [node for node, member in self.nodes.items() if member.role == voter]

    def behind(self, node: int) -> int | None:
        """How many entries that node lacks of what the leader has."""
        match = self.nodes[node].match
        return None if match is None else max(m.match or 0 for m in self.nodes.values()) - match


def read(node: int, answer: bytes) -> Membership:
    """What `node` has answered to MEMBERS."""
    index, step, size = struct.unpack_from(_HEAD, answer)
    start = struct.calcsize(_HEAD)
    configuration = members.Members(answer[start : start + size])
    progress = answer[start + size :]
    found = {}
    for position, i in enumerate(configuration.ids):
        facts = struct.unpack_from(_PROGRESS, progress, position * step) if progress else ()
        role = members.ROLES[configuration.role(i)]
        place = configuration.place(i)
        found[i] = Known(i, role, configuration.priority(i), *place, *_told(*facts))
    return Membership(index, node if progress else 0, found)


def _told(*facts: int) -> tuple[str, int, int] | tuple[()]:
    if not facts:
        return ()
    state, match, heard_ms = facts
    return ("" if state == LEADER else STATES[state]), match, heard_ms
