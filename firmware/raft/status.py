"""What a node knows of itself. Loaded when somebody asks: a board may do without it."""

import json
import struct

from raft import interpreter
from raft.members import DEAD, LEARNER, STANDBY

PEER_BYTES = 9
LEADER_ITSELF = 255


def status(node):
    """The state of a `Node`, as a dict that JSON can carry."""
    core, store = node.core, node.store
    found = {
        "node": node.id,
        "cluster": node.cluster,
        "role": core.role_name(),
        "term": core.term,
        "leader": core.leader,
        "commit": core.commit,
        "applied": node.applied,
        "last": core.log.last,
        "last_term": core.log.last_term,
        "uptime_ms": node.events.uptime(),
        "lines_lost": node.events.lost,
        "heap_free": interpreter.free_heap(),
        "interpreter": interpreter.NAME,
        "version": node.VERSION,
        "doubt": core.doubt,
        "keys": [key.number for key in node.seal.keys],
        "flash": {
            "sectors": store.sectors,
            "used": store.used_sectors(),
            "left_out": len(store.bad),
            "snapshot": store.snapshot.index,
            "snapshot_bytes": store.snapshot.size,
            "written": store.newest + 1,
            "entries": node.appended,
            "erases": store.erases,
            "late_erases": store.late_erases,
            "programs": store.programs,
            "pages": store.pages,
            "bytes": store.bytes,
        },
        "udp": {
            "received": node.endpoint.received,
            "sent": node.endpoint.sent,
            "dropped": node.dropped + node.service.dropped + node.greeter.forged,
            "errors": node.endpoint.errors + node.service.endpoint.errors,
            "forged": node.codec.forged + node.gate.forged + node.greeter.forged,
            "repeated": node.codec.repeated + node.gate.repeated,
            "strangers": node.codec.strangers + node.gate.strangers,
            "limited": node.gate.limited,
        },
        "out": core.is_out,
        "members": _roles(core),
        "silent": {
            str(peer): core.peers[peer].silent
            for peer in core.members.voters
            if peer in core.peers and core.peers[peer].silent >= node.dead_ms
        },
    }
    for facts in node.facts:
        found.update(facts)
    return found


def packed(found):
    """A status as a reply carries it (bytes): the longest there can be fits into a datagram."""
    return json.dumps(found, separators=(",", ":")).encode()


def _roles(core):
    members = core.members
    roles = {"index": core.members_index, "voters": members.voters}
    for name, role in (("standby", STANDBY), ("learners", LEARNER), ("dead", DEAD)):
        roles[name] = [node for node in members.others if members.role(node) == role]
    return roles


def members(core):
    """The configuration, and how its members are, as the answer to MEMBERS carries them (bytes).

    u32 index of the configuration, u8 9, u16 length of the configuration, the configuration
    (members.py); from a leader then, for each member in that order, u8 state (of progress.STATES;
    255: the leader itself), u32 match index, u32 ms since it was heard.
    """
    data = core.members.data
    answer = struct.pack("<IBH", core.members_index, PEER_BYTES, len(data)) + data
    if core.leading:
        for node in core.members.ids:
            peer = core.peers.get(node)
            if peer:
                answer += struct.pack("<BII", peer.state, peer.match, peer.silent)
            else:
                answer += struct.pack("<BII", LEADER_ITSELF, core.log.durable, 0)
    return answer
