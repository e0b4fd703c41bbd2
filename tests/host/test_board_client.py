"""raft/client.py: what a program on a board makes of the answers it gets, and doesn't get.

The nodes and the network are played, and so is the clock: no test waits.
"""

# mypy: allow-untyped-defs

import asyncio

from raft import client as board_client
from raft import kv, messages, requests, sessions
from raft.client import Client, NotCommitted, Unknown
from raft.machines import Machines
from tests import sealing
from tests.dice import Dice

PORTABLE = True

NAME = "test"
NODES = (1, 2, 3)
TIMEOUT_MS = 2000
TRAVEL_MS = 3  # of a datagram
EXPIRED = bytes((sessions.EXPIRED,))


class Request:
    """What has come to `node`, and when."""

    def __init__(self, node, now, decoded):
        self.node = node
        self.at = now
        self.kind, self.number, payload, self.guest = decoded
        self.payload = bytes(payload)
        self.is_command = self.kind == messages.WRITE and self.payload != sessions.OPEN


class Endpoint:
    """In the place of udp.Endpoint."""

    def __init__(self, world):
        self.world = world
        self.inbox = []  # (due, frame)
        self.is_open = True
        world.endpoints.append(self)

    def send(self, data, address):
        self.world.hear(self, address, bytes(data))

    def receive(self):
        for i, (due, frame) in enumerate(self.inbox):
            if due <= self.world.now:
                del self.inbox[i]
                return frame
        return None

    def close(self):
        self.is_open = False


class World:
    """Nodes 1 to 3 and a clock; the client's own node is 3.

    follows: whom that node believes to lead. behave(request): what a node replies, as a list
    of (status, leader, result), each of which may have a 4th part: ms until it arrives.
    """

    def __init__(self, behave=None):
        self.behave = behave or self.leads(1)
        self.follows = 1
        self.now = 0
        self.requests = []
        self.endpoints = []
        self.applied = []  # commands, as often as they were applied
        self.store = Machines(kv.KeyValue(1 << 16))
        self.sessions = sessions.Sessions(self)
        self.index = 0
        self.time = 0  # of the cluster, in s
        self.gates = {node: sealing.gate(node, NAME) for node in NODES}
        for name, played in (
            ("Endpoint", lambda address, buf: Endpoint(self)),
            ("ticks_ms", lambda: self.now),
            ("sleep_ms", self.sleep_ms),
        ):
            setattr(board_client, name, played)

    # For the client it is a node: `core.leader`, `core.members.voters`, `codec`, `seal`

    knows_challenges = True  # from before
    is_secret = False
    keys = [sealing.key(NAME)]

    @property
    def seal(self):
        return self

    @property
    def core(self):
        return self

    @property
    def leader(self):
        return self.follows

    @property
    def members(self):
        return self

    @property
    def voters(self):
        return NODES

    def client_address(self, node):
        return node if node in NODES else None

    @property
    def codec(self):
        return sealing.codec(3, NAME)

    # Behind the sessions it is the state machine

    def apply(self, payload, now):
        self.applied.append(bytes(payload))
        return self.store.apply(payload, now)

    # And the network

    def hear(self, endpoint, node, frame):
        decoded = self.gates[node].hear(frame)
        assert decoded, "a client's datagram that is none"
        request = Request(node, self.now, decoded)
        if request.kind == 0:
            stale = self.frame(request, messages.STALE, 0, self.gates[node].challenge)
            endpoint.inbox.append((self.now + 2 * TRAVEL_MS, stale))
            return
        self.requests.append(request)
        for reply in self.behave(request):
            delay = reply[3] if len(reply) > 3 else 2 * TRAVEL_MS
            endpoint.inbox.append((self.now + delay, self.frame(request, *reply[:3])))

    def frame(self, request, status, leader, result, number=None):
        gate = self.gates[request.node]
        number = request.number if number is None else number
        return bytes(gate.frame(gate.reply(request.guest, number, status, leader, result)))

    async def sleep_ms(self, ms):
        self.now += ms
        self.time_passed()
        await asyncio.sleep(0)

    def time_passed(self):
        """For a test to replace."""

    def do(self, request):
        """What the leader does at once; its answer."""
        if request.kind == messages.READ:
            return self.store.query(request.payload[1:])
        self.index += 1
        return self.sessions.apply(self.index, sessions.entry(self.time, request.payload))

    def leads(self, leader):
        """All nodes know that it leads."""

        def behave(request):
            if request.node != leader:
                return [(messages.NOT_LEADER, leader, b"")]
            return [(messages.OK, leader, self.do(request))]

        return behave

    def commands(self):
        return [request for request in self.requests if request.is_command]

    # The program

    def client(self):
        made = Client(self, TIMEOUT_MS)
        for node in NODES if self.knows_challenges else ():
            sealing.introduce(made._caller, node, self.gates[node])
        return made

    def run(self, *calls):
        """Make these calls (functions of a client) one after the other; the last one's result."""

        async def run():
            client = self.client()
            for call in calls:
                result = await call(client)
            return result

        try:
            return asyncio.run(run())
        finally:
            assert not any(endpoint.is_open for endpoint in self.endpoints)

    def failure(self, *calls):
        """What the last of these calls raises."""
        try:
            self.run(*calls)
        except board_client.ClusterError as e:
            return e
        raise AssertionError("it was answered")


