"""Processor time per message, in loop turns; runs under MicroPython.

`turns.py` says what a loop turn is: 400 are 4 ms on an ESP32. Measured is a Node's own path,
from the datagram's bytes to the reply's bytes; the two system calls and asyncio's wake-up are not
in it, garbage collections are: each is a mean of many, and the least of some such means, as the
turn is that it is divided by. What else the machine is busy with makes both longer.
"""

import json

from raft import messages
from raft.core import LEADER
from raft.messages import Message
from raft.node import Node
from tests.flash import RamFlash
from tests.keys import SECRET
from tests.sealing import codec_to
from tests.solo import SECTORS, offline, put
from tests.turns import clock, turn_us

ROUNDS = 8
BEATS = 4000  # of a round
RUNS = 800
VOTERS = (1, 2, 3, 4, 5)
NODES = {str(i): {"host": "127.0.0.1", "port": 0, "client_port": 0} for i in VOTERS}


class Bench:
    def __init__(self):
        config = {
            "id": 1, "cluster": "bench", "keys": [SECRET], "nodes": NODES, "state_kb": 8,
        }  # fmt: skip
        self.node = Node(config, events=lambda what, **facts: None)
        self.node.open(RamFlash(SECTORS))
        self.wire = offline(self.node)
        self.message = Message()
        self.codecs = {i: codec_to(self.node, i) for i in VOTERS if i != 1}
        self.us = 0

    def frame(self, src, kind, index, log_term, commit, ctx, entries=()):
        m = self.message
        m.kind, m.dst, m.term, m.index, m.log_term = kind, 1, 1, index, log_term
        m.commit, m.ctx, m.entries = commit, ctx, entries
        codec = self.codecs[src]
        return bytes(codec.frame(codec.encode(m)))

    def hear(self, frame):
        self.wire.inbox.append(frame)
        self.node._take_in()
        self.node._drive()

    def timed(self, function, *args):
        start = clock()  # of this process alone
        function(*args)
        self.us += (clock() - start) * 1e6

    def mean(self, runs):
        return self.us / runs

    def lead(self):
        node = self.node
        node.core.tick(1000)
        node._drive()
        for kind in (messages.PRE_VOTE_REPLY, messages.VOTE_REPLY):
            for peer in (2, 3, 4, 5):
                self.hear(self.frame(peer, kind, 1, 0, 0, 0))
        self.answer_all(1, 0)
        assert node.core.role == LEADER and node.core.commit == 1

    def answers(self, index, commit, ahead):
        number = self.node.core.leading.round + ahead
        kind = messages.APPEND_REPLY
        return [self.frame(peer, kind, index, 0, commit, number) for peer in (2, 3, 4, 5)]

    def answer_all(self, index, commit):
        for frame in self.answers(index, commit, 0):
            self.hear(frame)

    def round(self, answers):
        self.node.core.tick(50)
        self.node._drive()
        for frame in answers:
            self.hear(frame)

    def command(self, data, answers):
        self.node.core.propose(messages.COMMAND, data)
        self.node._drive()
        for frame in answers:
            self.hear(frame)


def heartbeat_leader():
    bench = Bench()
    bench.lead()
    for _ in range(BEATS):
        bench.timed(bench.round, bench.answers(1, 1, 1))
    return bench.mean(BEATS) / 4  # four peers: one heartbeat sent, one reply handled


def heartbeat_follower():
    bench = Bench()
    for i in range(BEATS):
        bench.timed(bench.hear, bench.frame(2, messages.APPEND, 0, 0, 0, i + 1))
    return bench.mean(BEATS)


def append_leader():
    bench = Bench()
    bench.lead()
    for i in range(RUNS):
        bench.timed(bench.command, put(1, i + 1), bench.answers(i + 2, i + 1, 1))
    assert bench.node.applied == RUNS + 1
    return bench.mean(RUNS)


def append_follower():
    bench = Bench()

    def take(append, commit):
        bench.hear(append)
        bench.hear(commit)

    for i in range(RUNS):
        entries = [(1, messages.COMMAND, put(1, i + 1))]
        append = bench.frame(2, messages.APPEND, i, min(i, 1), i, 2 * i + 1, entries)
        commit = bench.frame(2, messages.COMMIT, i + 1, 1, i + 1, 2 * i + 2)
        bench.timed(take, append, commit)
    assert bench.node.applied == RUNS
    return bench.mean(RUNS)


FIGURES = (
    ("cpu.heartbeat_leader.loops", heartbeat_leader),
    ("cpu.heartbeat_follower.loops", heartbeat_follower),
    ("cpu.append64_leader.loops", append_leader),
    ("cpu.append64_follower.loops", append_follower),
)


def main():
    turns = []
    times = {name: [] for name, _ in FIGURES}
    for _ in range(ROUNDS):
        turns.append(turn_us())
        for name, measure in FIGURES:
            times[name].append(measure())
    print(json.dumps({name: min(times[name]) / min(turns) for name in times}))


main()
