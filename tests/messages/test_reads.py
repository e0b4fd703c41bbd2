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
    NOT_LEADER,
    OK,
    READ,
    Codec,
)
from raft.messages import LEADER as LEADER_ONLY
from tests.core.group import letter, message
from tests.messages.test_hostile import CLUSTER, TERM, Target

QUERY = requests.get_query(b"key")


def ask(target: Target, payload: bytes) -> tuple[int, int, bytes] | None:
    """(status, leader, result) of the answer, if there is one at once."""
    codec = Codec(0, CLUSTER)
    request = bytes(codec.frame(codec.request(1, READ, 7, payload)))
    target.take([request], target.clients, target.node._hear_clients)
    if not target.clients.sent:
        return None
    (data,) = target.clients.sent
    target.clients.sent.clear()
    reply = codec.decode_reply(data)
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
