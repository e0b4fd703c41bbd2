"""Keys, sessions and clients for tests that make datagrams by hand; portable.

A node of a test has the incarnation `incarnation(node)`, unless it is a real `Node`, which draws
its own.
"""

import struct

from raft.access import ADMIN, OWNER, Gate, credential
from raft.calling import Caller
from raft.interpreter import draw
from raft.messages import MAX_DATAGRAM, PEER_BYTES, Codec, Message, parse
from raft.node import Node
from raft.seal import SEAL_BYTES, Key, Session, keys_of
from tests.keys import SECRET

_keys: dict[str, Key] = {}


def key(cluster: str) -> Key:
    """The key of that cluster."""
    if cluster not in _keys:
        _keys[cluster] = keys_of([SECRET], cluster)[0]
    return _keys[cluster]


def incarnation(node: int) -> bytes:
    return struct.pack("<II", node, 0)


def session(cluster: str, node: int, peer: int, is_secret: bool = False) -> Session:
    """The one that `node` has with `peer`."""
    own, other = incarnation(node), incarnation(peer)
    return Session(key(cluster), [key(cluster)], node, own, peer, other, is_secret)


class _Sessions:
    """Of a node with whomever it meets."""

    def __init__(self, cluster: str, node: int) -> None:
        self._cluster = cluster
        self._node = node
        self._known: dict[int, Session] = {}

    def get(self, peer: int) -> Session:
        if peer not in self._known:
            self._known[peer] = session(self._cluster, self._node, peer)
        return self._known[peer]


def codec(node: int, cluster: str) -> Codec:
    """Of a node that knows all others."""
    return Codec(node, _Sessions(cluster, node))


def codec_to(node: Node, peer: int) -> Codec:
    """Of a peer of that node; they know each other."""
    own, known = incarnation(peer), key(node.cluster)
    node.seal.meet(known, peer, own)
    to_node = Session(known, [known], peer, own, node.id, node.seal.incarnation, False)
    return Codec(peer, {node.id: to_node})


def opened(frame: bytes) -> Message:
    """The message in a frame, whoever it is for, and whether it was there before or not."""
    m = Message()
    assert parse(frame, m, PEER_BYTES, len(frame) - SEAL_BYTES)
    return m


def caller(cluster: str, number: int = OWNER, role: int = ADMIN, draw=draw) -> Caller:  # type: ignore[no-untyped-def]
    """A client with that credential."""
    return Caller([credential(key(cluster), number, role)], draw)


def caller_of(node: Node, role: int = ADMIN, number: int = OWNER) -> Caller:
    """A client that knows the node's challenge."""
    made = caller(node.cluster, number, role)
    introduce(made, node.id, node.gate)
    return made


def introduce(client: Caller, node: int, gate: Gate) -> None:
    """Let the client know the node's challenge."""
    client.knows(node).challenge = gate.challenge


def gate(node: int, cluster: str, secrets=(SECRET,)) -> Gate:  # type: ignore[no-untyped-def]
    """Of a node that is none beside. secrets: its keys."""
    return Gate(node, keys_of(secrets, cluster), draw, bytearray(MAX_DATAGRAM))
