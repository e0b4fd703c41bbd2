"""Boards in one process, on a virtual clock, with the habits of real ones; portable.

What runs on them is the shipped node, with its endpoints, its flash log and its service, and a
program that asks the cluster by the shipped client.
"""

import asyncio

from host_tools.desktop import lwip
from host_tools.desktop.flash import ERASE_MS, PAGE_BYTES, PAGE_MS
from host_tools.desktop.habits import RTOS_TICK_MS, ticks_after
from raft.interpreter import sleep_ms as real_sleep_ms
from tests.flash import PowerCut, RamFlash

TYPE_CHECKING = False
if TYPE_CHECKING:  # at run time it is imported when the clock is virtual
    from raft.node import Node

PORT = 7100
CLIENT_PORT = 7200
SECTORS = 64  # a partition of 256 KB
STATE_KB = 8
VALUE_BYTES = 200
SLOW = 32  # one in so many operations of the flash takes longer than usual
CUT_BYTES = 400  # programmed, at most, until a power cut comes
CUT_MS = 3000  # and so long one is waited for
STEP_MS = 50
CALL_MS = 5000  # of the client
PAUSE_MS = (300, 1500)  # between two commands of a board's program
LIFE_MS = (60_000, 600_000)  # until a board loses its power
DOWN_MS = (200, 20_000)
LINK_MS = (60_000, 600_000)  # until it loses its network
OFF_MS = (200, 4000)  # for so long
SAVING_MS = 1000  # until power save is off again then (firmware/board/wifi.py)


