"""firmware/apps/: what must never be seen on two boards isn't, when boards are cut off and die.

The boards' programs run as they are; the store, the clock and the hardware are played.
"""

# mypy: allow-untyped-defs

import asyncio

from raft.client import NotCommitted, Unknown
from tests.dice import Dice
from tests.host.board_folder import stand_in

PORTABLE = True

stand_in("machine")

from apps import lock, traffic_light  # noqa: E402

BOARDS = (1, 2, 3)
SEEDS = 2
FAULTS = 30  # per seed
MAX_TRAVEL_MS = 90  # to the leader, or back
PHASE_MS = 800
HOLD_MS = 400


class World:
    """The store, a clock, and the LEDs (`lit`: the boards whose LED is lit).

    gap_ms: between the light of a board and that of another one there must be this time.
    """

    def __init__(self, seed, gap_ms):
        self.gap_ms = gap_ms
        self.dice = Dice(seed)
        self.now = 0
        self.asleep = []  # (due, event)
        self.writes = [None]  # the values that the one key has had
        self.late = []  # (due, expected, new): of cas that take effect later, if at all
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
            for due, expected, new in self.late:
                if due <= self.now:
                    self.cas(expected, new)
            self.late = [cas for cas in self.late if cas[0] > self.now]
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

    def cas(self, expected, new):
        if self.writes[-1] != expected:
            return False
        self.writes.append(new)
        return True


async def turns():
    """Long enough for all tasks to go to sleep again."""
    for _ in range(5):
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
    """In the place of client.Client. A board that is behind hears of one write at a time."""

    def __init__(self, node, nodes, timeout_ms):
        self._node = node
        self._timeout_ms = timeout_ms

    def local(self, key):
        world, node = self.world, self._node
        if node.id not in world.cut_off and node.heard + 1 < len(world.writes):
            node.heard += 1
        return world.writes[node.heard]

    async def get(self, key):
        if not await self._travels():
            raise NotCommitted
        value = self.world.writes[-1]
        if not await self._travels():
            raise NotCommitted
        return value

    async def cas(self, key, expected, new):
        world = self.world
        if not await self._travels():
            world.late.append((world.now + world.dice.below(20000), expected, new))
            raise Unknown
        done = world.cas(expected, new)
        if not await self._travels():
            raise Unknown
        return done

    async def _travels(self):
        """Whether a datagram arrives; else the call ends when its time is up."""
        world = self.world
        if self._node.id in world.cut_off or world.dice.one_in(20):
            await world.sleep_ms(self._timeout_ms - MAX_TRAVEL_MS)
            return False
        await world.sleep_ms(world.dice.draw(1, MAX_TRAVEL_MS))
        return True


class Node(Played):
    """A board: its node, as the program knows it, and the program's task."""

    def __init__(self, id, app, settings):
        self.id = id
        self.heard = 0  # of the writes, this many
        self._app = app
        self._settings = settings

    def events(self, what, **facts):
        self.world.told.append(facts)

    def start(self):
        self.heard = max(0, self.heard - 3)  # it applies its log anew
        self._task = asyncio.create_task(self._run())

    async def _run(self):
        try:
            await self._app.run(self, self._settings)
        except Exception as e:
            self.world.failure = e

    def kill(self):
        self._task.cancel()
        self.world.darken(self.id)


def play(app, seed, gap_ms, **settings):
    """What has become of a world in which three boards run that app; all work at its end."""
    world = Played.world = World(seed, gap_ms)
    for name, played in (
        ("machine", Machine),
        ("Client", Client),
        ("sleep_ms", world.sleep_ms),
        ("ticks_ms", lambda: world.now),
    ):
        setattr(app, name, played)
    settings["nodes"] = {str(id): {} for id in BOARDS}
    boards = [Node(id, app, dict(settings, pin=id)) for id in BOARDS]
    asyncio.run(with_faults(world, boards))
    return world


async def with_faults(world, boards):
    dice = world.dice
    for board in boards:
        board.start()
    await turns()
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
    world.cut_off.clear()
    await world.pass_time(5000)
    world.was_lit.clear()
    await world.pass_time(12 * PHASE_MS)
    for board in boards:
        board.kill()
    await turns()


def test_two_lights_are_never_green_and_all_of_them_are_in_turn() -> None:
    for seed in range(SEEDS):
        # The time that is left for a board that stands still.
        world = play(traffic_light, seed, PHASE_MS * 3 // 8, phase_ms=PHASE_MS)

        assert set(world.was_lit) == set(BOARDS), seed


def test_a_lock_is_never_held_twice_and_its_numbers_only_grow() -> None:
    for seed in range(SEEDS):
        world = play(lock, seed, 0, button=0, hold_ms=HOLD_MS)

        assert set(world.was_lit) == set(BOARDS), seed
        numbers = [facts["number"] for facts in world.told if facts.get("held")]
        assert numbers == sorted(set(numbers)), seed
        assert any(value.endswith(b" 0") for value in world.writes[-4:]), seed  # given back
