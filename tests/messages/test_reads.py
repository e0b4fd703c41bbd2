"""The three kinds of reads, as a node's sockets see them."""

import struct

import pytest

from raft import requests
from raft.core import FOLLOWER, LEADER
from raft.messages import (
    ANY,
    APPEND,
    APPEND_REPLY,
    BAD,
    BUSY,
    LOCAL,
    MAX_NUMBER,
    MAX_REPLY,
    NOT_LEADER,
    OK,
    READ,
    READ_REPLY,
)
from raft.messages import LEADER as LEADER_ONLY
from raft.service import MAX_WAITING_BYTES
from tests.core.group import letter, message
from tests.messages.test_hostile import TERM, Target

QUERY = requests.get_query(b"key")


def ask(target: Target, payload: bytes) -> tuple[int, int, bytes] | None:
    """(status, leader, result) of the answer, if there is one at once."""
    request = target.request(READ, 7, payload)
    target.take([request], target.clients, target.node._hear_clients)
    if not target.clients.sent:
        return None
    (reply,) = target.replies()
    assert reply and reply[:2] == (1, 7)
    return reply[2], reply[3], bytes(reply[4])


def store(target: Target) -> None:
    target.node.sessions.machine.apply(requests.put(b"key", b"value"), 0)


def test_only_the_leader_answers_what_is_for_the_leader() -> None:
    follower = Target(FOLLOWER)
    assert ask(follower, requests.read(QUERY, LEADER_ONLY)) == (NOT_LEADER, 2, b"")
    assert not follower.peers.sent


def test_the_leader_answers_either_kind_when_a_majority_has_confirmed_it() -> None:
    for how in (ANY, LEADER_ONLY):
        leader = Target(LEADER)
        leader.hear(letter(APPEND_REPLY, 3, 1, TERM + 1, index=7, ctx=1))
        store(leader)
        leader.peers.sent.clear()

        assert ask(leader, requests.read(QUERY, how)) is None
        round = max(message(data).ctx for data in leader.peers.sent)
        leader.hear(letter(APPEND_REPLY, 3, 1, TERM + 1, index=7, ctx=round))

        assert len(leader.clients.sent) == 1


@pytest.mark.parametrize("role", [FOLLOWER, LEADER], ids=["follower", "leader"])
def test_any_node_answers_at_once_from_its_own_copy(role: int) -> None:
    target = Target(role)
    store(target)
    target.peers.sent.clear()

    answer = ask(target, requests.read(QUERY, LOCAL))

    assert answer and answer[0] == OK
    age, value = requests.age_of(answer[2])
    assert requests.get_answer(value) == b"value"
    # a new leader hasn't committed an entry of its own term yet
    assert (age is None) == (role == LEADER)
    assert not target.peers.sent


def test_the_age_is_that_of_the_last_word_of_the_leader() -> None:
    target = Target(FOLLOWER)
    target.node.core.pass_time(1234)

    answer = ask(target, requests.read(QUERY, LOCAL))

    assert answer
    age = requests.age_of(answer[2])[0]
    assert age is not None and 1234 <= age < 20_000


def test_what_is_not_applied_yet_makes_the_age_unknown() -> None:
    target = Target(FOLLOWER)
    target.node.applied -= 1

    answer = ask(target, requests.read(QUERY, LOCAL))

    assert answer and struct.unpack_from("<I", answer[2])[0] == MAX_NUMBER


def test_a_copy_that_is_being_restored_is_none() -> None:
    target = Target(FOLLOWER)
    target.node.compaction.restored = False

    assert ask(target, requests.read(QUERY, LOCAL)) == (BUSY, 2, b"")


def test_senseless_reads_are_bad() -> None:
    target = Target(FOLLOWER)
    for payload in (b"\2", b"\2\0", b"\2\1\1key", b"\3" + QUERY, b"\xff"):
        assert ask(target, payload) == (BAD, 2, b""), payload


def test_a_follower_asks_its_leader_for_what_any_node_may_answer() -> None:
    target = Target(FOLLOWER)

    assert ask(target, requests.read(QUERY, ANY)) is None

    assert [message(data).dst for data in target.peers.sent] == [2]
    target.hear(letter(APPEND, 2, 1, TERM, 6, TERM, commit=6))
    assert not target.clients.sent


def test_what_is_confirmed_waits_while_a_snapshot_is_read_back() -> None:
    target = Target(FOLLOWER)
    store(target)
    assert ask(target, requests.read(QUERY, ANY)) is None
    question = message(target.peers.sent[-1]).ctx

    # a late answer, of an index that was applied before the snapshot came
    target.node.compaction.restored = False
    target.node.sessions.machine.reset()
    target.hear(letter(READ_REPLY, 2, 1, TERM, index=target.node.applied, ctx=question))
    assert not target.clients.sent

    store(target)
    target.node.compaction.restored = True
    target.hear(letter(APPEND, 2, 1, TERM, index=6, log_term=TERM, commit=3))
    (reply,) = target.replies()
    assert reply and requests.get_answer(reply[4]) == b"value"


def test_queries_that_wait_take_no_more_than_so_many_bytes() -> None:
    target = Target(FOLLOWER)

    statuses = []
    for number in range(20):
        query = requests.read(bytes(1100), ANY)
        request = target.request(READ, number, query)
        target.take([request], target.clients, target.node._hear_clients)
        statuses += [reply[2] for reply in target.replies()]

    assert statuses == [BUSY] * (20 - MAX_WAITING_BYTES // 1100)


def test_an_answer_that_no_datagram_can_carry_is_none() -> None:
    target = Target(LEADER)
    for size, status in ((MAX_REPLY - 4, OK), (MAX_REPLY - 3, BAD)):
        target.node.sessions.machine.default.query = lambda payload, size=size: bytes(size)

        answer = ask(target, requests.read(QUERY, LOCAL))

        assert answer and answer[0] == status
