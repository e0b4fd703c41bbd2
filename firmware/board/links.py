"""Measures the links to the other nodes: what a datagram and its answer take.

Loaded when somebody asks (board/console.py). A probe is a WRITE of no bytes at all to a node's
client port: a follower answers NOT_LEADER to it, a leader BAD, and who doesn't know this client
yet STALE, at once and without any effect (raft/service.py). So what is measured is what a heartbeat
and its answer would take, the time in which the other node does something else included.
"""

import asyncio

from raft.calling import caller_of
from raft.interpreter import sleep_ms, ticks_diff, ticks_ms
from raft.messages import WRITE
from raft.udp import Endpoint

PROBES = 20  # to each node
EVERY_MS = 50  # to the same node; as often as a leader's heartbeats
MOST_MS = 2000  # for all of it; what hasn't come by then is lost
LOOK_MS = 20
REPLY_BYTES = 64  # more than there are in an answer


async def measure(node, events):
    """Probe all other nodes, and tell a `link` event of each.

    Then a `links` event says that this was all. The node goes on meanwhile; None: there is none
    yet. Raises OSError.
    """
    links = {peer: _Link(node.client_address(peer)) for peer in (node.others() if node else ())}
    endpoint = Endpoint(None)
    caller = caller_of(node) if links else None
    hearing = asyncio.create_task(endpoint.serve(lambda: _hear(endpoint, caller, links)))
    try:
        await _probe(endpoint, caller, links)
    finally:
        hearing.cancel()
        await sleep_ms(0)  # it lets go of the socket
        endpoint.close()
    for peer in sorted(links):
        events("link", peer=peer, **links[peer].facts())
    events("links", peers=len(links))


async def _probe(endpoint, caller, links):
    begun = ticks_ms()
    for number in range(PROBES):
        for peer in links:
            # One at a time: a socket keeps no more than six answers.
            links[peer].probe(endpoint, caller, peer, number)
            await sleep_ms(EVERY_MS // len(links))
    while any(links[peer].waits for peer in links) and ticks_diff(ticks_ms(), begun) < MOST_MS:
        await sleep_ms(LOOK_MS)


def _hear(endpoint, caller, links):
    """Take in all answers that wait."""
    now = ticks_ms()
    received = endpoint.receive_from(REPLY_BYTES)
    while received:
        reply = caller.read(received[0])
        if reply and reply[0] in links:
            links[reply[0]].answered(reply[1], now)
        received = endpoint.receive_from(REPLY_BYTES)


class _Link:
    """The probes to one node; without an address, none comes there. waits: for how many answers."""

    def __init__(self, address):
        self.waits = 0
        self._address = address
        self._sent = []  # when, by its number; None: it has its answer
        self._took = []  # ms, of those that have

    def probe(self, endpoint, caller, peer, number):
        self.waits += 1
        self._sent.append(ticks_ms())
        if self._address:
            endpoint.send(caller.frame(caller.request(peer, WRITE, number)), self._address)

    def answered(self, number, now):
        if number < len(self._sent) and self._sent[number] is not None:
            self.waits -= 1
            self._took.append(ticks_diff(now, self._sent[number]))
            self._sent[number] = None  # a second answer is none

    def facts(self):
        facts = {"sent": len(self._sent), "lost": self.waits}
        if self._took:
            took = sorted(self._took)
            facts.update(min=took[0], median=took[len(took) // 2], max=took[-1])
        return facts
