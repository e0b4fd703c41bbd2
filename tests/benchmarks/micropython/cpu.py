"""Processor time per message, in loop turns; runs under MicroPython.

`turns.py` says what a loop turn is: 400 are 4 ms on an ESP32. Measured is a Node's own path,
from the datagram's bytes to the reply's bytes, and of that what sealing and opening takes; the two
system calls and asyncio's wake-up are not in it. Each figure is the mean of the middle half of many
runs, the least of some such means, divided by the least of some turns: what else the machine is
busy with makes both longer. To that comes a run's share of a garbage collection.
"""

import gc
import json
import struct
import time

from raft import messages
from raft.core import LEADER
from raft.messages import EMPTY_BYTES, MAX_DATAGRAM, PEER_BYTES, Message
from raft.node import Node
from raft.seal import SEAL_BYTES
from tests.flash import RamFlash
from tests.keys import SECRET
from tests.sealing import codec_to, session
from tests.solo import SECTORS, offline, put
from tests.turns import turn_us

ROUNDS = 6
RUNS = 1200  # of a round
COUNTED = 40  # runs whose garbage is counted
APPEND_BYTES = 1200
VOTERS = (1, 2, 3, 4, 5)
NODES = {str(i): {"host": "127.0.0.1", "port": 0, "client_port": 0} for i in VOTERS}


class Bench:
    """Node 1 of five, and what the others say to it. each: what a run has of what is measured."""

    each = 1

    def __init__(self):
        config = {
            "id": 1, "cluster": "bench", "keys": [SECRET], "nodes": NODES, "state_kb": 8,
        }  # fmt: skip
        self.node = Node(config, events=lambda what, **facts: None)
        self.node.open(RamFlash(SECTORS))
        self.wire = offline(self.node)
        self.message = Message()
        self.codecs = {i: codec_to(self.node, i) for i in VOTERS if i != 1}

    def frame(self, src, kind, index, log_term, commit, ctx, entries=()):
        m = self.message
        m.kind, m.dst, m.term, m.index, m.log_term = kind, 1, 1, index, log_term
        m.commit, m.ctx, m.entries = commit, ctx, entries
        codec = self.codecs[src]
        return bytes(codec.frame(codec.encode(m)))

    def answers(self, index, commit, ahead):
        number = self.node.core.leading.round + ahead
        kind = messages.APPEND_REPLY
        return [self.frame(peer, kind, index, 0, commit, number) for peer in (2, 3, 4, 5)]

    def hear(self, frames):
        for frame in frames:
            self.wire.inbox.append(frame)
            self.node._take_in()
            self.node._drive()

    def lead(self):
        node = self.node
        node.core.tick(1000)
        node._drive()
        for kind in (messages.PRE_VOTE_REPLY, messages.VOTE_REPLY):
            self.hear([self.frame(peer, kind, 1, 0, 0, 0) for peer in (2, 3, 4, 5)])
        self.hear(self.answers(1, 0, 0))
        assert node.core.role == LEADER and node.core.commit == 1


class HeartbeatLeader(Bench):
    each = 4  # peers: one heartbeat sent, one reply handled

    def __init__(self):
        super().__init__()
        self.lead()

    def make(self, i):
        return self.answers(1, 1, 1)

    def run(self, answers):
        self.node.core.tick(50)
        self.node._drive()
        self.hear(answers)


class HeartbeatFollower(Bench):
    def make(self, i):
        return [self.frame(2, messages.APPEND, 0, 0, 0, i + 1)]

    def run(self, frames):
        self.hear(frames)


class AppendLeader(Bench):
    def __init__(self):
        super().__init__()
        self.lead()

    def make(self, i):
        return put(1, i + 1), self.answers(i + 2, i + 1, 1)

    def run(self, made):
        command, answers = made
        self.node.core.propose(messages.COMMAND, command)
        self.node._drive()
        self.hear(answers)
        assert self.node.applied == self.node.core.log.last


