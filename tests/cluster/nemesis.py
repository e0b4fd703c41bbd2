"""What happens to a real cluster: kills, pauses, lost flashes, partitions, bad weather and clocks.

Several things at a time, each for a while. A majority is up and awake at most times, and a part of
it may be cut off all the same; but now and then all lose their power at once. Where flash takes its
time, as it does with the habit "flash" of a board, `kill -9` is such a loss of power: it may leave
a program or an erase half done.
"""

import heapq
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from host_tools import events
from host_tools.client import Client, ClusterError
from host_tools.cluster import Cluster
from host_tools.desk import FLASH_FILE, state_folder
from host_tools.events import Event
from host_tools.processes import Processes
from tests.cluster.network import CLIENTS, Network, Weather

PAUSE_S = (0.05, 0.6)  # between two things that happen
DOWN_S = (0.1, 1.5)  # how long each lasts
STOPPED_S = (0.05, 0.8)
CUT_S = (0.3, 2.0)
CALM_S = (0.5, 1.5)
NETWORK_S = 0.4  # the longest delay of a datagram
CLOCKS = (900, 950, 1000, 1000, 1050, 1100)  # thousandths of the real one
OFTEN_THE_LEADER = 0.5
ORDER_S = 0.6  # that an order to the cluster may take
ALARMS = ("alarm", "damage", "swapped", "crash", "flash_fault")
LOSSES = ("wiped", "learner")  # alarms, too, but of a node whose flash was wiped

WEATHERS: list[Callable[[random.Random], Weather]] = [
    lambda dice: Weather(),
    lambda dice: Weather(lost=dice.uniform(0.01, 0.2)),
    lambda dice: Weather(0.0, dice.uniform(0, 0.2), dice.uniform(0, 0.2), round(1000 * NETWORK_S)),
    lambda dice: Weather(0.1, 0.1, 0.3, dice.randint(5, 200)),
    lambda dice: Weather(late=1.0, late_ms=dice.randint(1, 20)),
]

T = TypeVar("T")
OnLine = Callable[[int, str], None]  # node, line


class Deck(Generic[T]):
    """Each of these things in turn, in an order that is another one each time."""

    def __init__(self, dice: random.Random, things: list[T]) -> None:
        self._dice = dice
        self._things = things
        self._left: list[T] = []

    def draw(self) -> T:
        if not self._left:
            self._left = self._dice.sample(self._things, len(self._things))
        return self._left.pop()


