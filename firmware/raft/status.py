"""What a node knows of itself. Loaded when somebody asks: a board may do without it."""

from raft import interpreter
from raft.progress import STATES


def status(node):
    """The state of a `Node`, as a dict that JSON can carry."""
    core, store = node.core, node.store
    return {
        "node": node.id,
        "cluster": node.cluster,
        "role": core.role_name,
        "term": core.term,
        "leader": core.leader,
        "commit": core.commit,
        "applied": node.applied,
        "last": core.log.last,
        "uptime_ms": node.events.uptime(),
        "heap_free": interpreter.free_heap(),
        "interpreter": interpreter.NAME,
        "version": node.VERSION,
        "doubt": core.doubt,
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
            "dropped": node.dropped + node.service.dropped,
            "errors": node.endpoint.errors + node.service.endpoint.errors,
        },
        "peers": {
            str(peer): {
                "match": progress.match,
                "state": STATES[progress.state],
            }
            for peer, progress in core.peers.items()
        },
    }