def put(client):
    return client.put(b"k", b"v")


def get(client):
    return client.get(b"k")


def cas(client):
    return client.cas(b"k", None, b"v")


def refusing(status, hint=0):
    return lambda request: [(status, hint, b"")]


def spoiling(world, *replies):
    """A leader whose first commands get these replies; None: as it should be."""
    left = list(replies)

    def behave(request):
        right = [(messages.OK, 1, world.do(request))]
        replaced = left.pop(0) if left and request.is_command else None
        return right if replaced is None else replaced

    return behave


# What it is for


def test_what_was_put_is_found_and_deleted() -> None:
    world = World()

    async def program(client):
        assert await client.get(b"color") is None
        await client.put(b"color", b"blue")
        assert await client.get(b"color") == b"blue"
        assert await client.delete(b"color") is True
        assert await client.delete(b"color") is False
        assert await client.get(b"color") is None

    world.run(program)


def test_cas_stores_only_what_was_expected() -> None:
    long, longer = b"a" * 1000, b"b" * 1024
    world = World()

    async def program(client):
        assert await client.cas(b"k", None, long) is True
        assert await client.cas(b"k", None, b"x") is False
        assert await client.cas(b"k", b"other", b"x") is False
        assert await client.cas(b"k", long, longer) is True
        assert await client.get(b"k") == longer

    world.run(program)


def test_what_is_too_long_is_refused_before_anything_is_sent() -> None:
    world = World()

    async def program(client):
        for call in (
            lambda: client.put(b"", b"v"),
            lambda: client.put(b"k" * 65, b"v"),
            lambda: client.put(b"k", b"v" * 1025),
            lambda: client.get(b"k" * 65),
        ):
            try:
                await call()
            except ValueError:
                continue
            raise AssertionError("not refused")

    world.run(program)

    assert not world.requests


def test_commands_of_two_tasks_go_one_after_the_other() -> None:
    # given a leader that takes its time
    world = World()
    world.behave = lambda request: [(messages.OK, 1, world.do(request), 30)]

    async def program(client):
        return await asyncio.gather(*[client.put(b"k", b"%d" % i) for i in range(5)])

    world.run(program)

    assert [int.from_bytes(r.payload[4:8], "little") for r in world.commands()] == [1, 2, 3, 4, 5]
    assert len(world.requests) == 6  # one session for all of them


# Who leads


def test_it_asks_whom_the_boards_own_node_follows() -> None:
    world = World()
    world.behave = world.leads(2)
    world.follows = 2

    world.run(put, get)

    assert {request.node for request in world.requests} == {2}


def test_it_goes_at_once_where_a_node_sends_it() -> None:
    world = World()
    world.behave = world.leads(2)

    world.run(get)

    assert [request.node for request in world.requests] == [1, 2]
    assert world.requests[1].at <= 2 * TRAVEL_MS + board_client.LISTEN_MS


def test_while_nobody_leads_it_asks_nobody_and_then_at_once() -> None:
    world = World()
    world.follows = 0

    def time_passed():
        world.follows = 1 if world.now >= 700 else 0

    world.time_passed = time_passed  # type: ignore[method-assign]

    world.run(get)

    assert [request.at for request in world.requests] == [700]


