"""A node that stands still in the middle of its work, as any process may, keeps the leases' rules.

Whatever a datagram is judged by, the clock is looked at after it has come: else the node would take
what came after a long pause for something from before.
"""

import pytest

from raft import requests
from raft.core import FOLLOWER, LEADER
from raft.messages import APPEND, APPEND_REPLY, OK, PRE_VOTE, READ
from tests.core.group import GRANTED, LOW_MS, letter, message
from tests.messages.test_hostile import TERM, FakeSocket, Target

PAUSE_MS = 2 * LOW_MS


class Clock:
    """The node's, in ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 1000
        monkeypatch.setattr("raft.node.ticks_ms", lambda: self.ms)


def pause_before_receiving(clock: Clock, socket: FakeSocket, come: bytes) -> None:
    """When the node looks what has come, it stands still; meanwhile that datagram comes."""
    receive = socket.recvfrom

    def receive_late(most: int) -> tuple[bytes, tuple[str, int]]:
        socket.recvfrom = receive  # type: ignore[method-assign]
        clock.ms += PAUSE_MS
        socket.waiting.append(come)
        return receive(most)

    socket.recvfrom = receive_late  # type: ignore[method-assign]


def leader_with_lease() -> Target:
    target = Target(LEADER, lease=True)
    core = target.node.core
    assert core.leading
    target.hear(letter(APPEND_REPLY, 3, 1, TERM + 1, index=core.log.last, ctx=core.leading.round))
    core.tick(core.heartbeat_ms)
    target.node._drive()
    target.hear(letter(APPEND_REPLY, 3, 1, TERM + 1, index=core.log.last, ctx=core.leading.round))
    assert core.leading.has_lease()
    return target


def read_of(target: Target, key: bytes) -> bytes:
    return target.request(READ, 1, requests.read(requests.get_query(key)))


def answers(target: Target) -> list[int]:
    replies = [target.client.read(data) for data in target.clients.sent]
    return [reply[2] for reply in replies if reply]


def test_a_read_is_answered_by_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    target = leader_with_lease()

    target.clients.waiting.append(read_of(target, b"key"))
    target.node._hear_clients()

    assert answers(target) == [OK]


def test_a_read_that_came_in_a_pause_is_not_answered_by_the_lease_from_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    target = leader_with_lease()

    pause_before_receiving(clock, target.clients, read_of(target, b"key"))
    target.node._hear_clients()

    assert answers(target) == []


def test_a_leader_heard_after_a_pause_is_not_taken_for_long_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a follower that stands still until its leader's heartbeat comes, and answers that
    clock = Clock(monkeypatch)
    target = Target(FOLLOWER, lease=True)
    node = target.node
    heartbeat = letter(APPEND, 2, 1, TERM, index=6, log_term=TERM, commit=3, ctx=5)
    pause_before_receiving(clock, target.peers, target.frame(heartbeat))
    node._hear_peers()
    assert message(target.peers.sent[-1]).kind == APPEND_REPLY

    # when somebody wants to be elected soon after
    clock.ms += LOW_MS // 2
    target.hear(letter(PRE_VOTE, 3, 1, TERM + 1, index=9, log_term=TERM))

    # then it is told of the leader, who may have a lease by that answer
    assert message(target.peers.sent[-1]).index != GRANTED