class AppendFollower(Bench):
    def make(self, i):
        entries = [(1, messages.COMMAND, put(1, i + 1))]
        append = self.frame(2, messages.APPEND, i, min(i, 1), i, 2 * i + 1, entries)
        return append, self.frame(2, messages.COMMIT, i + 1, 1, i + 1, 2 * i + 2)

    def run(self, frames):
        self.hear(frames)
        assert self.node.applied == self.node.core.log.last


class Sealing:
    """One node seals for another. size: bytes of a datagram, less what is added to hide it."""

    each = 1

    def __init__(self, size, is_secret=False):
        self.sender = session("bench", 1, 2, is_secret)
        self.receiver = session("bench", 2, 1, is_secret)
        self.buf = bytearray(MAX_DATAGRAM)
        self.view = memoryview(self.buf)
        struct.pack_into("<H", self.buf, 4, self.sender.key_number)
        self.size = size

    def make(self, i):
        return None

    def run(self, _):
        return self.seal()

    def seal(self):
        n = self.size - SEAL_BYTES
        if self.sender.hides:
            n = self.sender.hides.hide(self.buf, self.view, PEER_BYTES, n)
        return self.sender.close(self.buf, self.view, n)


class Opening(Sealing):
    def make(self, i):
        return self.view[: self.seal()]

    def run(self, frame):
        n = len(frame)
        if not self.receiver.open(frame, n):
            raise AssertionError("it can't be opened")
        if self.sender.hides:
            self.receiver.reveal(frame, PEER_BYTES, n - SEAL_BYTES)


FIGURES = (
    ("cpu.heartbeat_leader", HeartbeatLeader, ()),
    ("cpu.heartbeat_follower", HeartbeatFollower, ()),
    ("cpu.append64_leader", AppendLeader, ()),
    ("cpu.append64_follower", AppendFollower, ()),
    ("cpu.seal", Sealing, (EMPTY_BYTES,)),
    ("cpu.open", Opening, (EMPTY_BYTES,)),
    ("cpu.seal1200", Sealing, (APPEND_BYTES,)),
    ("cpu.open1200", Opening, (APPEND_BYTES,)),
    ("cpu.seal1200_secret", Sealing, (APPEND_BYTES, True)),
    ("cpu.open1200_secret", Opening, (APPEND_BYTES, True)),
)


def run_us(bench):
    times = [0] * RUNS
    for i in range(RUNS):
        made = bench.make(i)
        start = time.ticks_us()
        bench.run(made)
        times[i] = time.ticks_diff(time.ticks_us(), start)
    times.sort()
    middle = times[RUNS // 4 : RUNS - RUNS // 4]
    return sum(middle) / len(middle)


def garbage(bench):
    """Bytes of the heap that a run takes."""
    taken = 0
    for i in range(RUNS, RUNS + COUNTED):
        made = bench.make(i)
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        bench.run(made)
        taken += gc.mem_alloc() - before
        gc.enable()
    return taken / COUNTED


def collection_us():
    """Per byte of garbage."""
    gc.collect()
    free = gc.mem_free()
    start = time.ticks_us()
    gc.collect()
    return time.ticks_diff(time.ticks_us(), start) / free


def main():
    turns = []
    times = {name: [] for name, _, _ in FIGURES}
    taken = {}
    collections = []
    for _ in range(ROUNDS):
        turns.append(turn_us())
        for name, kind, options in FIGURES:
            bench = kind(*options)
            times[name].append(run_us(bench) / bench.each)
            taken[name] = garbage(bench) / bench.each
            collections.append(collection_us())
    figures = {}
    for name in times:
        us = min(times[name]) + taken[name] * min(collections)
        figures[name + ".loops"] = us / min(turns)
        figures[name + ".garbage_bytes"] = taken[name]
    print(json.dumps(figures))


main()
