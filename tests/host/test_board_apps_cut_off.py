"""firmware/apps/: what must never be seen on two boards isn't, when boards are cut off and die.

The boards' programs run as they are, and so do the dict and the lock that they share; the
cluster, the clock and the hardware are played.
"""

# mypy: allow-untyped-defs

import asyncio
import sys

import raft
from raft import interpreter, lock, requests
from raft.kv import KeyValue
from raft.machines import Machines
from raft.program import Node as ProgramNode
from raft.requests import NotCommitted, Unknown
from tests.dice import Dice
from tests.keys import SECRET

PORTABLE = True

APPS = "firmware/apps/"
BOARDS = (1, 2, 3)
LIGHT_SEEDS, LOCK_SEEDS = 2, 6
FAULTS = 30  # per seed
MAX_TRAVEL_MS = 90  # to the leader, or back
PHASE_MS = 800
HOLD_MS = 3000  # longer than a holder that is cut off has it
TTL_S = 2
LIGHT_PEACE_MS, LOCK_PEACE_MS = 10_000, 30_000  # in which each has its turn
ROOM = 10_000


class World:
    """The cluster, a clock, and the LEDs (`lit`: the boards whose LED is lit).

    gap_ms: between the light of a board and that of another one there must be this time.
    """

    def __init__(self, seed, gap_ms):
        self.gap_ms = gap_ms
        self.dice = Dice(seed)
        self.now = 0
        self.asleep = []  # (due, event)
        self.store = Machines(KeyValue(ROOM))
        self.rate = self.dice.draw(960, 1040)  # the leader's ms in 1,000 of the boards'
        self.writes = [(None, 0)]  # the values that the one key has had, and the cluster's time
        self.late = []  # (due, board, command): of those that take effect later, if at all
        self.cut_off = set()
        self.lit = set()
        self.was_lit = []  # boards, in order
        self.dark_since = 0
        self.told = []  # facts of their events
        self.failure = None

    async def sleep_ms(self, ms):
        event = asyncio.Event()
        self.asleep.append((self.now + max(ms, 1), event))
        await event.wait()

    async def pass_time(self, ms):
        """Let the programs run for so long; raises what one has failed with."""
        end = self.now + ms
        while True:
            self.now = min(min(due for due, _ in self.asleep), end)
            late = [one for one in self.late if one[0] <= self.now]
            self.late = [one for one in self.late if one[0] > self.now]
            for _, _, command in late:
                self.apply(command)
            if self.now == end:
                return
            ready = [event for due, event in self.asleep if due == self.now]
            self.asleep = [one for one in self.asleep if one[0] > self.now]
            for event in ready:
                event.set()
            await turns()
            if self.failure:
                raise self.failure

    def light(self, board):
        self.lit.add(board)
        assert self.lit == {board}, (self.now, self.lit)
        if self.was_lit[-1:] != [board]:
            assert self.now >= self.dark_since + self.gap_ms, (self.now, self.dark_since)
            self.was_lit.append(board)

    def darken(self, board):
        if board in self.lit:
            self.dark_since = self.now
            self.lit.remove(board)

    def apply(self, command):
        time = self.now * self.rate // 1_000_000
        result = self.store.apply(command, time)
        for key in requests.keys_answer(self.store.query(requests.keys_query(b"")))[0]:
            if self.get(key) != self.writes[-1][0]:
                self.writes.append((self.get(key), time))
        return result

    def get(self, key):
        return requests.get_answer(self.store.query(requests.get_query(key)))


async def turns():
    """Long enough for all tasks to go to sleep again."""
    for _ in range(10):
        await asyncio.sleep(0)


class Played:
    """What has a world: each test sets its own."""

    world: World


class Machine:
    """In the place of the module `machine`. Pin n is the LED of board n, or its button."""

    class Pin(Played):
        OUT, IN, PULL_UP = 0, 1, 2

        def __init__(self, number, mode, pull=None):
            self._number = number

        def value(self, level=None):
            world = self.world
            if level is None:
                return world.dice.below(2)
            if level:
                world.light(self._number)
            else:
                world.darken(self._number)


class Client(Played):
    """In the place of client.Client."""

    def __init__(self, node):
        self._node = node

    async def get(self, key):
        if not await self._travels():
            raise NotCommitted
        value = self.world.get(key)
        if not await self._travels():
            raise NotCommitted
        return value

    async def cas(self, key, expected, new):
        return await self._command(requests.cas(key, expected, new)) == b"\1"

    async def lock(self, key, owner, ttl_s):
        return requests.lock_result(await self._command(requests.lock(key, owner, ttl_s)))

    async def unlock(self, key, owner):
        return await self._command(requests.unlock(key, owner)) == b"\1"

    async def _command(self, command):
        world, board = self.world, self._node.id
        if not await self._travels():
            world.late.append((world.now + world.dice.below(20000), board, command))
            raise Unknown
        # As by its session: once a command is done, none from before is.
        world.late = [one for one in world.late if one[1] != board]
        result = world.apply(command)
        if not await self._travels():
            raise Unknown
        return result

    async def _travels(self):
        """Whether a datagram arrives; else the call ends when its time is up."""
        world = self.world
        if self._node.id in world.cut_off or world.dice.one_in(20):
            await world.sleep_ms(self._node.timeout_ms - MAX_TRAVEL_MS)
            return False
        await world.sleep_ms(world.dice.draw(1, MAX_TRAVEL_MS))
        return True


