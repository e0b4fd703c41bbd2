"""What a client makes of the answers it gets, and above all of those that it doesn't get."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_tools.client import Client, NotCommitted, Unknown
from host_tools.cluster import AUTO, LOOPBACK
from host_tools.firmware import messages, requests, sessions
from tests.host.fake import (
    Behaviour,
    FakeCluster,
    Reply,
    Request,
    fake_cluster,
    follows,
    leads,
    silent,
)

SHORT_S = 0.5  # for what isn't to succeed
LONG_S = 20.0  # for what is, on the slowest machine
EXPIRED = bytes((sessions.EXPIRED,))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.toml"


@contextmanager
def asking(
    file: Path, timeout: float, *behaviours: Behaviour
) -> Iterator[tuple[Client, FakeCluster]]:
    """A client, and the nodes 1, 2, ... that behave so."""
    with fake_cluster(file, *behaviours) as cluster, Client(file, timeout) as client:
        yield client, cluster


def only_commands(
    spoil: Callable[[Request, Reply], list[Reply | bytes]],
) -> Callable[[Request, Reply], list[Reply | bytes]]:
    """Spoils the replies to commands; sessions and reads are as they should be."""
    return lambda request, reply: spoil(request, reply) if request.is_command else [reply]


def in_turn(*replies: list[Reply | bytes] | None) -> Behaviour:
    """A leader that answers its commands so, one after the other; None: as it should be."""
    left = list(replies)

    def spoil(request: Request, reply: Reply) -> list[Reply | bytes]:
        replaced = left.pop(0) if left else None
        return [reply] if replaced is None else replaced

    return leads(1, only_commands(spoil))


# What it is for


def test_what_was_put_is_found_and_deleted(file: Path) -> None:
    with asking(file, LONG_S, leads(1)) as (client, _):
        client.put("color", b"blue")
        client.put(b"\xff\x00", b"")

        assert client.get("color") == b"blue"
        assert client.get(b"\xff\x00") == b""
        assert client.delete("color") is True
        assert client.delete("color") is False
        assert client.get("color") is None


def test_cas_stores_only_what_was_expected(file: Path) -> None:
    long, longer = b"a" * 1000, b"b" * 1024
    with asking(file, LONG_S, leads(1)) as (client, _):
        assert client.cas("k", None, long) is True
        assert client.cas("k", None, b"x") is False
        assert client.cas("k", b"other", b"x") is False
        assert client.cas("k", long, longer) is True
        assert client.get("k") == longer


def test_keys_come_in_order_and_all_pages_of_them(file: Path) -> None:
    names = [f"lamp/{i:03}/{'x' * 40}" for i in range(100)]
    with asking(file, LONG_S, leads(1)) as (client, _):
        for name in [*reversed(names), "door"]:
            client.put(name, b"")

        assert client.keys("lamp/") == names
        assert client.keys() == ["door", *names]
        assert client.keys(b"d") == [b"door"]
        assert client.keys("none") == []


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.put("", b""),
        lambda client: client.put("ä" * 33, b""),
        lambda client: client.put("k", bytes(1025)),
        lambda client: client.cas("k", None, bytes(1025)),
        lambda client: client.cas("k", bytes(1025), b""),
        lambda client: client.get("k" * 65),
        lambda client: client.delete(b""),
        lambda client: client.keys("k" * 65),
    ],
)
def test_what_is_too_long_is_refused_before_anything_is_sent(
    file: Path, call: Callable[[Client], object]
) -> None:
    with asking(file, LONG_S, leads(1)) as (client, cluster):
        with pytest.raises(ValueError, match="bytes"):
            call(client)

        client.get("k")
        assert {request.kind for request in cluster.requests} == {messages.READ}


def test_a_value_that_is_a_number_is_not_taken_for_so_many_zeros(file: Path) -> None:
    with asking(file, LONG_S, leads(1)) as (client, _), pytest.raises(TypeError):
        client.put("k", 5)  # type: ignore[arg-type]


# Finding the leader


def test_the_leader_is_found_among_followers_and_dead_nodes(file: Path) -> None:
    with asking(file, LONG_S, silent, follows(3), leads(3), silent) as (client, cluster):
        client.put("k", b"v")

        assert client.leader == 3
        assert {request.node for request in cluster.commands()} == {3}


def test_the_next_leader_is_found_when_the_old_one_falls_silent(file: Path) -> None:
    with asking(file, LONG_S, leads(1), follows(1), follows(1)) as (client, cluster):
        client.put("k", b"1")
        leader = cluster.behaviours[1]
        cluster.behaviours.update({1: silent, 2: leader, 3: follows(2)})

        client.put("k", b"2")

        assert client.leader == 2
        assert client.get("k") == b"2"


def test_nodes_that_name_each_other_are_not_asked_without_end(file: Path) -> None:
    with asking(file, SHORT_S, follows(2), follows(1)) as (client, cluster):
        with pytest.raises(NotCommitted, match="no leader"):
            client.put("k", b"v")

        assert len(cluster.requests) < 150


def test_a_name_that_nobody_knows_is_a_silent_node(file: Path) -> None:
    with fake_cluster(file, leads(1), silent):
        text = file.read_text()
        position = text.rindex(LOOPBACK)
        file.write_text(text[:position] + "no.such.host.invalid" + text[position + len(LOOPBACK) :])

        with Client(file, LONG_S) as client:
            client.put("k", b"v")


# No effect for certain, or an open outcome


def test_nobody_answers_so_nothing_is_committed(file: Path) -> None:
    with asking(file, SHORT_S, silent, silent, silent) as (client, cluster):
        began = time.monotonic()
        with pytest.raises(NotCommitted, match="no node has answered"):
            client.put("k", b"v")
        with pytest.raises(NotCommitted):
            client.get("k")

        assert time.monotonic() - began >= 2 * SHORT_S
        assert cluster.commands() == []


def test_no_leader_so_nothing_is_committed(file: Path) -> None:
    with asking(file, SHORT_S, follows(0), silent, silent) as (client, cluster):
        with pytest.raises(NotCommitted, match="no leader"):
            client.put("k", b"v")
        assert cluster.commands() == []


def test_a_session_that_is_not_answered_leaves_the_command_unsent(file: Path) -> None:
    leader = leads(1, lambda request, reply: [] if request.is_open else [reply])
    with asking(file, SHORT_S, leader) as (client, cluster):
        with pytest.raises(NotCommitted):
            client.put("k", b"v")
        assert cluster.commands() == []


def test_a_command_that_nobody_answers_has_an_open_outcome(file: Path) -> None:
    leader = leads(1, only_commands(lambda request, reply: []))
    with asking(file, SHORT_S, leader) as (client, cluster):
        with pytest.raises(Unknown, match="read the key"):
            client.put("k", b"v")

        assert client.get("k") == b"v"
        assert len(cluster.commands()) > 1
        assert len(leader.applied) == 1


def test_a_command_whose_every_copy_was_refused_has_no_effect(file: Path) -> None:
    refusal = Reply(messages.NOT_LEADER, 0)
    leader = leads(1, only_commands(lambda request, reply: [refusal]))
    with asking(file, SHORT_S, leader) as (client, cluster):
        with pytest.raises(NotCommitted):
            client.put("k", b"v")

        numbers = [request.number for request in cluster.commands()]
        assert len(numbers) > 1
        assert len(set(numbers)) == len(numbers)  # so that a doubled refusal settles but one


def test_a_refusal_does_not_settle_a_copy_that_went_before(file: Path) -> None:
    refusal: list[Reply | bytes] = [Reply(messages.NOT_LEADER, 0)]
    leader = in_turn([], *[refusal] * 1000)
    with asking(file, SHORT_S, leader) as (client, _), pytest.raises(Unknown):
        client.put("k", b"v")


def test_a_command_given_to_a_leader_that_died_has_an_open_outcome(file: Path) -> None:
    with asking(file, SHORT_S, leads(1), follows(1)) as (client, cluster):
        client.put("k", b"1")
        cluster.behaviours.update({1: silent, 2: follows(0)})

        with pytest.raises(Unknown):
            client.put("k", b"2")


def test_what_a_silent_leader_was_given_stays_in_doubt_when_the_next_one_refuses(
    file: Path,
) -> None:
    with asking(file, SHORT_S, leads(1), follows(1)) as (client, cluster):
        client.put("k", b"1")
        cluster.behaviours.update({1: silent, 2: follows(2)})

        with pytest.raises(Unknown):
            client.put("k", b"2")

        assert {request.node for request in cluster.commands()} == {1, 2}


def test_a_doubled_refusal_does_not_settle_the_copy_that_was_sent_since(file: Path) -> None:
    # given a leader that refuses, and then takes the command while its refusal comes once more
    refusal = Reply(messages.NOT_LEADER, 0)
    numbers: list[int] = []

    def spoil(request: Request, reply: Reply) -> list[Reply | bytes]:
        numbers.append(request.number)
        if len(numbers) == 1:
            return [Reply(messages.BUSY, 1)]
        if len(numbers) == 2:
            return [Reply(messages.BUSY, 1, number=numbers[0])]
        return [refusal]

    leader = leads(1, only_commands(spoil))
    with asking(file, SHORT_S, leader) as (client, _), pytest.raises(Unknown):
        client.put("k", b"v")


def test_a_command_of_a_leader_that_gave_way_is_asked_again_under_its_number(file: Path) -> None:
    with asking(file, LONG_S, in_turn([Reply(messages.LOST, 1)])) as (client, cluster):
        client.put("k", b"v")

        first, second = cluster.commands()
        assert first.payload == second.payload


def test_a_lost_leadership_leaves_the_outcome_open(file: Path) -> None:
    refusal: list[Reply | bytes] = [Reply(messages.NOT_LEADER, 0)]
    leader = in_turn([Reply(messages.LOST, 0)], *[refusal] * 1000)
    with asking(file, SHORT_S, leader) as (client, _), pytest.raises(Unknown):
        client.put("k", b"v")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (messages.STATE_FULL, "no memory left"),
        (messages.BAD, "another version"),
    ],
)
def test_what_will_not_change_is_told_at_once(file: Path, status: int, message: str) -> None:
    with asking(file, LONG_S, in_turn([Reply(status, 1)])) as (client, cluster):
        began = time.monotonic()
        with pytest.raises(NotCommitted, match=message):
            client.put("k", b"v")
        assert time.monotonic() - began < LONG_S / 2

        assert len(cluster.commands()) == 1


def test_a_full_state_machine_does_not_settle_a_copy_that_went_before(file: Path) -> None:
    full: list[Reply | bytes] = [Reply(messages.STATE_FULL, 1)]
    leader = in_turn([], *[full] * 1000)
    with asking(file, SHORT_S, leader) as (client, _), pytest.raises(Unknown, match="memory left"):
        client.put("k", b"v")


def test_in_doubt_even_a_full_state_machine_is_asked_again_for_what_it_holds(file: Path) -> None:
    full: list[Reply | bytes] = [Reply(messages.STATE_FULL, 1)]
    leader = in_turn([], full)
    with asking(file, LONG_S, leader) as (client, _):
        client.put("k", b"v")

        assert client.get("k") == b"v"


def test_a_busy_leader_is_asked_again(file: Path) -> None:
    busy: list[Reply | bytes] = [Reply(messages.BUSY, 1)]
    with asking(file, LONG_S, in_turn(busy, busy)) as (client, _):
        client.put("k", b"v")

        assert client.get("k") == b"v"


# Exactly once


def test_a_command_whose_answer_was_lost_is_applied_once(file: Path) -> None:
    leader = leads(1, only_commands(lambda request, reply: replies.pop(0) if replies else [reply]))
    replies: list[list[Reply | bytes]] = [[], []]
    with asking(file, LONG_S, leader) as (client, cluster):
        client.put("k", b"v")

    assert len(cluster.commands()) >= 3
    assert leader.applied == [requests.put(b"k", b"v")]


def test_after_an_open_outcome_a_late_copy_is_ignored(file: Path) -> None:
    lost: list[list[Reply | bytes]] = [[]] * 1000
    leader = leads(1, only_commands(lambda request, reply: lost.pop() if lost else [reply]))
    with asking(file, SHORT_S, leader) as (client, cluster):
        with pytest.raises(Unknown):
            client.put("k", b"old")
        late = cluster.commands()[0]
        lost.clear()
        client.timeout = LONG_S
        client.put("k", b"new")

        leader(late)

        assert client.get("k") == b"new"
        assert cluster.commands()[-1].command_number == late.command_number + 1


def test_an_expired_session_is_replaced_if_the_command_was_sent_once(file: Path) -> None:
    expired: list[Reply | bytes] = [Reply(messages.OK, 1, EXPIRED)]
    with asking(file, LONG_S, in_turn(None, expired)) as (client, cluster):
        client.put("k", b"1")
        client.put("k", b"2")

        assert client.get("k") == b"2"
        assert sum(request.is_open for request in cluster.requests) == 2


def test_a_session_is_not_changed_for_a_new_one_while_its_last_command_is_in_doubt(
    file: Path,
) -> None:
    with asking(file, LONG_S, leads(1)) as (client, cluster):
        # given a command of unknown outcome, and a session that has lain there for half its life
        client.put("k", b"1")
        client.timeout = SHORT_S
        answering = cluster.behaviours[1]
        cluster.behaviours[1] = silent
        with pytest.raises(Unknown):
            client.put("k", b"2")
        cluster.behaviours[1] = answering
        client.timeout = LONG_S
        client._life_s = 0

        # when the client goes on
        client.put("k", b"3")
        client.put("k", b"4")

        # then the next command is of the same session: a late copy of that one does nothing
        sessions_used = [request.payload[:4] for request in cluster.commands()]
        assert set(sessions_used[:-1]) == {sessions_used[0]}
        assert sessions_used[-1] != sessions_used[0]


def test_an_expired_session_leaves_it_open_whether_an_earlier_copy_came_in_time(
    file: Path,
) -> None:
    expired: list[Reply | bytes] = [Reply(messages.OK, 1, EXPIRED)]
    with asking(file, LONG_S, in_turn([], expired)) as (client, _):
        with pytest.raises(Unknown, match="expired"):
            client.put("k", b"v")
        client.put("k", b"w")

        assert client.get("k") == b"w"


# Datagrams that are no answers


def test_doubled_answers_are_not_taken_for_answers_to_what_comes_next(file: Path) -> None:
    leader = leads(1, lambda request, reply: [reply, reply, reply])
    with asking(file, LONG_S, leader) as (client, _):
        for number in range(20):
            value = str(number).encode()
            client.put("k", value)
            assert client.get("k") == value


def test_a_question_that_was_answered_is_not_asked_again_whatever_is_replayed(file: Path) -> None:
    first: list[int] = []

    def spoil(request: Request, reply: Reply) -> list[Reply | bytes]:
        if request.payload.endswith(b"first"):
            first.append(request.number)
        if not first or request.payload.endswith(b"first"):
            return [reply]
        # as after another start of the node: news, though the node has another challenge now
        stale = Reply(messages.STALE, number=first[0], result=b"replayed")
        return [stale, reply]

    with asking(file, LONG_S, leads(1, spoil)) as (client, _):
        client.get("first")
        for _ in range(3):
            client.get("second")

    assert len(first) == 1


def test_a_refusal_settles_nothing_after_the_same_was_told_to_be_stale_twice(file: Path) -> None:
    refused: list[Reply | bytes] = [Reply(messages.NOT_LEADER)]
    behaviour = in_turn([Reply(messages.STALE, result=b"replayed")], *[refused] * 100)

    with asking(file, SHORT_S, behaviour) as (client, _), pytest.raises(Unknown):
        client.put("a", b"1")


def test_answers_to_other_requests_are_not_taken(file: Path) -> None:
    def spoil(request: Request, reply: Reply) -> list[Reply | bytes]:
        wrong = Reply(messages.OK, 1, b"\1wrong", (request.number + 1) & messages.MAX_NUMBER)
        return [wrong, b"", b"garbage", bytes(1400), reply]

    with asking(file, LONG_S, leads(1, spoil)) as (client, _):
        client.put("k", b"right")

        assert client.get("k") == b"right"


def test_answers_from_elsewhere_are_not_taken(file: Path) -> None:
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def spoil(request: Request, reply: Reply) -> list[Reply | bytes]:
        if request.kind == messages.READ:
            forged = cluster.frame(request, Reply(messages.OK, 1, b"\1forged"))
            stranger.sendto(forged, cluster.senders[-1])
        return [reply]

    with stranger, asking(file, LONG_S, leads(1, spoil)) as (client, cluster):
        client.put("k", b"right")

        assert client.get("k") == b"right"


def test_a_late_answer_of_the_former_leader_counts(file: Path) -> None:
    # given a leader that sleeps over a command, while another node claims to lead
    held: list[Request] = []

    def spoil(request: Request, reply: Reply) -> list[Reply | bytes]:
        held.append(request)
        return []

    def usurper(request: Request) -> list[Reply | bytes]:
        if not held:
            return [Reply(messages.NOT_LEADER, 1)]
        if request.is_command:  # then the first one answers after all
            answer = Reply(messages.OK, 1, bytes((sessions.DONE,)))
            late = cluster.frame(held[0], answer)
            cluster.sockets[1].sendto(late, cluster.senders[-1])
            return []
        return [Reply(messages.NOT_LEADER, 2)]

    with asking(file, LONG_S, leads(1, only_commands(spoil)), usurper) as (client, cluster):
        client.put("k", b"v")

        assert client.leader == 1


# The state of nodes


def test_statuses_are_those_of_the_nodes_that_answer(file: Path) -> None:
    def answers(request: Request) -> list[Reply | bytes]:
        return [Reply(messages.OK, 0, b'{"node": %d}' % request.node)] * 2

    with asking(file, SHORT_S, answers, silent, answers) as (client, _):
        assert client.statuses() == {1: {"node": 1}, 3: {"node": 3}}
        assert client.statuses([3, 9]) == {3: {"node": 3}}


# Reads at a node of one's choice


def test_a_read_goes_to_the_node_that_is_named_and_to_no_other(file: Path) -> None:
    with asking(file, LONG_S, leads(1), leads(2)) as (client, cluster):
        client.leader = 1

        assert client.get("key", node=2) is None

        assert {request.node for request in cluster.requests} == {2}


def test_a_node_that_knows_no_leader_is_asked_again(file: Path) -> None:
    answers = [[Reply(messages.NOT_LEADER)], [Reply(messages.NOT_LEADER)]]

    def soon(request: Request, reply: Reply) -> list[Reply | bytes]:
        return list(answers.pop()) if answers else [reply]

    with asking(file, LONG_S, leads(1, soon)) as (client, cluster):
        assert client.get("key", node=1) is None
        assert len(cluster.requests) == 3


@pytest.mark.parametrize(
    ("behaviour", "reason"), [(silent, "has not answered"), (follows(0), "knows no leader")]
)
def test_a_read_at_a_node_that_has_no_answer_says_why(
    file: Path, behaviour: Behaviour, reason: str
) -> None:
    problem = f"node 1 {reason} within 0.5 s; nothing was read"
    with (
        asking(file, SHORT_S, behaviour) as (client, _),
        pytest.raises(NotCommitted, match=problem),
    ):
        client.get("key", node=1)


# Nodes that have yet to be found, as boards: their host is "auto"


@contextmanager
def looking(file: Path, *behaviours: Behaviour) -> Iterator[Client]:
    with fake_cluster(file, *behaviours):
        file.write_text(file.read_text().replace(LOOPBACK, AUTO))
        with Client(file, LONG_S) as client:
            yield client


def test_what_is_asked_of_one_node_finds_it(file: Path) -> None:
    own = Reply(messages.OK, 0, struct.pack("<IB", 40, 1) + b"on")  # 40 ms old

    with looking(file, silent, lambda _: [own]) as client:
        assert client.local("lamp").value == b"on"
    with looking(file, silent, lambda _: [own]) as client:
        assert client.local("lamp", 2).node == 2
        with pytest.raises(ValueError, match="no node 3"):
            client.local("lamp", 3)
    with looking(file, silent, leads(2)) as client:
        assert client.get("lamp", node=2) is None


def test_who_watches_finds_nodes_and_goes_on_to_the_next(file: Path) -> None:
    first = struct.pack("<I", 6)
    change = struct.pack("<IIBBH", 7, 7, 1, 4, 2) + b"lamp" + b"on"

    def tells(request: Request) -> list[Reply | bytes]:
        is_new = request.payload == requests.watch(None, b"lamp")
        return [Reply(messages.OK, 0, first if is_new else change)]

    with looking(file, silent, tells) as client, client.watch("lamp") as changes:
        assert changes.after == 6
        assert next(changes).value == b"on"