def test_a_new_leader_is_asked_when_the_old_one_has_died() -> None:
    world = World()

    def behave(request):
        world.follows = 2 if world.now >= 300 else 1
        return [] if request.node == 1 else world.leads(2)(request)

    world.behave = behave

    world.run(get)

    assert world.requests[-1].node == 2
    assert [request.node for request in world.requests].count(2) == 1


def test_nodes_that_contradict_each_other_are_asked_no_faster_than_silent_ones() -> None:
    world = World(lambda request: [(messages.NOT_LEADER, 3 - request.node, b"")])

    failure = world.failure(get)

    assert isinstance(failure, NotCommitted)
    quick = board_client.MAX_QUICK_REDIRECTS + 1
    assert len(world.requests) <= quick + TIMEOUT_MS // board_client.RESEND_MS


# Datagrams get lost, doubled and late


def test_a_lost_request_is_sent_again_under_the_same_number_and_ever_more_slowly() -> None:
    world = World(lambda request: [])

    world.failure(get)

    assert [request.at for request in world.requests] == [0, 50, 150, 350, 750, 1150, 1550, 1950]
    assert len({request.number for request in world.requests}) == 1


def test_a_command_whose_answers_get_lost_takes_effect_once_and_tells_its_first_result() -> None:
    world = World()
    world.behave = spoiling(world, [], [], [])

    assert world.run(cas) is True

    assert len(world.commands()) == 4
    assert len({request.payload for request in world.commands()}) == 1
    assert world.applied == [requests.cas(b"k", None, b"v")]


def test_a_command_lost_with_its_leader_takes_effect_once() -> None:
    # given a leader that did it, and no longer leads before it can say so
    world = World()
    world.behave = spoiling(world, [(messages.LOST, 2, b"")])

    assert world.run(cas) is True

    assert [request.node for request in world.commands()] == [1, 2]
    assert len(world.applied) == 1


def test_a_late_answer_of_the_node_asked_before_counts() -> None:
    # given an old leader that answers after the new one was asked, which doesn't
    world = World()

    def behave(request):
        world.follows = 2
        return [(messages.OK, 1, world.do(request), 400)] if request.node == 1 else []

    world.behave = behave

    assert world.run(get) is None

    assert [request.node for request in world.requests][:2] == [1, 2]
    assert world.now < 400 + 2 * board_client.LISTEN_MS


def test_what_is_no_answer_to_the_question_is_ignored() -> None:
    world = World()

    def hear(endpoint, node, frame):
        request = Request(node, world.now, world.gates[node].hear(frame))
        right = world.frame(request, messages.OK, 1, b"\1right")
        for junk in (
            world.frame(request, messages.OK, 1, b"\1wrong", request.number + 1),
            world.frame(request, messages.NOT_LEADER, 2, b"", request.number - 1),
            right[:-1],
            right[:-21] + b"wrong" + right[-16:],
            b"",
        ):
            endpoint.inbox.append((0, junk))
        endpoint.inbox.append((100, right))

    world.hear = hear  # type: ignore[method-assign]

    assert world.run(get) == b"right"


# When it can't be done


def test_no_answer_to_a_command_leaves_its_outcome_open() -> None:
    world = World()
    world.behave = spoiling(world, *([[]] * 20))

    failure = world.failure(put)

    assert isinstance(failure, Unknown)
    assert "within 2000 ms" in str(failure) and "read the key" in str(failure)
    assert TIMEOUT_MS <= world.now <= TIMEOUT_MS + board_client.LISTEN_MS


def test_no_answer_to_a_read_or_to_a_new_session_is_no_effect() -> None:
    for call in (get, put):
        world = World(lambda request: [])

        assert isinstance(world.failure(call), NotCommitted)
        assert TIMEOUT_MS <= world.now <= TIMEOUT_MS + board_client.LISTEN_MS


def test_a_command_that_every_node_has_refused_has_had_no_effect() -> None:
    world = World()
    world.run(put)
    world.behave = spoiling(world, *([[(messages.NOT_LEADER, 0, b"")]] * 100))

    failure = world.failure(put)

    assert isinstance(failure, NotCommitted)
    assert "2 of 3 boards" in str(failure)
    assert len(world.commands()) > 5