class Chip:
    """A board's raft partition: while it works, the board stands still."""

    def __init__(self, board: "Board") -> None:
        self._board = board

    def ioctl(self, op: int, arg: int) -> int:
        done = self._board.flash.ioctl(op, arg)
        if op == 6:
            self._take(ERASE_MS)
        return done

    def readblocks(self, block: int, buf: bytearray, offset: int = 0) -> None:
        self._board.flash.readblocks(block, buf, offset)

    def writeblocks(self, block: int, buf: bytes, offset: int = 0) -> None:
        self._board.flash.writeblocks(block, buf, offset)
        for _ in range((offset + len(buf) - 1) // PAGE_BYTES - offset // PAGE_BYTES + 1):
            self._take(PAGE_MS)

    def _take(self, times: tuple[int, int]) -> None:
        board = self._board
        if "flash" in board.habits:
            usual, longest = times
            is_slow = board.dice.one_in(SLOW)
            taken = board.dice.draw(usual, longest) if is_slow else usual
            board.stand_still(taken)
            board.stood_ms += taken


class Board(lwip.Board):
    """One board of `world`. node: the node that runs on it, None without power.

    busy_until: it stands still until then (ms). stood_ms: how long it has, for its flash.
    acknowledged: what its program has counted its own key up to; asked: what it may have.
    """

    def __init__(self, world, number: int) -> None:  # type: ignore[no-untyped-def]
        # What a radio does that saves power is the air's to do.
        super().__init__(world.habits - {"powersave"})
        self.world = world
        self.air = world.air
        self.id = number
        self.host = "10.0.0.%d" % number
        self.dice = world.dice_of(number)
        self.flash = RamFlash(SECTORS)
        self.node: Node | None = None
        self.busy_until = 0
        self.stood_ms = 0
        self.acknowledged = self.asked = 0
        self._identity = 0  # in NVS
        self._phase = self.dice.below(RTOS_TICK_MS)
        self._started = 0
        self._off_until = self._saving_until = 0

    # Time

    def local_ms(self) -> int:
        """The time for what its code does now: that doesn't stand still by itself."""
        return max(self.world.timeline.now, self.busy_until)

    def ticks_ms(self) -> int:
        passed = self.local_ms() - self._started
        return ticks_after(passed) if "wrap" in self.world.habits else passed

    def stand_still(self, ms: int) -> None:
        self.busy_until = self.local_ms() + ms

    def wake_ms(self, time: int) -> int:
        """When it wakes up for what happens at that time."""
        time = max(time, self.busy_until)
        if "wakeups" in self.habits:
            time += -(time - self._phase) % RTOS_TICK_MS
        return time

    async def sleep(self, ms: int) -> None:
        until = self.local_ms() + max(0, ms)
        while True:
            await real_sleep_ms(self.wake_ms(until) - self.world.timeline.now)
            if self.busy_until <= self.world.timeline.now:
                break
            until = self.busy_until
        self.air.here = self

    # Radio

    def is_deaf(self) -> bool:
        return self.node is None or self.world.timeline.now < self._off_until

    def is_saving(self) -> bool:
        return "powersave" in self.world.habits and self.world.timeline.now < self._saving_until

    def is_down(self, address: object) -> bool:
        """Whether nobody at that address answers ARP."""
        board = self.air.boards.get(address[0])  # type: ignore[index]
        return board is not None and board.is_deaf()

    def lose_link(self) -> None:
        self._off_until = self.world.timeline.now + self.dice.draw(*OFF_MS)
        self._saving_until = self._off_until + SAVING_MS

    # NVS, as firmware/board/identity.py has it

    def load(self) -> int:
        return self._identity

    def save(self, identity: int) -> None:
        self._identity = identity

    # Its life

    async def live(self) -> None:
        """Has power, loses it, has it again..., until the world is over; then it has power."""
        world = self.world
        while True:
            self._power_on()
            serving = asyncio.create_task(self._serve(self.node))
            program = asyncio.create_task(self._run(self.node))
            until = world.timeline.now + self.dice.draw(*LIFE_MS) // world.pace
            while not world.is_over and (world.timeline.now < until or not world.spares(self)):
                await real_sleep_ms(STEP_MS)
                if serving.done() or program.done():
                    break
            if world.is_over:
                return
            if world.timeline.now >= until and self.dice.one_in(2):
                self.flash.torn = self.dice
                self.flash.power_bytes = self.dice.below(CUT_BYTES)
                until = world.timeline.now + CUT_MS
                while world.timeline.now < until and not serving.done():
                    await real_sleep_ms(STEP_MS)
            for task in (program, serving):
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    pass
            self._power_off()
            await real_sleep_ms(self.dice.draw(*DOWN_MS))

    def _power_on(self) -> None:
        world = self.world
        self.air.here = self
        self._started = world.timeline.now
        self.busy_until = 0
        if "nvs" in world.habits:
            self._identity = 0
        self.node = world.new_node(self)
        self.node.open(Chip(self), self)

    def _power_off(self) -> None:
        self.world.count("power failures")
        self.world.count_dropped(self.node)
        self.node = None
        self.flash = self.flash.copy()

    async def _serve(self, node) -> None:  # type: ignore[no-untyped-def]
        self.air.here = self
        try:
            await node.serve()
        except PowerCut:
            pass

    async def _run(self, node) -> None:  # type: ignore[no-untyped-def]
        """The board's program: counts up its own key, which nobody else writes."""
        from raft.client import Client, NotCommitted, Unknown

        self.air.here = self
        key = b"count-%d" % self.id
        client = Client(node, CALL_MS)
        while not self.world.is_over or self.asked != self.acknowledged:
            await self.sleep(self.dice.draw(*PAUSE_MS))
            try:
                await self._count_up(client, key)
            except NotCommitted:
                self.world.count("not committed")
            except Unknown:
                self.world.count("unknown")

    async def _count_up(self, client, key: bytes) -> None:  # type: ignore[no-untyped-def]
        # What was asked for before a restart, or is unknown, may have its effect at any time until
        # the key has gone on.
        is_in_doubt = self.asked != self.acknowledged
        self.asked = self.acknowledged + 1
        if await client.cas(key, value(self.acknowledged), value(self.asked)):
            self.world.count("acknowledged")
        else:
            found = await client.get(key)
            if not is_in_doubt or found != value(self.asked):
                self.world.fail(
                    "board %d: %r is there, and %d was acknowledged"
                    % (self.id, found and found[:20], self.acknowledged)
                )
        self.acknowledged = self.asked


def value(number: int) -> bytes | None:
    """What stands for that number; for 0, there is none."""
    return b"%d" % number + bytes(VALUE_BYTES) if number else None
