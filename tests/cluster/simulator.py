"""A cluster in one process, on a virtual clock: one seed decides everything; portable.

    python -m tests.cluster.simulator --seed 123 --steps 5000 [--trace]
    python -m tests.cluster.simulator --seeds 1000-2000
    python -m tests.cluster.simulator --churn --seeds 1-100

What runs is the shipped driver (`raft.node.Node`) with its core, log, store, codec, sessions and
service; simulated are only time, sockets, flash and clients. In the safety phase datagrams are
lost, doubled, garbled, delayed and reordered, links and nodes cut off, nodes stalled and robbed
of their power in the middle of a program, and `invariants.py` looks at every step. Then all
faults end, and within HEAL_MS the cluster must be whole again, and every request answered.
With --churn its members change meanwhile: see `churn.py`.
"""

from binascii import crc32
from heapq import heappop, heappush

from raft.core import LEADER
from raft.leading import OTHERS_PACE_MS
from raft.messages import MAX_DATAGRAM
from raft.store import StoreError
from tests.cluster.board import US, Board
from tests.cluster.chance import Chance
from tests.cluster.clients import CLIENT, CLIENTS, PEERS, Client, Watcher
from tests.cluster.datagrams import describe, garbled, spoilt_at
from tests.cluster.invariants import Violation, Watch
from tests.cluster.outsider import Outsider
from tests.dice import Dice
from tests.flash import SECTOR_BYTES, PowerCut, RamFlash
from tests.keys import SECRET

HEAL_MS = 5000
MAILBOX = 6  # datagrams that a socket of lwIP keeps
# What an operation of the flash takes, typically and at worst (W25Q32 datasheet, "AC Electrical
# Characteristics"); the whole node stands still meanwhile
PROGRAM_US = (1000, 5000)  # of one page
ERASE_US = (45_000, 300_000)  # of one sector
WAKE_US = 2_000  # until a task has its turn
TICK_US = 10_000  # by so much a timer of MicroPython's asyncio may be late
DOWN_US = 100_000  # without power, typically
TRACE_LINES = 60  # shown of a run that failed

HOSTS = 256  # more than there are nodes and clients


class Plan:
    """What one seed decides at the start."""

    def __init__(self, dice: Dice) -> None:
        pick = dice.pick
        self.voters = list(range(1, pick((1, 2, 3, 3, 3, 4, 5, 5, 5, 6, 7)) + 1))
        self.boards = 0  # at least; one for each voter in any case
        self.clients = pick((1, 2, 3, 8))
        self.reads = pick((2, 3, 8))  # of ten requests
        self.value_bytes = pick((1, 40, 700))
        self.ram_bytes = pick((600, 4096))  # of a node's log
        self.sectors = pick((22, 24, 32, 128))
        self.eager_at = pick((0, 2, 3, 4))  # sectors in use that make a snapshot due
        self.forgets = dice.one_in(2)  # what isn't needed leaves the flash at once
        self.remembers = dice.one_in(2)  # the identity of each flash, in a second place
        self.uncommitted_bytes = pick((1000, 8192))
        self.mailbox = pick((MAILBOX, 100))
        self.joins_datagrams = dice.one_in(2)  # as MicroPython does (raft/udp.py)
        self.election_ms = pick(([150, 300], [150, 300], [110, 500]))
        self.loss = pick((0, 0, 10, 50, 200))  # per mille of the datagrams
        self.doubled = pick((0, 0, 20, 200))
        self.late = pick((0, 0, 50, 300))
        self.garbled = pick((0, 0, 20))
        self.delay_us = pick(((200, 900), (1000, 10_000), (5000, 30_000), (100, 60_000)))
        self.late_us = (50_000, 1_500_000)
        self.fault_ms = pick((100, 300, 1000))  # between two faults, about
        faults = [name for name in World.FAULTS if not dice.one_in(3)]
        self.faults = faults or ["restore"]
        self.down_ms = pick((50, 500, 2000))  # longest time without power
        self.old_flash = dice.one_in(3)  # the partitions held something else before
        self.slow_flash = pick((1, 16))  # one in so many operations takes longer than typically
        self.session_s = pick((1, 2, 3600))
        self.watchers = 0
        self.replayed: int | None = None  # per mille, by an outsider; None: it decides itself


