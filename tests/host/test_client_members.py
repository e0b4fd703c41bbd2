"""How a client asks who the members are, and changes them."""

import struct
from itertools import groupby
from pathlib import Path

import pytest

from host_tools.client import Client, NotCommitted, Refused, Unknown
from host_tools.cluster import LOOPBACK, Member
from host_tools.cluster_edits import remove_node
from host_tools.firmware import messages
from host_tools.membership import Known
from tests.host.fake import (
    Behaviour,
    FakeCluster,
    Reply,
    Request,
    fake_cluster,
    follows,
    leads,
    members_answer,
    silent,
)

SHORT_S = 0.5  # for what isn't to succeed
LONG_S = 20.0  # for what is, on the slowest machine
LEADERS = [
    Known(1, "voter", 0, "a", 7101, 7201, "", 90, 0),
    Known(2, "standby", 9, "auto", 7102, 7202, "snapshot", 70, 1500),
]
FOLLOWERS = [Known(1, "voter", 0, "a", 7101, 7201), Known(2, "learner", 0, "b", 7102, 7202)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.toml"


def tells(index: int, members: list[Known]) -> Behaviour:
    return lambda request: [Reply(messages.OK, 1, members_answer(index, members))]


def in_turn(*replies: Reply | None) -> Behaviour:
    """What ADMIN is answered, one after the other; None: not at all; then always the last one."""
    left = list(replies)

    def answer(request: Request) -> list[Reply | bytes]:
        if request.kind != messages.ADMIN:
            return [Reply(messages.OK, 1)]  # to a probe
        reply = left.pop(0) if len(left) > 1 else left[0]
        return [reply] if reply else []

    return answer


def asked(cluster: FakeCluster) -> list[bytes]:
    """What was asked for, however often: a busy machine may answer late."""
    payloads = [r.payload for r in cluster.requests if r.kind == messages.ADMIN]
    return [payload for payload, _ in groupby(payloads)]


# Who they are


def test_the_leader_knows_its_members_best(file: Path) -> None:
    with (
        fake_cluster(file, tells(5, LEADERS), tells(9, FOLLOWERS), silent),
        Client(file, LONG_S) as client,
    ):
        told = client.members()

    assert told.nodes == {member.id: member for member in LEADERS}
    assert (told.index, told.leader, told.voters) == (5, 1, [1])
    assert (told.behind(1), told.behind(2)) == (0, 20)


def test_without_a_leader_the_newest_configuration_counts(file: Path) -> None:
    with (
        fake_cluster(file, tells(5, LEADERS[:0]), tells(9, FOLLOWERS), silent),
        Client(file, SHORT_S) as client,
    ):
        told = client.members()

    assert (told.index, told.leader) == (9, 0)
    assert told.nodes == {member.id: member for member in FOLLOWERS}
    assert told.behind(1) is None


def test_if_nobody_answers_nobody_is_known(file: Path) -> None:
    with (
        fake_cluster(file, silent, silent),
        Client(file, SHORT_S) as client,
        pytest.raises(NotCommitted, match="no node has answered"),
    ):
        client.members()


def test_a_leader_that_the_file_does_not_know_is_found(file: Path) -> None:
    with fake_cluster(file, silent, leads(2)) as cluster:
        port = cluster.sockets[2].getsockname()[1]
        members = [Known(2, "voter", 0, LOOPBACK, 9, port), Known(3, "voter", 0, "auto", 9, 9)]

        def follower(request: Request) -> list[Reply | bytes]:
            if request.kind == messages.MEMBERS:
                return tells(1, members)(request)
            return follows(2)(request)

        cluster.behaviours[1] = follower
        remove_node(file, 2)
        with Client(file, LONG_S) as client:
            client.put("k", b"v")

            assert client.get("k") == b"v"
            assert client.leader == 2


# Changing them


def test_what_is_asked_for_lies_as_nodes_read_it(file: Path) -> None:
    member = Member(7, "10.0.0.7", 7107, 7207, priority=3)
    with fake_cluster(file, in_turn(Reply(messages.OK, 1))) as cluster, Client(file) as client:
        client.add_member(member)
        client.add_member(Member(8, "auto", 7108, 7208, voter=False))
        client.remove_member(2)
        client.promote(3)
        client.transfer()
        client.transfer(4)
        client.recover(1, [1, 5])

    assert asked(cluster) == [
        b"\1" + struct.pack("<BBBHHB", 7, 2, 3, 7107, 7207, 8) + b"10.0.0.7",
        b"\1" + struct.pack("<BBBHHB", 8, 3, 0, 7108, 7208, 4) + b"auto",
        b"\2\2",
        b"\3\3",
        b"\4\0",
        b"\4\4",
        b"\5\1\5",
    ]


def test_a_change_is_asked_for_until_it_is_done(file: Path) -> None:
    busy, lost, done = Reply(messages.BUSY, 1), Reply(messages.LOST, 1), Reply(messages.OK, 1)
    with (
        fake_cluster(file, in_turn(None, busy, lost, done), follows(1)) as cluster,
        Client(file, LONG_S) as client,
    ):
        client.leader = 2
        client.remove_member(5)

    assert asked(cluster) == [b"\2\5"]
    assert {r.node for r in cluster.requests} == {1, 2}  # a follower first


def test_a_refusal_is_told_as_it_was_given(file: Path) -> None:
    refusal = Reply(messages.REFUSED, 1, b"node 5 is the last voter: add another first")
    with (
        fake_cluster(file, in_turn(None, refusal)) as cluster,
        Client(file, LONG_S) as client,
    ):
        with pytest.raises(Refused, match=r"^node 5 is the last voter: add another first$"):
            client.remove_member(5)

        assert asked(cluster) == [b"\2\5"]
        with pytest.raises(Refused, match="last voter"):
            client.recover(1, [1])


def test_a_change_without_an_answer_has_an_open_outcome(file: Path) -> None:
    with fake_cluster(file, in_turn(None)), Client(file, SHORT_S) as client:
        with pytest.raises(Unknown, match="raftctl members"):
            client.remove_member(5)
        with pytest.raises(Unknown, match="raftctl members"):
            client.recover(1, [1])


def test_a_change_that_no_leader_took_has_none(file: Path) -> None:
    with (
        fake_cluster(file, follows(0)),
        Client(file, SHORT_S) as client,
        pytest.raises(NotCommitted),
    ):
        client.remove_member(5)


def test_after_a_transfer_the_new_leader_is_asked_first(file: Path) -> None:
    with (
        fake_cluster(file, in_turn(Reply(messages.OK, 2)), leads(2)) as cluster,
        Client(file, LONG_S) as client,
    ):
        client.leader = 1

        assert client.transfer() == 2

        cluster.requests.clear()
        client.put("k", b"v")
        assert cluster.requests[0].node == 2