def test_a_refusal_of_one_of_two_copies_settles_nothing() -> None:
    # given a first copy that is still on its way, and a second one that is refused
    world = World()
    refused = [(messages.NOT_LEADER, 0, b"")]
    world.behave = spoiling(world, [], *([refused] * 100))

    assert isinstance(world.failure(put), Unknown)


def test_of_two_copies_none_is_said_to_be_stale_twice() -> None:
    request = board_client._Request(messages.WRITE, b"")
    request.sent(1, 0)
    request.unheard(1)
    assert not request.may_have_effect()

    request.sent(1, 10)
    request.sent(1, 60)
    for _ in range(2):  # the second time by somebody who has kept it
        request.unheard(1)
    assert request.may_have_effect()


def test_a_late_refusal_of_an_earlier_copy_settles_nothing() -> None:
    # given a copy refused twice over, and a later one that takes effect and isn't answered
    world = World()
    refused = (messages.NOT_LEADER, 0, b"")
    late = (messages.NOT_LEADER, 0, b"", board_client.RESEND_MS + 2 * TRAVEL_MS)
    world.behave = spoiling(world, [refused, late], [], *([[refused]] * 100))

    assert isinstance(world.failure(put), Unknown)


def test_a_refusal_of_the_new_leader_does_not_settle_what_the_old_one_was_sent() -> None:
    world = World()

    def behave(request):
        if not request.is_command:
            return [(messages.OK, 1, world.do(request))]
        world.follows = 2
        return [] if request.node == 1 else [(messages.NOT_LEADER, 0, b"")]

    world.behave = behave

    assert isinstance(world.failure(put), Unknown)
    assert [request.node for request in world.commands()][:3] == [1, 2, 2]


def test_a_leader_that_is_busy_is_asked_again_ever_more_slowly() -> None:
    world = World()
    world.behave = spoiling(world, *([[(messages.BUSY, 1, b"")]] * 3))
    world.run(put)
    times = [request.at for request in world.commands()]
    assert [times[i + 1] - times[i] for i in range(3)] == [50, 100, 200]

    world = World(refusing(messages.BUSY, 1))
    failure = world.failure(put)
    assert isinstance(failure, NotCommitted) and "too many commands" in str(failure)


def test_a_full_state_machine_is_told_at_once() -> None:
    world = World()
    world.behave = spoiling(world, [(messages.STATE_FULL, 1, b"")])

    failure = world.failure(put)

    assert isinstance(failure, NotCommitted) and "state_kb" in str(failure)
    assert world.now < 100


def test_a_refusal_after_a_copy_that_may_have_done_it_is_not_the_end() -> None:
    world = World()
    full = [(messages.STATE_FULL, 1, b"")]
    world.behave = spoiling(world, [(messages.LOST, 0, b"")], full, None)
    world.run(put)
    assert len(world.commands()) == 3

    world = World()
    world.behave = spoiling(world, [(messages.LOST, 0, b"")], *([full] * 100))
    assert isinstance(world.failure(put), Unknown)


# Sessions


def test_an_expired_session_is_replaced() -> None:
    world = World()
    expired = [(messages.OK, 1, EXPIRED)]
    world.behave = spoiling(world, None, expired)

    world.run(put, put)

    opened = [r for r in world.requests if r.payload == sessions.OPEN]
    assert len(opened) == 2
    assert len({request.payload[:4] for request in world.commands()}) == 2


def test_a_session_that_was_not_used_for_a_week_is_replaced_before_it_is_used() -> None:
    # given that after half of their period ticks seem to lie before those of earlier
    world = World()

    async def program(client):
        await client.put(b"k", b"1")
        world.now -= 1 << 28
        await client.put(b"k", b"2")

    world.run(program)

    assert len([r for r in world.requests if r.payload == sessions.OPEN]) == 2


def test_a_session_that_expires_after_a_second_copy_leaves_the_outcome_open() -> None:
    world = World()
    world.behave = spoiling(world, [], [(messages.OK, 1, EXPIRED)])

    assert isinstance(world.failure(put), Unknown)


def test_a_session_is_not_changed_for_a_new_one_while_its_last_command_is_in_doubt() -> None:
    # given a command of unknown outcome
    world = World()
    lost: list = []  # type: ignore[type-arg]

    def behave(request):
        if request.is_command and len(lost) < 8:
            lost.append(request)
            return []
        return [(messages.OK, 1, world.do(request))]

    world.behave = behave

    async def program(client):
        try:
            await client.put(b"k", b"1")
        except Unknown:
            client._life_s = 0  # its half has passed when the client goes on
        await client.put(b"k", b"2")
        await client.put(b"k", b"3")

    world.run(program)

    # then the next one is of the same session, and the one after that of a new one
    used = [request.payload[:4] for request in world.commands()]
    assert set(used[:-1]) == {used[0]}
    assert used[-1] != used[0]


