"""Five servers on a virtual clock, of which one leads until it is crashed.

What runs are shipped cores, logs and stores. The driver is this file's: it does what
`raft.node.Node` does, in that order, and counts the time that messages and writes take. Nothing
is sealed or encoded, and there are no clients: a trial in the simulator (`tests/cluster/`) would
take ten times as long.
"""

from collections.abc import Callable
from copy import copy
from functools import cache, partial
from heapq import heappop, heappush

from raft.core import LEADER
from raft.log import Log
from raft.members import founders
from raft.messages import Message
from raft.store import Store
from tests.cluster.board import US
from tests.cluster.simulator import ERASE_US
from tests.core.group import entries
from tests.dice import Dice
from tests.elections.conditions import Conditions
from tests.flash import RamFlash

COUNT = 5
MAJORITY = 3
SECTORS = 32
FOUNDED_TERM = 2  # of the first leader


@cache
def _flash_of(node: int, length: int) -> RamFlash:
    """A flash whose log has so many entries of the first term."""
    flash = RamFlash(SECTORS)
    Store(flash, node).append(True, FOUNDED_TERM - 1, 0, 1, entries(1, *[1] * length))
    return flash


class Server:
    """One server, with a log of `length` entries."""

    def __init__(self, cluster: "Cluster", node: int, length: int) -> None:
        conditions = cluster.conditions
        self.node = node
        self.store = Store(_flash_of(node, length).copy(), node)
        self.core = conditions.core(
            node, founders(range(1, COUNT + 1)), Log(self.store), self.store.term, self.store.vote,
            cluster.dice.draw, conditions.heartbeat_ms, conditions.timeout_ms,
        )  # fmt: skip
        self.is_up = True
        self._cluster = cluster
        self._busy_until = 0
        # Its clock: thousandths of a ms in a ms of virtual time, and what it showed at the start
        drift = conditions.drift * 10
        self._rate = cluster.dice.draw(US - drift, US + drift)
        self._phase = cluster.dice.below(US)
        self._read_at = self._clock_ms()
        self._inbox: list[Message] = []
        self._is_woken = False

    def begin(self) -> None:
        """Its timer runs from now on, and its flash has sectors to erase."""
        self.core.campaigns = 0
        self._set_timer()
        if self._cluster.conditions.stall_ms:
            self._stall_later()

    # Its tasks, as those of `raft.node.Node`

    def hear(self, m: Message) -> None:
        """A message arrives."""
        if self.is_up:
            self._inbox.append(m)
            if not self._is_woken:
                self._is_woken = True
                self._cluster.at(self._busy_until, self._turn)

    def _turn(self) -> None:
        if self._is_free_for(self._turn):
            self._is_woken = False
            self._take_in()
            self.drive()

    def _set_timer(self) -> None:
        cluster = self._cluster
        pause_ms = max(1, min(self.core.due_ms(), self.core.heartbeat_ms))
        late_us = cluster.dice.below(cluster.conditions.late_us + 1)
        cluster.at(cluster.now + -(-pause_ms * US * US // self._rate) + late_us, self._timer)

    def _timer(self) -> None:
        if self._is_free_for(self._timer):
            self._take_in()
            self.core.tick()
            self.drive()
            self._set_timer()

    def _is_free_for(self, task: Callable[[], None]) -> bool:
        """Whether the task may go on; if only later, it is called again then."""
        if self.is_up and self._cluster.now < self._busy_until:
            self._cluster.at(self._busy_until, task)
            return False
        return self.is_up

    def _take_in(self) -> None:
        now = self._clock_ms()
        self.core.pass_time(now - self._read_at)
        self._read_at = now
        for m in self._inbox:
            self.core.step(m)
        self._inbox.clear()

    def _clock_ms(self) -> int:
        return (self._cluster.now * self._rate // US + self._phase) // US

    def drive(self) -> None:
        """Do what the core wants done; the time that it takes keeps the server busy."""
        core = self.core
        send = self._cluster.send
        time = self._cluster.now
        while True:
            ready = core.ready()
            if ready is None:
                break
            if not ready.save:
                send(ready.early, time)
            if ready.save or ready.entries:
                self.store.write(ready)
                time += self._cluster.write_us()
            if ready.save:
                send(ready.early, time)
            send(ready.after, time)
            core.advance()
            if core.role != LEADER:
                break
        self._busy_until = time

    # Its flash

    def _stall_later(self) -> None:
        cluster = self._cluster
        mean_us = cluster.conditions.stall_ms * US
        cluster.at(cluster.now + cluster.dice.draw(mean_us // 2, mean_us * 3 // 2), self._stall)

    def _stall(self) -> None:
        if self._is_free_for(self._stall):
            dice, slow = self._cluster.dice, self._cluster.conditions.slow
            erase_us = dice.draw(*ERASE_US) if dice.one_in(slow) else ERASE_US[0]
            self._busy_until = self._cluster.now + erase_us
            self._stall_later()


class Cluster:
    """Servers 1 to 5; who has the longest log leads, and has told so. now: in µs.

    lengths: of their logs. They stay as they are until the crash: appends with entries are lost.
    """

    def __init__(self, conditions: Conditions, lengths: list[int], dice: Dice) -> None:
        self.conditions = conditions
        self.dice = dice
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._holds_back = True
        self._is_calm = True  # messages and writes take no time, and nothing is lost
        self.servers = [Server(self, i + 1, length) for i, length in enumerate(lengths)]
        self._found(self.servers[lengths.index(max(lengths))])

    def _found(self, first: Server) -> None:
        first.core.tick(first.core.election_high)
        first.drive()
        while self._events:
            self.step()
        assert first.core.role == LEADER and first.core.term == FOUNDED_TERM
        self._is_calm = False
        for server in self.servers:
            server.begin()

    def at(self, time: int, function: Callable[[], None]) -> None:
        """Call it at that time, or at once if that is past."""
        self._count += 1
        heappush(self._events, (max(time, self.now), self._count, function))

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, function = heappop(self._events)
        function()

    def write_us(self) -> int:
        """How long a write takes."""
        return 0 if self._is_calm else self.dice.draw(*self.conditions.write_us)

    def send(self, letters: list[Message], time: int) -> None:
        """These leave at that time."""
        for m in letters:
            if self._holds_back and m.entries:
                continue
            delay_us = 0
            if not self._is_calm:
                if self.dice.below(100) < self.conditions.loss:
                    continue
                delay_us = self.dice.draw(*self.conditions.delay_us)
            self.at(time + delay_us, partial(self.servers[m.dst - 1].hear, copy(m)))

    def leader(self) -> Server | None:
        """Who leads the newest term that has a leader."""
        leaders = [s for s in self.servers if s.is_up and s.core.role == LEADER]
        return max(leaders, key=lambda s: s.core.term, default=None)

    def followers(self) -> int:
        """How many have heard that leader; 0 if there is none."""
        leader = self.leader()
        return sum(
            leader is not None and s.is_up and s is not leader
            and s.core.leader == leader.node and s.core.term == leader.core.term
            for s in self.servers
        )  # fmt: skip

    def crash(self, server: Server) -> None:
        """It is gone for good; the others' entries travel again."""
        server.is_up = False
        self._holds_back = False
