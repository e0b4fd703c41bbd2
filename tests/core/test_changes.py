"""The latest changes of the store: which there are, how they are bounded, and who is told."""

import asyncio
import struct

from raft import messages, requests
from raft.access import ADMIN, OWNER, READ, credential
from raft.changes import CHANGE_RAM_BYTES, Changes
from raft.interpreter import sleep_ms
from raft.kv import KeyValue
from raft.machines import Machines
from raft.messages import BAD, BUSY, GONE, NOT_LEADER, OK
from raft.requests import Gone
from raft.seal import KEY_BYTES, Key
from raft.watch import Watch
from raft.watching import (
    DEAF_MS,
    MAX_ANSWER,
    MAX_OWN_WATCHERS,
    MAX_WATCHERS,
    WATCH_MS,
    Watching,
)
from tests.dice import Dice

PORTABLE = True

BYTES = 1000
KEY = Key(b"\1" * KEY_BYTES, "test")
OWNERS = (credential(KEY, OWNER, ADMIN), 1, False)


class Machine:
    """A store, its latest changes, and for a watch what it wants of a node."""

    def __init__(self, max_bytes: int = BYTES) -> None:
        self.changes = Changes(max_bytes)
        store = KeyValue(100_000)
        store.on_change = self.changes.add
        self.machine = Machines(store)
        self.applied = 0
        self.now = 0
        self.restored = True
        self.age = 0
        self.replies: list[tuple[object, int, bytes]] = []
        self.watching = Watching(self, self.reply)

    @property
    def compaction(self) -> "Machine":
        return self

    def age_ms(self) -> int:
        return self.age

    def reply(self, client: object, status: int, result: bytes = b"") -> None:
        self.replies.append((client, status, bytes(result)))

    def apply(self, *commands: bytes) -> None:
        for command in commands:
            self.changes.index = self.applied + 1
            self.machine.apply(command, 0)
            self.applied += 1
        self.watching.look()

    def ask(  # type: ignore[no-untyped-def]
        self, who: str, after: int | None, prefix: bytes = b"", number: int = 0, guest=OWNERS
    ) -> None:
        self.watching.ask((who, number or self.applied, guest), requests.watch(after, prefix))

    def answers(self) -> list[tuple[object, int, object]]:
        """Who was told what: (client, status, what the answer says) of each."""
        told: list[tuple[object, int, object]] = []
        for client, status, result in self.replies:
            said: object = result
            if status == OK:
                said = requests.watch_answer(result)
            elif status == GONE:
                said = struct.unpack("<I", result)[0]
            told.append((client[0], status, said))  # type: ignore[index]
        self.replies.clear()
        return told


def put(key: bytes, value: bytes = b"v") -> bytes:
    command: bytes = requests.put(key, value)
    return command


# Changes


def test_only_what_has_an_effect_is_a_change() -> None:
    machine = Machine()
    machine.apply(
        put(b"a", b"1"),
        requests.cas(b"a", b"2", b"3"),
        requests.cas(b"a", b"1", b"2"),
        requests.delete(b"x"),
        requests.delete(b"a"),
        requests.add(b"n", 5),
        requests.lock(b"l", b"me", 10),
        requests.lock(b"l", b"other", 10),
        requests.unlock(b"l", b"other"),
        requests.unlock(b"l", b"me"),
        requests.add(b"l", requests.MAX_COUNT),
        b"\0nonsense",
        put(b"a", b"1"),
        put(b"a", b"1"),
    )

    assert machine.changes.since(0, b"") == [
        (1, b"a", b"1"),
        (3, b"a", b"2"),
        (5, b"a", None),
        (6, b"n", b"5"),
        (7, b"l", b"1 me 10"),
        (10, b"l", b"1"),
        (13, b"a", b"1"),
        (14, b"a", b"1"),
    ]


def test_changes_are_found_by_index_and_prefix() -> None:
    machine = Machine()
    machine.apply(put(b"a"), put(b"ab"), put(b"b"), put(b"a"))

    for after, prefix, found in (
        (0, b"", [1, 2, 3, 4]), (2, b"", [3, 4]), (4, b"", []), (9, b"", []),
        (0, b"a", [1, 2, 4]), (0, b"ab", [2]), (1, b"a", [2, 4]), (0, b"x", []),
    ):  # fmt: skip
        assert [change[0] for change in machine.changes.since(after, prefix)] == found