def test_so_is_one_whose_task_was_cancelled() -> None:
    world = World()
    held: list = []  # type: ignore[type-arg]

    def behave(request):
        if request.is_command and not held:
            held.append(request)
            return []
        return [(messages.OK, 1, world.do(request))]

    world.behave = behave

    async def program(client):
        task = asyncio.create_task(client.put(b"k", b"old"))
        while not held:
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            client._life_s = 0  # its half has passed when the client goes on
        await client.put(b"k", b"new")

    world.run(program)

    assert world.do(held[0]) == EXPIRED
    assert world.run(get) == b"new"


def test_after_an_open_outcome_a_late_copy_does_nothing_once_the_next_command_is_done() -> None:
    # given a command of which no copy arrives in time
    world = World()
    held: list = []  # type: ignore[type-arg]

    def behave(request):
        if request.is_command and len(held) < 8:
            held.append(request)
            return []
        return [(messages.OK, 1, world.do(request))]

    world.behave = behave

    async def program(client):
        try:
            await client.put(b"k", b"old")
        except Unknown:
            await client.put(b"k", b"new")
        else:
            raise AssertionError("not open")

    world.run(program)

    # when one arrives after the next command
    assert len(held) == 8
    assert world.do(held[0]) == EXPIRED

    assert world.run(get) == b"new"


# All at once


class Storm:
    """A network that loses, delays and doubles, and leaders that come and go."""

    def __init__(self, seed):
        self.dice = Dice(seed)
        self.world = World(self.behave)
        self.leader = 1
        self.late = []  # (due, request)

    def behave(self, request):
        world, dice = self.world, self.dice
        if dice.one_in(20):
            self.leader = dice.draw(0, 3)  # 0: nobody
        if dice.one_in(4):
            world.follows = self.leader or 1  # who asks nobody sees no time pass
        for due, delayed in list(self.late):
            if due <= world.now:
                self.late.remove((due, delayed))
                if delayed.node == self.leader:
                    world.do(delayed)
        if dice.one_in(6):
            return []  # lost
        if dice.one_in(6):
            self.late.append((world.now + dice.below(2 * TIMEOUT_MS), request))
        if request.node != self.leader:
            return [(messages.NOT_LEADER, dice.pick((self.leader, dice.draw(0, 3))), b"")]
        if dice.one_in(8):
            return [(messages.BUSY, self.leader, b"")]
        if dice.one_in(8):
            if dice.one_in(2):
                world.do(request)
            return [(messages.LOST, 0, b"")]
        reply = (messages.OK, self.leader, world.do(request), dice.draw(1, 200))
        return [] if dice.one_in(4) else [reply, reply]


def test_each_command_takes_effect_once_whatever_the_network_does() -> None:
    outcomes = {"done": 0, "none": 0, "open": 0}

    async def count(client):
        """Count in the store, as its only writer."""
        value = 0
        for _ in range(25):
            old, new = (b"%d" % value if value else None), b"%d" % (value + 1)
            try:
                assert await client.cas(b"n", old, new) is True
                outcomes["done"] += 1
                value += 1
            except NotCommitted:
                outcomes["none"] += 1
            except Unknown:
                outcomes["open"] += 1
                await settled(client)
                value = int(await settled_get(client) or b"0")
        return value

    for seed in range(8):
        storm = Storm(seed)
        value = storm.world.run(count)
        wins = [c for c in storm.world.applied if c[1] == kv.CAS]
        assert len(wins) == len(set(wins)), seed
        assert storm.world.store.query(requests.get_query(b"n"))[1:] == b"%d" % value, seed
    assert min(outcomes.values()) > 0, outcomes


async def settled(client):
    """A command done: older ones have no effect any more."""
    while True:
        try:
            return await client.put(b"x", b"")
        except board_client.ClusterError:
            continue


async def settled_get(client):
    while True:
        try:
            return await client.get(b"n")
        except NotCommitted:
            continue
