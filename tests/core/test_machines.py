"""State machines by name: each gets its own, and none is left out unnoticed."""

from raft.kv import KeyValue
from raft.machines import BROKEN, MAX_NAME, Machines, NoMachine
from raft.sessions import OPEN, Sessions, command, entry
from tests.support import raises

PORTABLE = True

ROOM = 10_000
NOW = 7


class Tally:
    """Counts votes by their first byte."""

    max_bytes = 512

    def __init__(self) -> None:
        self.votes: dict[int, int] = {}
        self.last = 0

    def apply(self, payload: memoryview, now: int) -> bytes:
        self.last = now
        self.votes[payload[0]] = self.votes.get(payload[0], 0) + 1
        return bytes((self.votes[payload[0]],))

    def is_valid(self, payload: memoryview) -> bool:
        return len(payload) == 1

    def room_for(self, payload: memoryview) -> bool:
        return payload[0] in self.votes or len(self.votes) < 3

    def query(self, payload: bytes) -> bytes | None:
        return bytes((self.votes.get(payload[0], 0),)) if len(payload) == 1 else None

    def snapshot(self) -> list[bytes]:
        return [bytes((0, key, self.votes[key])) for key in sorted(self.votes)]

    def reset(self) -> None:
        self.votes = {}

    def restore(self, chunk: bytes) -> None:
        self.votes[chunk[1]] = chunk[2]


def both() -> tuple[Machines, Tally]:
    machines, tally = Machines(KeyValue(ROOM)), Tally()
    machines.add(b"votes", tally)
    return machines, tally


PUT = b"\0\1\1kv"
GET = b"\0\1k"
VOTE = b"\5votes"


def test_a_command_reaches_the_machine_it_names_and_no_other() -> None:
    machines, tally = both()

    assert machines.apply(PUT, NOW) == b""
    assert machines.apply(VOTE + b"a", NOW) == b"\1"
    assert machines.apply(memoryview(VOTE + b"a"), NOW) == b"\2"

    assert tally.votes == {ord("a"): 2} and tally.last == NOW
    assert machines.query(GET) == b"\1v"
    assert machines.query(VOTE + b"a") == b"\2"
    assert machines.query(VOTE + b"b") == b"\0"
    assert machines.query(VOTE) is None


def test_each_machine_says_what_is_valid_and_what_has_room() -> None:
    machines, _ = both()

    assert machines.is_valid(PUT) and machines.is_valid(VOTE + b"a")
    assert not machines.is_valid(VOTE) and not machines.is_valid(VOTE + b"ab")
    for vote in b"abc":
        machines.apply(VOTE + bytes((vote,)), NOW)
    assert machines.room_for(VOTE + b"a") and machines.room_for(PUT)
    assert not machines.room_for(VOTE + b"d")
    assert machines.max_bytes == ROOM + Tally.max_bytes


def test_a_snapshot_holds_all_machines_as_they_were() -> None:
    machines, _ = both()
    machines.apply(PUT, NOW)
    machines.apply(VOTE + b"a", NOW)

    chunks = machines.snapshot()
    machines.apply(b"\0\1\1lw", NOW)
    other, tally = both()
    other.apply(b"\0\1\1old", NOW)
    other.apply(VOTE + b"z", NOW)
    other.reset()
    taken = list(chunks)
    for chunk in taken:
        other.restore(chunk)

    assert tally.votes == {ord("a"): 1}
    assert other.query(GET) == b"\1v"
    assert other.query(b"\0\1l") == other.query(b"\0\1o") == b"\0"
    assert sorted(taken) == sorted([b"\0\1kv", VOTE + b"\0a\1"])


def test_a_node_that_lacks_a_machine_refuses_as_a_leader() -> None:
    machines = Sessions(Machines(KeyValue(ROOM)))

    assert not machines.is_valid(command(1, 1, VOTE + b"a"))
    assert machines.machine.query(VOTE + b"a") is None


def test_a_node_that_lacks_a_machine_ends_before_it_differs_from_the_others() -> None:
    whole, _ = both()
    whole.apply(VOTE + b"a", NOW)
    lacking = Machines(KeyValue(ROOM))
    sessions = Sessions(lacking)
    sessions.apply(1, entry(NOW, OPEN))

    error = raises(NoMachine, sessions.apply, 2, entry(NOW, command(1, 1, VOTE + b"a")))
    assert "b'votes'" in str(error) and "same program" in str(error)

    lacking.reset()
    raises(NoMachine, lambda: [lacking.restore(chunk) for chunk in whole.snapshot()])


def test_a_payload_that_names_nothing_changes_nothing() -> None:
    machines, _ = both()

    assert machines.apply(b"", NOW) == BROKEN
    assert not machines.is_valid(b"")
    assert machines.query(b"") is None
    machines.add(b"vote", Tally())
    assert not machines.is_valid(b"\5vote")


def test_a_name_is_short_and_given_once() -> None:
    machines, tally = both()

    for name in (b"", b"votes", b"n" * (MAX_NAME + 1)):
        raises(ValueError, machines.add, name, tally)
    machines.add(b"n" * MAX_NAME, tally)
