"""Clients: nobody else speaks for them, nothing counts twice, and none does what he may not."""

from raft import access, messages
from raft.access import (
    ADMIN,
    MAX_CHANNELS,
    MAX_CREDENTIALS,
    OWNER,
    READ,
    REQUESTS_PER_S,
    STRANGERS_PER_S,
    TOO_OFTEN,
    UNKNOWN,
    WRITE,
    Gate,
    Limit,
    credential,
    role_for,
)
from raft.calling import TRIES, Caller
from raft.interpreter import draw
from raft.messages import MAX_DATAGRAM, MAX_NUMBER, MAX_REPLY, OK, STALE, STATUS
from raft.seal import KEY_BYTES, WINDOW, Key
from tests.support import raises

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from typing import Any

PORTABLE = True

NAME = "test"
OLD, NEW = Key(b"\1" * KEY_BYTES, NAME), Key(b"\2" * KEY_BYTES, NAME)
NODE = 1


def gate(keys: "tuple[Key, ...]" = (OLD,), node: int = NODE) -> Gate:
    return Gate(node, list(keys), draw, bytearray(MAX_DATAGRAM))


def caller(number: int = OWNER, role: int = ADMIN, keys: "tuple[Key, ...]" = (OLD,)) -> Caller:
    return Caller([credential(key, number, role) for key in keys], draw)


def asked(client: Caller, number: int = 7, kind: int = STATUS, payload: bytes = b"",
          node: int = NODE) -> bytes:  # fmt: skip
    return bytes(client.frame(client.request(node, kind, number, payload)))


def told(at: Gate, client: Caller, frame: bytes) -> "Any":
    """What the client learns from being answered with STALE."""
    at.limit = Limit(STRANGERS_PER_S, 0)  # as if the last one had been long ago
    heard = at.hear(frame)
    assert heard is not None and heard[0] == 0
    n = at.reply(heard[3], heard[1], STALE, 0, at.challenge)
    return client.read(bytes(at.frame(n)))


def met(at: Gate, number: int = OWNER, role: int = ADMIN) -> Caller:
    """A client that knows the challenge."""
    client = caller(number, role)
    told(at, client, asked(client))
    return client


def is_let_in(at: Gate, frame: bytes) -> bool:
    heard = at.hear(frame)
    return heard is not None and heard[0] != 0


# The gate


def test_who_does_not_know_the_challenge_is_told_it_and_let_in_with_it() -> None:
    at, client = gate(), caller()

    assert told(at, client, asked(client)) == (NODE, 7, STALE, 0, at.challenge)

    heard = at.hear(asked(client, 8, messages.WRITE, b"command"))
    assert heard is not None
    kind, number, payload, _ = heard
    assert (kind, number, bytes(payload)) == (messages.WRITE, 8, b"command")


def test_a_datagram_is_let_in_once() -> None:
    at = gate()
    client = met(at)
    for i in range(3 * WINDOW):
        frame = asked(client, i)
        assert is_let_in(at, frame)
        assert at.hear(frame) is None
    assert at.repeated == 3 * WINDOW


def test_datagrams_of_a_client_may_overtake_each_other() -> None:
    at = gate()
    client = met(at)
    frames = [asked(client, i) for i in range(WINDOW)]
    for frame in frames[::-1]:
        assert is_let_in(at, frame)
    assert not any([is_let_in(at, frame) for frame in frames])


