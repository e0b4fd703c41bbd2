"""Datagrams of a simulated cluster: told for people, and spoilt; portable."""

from raft.messages import EMPTY_BYTES, PEER_BYTES, Message, parse
from raft.seal import SEAL_BYTES
from tests.cluster.clients import CLIENT, CLIENTS
from tests.dice import Dice

CUT_OFF = 256  # of a datagram that ends too early: no byte


def spoilt_at(data: bytes, dice: Dice) -> tuple[int, int]:
    """Where a datagram is cut off, or a byte changed, and what that has become: see `garbled`."""
    at = dice.below(len(data))
    return (at, CUT_OFF) if dice.one_in(4) else (at, dice.below(256))


def garbled(data: bytes, at: int, byte: int) -> bytes:
    """A datagram that has been cut off, or in which a byte has changed."""
    return data[:at] if byte == CUT_OFF else data[:at] + bytes((byte,)) + data[at + 1 :]


def describe_kind(sender: tuple[int, int], to: tuple[int, int], data: bytes) -> str:
    """What sort of a datagram it is, whoever sends it."""
    if to[1] == CLIENT:
        return "reply"
    if sender[1] == CLIENT:
        return "request"
    if to[1] == CLIENTS:
        return "hello"
    m = Message()
    is_one = parse(data, m, PEER_BYTES, len(data) - SEAL_BYTES)
    return KINDS[m.kind] if is_one else "what is no message"


def describe(data: bytes) -> str:
    """A datagram between nodes, readable."""
    m = Message()
    if len(data) < EMPTY_BYTES or not parse(data, m, PEER_BYTES, len(data) - SEAL_BYTES):
        return "what is no message arrives"
    entries: list[tuple[int, int, bytes]] = list(m.entries)
    return "n%d <- n%d %s t%d i%d/%d c%d r%d%s" % (
        m.dst, m.src, KINDS[m.kind], m.term, m.index, m.log_term, m.commit, m.ctx,
        "".join(" e%d" % entry[0] for entry in entries),
    )  # fmt: skip


KINDS = (
    "", "pre-vote?", "pre-vote", "vote?", "vote", "append", "commit", "accepted", "rejected",
    "rescue", "snapshot", "piece held", "trust", "held", "not held", "stand!", "read?",
    "read from", "out",
)  # fmt: skip