class World:
    """Everything: boards, network, clients, faults, and the list of what happens next.

    trace: called with each line of what happens, or None. parts: what to use in place of the
    real parts of a node, by their names in `raft.node`. adapt: may change the plan that it is
    called with. chance: decides what happens; by default, what the seed's dice have drawn.
    steps: events so far.
    """

    PLAN = Plan
    CLIENT = Client
    OPTION = ""  # of the command line
    NAME = "simulated"
    FAULTS = (
        "cut_halves", "cut_off_one", "cut_one_way", "cut_to_ring", "restore",
        "crash_one", "crash_in_program", "crash_in_sending", "crash_all", "flash_fault", "stall",
        "rot", "wipe",
    )  # fmt: skip

    def __init__(  # type: ignore[no-untyped-def]
        self, seed: int, trace=None, parts=None, adapt=None, chance: "Chance | None" = None
    ) -> None:
        self.trace = trace
        self.parts = parts or {}
        self.seed = seed
        self.dice = self.dice_of(0)
        self.plan = self.PLAN(self.dice)
        if adapt:
            adapt(self.plan)
        self.now = 0
        self.steps = 0
        self.healing_ms = 0  # how long it took
        self.draining = False
        self.cut: set[tuple[int, int]] = set()  # (from, to): links that carry nothing
        self._events: list = []  # type: ignore[type-arg]
        self._count = 0
        self._links: dict[int, Dice] = {}
        self.chance = chance or Chance()
        self.chance.begin(self)
        self.decides = self.chance.decides
        self.watch = Watch()
        self.outsider = Outsider(self)
        boards = max(self.plan.boards, len(self.plan.voters))
        self.boards = [Board(self, number) for number in range(1, boards + 1)]
        first = len(self.boards) + 1
        self.clients: list[Client | Watcher] = [
            self.CLIENT(self, first + i) for i in range(self.plan.clients)
        ]
        for i in range(self.plan.watchers):
            self.clients.append(Watcher(self, first + self.plan.clients + i))
        for board in self.installed():
            self._boot(board)
        if self.chance.is_free:
            self._next_fault()

    def config(self, board: Board) -> dict[str, object]:
        nodes = {
            str(b.id): {
                "host": str(b.id), "port": PEERS, "client_port": CLIENTS,
                "join": board.joins or b.id not in self.plan.voters,
            }
            for b in self.boards
        }  # fmt: skip
        return {
            "id": board.id, "cluster": self.NAME, "keys": [SECRET], "nodes": nodes,
            "election_ms": self.plan.election_ms, "session_s": self.plan.session_s,
        }  # fmt: skip

    # What happens when. Each node, client and link has dice of its own, and a number by which
    # events of one moment are ordered: nothing depends on the order in which a dictionary of
    # this or that interpreter is walked through.

    def dice_of(self, who: int) -> Dice:
        # All 32 bits of a seed count: what doesn't fit beside `who` moves the rest.
        return Dice(self.seed * 65536 + (self.seed >> 16) * 40503 + who)

    def at(self, time: int, who: int, function, argument) -> None:  # type: ignore[no-untyped-def]
        """Call `function(argument)` at that time."""
        self._count += 1
        heappush(self._events, (time, who, self._count, function, argument))

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, _, function, argument = heappop(self._events)
        self.watch.now_us = self.now
        self.steps += 1
        function(argument)

    def does(self, what: str, *facts: object) -> None:
        """Let somebody do something: `do_` and its name is the method, and a script can say it."""
        self.chance.happens(what, facts)
        getattr(self, "do_" + what)(*facts)

    def note(self, line: str, *facts: object) -> None:
        if self.trace:
            self.trace("%9.3f " % (self.now / US) + line % facts)

    # Nodes

    def installed(self) -> list[Board]:
        """Those in use, whether they have power or not."""
        return [board for board in self.boards if board.is_installed]

    def nodes(self) -> list[int]:
        """The numbers of those in use."""
        return [board.id for board in self.installed()]

    def members(self) -> list[Board]:
        """The nodes that have to agree in the end."""
        return self.boards

    def soonest(self) -> int:
        """When the next thing happens."""
        return int(self._events[0][0])

    def leaders(self) -> list[Board]:
        """The nodes that believe to lead."""
        return [b for b in self.boards if b.node and b.node.core.role == LEADER]

    def _boot(self, board: Board) -> None:
        if board.node or not board.is_installed:
            return
        try:
            board.power_on()
        except PowerCut:  # when it wrote its flash's identity
            board.flash = board.flash.copy()
            self.at(self.now + US, board.id, self._boot, board)
            return
        self.note("n%d boots: term %d, last %d", board.id, board.disk.term, len(board.disk.log))
        assert board.node
        board.node.greet()
        self._set_timer(board)

    def _run(self, board: Board, function) -> None:  # type: ignore[no-untyped-def]
        """Let a node do something, and look at what it did."""
        node = board.node
        assert node and board.life
        store = node.store
        pages, erases = store.pages, store.erases
        try:
            function()
            board.life.look()
        except (PowerCut, OSError, StoreError) as e:  # of the latter two the driver makes a reset
            if isinstance(e, StoreError) and not board.has_lost:
                raise
            self.note("n%d crashes: %s", board.id, type(e).__name__)
            self._crash(board)
            return
        busy = 0
        for _ in range(store.pages - pages):
            busy += self._flash_us(board, *PROGRAM_US)
        for _ in range(store.erases - erases):
            busy += self._flash_us(board, *ERASE_US)
        if busy:
            board.busy_until = self.now + busy
        if board.inbox or board.requests or node.applied < node.core.commit:
            self._wake(board)

    def _flash_us(self, board: Board, typical: int, worst: int) -> int:
        is_slow = board.dice.one_in(self.plan.slow_flash)
        drawn = board.dice.draw(typical, worst) if is_slow else typical
        return self.decides(board.name, "flash", typical, drawn)

    def _wake(self, board: Board) -> None:
        if not board.is_woken:
            board.is_woken = True
            wait = self.decides(board.name, "wakes", WAKE_US // 2, board.dice.below(WAKE_US))
            time = max(self.now + wait, board.busy_until)
            self.at(time, board.id, self._turn, (board, board.lives))

    def _turn(self, who: tuple[Board, int]) -> None:
        """The tasks of a node that have something to do."""
        board, life = who
        if board.lives != life or not board.node:
            return
        board.is_woken = False
        if self.now < board.busy_until:
            self._wake(board)
        elif board.inbox:
            self._run(board, board.node._hear_peers)
        elif board.requests:
            self._run(board, board.node._hear_clients)
        else:
            self._run(board, board.node._apply)

    def _set_timer(self, board: Board) -> None:
        assert board.node
        due = max(1, min(board.node.core.due_ms(), board.node._heartbeat_ms))
        leading = board.node.core.leading
        if leading and leading.others_wait:
            due = min(due, OTHERS_PACE_MS)
        late = self.decides(board.name, "timer", TICK_US // 2, board.dice.below(TICK_US))
        time = self.now + due * US * 1000 // board.rate + late
        self.at(time, board.id, self._timer, (board, board.lives))

    def _timer(self, who: tuple[Board, int]) -> None:
        board, life = who
        if board.lives != life or not board.node:
            return
        if self.now < board.busy_until:
            self.at(board.busy_until, board.id, self._timer, who)
            return
        self._run(board, board.node.timer)
        if board.node:
            self._set_timer(board)

    def _crash(self, board: Board) -> None:
        if board.node:
            board.power_off()
            drawn = board.dice.below(self.plan.down_ms) * US
            down = self.decides(board.name, "down", DOWN_US, drawn)
            self.at(self.now + down, board.id, self._boot, board)

    # Network

    def send(self, sender: tuple[int, int], to: tuple[int, int], data: bytes) -> None:
        if len(data) > MAX_DATAGRAM:
            raise Violation("a datagram of %d bytes" % len(data))
        self.outsider.overhears(sender, to, data)
        if (sender[0], to[0]) in self.cut:
            return  # what is under way already does arrive
        link = (sender[0] * HOSTS + to[0]) * 4 + sender[1]
        dice = self._links.get(link)
        if dice is None:
            dice = self._links[link] = self.dice_of(link)
        plan = self.plan
        copies = []
        for _ in range(2 if plan.doubled and dice.below(1000) < plan.doubled else 1):
            if not plan.loss or dice.below(1000) >= plan.loss:
                late = plan.late and dice.below(1000) < plan.late
                delay = dice.draw(*(plan.late_us if late else plan.delay_us))
                is_garbled = plan.garbled and dice.below(1000) < plan.garbled
                copies.append((delay, spoilt_at(data, dice) if is_garbled else None))
        for delay, spoilt in self.chance.fate(sender, to, data, copies):
            arriving = data if spoilt is None else garbled(data, *spoilt)
            self.at(self.now + delay, link, self.arrive, (sender, to, arriving))

    def arrive(self, letter: tuple[tuple[int, int], tuple[int, int], bytes]) -> None:
        sender, to, data = letter
        if to[1] == CLIENT:
            self.clients[to[0] - 1 - len(self.boards)].hear(data)
            return
        board = self.boards[to[0] - 1]
        if not board.node:
            return
        if self.trace and to[1] == PEERS:
            self.note("%s", describe(data))
        box = board.inbox if to[1] == PEERS else board.requests
        if len(box) >= self.plan.mailbox:
            return
        box.append(data if to[1] == PEERS else (data, sender))  # type: ignore[arg-type]
        if self.now < board.busy_until or board.is_woken:
            self._wake(board)
        elif self.decides(board.name, "lingers", 0, int(board.dice.one_in(4))):
            self._wake(board)  # others may arrive until then
        else:
            self._run(board, board.node._hear_peers if to[1] == PEERS else board.node._hear_clients)

    # Faults: dice decide when and to whom something happens ...

    def _next_fault(self) -> None:
        mean = self.plan.fault_ms
        time = self.now + self.dice.draw(mean // 2, mean * 3 // 2) * US
        self.at(time, 0, self._fault, None)

    def _fault(self, _: None) -> None:
        if self.draining:
            return
        name = self.dice.pick(self.plan.faults)
        self.note("fault: %s", name)
        getattr(self, "_" + name)()
        self._next_fault()

    def _victim(self) -> Board:
        """Any node; the leader more often than others."""
        leaders = self.leaders()
        return self.dice.pick(leaders if leaders and self.dice.one_in(2) else self.installed())

    def _cut_halves(self) -> None:
        side = [self.dice.one_in(2) for _ in self.boards]
        nodes = self.nodes()
        self.does("cut", {(a, b) for a in nodes for b in nodes if side[a - 1] != side[b - 1]})

    def _cut_off_one(self) -> None:
        one = self._victim().id
        self.does("cut", {(one, b) for b in self.nodes()} | {(b, one) for b in self.nodes()})

    def _cut_one_way(self) -> None:
        one = self._victim().id
        others = [b for b in self.nodes() if self.dice.below(4)]
        hears = self.dice.one_in(2)
        self.does("cut", {(one, b) if hears else (b, one) for b in others})

    def _cut_to_ring(self) -> None:
        nodes = self.nodes()
        ring = [(a, b) for a, b in zip(nodes, nodes[1:] + nodes[:1])]
        cut = {(a, b) for a in nodes for b in nodes if (a, b) not in ring and (b, a) not in ring}
        self.does("cut", cut)

    def _restore(self) -> None:
        self.does("cut", set())

    def _crash_one(self) -> None:
        self.does("crash", self._victim().id)

    def _crash_in_program(self) -> None:
        node = self._victim().id
        power = self.dice.below(self.dice.pick((20, 100, 1000)))
        self.does("lose_power", node, power, self.dice.below(SECTOR_BYTES))

    def _crash_in_sending(self) -> None:
        datagrams = self.dice.below(8)
        self.does("fall_silent", self._victim().id, datagrams)

    def _flash_fault(self) -> None:
        self.does("fail_to_program", self._victim().id)

    def _rot(self) -> None:
        board = self._one_that_may_lose()
        if board:
            crashes = int(self.dice.one_in(2))
            self.does("rot", board.id, crashes, self.dice.state)

    def _wipe(self) -> None:
        board = self._one_that_may_lose() if self.plan.remembers else None
        if board:
            self.does("wipe", board.id)

    def _one_that_may_lose(self) -> "Board | None":
        """A node that is about to lose something."""
        if not self._may_anybody_lose():
            return None
        board = self._victim()
        return board if self._may_lose(board) else None

    def _may_anybody_lose(self) -> bool:
        """Whether all are sound: all others must be, when one loses something."""
        return all(is_sound(board) for board in self.boards)

    def _may_lose(self, board: Board) -> bool:
        """Whether this one may be the one."""
        return len(self.boards) >= 3 and (board.identity > 0 or not self.plan.remembers)

    def _crash_all(self) -> None:
        for board in self.installed():
            self.does("crash", board.id)

    def _stall(self) -> None:
        us = self.dice.draw(20, 700) * US
        self.does("stand_still", self._victim().id, us)

    # ... and what happens then a script may say as well, whatever it leaves out of what was before
    # it: so this looks for itself whether it is fair.

    def do_request(self, client: int, what: str, key: str, size: int, node: int) -> None:
        asks = self.clients[client - 1 - len(self.boards)]
        assert isinstance(asks, Client)
        asks.begin(what, key.encode(), size, node)

    def do_repeat(
        self, claimed: int, port: int, to: int, to_port: int, count: int,
        again: int, again_port: int, later: int,
    ) -> None:  # fmt: skip
        """The outsider says again what it has heard."""
        self.outsider.say((claimed, port), (to, to_port), count, (again, again_port), later)

    def do_cut(self, links: set[tuple[int, int]]) -> None:
        """From now on these links, (from, to), carry nothing, and all others do."""
        self.cut = links

    def do_crash(self, node: int) -> None:
        self._crash(self.boards[node - 1])

    def do_lose_power(self, node: int, power_bytes: int, half_erased: int) -> None:
        """The power fails when so many bytes more have been programmed: see `RamFlash`."""
        flash = self.boards[node - 1].flash
        flash.power_bytes, flash.half_erased = power_bytes, half_erased

    def do_fall_silent(self, node: int, datagrams: int) -> None:
        """The power fails when so many datagrams more have left."""
        self.boards[node - 1].sends = datagrams

    def do_fail_to_program(self, node: int) -> None:
        self.boards[node - 1].flash.failures = 1

    def do_rot(self, node: int, crashes: int, dice: int) -> None:
        """A bit turns, of what isn't the last program: that would look like a torn one.

        dice: the state of those that decide which.
        """
        board = self.boards[node - 1]
        if self._may_anybody_lose() and self._may_lose(board):
            board.has_lost = True
            if crashes:
                self._crash(board)
            self.dice.state = dice
            board.flash.rot(self.dice)

    def do_wipe(self, node: int) -> None:
        board = self.boards[node - 1]
        if self._may_anybody_lose() and self._may_lose(board):
            board.has_lost = True
            self._crash(board)
            board.flash = RamFlash(self.plan.sectors)

    def do_stand_still(self, node: int, us: int) -> None:
        self.boards[node - 1].busy_until = self.now + us

    # The end of all faults

    def heal(self) -> None:
        """End all faults; Violation if the cluster isn't whole again in time."""
        self.note("all faults end")
        self.draining = True
        self.cut = set()
        plan = self.plan
        plan.loss = plan.doubled = plan.late = plan.garbled = 0
        plan.delay_us = (1000, 10_000)
        for board in self.boards:
            board.flash.power_bytes = None
            board.flash.failures = 0
            board.sends = -1
            board.busy_until = 0
            self._boot(board)
        start = self.now
        while self.what_ails():
            self.healing_ms = (self.now - start) // US
            if self.healing_ms > self.heal_ms():
                what = self.what_ails()
                raise Violation("%d ms after the last fault: %s" % (self.healing_ms, what))
            self.step()

    def heal_ms(self) -> int:
        """How long it may take."""
        return HEAL_MS

    def what_ails(self) -> str:
        """What is missing for the cluster to be whole; empty if nothing is."""
        boards = self.members()
        nodes = [board.node for board in boards if board.node]
        leaders = [n for n in nodes if n.core.role == LEADER]
        if len(nodes) < len(boards) or len(leaders) != 1:
            return "%d nodes are up, %d lead" % (len(nodes), len(leaders))
        leader = leaders[0]
        last, executed = leader.core.log.last, len(leader.sessions.machine.default.executed)
        for node in nodes:
            core = node.core
            if core.doubt:
                return "node %d can't trust its flash" % node.id
            if core.term != leader.core.term or core.leader != leader.id:
                return "node %d doesn't follow" % node.id
            if not core.log.last == core.commit == node.applied == last:
                return "node %d has another log than the leader" % node.id
            if node.core.log.last_term != leader.core.log.last_term:
                return "node %d ends with another term" % node.id
            if len(node.sessions.machine.default.executed) != executed:
                return "node %d has applied other commands" % node.id
        waiting = [client.number for client in self.clients if not client.is_idle]
        return "clients %s wait" % waiting if waiting else ""


def is_sound(board: Board) -> bool:
    """Whether it is up, and trusts its flash."""
    return board.node is not None and not board.node.core.doubt and not board.has_lost


def run(  # type: ignore[no-untyped-def]
    seed: int, steps: int, trace=None, parts=None, kind=World, adapt=None
) -> World:
    """One cluster's life: so many steps with faults, then the healing. Raises Violation."""
    world: World = kind(seed, trace, parts, adapt)
    while world.steps < steps:
        world.step()
    world.heal()
    return world


def check(seed: int, steps: int, kind=World) -> World:  # type: ignore[no-untyped-def]
    """As `run`; if it fails, shows the last that happened and how to see it all again."""
    try:
        return run(seed, steps, kind=kind)
    except Exception:
        lines: list[str] = []
        try:
            run(seed, steps, lines.append, kind=kind)
        except Exception:
            print("\n".join(lines[-TRACE_LINES:]))
        print(
            "replay: python -m tests.cluster.simulator --seed %d --steps %d --trace%s"
            % (seed, steps, kind.OPTION)
        )
        raise


def fingerprint(seed: int, steps: int) -> int:
    """A number that is the same if, and only if (nearly), the same has happened."""
    lines: list[str] = []
    run(seed, steps, lines.append)
    return crc32("\n".join(lines).encode())


def main() -> None:
    import argparse

    from tests.options import range_of_seeds

    parser = argparse.ArgumentParser(description="Simulate clusters; see the module's text.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seeds", type=range_of_seeds, help="a range, such as 1000-2000, in place of one seed"
    )
    parser.add_argument("--steps", type=int, default=5000, help="before the healing")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--churn", action="store_true", help="members change meanwhile")
    options = parser.parse_args()
    kind: type[World] = World
    if options.churn:
        from tests.cluster.churn import ChurnWorld as kind
    happened: dict[str, int] = {}
    steps = 0
    for seed in options.seeds or [options.seed]:
        if options.trace:
            world = run(seed, options.steps, print, kind=kind)
        else:
            world = check(seed, options.steps, kind)
        watch = world.watch
        print(
            f"seed {seed}: {len(world.members())} nodes, "
            f"{world.steps} steps in {world.now // US} ms, "
            f"{len(watch.leaders)} terms, {len(watch.committed)} committed, "
            f"{sum(client.done for client in world.clients)} answers, "
            f"healed in {world.healing_ms} ms"
        )
        steps += world.steps
        for what, count in watch.happened.items():
            happened[what] = happened.get(what, 0) + count
    print(f"{steps} steps:", ", ".join(f"{happened[what]} {what}" for what in sorted(happened)))


if __name__ == "__main__":
    main()
