"""Sound frames that no node of this cluster would send: whatever they say, they stop nobody."""

import random
import struct
from binascii import crc32
from typing import Any

import pytest

from raft import requests as encode
from raft import sessions
from raft.core import CANDIDATE, FOLLOWER, LEADER
from raft.members import DEAD, LEARNER, STANDBY, VOTER, record
from raft.messages import (
    ADMIN,
    APPEND,
    COMMAND,
    CONFIG,
    MAX_NUMBER,
    MAX_PIECE,
    MEMBERS,
    NOOP,
    OUT,
    PRE_VOTE,
    READ,
    RESCUE,
    SNAPSHOT,
    STATUS,
    WATCH,
    WRITE,
)
from tests.core.group import letter
from tests.messages.test_hostile import Target

LIVES = 20  # of a node in each role
MESSAGES = 150  # in each
MEMBERS_AND_A_STRANGER = (2, 3, 2, 3, 9)
ROLES = (VOTER, VOTER, VOTER, STANDBY, LEARNER, DEAD)


def configuration(rng: random.Random) -> bytes:
    ids = sorted(rng.sample(range(1, 9), rng.randrange(1, 6)))
    return b"".join(
        record(i, rng.choice(ROLES), rng.choice((0, 5)), f"10.0.0.{i}", 1, 2) for i in ids
    )


def some_entries(rng: random.Random, lowest: int, term: int) -> list[tuple[int, int, bytes]]:
    made = []
    for _ in range(rng.randrange(4)):
        kind = rng.choice((NOOP, COMMAND, COMMAND, COMMAND, CONFIG))
        command = sessions.command(rng.randrange(3), rng.randrange(4), bytes(rng.randrange(30)))
        data = {
            NOOP: b"",
            COMMAND: sessions.entry(rng.randrange(1 << 32), command),
            CONFIG: configuration(rng),
        }[kind]
        lowest = min(term, lowest + rng.choice((0, 0, 1)))
        made.append((max(1, lowest), kind, data))
    return made


def snapshot(rng: random.Random, index: int) -> tuple[int, int, int, bytes]:
    """All of one, as one piece."""
    chunks = [
        struct.pack("<I", rng.randrange(max(1, index))) + configuration(rng),
        struct.pack("<II", rng.randrange(1 << 20), sessions.SESSION_S),
        *(bytes((0, 1, 65 + i)) + b"v" * rng.randrange(30) for i in range(rng.randrange(4))),
    ]
    data = b"".join(struct.pack("<H", len(chunk)) + chunk for chunk in chunks)
    assert len(data) <= MAX_PIECE
    return 0, len(data), crc32(data) & MAX_NUMBER, data


def nonsense(rng: random.Random, core: Any) -> Any:
    """A message that is nearly one that might come."""
    kind = rng.randint(PRE_VOTE, OUT)
    term = max(1, core.term + rng.choice((-1, 0, 0, 0, 0, 0, 0, 0, 1)))
    index = max(0, core.log.last + rng.choice((-3, -2, -1, 0, 0, 0, 1, 2)))
    log_term = min(term, rng.choice((core.log.last_term, term, term - 1)))
    commit = max(0, core.commit + rng.choice((-1, 0, 0, 0, 1, 2)))
    latest = core.leading.round if core.leading else 3
    ctx = rng.choice((0, 1, latest, core._question, core._doubt_number))
    entries: list[tuple[int, int, bytes]] = []
    if kind in (APPEND, RESCUE):
        entries = some_entries(rng, log_term if kind == APPEND else 1, term)
    piece = snapshot(rng, index) if kind == SNAPSHOT else None
    src = rng.choice(MEMBERS_AND_A_STRANGER)
    return letter(kind, src, 1, term, index, log_term, commit, ctx, entries, piece)


def request(rng: random.Random, target: Target) -> bytes:
    """What a client may ask."""
    added = record(rng.randrange(1, 9), rng.choice((STANDBY, LEARNER)), 0, "10.0.0.1", 1, 2)
    survivors = bytes(rng.sample(range(1, 4), 2))
    orders = (b"\1" + added, bytes((rng.randint(2, 4), rng.randrange(6))), b"\5" + survivors)
    kind, payload = rng.choice(
        [
            (WRITE, sessions.OPEN),
            (READ, encode.read(encode.get_query(b"k"), rng.randrange(3))),
            (ADMIN, rng.choice(orders)),
            (WATCH, struct.pack("<IB", rng.randrange(9), 0)),
            (MEMBERS, b""),
            (STATUS, b""),
        ]
    )
    return target.request(kind, rng.randrange(MAX_NUMBER), payload)


@pytest.mark.parametrize("role", [FOLLOWER, CANDIDATE, LEADER], ids=["follower", "cand", "leader"])
def test_nothing_that_members_and_clients_say_stops_a_node(role: int) -> None:
    for seed in range(LIVES):
        rng = random.Random(seed)
        target = Target(role)
        node = target.node

        for _ in range(MESSAGES):
            if rng.random() < 0.2:
                node.core.tick(rng.choice((10, 50, 300)))
            if rng.random() < 0.1:
                node._use_quiet()
            if rng.random() < 0.3:
                target.take([request(rng, target)], target.clients, node._hear_clients)
            target.hear(nonsense(rng, node.core))

        assert node.dropped == 0
        assert 0 <= node.applied <= node.core.commit <= node.core.log.last
        assert node.store.last == node.core.log.last