def test_a_restored_state_is_no_change_and_what_led_to_it_is_not_known() -> None:
    machine = Machine()
    machine.apply(put(b"a"), put(b"b"))
    chunks = list(machine.machine.snapshot())

    machine.machine.reset()
    for chunk in chunks:
        machine.machine.restore(chunk)
    machine.changes.reset(7)

    assert machine.changes.since(0, b"") == []
    assert machine.changes.floor == 7


def test_changes_are_bounded_and_the_oldest_go() -> None:
    machine = Machine()
    dice = Dice(1)
    for _ in range(300):
        machine.apply(put(b"k%d" % dice.below(99), bytes(dice.below(300))))
        known = machine.changes.since(machine.changes.floor, b"")
        used = sum([CHANGE_RAM_BYTES + len(key) + len(value or b"") for _, key, value in known])
        assert used <= BYTES
        assert [change[0] for change in known] == list(
            range(machine.changes.floor + 1, machine.applied + 1)
        )

    machine.apply(put(b"k", bytes(1024)))  # more than there is room for
    assert machine.changes.since(0, b"") == []
    assert machine.changes.floor == machine.applied


# Watching


def test_who_begins_now_is_told_where_that_is() -> None:
    machine = Machine()
    machine.apply(put(b"a"))

    machine.ask("one", None)

    assert machine.answers() == [("one", OK, (1, []))]


def test_what_has_happened_already_is_told_at_once() -> None:
    machine = Machine()
    machine.apply(put(b"a", b"1"), put(b"b"), requests.delete(b"a"))

    machine.ask("one", 0, b"a")

    assert machine.answers() == [("one", OK, (3, [(1, b"a", b"1"), (3, b"a", None)]))]


def test_what_happens_later_is_told_when_it_does() -> None:
    machine = Machine()
    machine.ask("one", 0, b"a")
    machine.apply(put(b"b"))
    assert machine.answers() == []

    machine.apply(put(b"a", b"1"))
    assert machine.answers() == [("one", OK, (2, [(2, b"a", b"1")]))]

    machine.apply(put(b"a", b"2"))  # it has not asked again yet
    assert machine.answers() == []
    machine.ask("one", 2, b"a")
    assert machine.answers() == [("one", OK, (3, [(3, b"a", b"2")]))]


def test_who_has_waited_long_enough_is_told_that_there_was_nothing() -> None:
    machine = Machine()
    machine.ask("one", 0, b"a")
    machine.apply(put(b"b"), put(b"b"))

    machine.now = WATCH_MS - 1
    machine.watching.tick()
    assert machine.answers() == []
    machine.now = WATCH_MS
    machine.watching.tick()

    assert machine.answers() == [("one", OK, (2, []))]


def test_a_watch_is_not_gone_by_changes_of_other_keys() -> None:
    machine = Machine()
    machine.ask("one", 0, b"a")
    for _ in range(100):
        machine.apply(put(b"b", bytes(100)))
    assert machine.changes.floor > 50

    machine.apply(put(b"a"))

    assert machine.answers() == [("one", OK, (101, [(101, b"a", b"v")]))]


def test_what_is_forgotten_is_told() -> None:
    machine = Machine()
    machine.apply(*[put(b"a", bytes(100)) for _ in range(20)])
    floor = machine.changes.floor
    assert floor > 0

    machine.ask("late", floor - 1)
    assert machine.answers() == [("late", GONE, floor)]
    machine.ask("just", floor)
    assert machine.answers()[0][1] == OK


def test_a_node_that_is_restored_keeps_its_watchers_waiting_until_it_knows() -> None:
    machine = Machine()
    machine.restored = False
    machine.ask("old", 3)
    machine.ask("new", 12)
    assert machine.answers() == []

    machine.restored = True
    machine.changes.reset(10)
    machine.applied = 10
    machine.watching.look()
    assert machine.answers() == [("old", GONE, 10)]
    machine.apply(put(b"a"), put(b"b"), put(b"c"))
    assert machine.answers() == [("new", OK, (13, [(13, b"c", b"v")]))]