class Node(ProgramNode, Played):
    """A board's node as its program knows it. It hears of one write at a time."""

    def __init__(self, config, heard):
        super().__init__(config, None, self._event)
        self.heard = heard  # of the writes, this many
        self._played = Client(self)
        self._programs = []

    def client(self):
        return self._played

    def local(self, query):
        writes = self.world.writes
        if self.id not in self.world.cut_off and self.heard + 1 < len(writes):
            self.heard += 1
        value, self.sessions.time = writes[self.heard]
        return b"\0" if value is None else b"\1" + value

    def _event(self, what, **facts):
        self.world.told.append(facts)

    def task(self, function):
        self._programs.append(function)

    def run(self):
        self._tasks = [asyncio.create_task(self._run(program)) for program in self._programs]

    async def _run(self, program):
        try:
            await program()
        except Exception as e:
            self.world.failure = e

    def kill(self):
        self._stopped.set()
        for task in self._tasks:
            task.cancel()


class Board(Played):
    """Runs that app with these settings, one life after the other."""

    def __init__(self, id, app, settings):
        self.id = id
        nodes = {str(i): {"host": "", "port": 0, "client_port": 0} for i in BOARDS}
        settings = dict(settings, pin=id)
        self._config = {
            "id": id, "cluster": "test", "keys": [SECRET], "nodes": nodes, "app": settings,
        }  # fmt: skip
        self._node = Node(self._config, 0)
        with open(APPS + app + ".py") as f:
            self._program = f.read()

    def from_config(self):
        """What the program takes for its node's class is the board."""
        self._node = Node(self._config, max(0, self._node.heard - 3))  # it applies its log anew
        return self._node

    def start(self):
        raft.Node = self
        exec(self._program, {"__name__": "app"})

    def kill(self):
        self._node.kill()
        self.world.darken(self.id)


def play(app, seed, gap_ms, peace_ms, **settings):
    """What has become of a world in which three boards run that app; all work at its end."""
    world = Played.world = World(seed, gap_ms)
    played = [
        (interpreter, "sleep_ms", world.sleep_ms),
        (lock, "sleep_ms", world.sleep_ms),
        (lock, "ticks_ms", lambda: world.now),
        (lock, "draw", world.dice.draw),
    ]
    real = [getattr(module, name) for module, name, _ in played]
    sys.modules["machine"] = Machine  # type: ignore[assignment]
    for module, name, stand_in in played:
        setattr(module, name, stand_in)
    try:
        boards = [Board(id, app, settings) for id in BOARDS]
        asyncio.run(until_all_is_well(world, boards, peace_ms))
    finally:
        del raft.Node, sys.modules["machine"]
        for i in range(len(played)):
            setattr(played[i][0], played[i][1], real[i])
    return world


async def until_all_is_well(world, boards, peace_ms):
    for board in boards:
        board.start()
    await turns()
    try:
        await with_faults(world, boards)
        world.cut_off.clear()
        await world.pass_time(5000)
        world.was_lit.clear()
        await world.pass_time(peace_ms)
    finally:
        for board in boards:
            board.kill()
        await turns()


async def with_faults(world, boards):
    dice = world.dice
    for _ in range(FAULTS):
        await world.pass_time(dice.draw(100, 4000))
        board = dice.pick(boards)
        if dice.one_in(3):
            board.kill()
            await turns()
            board.start()
            await turns()
        elif board.id in world.cut_off:
            world.cut_off.discard(board.id)
        else:
            world.cut_off.add(board.id)


def test_two_lights_are_never_green_and_all_of_them_are_in_turn() -> None:
    for seed in range(LIGHT_SEEDS):
        # The time that is left for a board that stands still.
        gap_ms = PHASE_MS * 3 // 8
        world = play("traffic_light", seed, gap_ms, LIGHT_PEACE_MS, phase_ms=PHASE_MS)

        assert set(world.was_lit) == set(BOARDS), seed


def test_a_lock_is_never_held_twice_and_its_numbers_only_grow() -> None:
    for seed in range(LOCK_SEEDS):
        world = play("lock", seed, 0, LOCK_PEACE_MS, button=0, hold_ms=HOLD_MS, ttl_s=TTL_S)

        assert set(world.was_lit) == set(BOARDS), seed
        numbers = [facts["number"] for facts in world.told if facts.get("held")]
        assert numbers == sorted(set(numbers)), seed
        assert any(b" " not in value for value, _ in world.writes[-20:]), seed  # given back