def test_each_bit_that_is_flipped_is_noticed() -> None:
    at = gate()
    frame = asked(met(at), 7, messages.WRITE, b"command")
    for i in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[i // 8] ^= 1 << i % 8
        assert at.hear(bytes(flipped)) is None, i
    for n in range(len(frame)):
        assert at.hear(frame[:n]) is None
    assert at.hear(frame + b"\0") is None
    assert is_let_in(at, frame)


def test_a_request_is_for_one_node_only() -> None:
    first, second = gate(), gate(node=2)
    second.challenge = first.challenge
    client = met(first)
    assert second.hear(asked(client)) is None
    assert not is_let_in(second, asked(client, node=3))


def test_what_is_for_everybody_is_answered_with_the_challenge_and_has_no_effect() -> None:
    at = gate()
    client = met(at)
    heard = at.hear(asked(client, 9, messages.WRITE, b"command", node=access.EVERYBODY))
    assert heard is not None and heard[:3] == (0, 9, b"")


def test_what_was_let_in_before_a_restart_is_not_let_in_after_it() -> None:
    at = gate()
    client = met(at)
    old = [asked(client, i) for i in range(5)]
    assert is_let_in(at, old[0])

    at = gate()

    assert not any([is_let_in(at, frame) for frame in old])
    assert told(at, client, asked(client))[4] == at.challenge
    assert is_let_in(at, asked(client))
    assert not any([is_let_in(at, frame) for frame in old])


def test_what_a_forgotten_channel_has_sent_is_never_let_in_again() -> None:
    at = gate()
    first = met(at)
    old = [asked(first, i) for i in range(5)]
    assert all([is_let_in(at, frame) for frame in old])
    challenge = at.challenge

    for number in range(MAX_CHANNELS):
        client = met(at, number)
        assert is_let_in(at, asked(client))

    assert at.challenge != challenge
    assert not any([is_let_in(at, frame) for frame in old])
    # it is told the new one, and goes on
    told(at, first, asked(first))
    assert is_let_in(at, asked(first)) and not any([is_let_in(at, frame) for frame in old])


def test_who_was_forgotten_is_the_one_that_was_silent_longest() -> None:
    at = gate()
    clients = [met(at, number) for number in range(MAX_CHANNELS)]
    for client in clients + clients[:1]:
        assert is_let_in(at, asked(client))

    assert is_let_in(at, asked(met(at, MAX_CHANNELS)))

    assert is_let_in(at, asked(clients[0]))
    assert not is_let_in(at, asked(clients[1]))


def test_a_client_that_was_started_anew_is_another_channel() -> None:
    at = gate()
    before, after = met(at), met(at)
    frames = [asked(client, 7) for client in (before, after, before, after)]
    assert all([is_let_in(at, frame) for frame in frames])


def test_a_client_whose_numbers_are_used_up_goes_on_in_another_channel() -> None:
    at = gate()
    client = met(at)
    client._copy = MAX_NUMBER - 1
    for _ in range(2):
        heard = at.hear(asked(client))
        assert heard is not None and heard[0] == STATUS
        answer = bytes(at.frame(at.reply(heard[3], 7, OK, 0)))
        assert client.read(answer) == (NODE, 7, OK, 0, b"")
    assert client._copy == 1


def test_nobody_has_a_role_but_the_one_his_key_was_made_for() -> None:
    at = gate()
    for role in (READ, WRITE, ADMIN):
        client = met(at, 5, role)
        heard = at.hear(asked(client))
        assert heard is not None and heard[3][0].role == role
        trailer = len(asked(client)) - access.TRAILER_BYTES
        for other in (0, READ, WRITE, ADMIN, ADMIN + 1, 255):
            claims = bytearray(asked(client))
            claims[trailer + 2] = other
            assert is_let_in(at, bytes(claims)) == (other == role)
        claims = bytearray(asked(client))
        claims[trailer] = OWNER
        assert at.hear(bytes(claims)) is None


def test_a_role_that_there_is_not_is_refused_although_it_is_sealed_well() -> None:
    at = gate()
    for role in (0, ADMIN + 1, 255):
        assert at.hear(asked(caller(5, role))) is None


def test_each_kind_of_request_needs_the_role_that_is_documented() -> None:
    for kind in (messages.READ, STATUS, messages.MEMBERS, messages.WATCH):
        assert role_for(kind) == READ
    assert role_for(messages.WRITE) == WRITE
    assert role_for(messages.ADMIN) == ADMIN


def test_kinds_that_are_no_requests_are_not_let_in() -> None:
    at = gate()
    client = met(at)
    for kind in range(1, messages.HIDDEN):
        wanted = messages.WRITE <= kind <= messages.MEMBERS and kind != messages.REPLY
        assert is_let_in(at, asked(client, 7, kind)) == wanted, kind


def test_of_two_keys_clients_may_use_either() -> None:
    at = gate((NEW, OLD))
    for key in (OLD, NEW):
        client = caller(keys=(key,))
        told(at, client, asked(client))
        assert is_let_in(at, asked(client))
    assert gate((NEW,)).hear(asked(caller(keys=(OLD,)))) is None


def test_a_credential_may_ask_so_often_and_the_owner_more() -> None:
    at = gate()
    client, other, owner = met(at, 1), met(at, 2), met(at)
    now = 1000

    def asks(client: Caller) -> bool:
        heard = at.hear(asked(client), now)
        assert heard is not None and heard[0] != UNKNOWN
        return heard[0] != TOO_OFTEN

    assert all([asks(client) for _ in range(REQUESTS_PER_S)])
    assert not any([asks(client) for _ in range(10)])
    assert at.limited == 10
    assert asks(other) and all([asks(owner) for _ in range(2 * REQUESTS_PER_S)])
    now += 500
    assert [asks(client) for _ in range(REQUESTS_PER_S)].count(True) == REQUESTS_PER_S // 2
    now += 60_000
    assert [asks(client) for _ in range(2 * REQUESTS_PER_S)].count(True) == REQUESTS_PER_S
    now -= 1 << 20  # so long that the ticks have wrapped
    assert asks(client)


def test_what_is_too_much_is_not_let_in_later_either() -> None:
    at = gate()
    client = met(at, 1)
    frames = [asked(client) for _ in range(REQUESTS_PER_S + 1)]
    for frame in frames:
        heard = at.hear(frame, 0)
    assert heard is not None and heard[0] == TOO_OFTEN
    assert at.hear(frames[-1], 5000) is None


def test_who_opens_channel_after_channel_has_only_his_own_forgotten() -> None:
    at = gate()
    owner, other = met(at), met(at, 2)
    assert is_let_in(at, asked(owner)) and is_let_in(at, asked(other))

    assert MAX_CHANNELS < REQUESTS_PER_S
    for _ in range(REQUESTS_PER_S):
        assert is_let_in(at, asked(met(at, 1)))

    assert is_let_in(at, asked(owner)) and is_let_in(at, asked(other))


def test_who_opens_channels_without_end_does_not_keep_others_out() -> None:
    at = gate()
    for _ in range(REQUESTS_PER_S):
        at.hear(asked(met(at, 1, READ)))
    newcomer = met(at)

    for _ in range(3 * MAX_CHANNELS):
        assert at.hear(asked(met(at, 1, READ))) is None

    assert at.limited == 3 * MAX_CHANNELS
    assert is_let_in(at, asked(newcomer))  # the challenge is still the one that it was told


def test_so_many_of_strangers_are_looked_into_and_all_of_those_who_are_known() -> None:
    at = gate()
    known = met(at)
    assert is_let_in(at, asked(known))
    at.limit = Limit(STRANGERS_PER_S, 0)
    strangers = [asked(caller(number, READ)) for number in range(STRANGERS_PER_S + 10)]

    looked_into = [at.hear(frame, 0) is not None for frame in strangers]

    assert looked_into == [True] * STRANGERS_PER_S + [False] * 10
    assert at.strangers == 10
    assert is_let_in(at, asked(known))
    assert at.hear(strangers[-1], 100) is not None


def test_a_limit_is_not_forgotten_because_others_ask_too() -> None:
    at = gate()
    greedy = met(at, 1)
    for _ in range(REQUESTS_PER_S):
        assert is_let_in(at, asked(greedy))

    for number in range(2, 3 * MAX_CREDENTIALS):
        assert is_let_in(at, asked(met(at, number)))
        heard = at.hear(asked(greedy))
        assert heard is not None and heard[0] == TOO_OFTEN


def test_what_was_there_is_refused_before_its_seal_is_looked_at() -> None:
    at = gate()
    client = met(at)
    frame = bytearray(asked(client))
    assert is_let_in(at, bytes(frame))
    frame[-1] ^= 1
    assert at.hear(bytes(frame)) is None
    assert (at.repeated, at.forged) == (1, 0)


def test_memory_is_bounded_whoever_asks() -> None:
    at = gate()
    for number in range(3 * MAX_CHANNELS):
        client = met(at, number, READ)
        assert is_let_in(at, asked(client))
        wrong = bytearray(asked(client))
        wrong[-1] ^= 1
        assert at.hear(bytes(wrong)) is None
    assert len(at._channels) <= MAX_CHANNELS
    assert len(at._credentials) <= access.MAX_CREDENTIALS


# The client


def test_an_answer_is_for_the_client_that_has_asked() -> None:
    at = gate()
    client, other = met(at), met(at)
    heard = at.hear(asked(client))
    assert heard is not None
    answer = bytes(at.frame(at.reply(heard[3], 7, OK, 2, b"result")))

    assert other.read(answer) is None
    assert client.read(answer) == (NODE, 7, OK, 2, b"result")
    for i in range(8 * len(answer)):
        flipped = bytearray(answer)
        flipped[i // 8] ^= 1 << i % 8
        assert client.read(bytes(flipped)) is None, i
    for n in range(len(answer)):
        assert client.read(answer[:n]) is None


def test_a_request_is_no_answer_and_an_answer_no_request() -> None:
    at = gate()
    client = met(at)
    frame = asked(client)
    assert client.read(frame) is None
    heard = at.hear(frame)
    assert heard is not None
    assert at.hear(bytes(at.frame(at.reply(heard[3], 7, OK, 2, b"x" * 60)))) is None


def test_a_challenge_is_news_once() -> None:
    at, client = gate(), caller()
    frames = [asked(client, i) for i in range(3)]
    assert [told(at, client, frame)[4] for frame in frames] == [at.challenge, b"", b""]


def test_a_client_that_is_not_answered_tries_its_other_credential() -> None:
    at, client = gate((OLD,)), caller(keys=(NEW, OLD))
    for _ in range(TRIES):
        assert at.hear(asked(client)) is None

    assert told(at, client, asked(client))[4] == at.challenge

    for _ in range(5 * TRIES):  # it stays with the one that was answered
        frame = asked(client)
        assert is_let_in(at, frame)
        heard = at.hear(asked(client))
        assert heard is not None
        assert client.read(bytes(at.frame(at.reply(heard[3], 7, OK, 0)))) is not None


def test_what_no_datagram_can_carry_is_refused() -> None:
    at = gate()
    client = met(at)
    room = MAX_DATAGRAM - messages.REQUEST_BYTES - access.TRAILER_BYTES - messages.ROOM

    assert len(asked(client, 7, messages.WRITE, bytes(room))) <= MAX_DATAGRAM
    error = raises(ValueError, client.request, NODE, messages.WRITE, 7, bytes(room + 1))
    assert "datagram" in str(error)
    heard = at.hear(asked(client))
    assert heard is not None
    assert at.reply(heard[3], 7, OK, 0, bytes(MAX_REPLY)) <= MAX_DATAGRAM
    raises(ValueError, at.reply, heard[3], 7, OK, 0, bytes(MAX_REPLY + 1))


def test_what_a_client_hides_is_answered_hidden() -> None:
    at = gate()
    client = Caller([credential(OLD, OWNER, ADMIN)], draw, is_secret=True)
    told(at, client, asked(client))
    frame = asked(client, 7, messages.WRITE, b"secret command")
    assert b"secret" not in frame
    heard = at.hear(frame)
    assert heard is not None and bytes(heard[2]) == b"secret command"

    answer = bytes(at.frame(at.reply(heard[3], 7, OK, 2, b"secret result")))

    assert b"secret" not in answer
    assert client.read(answer) == (NODE, 7, OK, 2, b"secret result")