def test_a_node_that_hears_no_leader_sends_its_watchers_on() -> None:
    machine = Machine()
    machine.ask("one", 0)
    machine.age = DEAF_MS
    machine.now = WATCH_MS
    machine.watching.tick()

    assert machine.answers() == [("one", NOT_LEADER, b"")]


def test_an_answer_fits_into_a_datagram_and_the_rest_is_told_next() -> None:
    machine = Machine(10_000)
    machine.apply(*[put(b"k%d" % i, bytes(200)) for i in range(12)])
    machine.apply(put(b"k" * 64, bytes(1024)))
    told: list[int] = []
    after = 0
    while after < machine.applied:
        machine.ask("one", after)
        assert len(machine.replies[0][2]) <= MAX_ANSWER <= messages.MAX_DATAGRAM - 50
        after, changes = requests.watch_answer(machine.replies.pop()[2])
        told += [change[0] for change in changes]

    assert told == list(range(1, 14))


def test_a_client_waits_once_however_often_it_asks() -> None:
    machine = Machine()
    for number in (5, 5, 6, 7, 7):
        machine.ask("one", 0, number=number)

    machine.apply(put(b"a"))

    assert [client for client, _, _ in machine.replies] == [("one", 7, OWNERS)]


def test_watchers_are_bounded_and_the_one_that_waited_longest_makes_room() -> None:
    machine = Machine()
    for i in range(MAX_WATCHERS + 1):
        machine.ask("c%02d" % i, 0)
    assert machine.answers() == [("c00", BUSY, b"")]

    machine.apply(put(b"a"))

    waited = ["c%02d" % i for i in range(1, MAX_WATCHERS + 1)]
    assert [who for who, _, _ in machine.answers()] == waited


def test_who_watches_by_many_questions_has_only_his_own_forgotten() -> None:
    machine = Machine()
    greedy = credential(KEY, 1, READ), 1, False
    machine.ask("owner", 0)
    for i in range(2 * MAX_WATCHERS):
        machine.ask("g%02d" % i, 0, guest=greedy)
    assert [who for who, _, _ in machine.answers()] == [
        "g%02d" % i for i in range(2 * MAX_WATCHERS - MAX_OWN_WATCHERS)
    ]

    machine.apply(put(b"a"))

    answers = machine.answers()
    assert len(answers) == 1 + MAX_OWN_WATCHERS
    assert answers[0] == ("owner", OK, (1, [(1, b"a", b"v")]))


def test_a_senseless_question_is_bad() -> None:
    machine = Machine()
    for question in (b"", b"\0\0\0\0", b"\0\0\0\0\1", b"\0\0\0\0\0x", b"\0\0\0\0\2x"):
        machine.watching.ask(("one", 1, OWNERS), question)
        assert machine.answers() == [("one", BAD, b"")]
    assert machine.watching._polls == []


# On the board itself


def test_a_program_on_the_board_is_told_each_change_in_order() -> None:
    machine = Machine()
    machine.apply(put(b"a", b"old"))
    seen = []

    async def watch(count: int) -> None:
        async for change in Watch(machine, b"a", machine.applied):
            seen.append(change)
            if len(seen) == count:
                return

    async def run() -> None:
        task = asyncio.create_task(watch(3))
        await sleep_ms(1)
        machine.apply(put(b"b"), put(b"a", b"1"), put(b"ab", b"2"))
        machine.apply(requests.delete(b"a"))
        await task

    asyncio.run(run())

    assert seen == [(3, b"a", b"1"), (4, b"ab", b"2"), (5, b"a", None)]


def test_a_program_that_was_too_slow_is_told_and_goes_on_from_there() -> None:
    machine = Machine()
    machine.apply(*[put(b"a", bytes(100)) for _ in range(20)])

    async def run() -> list[int]:
        told = []
        watch = Watch(machine, b"", 0)
        try:
            await watch.__anext__()
        except Gone as e:
            told.append(e.index)
        told.append((await watch.__anext__())[0])
        return told

    floor = machine.changes.floor
    assert asyncio.run(run()) == [floor, floor + 1]