class Nemesis:
    """Does all that to `processes`, behind `network`. The seed decides what, and about when.

    start: gives the processes, told who hears what nodes print. client: gives orders to the
    cluster, each of which may take ORDER_S.
    happened: how often what did. alarms: what nodes have told that must not happen.
    """

    def __init__(
        self,
        cluster: Cluster,
        start: Callable[[OnLine], Processes],
        network: Network,
        client: Client,
        seed: int,
    ) -> None:
        self.happened = Counter[str]()
        self.alarms: list[str] = []
        self.processes = start(self._take_line)
        self._cluster = cluster
        self._nodes = sorted(cluster.nodes)
        self._network = network
        self._client = client
        self._dice = random.Random(f"nemesis {seed}")
        self._away: set[int] = set()  # killed or paused
        self._known: set[int] = set()  # nodes whose flash has an identity
        self._forgetful: set[int] = set()  # whose flash was wiped, and who have no vote since
        self._cuts: list[tuple[int, int]] = []
        self._weather = Weather()
        often = [self._kill, self._pause, self._hand_over, self._cut, self._change_weather]
        self._things = Deck(self._dice, [*often * 4, self._wipe, self._black_out])
        shapes = [self._halves, self._one_alone, self._leader_alone, self._one_way, self._ring]
        self._shapes = Deck(self._dice, shapes)
        self._weathers = Deck(self._dice, WEATHERS)
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # what ends, and when
        self._begun = 0
        self._leader = 0
        self._term = 0
        self._hearing = threading.Lock()

    def start(self) -> None:
        """All nodes."""
        for node in self._nodes:
            self._start(node)

    def rage(self, is_over: Callable[[], bool]) -> None:
        """Until then, or until a node ends by itself: an alarm. All is well afterwards."""
        while not is_over() and not self.processes.ended():
            self._end_what_is_due(time.monotonic())
            self._do_something()
            time.sleep(self._dice.uniform(*PAUSE_S))
        for node, status in self.processes.ended().items():
            self.alarms.append(f"node {node} has ended by itself, with status {status}")
        self._end_what_is_due(math.inf)
        self._network.set(Weather())

    def _do_something(self) -> None:
        self._things.draw()()

    def _until(self, seconds: tuple[float, float], end: Callable[[], None]) -> None:
        self._begun += 1  # so that two of one time can be told apart
        until = time.monotonic() + self._dice.uniform(*seconds)
        heapq.heappush(self._due, (until, self._begun, end))

    def _end_what_is_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    # Nodes

    def _kill(self) -> None:
        node = self._victim()
        if node:
            self._count("kills")
            self.processes.kill(node)
            self._until(DOWN_S, lambda: self._start(node))

    def _pause(self) -> None:
        node = self._victim()
        if node:
            self._count("pauses")
            self.processes.pause(node)
            self._until(STOPPED_S, lambda: self._resume(node))

    def _wipe(self) -> None:
        """One comes back with nothing in its flash. All others must have what they had."""
        self._calm_down()
        if self._forgetful or len(self._known) < len(self._nodes):
            return
        node = self._victim()
        self._count("wiped flashes")
        self._forgetful.add(node)
        self.processes.kill(node)
        (state_folder(self._cluster, node) / FLASH_FILE).unlink()
        self._until(DOWN_S, lambda: self._start(node))

    def _black_out(self) -> None:
        """All lose their power in one moment, and get it back one after the other."""
        self._calm_down()
        self._count("blackouts")
        self._away.update(self._nodes)
        for node in self._nodes:
            self.processes.pause(node)
        for node in self._nodes:
            self.processes.kill(node)
            self._until(DOWN_S, partial(self._start, node))

    def _calm_down(self) -> None:
        """Let all be well for a while: what is lost then was at its best before."""
        self._end_what_is_due(math.inf)
        self._weather = Weather()
        self._set_weather()
        time.sleep(self._dice.uniform(*CALM_S))

    def _victim(self) -> int:
        """Who goes away now; 0 if too many have."""
        if 2 * (len(self._away) + 1) >= len(self._nodes):
            return 0
        here = [node for node in self._nodes if node not in self._away]
        node = self._dice.choice(here)
        if self._leader in here and self._dice.random() < OFTEN_THE_LEADER:
            node = self._leader
        self._away.add(node)
        return node

    def _start(self, node: int) -> None:
        clock = self._dice.choice(CLOCKS)
        self.happened["skewed clocks"] += clock != 1000
        self.processes.start(node, {**self._network.environment, "RAFT_DESK_CLOCK": str(clock)})
        self._away.discard(node)

    def _resume(self, node: int) -> None:
        self.processes.resume(node)
        self._away.discard(node)

    def _hand_over(self) -> None:
        try:
            self._client.transfer(self._dice.choice([0, *self._nodes]))
            self._count("handovers")
        except ClusterError:
            self._count("handovers that failed")

    # Network

    def _cut(self) -> None:
        if self._cuts:
            return
        shape = self._shapes.draw()
        self._count("cut: " + shape.__name__.replace("_", " ").strip())
        self._cuts = shape()
        self._set_weather()
        self._until(CUT_S, self._mend)

    def _halves(self) -> list[tuple[int, int]]:
        """Clients reach all, as they would by another way."""
        some = self._dice.sample(self._nodes, len(self._nodes) // 2)
        others = [node for node in self._nodes if node not in some]
        return [pair for a in some for b in others for pair in ((a, b), (b, a))]

    def _one_alone(self) -> list[tuple[int, int]]:
        return self._alone(self._dice.choice(self._nodes))

    def _leader_alone(self) -> list[tuple[int, int]]:
        return self._alone(self._leader or self._nodes[0])

    def _alone(self, one: int) -> list[tuple[int, int]]:
        """Cut off from other nodes; and, or not, from clients."""
        others = [node for node in [CLIENTS, *self._nodes] if node != one]
        if self._dice.random() < 0.5:
            others.remove(CLIENTS)
        return [pair for other in others for pair in ((one, other), (other, one))]

    def _one_way(self) -> list[tuple[int, int]]:
        one = self._leader or self._dice.choice(self._nodes)
        others = self._dice.sample([n for n in [CLIENTS, *self._nodes] if n != one], 3)
        if self._dice.random() < 0.5:
            return [(one, other) for other in others]
        return [(other, one) for other in others]

    def _ring(self) -> list[tuple[int, int]]:
        """Each hears two others: all have a majority, and not the same one."""
        ring = self._dice.sample(self._nodes, len(self._nodes))
        return [
            (a, b)
            for i, a in enumerate(ring)
            for j, b in enumerate(ring)
            if (i - j) % len(ring) not in (0, 1, len(ring) - 1)
        ]

    def _mend(self) -> None:
        self._cuts = []
        self._set_weather()

    def _change_weather(self) -> None:
        self._count("weathers")
        self._weather = self._weathers.draw()(self._dice)
        self._set_weather()

    def _set_weather(self) -> None:
        weather = self._weather
        self._network.set(
            Weather(weather.lost, weather.doubled, weather.late, weather.late_ms, self._cuts)
        )

    # What nodes tell

    def _count(self, what: str) -> None:
        self.happened[what] += 1

    def _take_line(self, node: int, line: str) -> None:
        event = events.parse(line)
        with self._hearing:  # each node has a thread that reads its lines
            if event is None or event.what in ALARMS:
                self.alarms.append(f"node {node}: {line}")
            elif event.what in LOSSES:
                if node not in self._forgetful:
                    self.alarms.append(f"node {node}: {line}")
            else:
                self._take(node, event)

    def _take(self, node: int, event: Event) -> None:
        if event.what == "recovered":
            self._known.add(node)
            self.happened["torn programs"] += int(event.facts["torn"])
        elif event.what == "trusted":
            self._count("trusted")
            self._forgetful.discard(node)
        elif event.what == "leader":
            self._count("elections")
            if int(event.facts["term"]) > self._term:
                self._term = int(event.facts["term"])
                self._leader = node
