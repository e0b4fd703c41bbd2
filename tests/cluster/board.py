"""One node of a simulated cluster and its hardware: flash, clock, power, sockets; portable."""

import raft.node
from raft.messages import Message
from raft.node import Node
from raft.store import StoreError
from raft.udp import MAX_SEARCHES, Endpoint
from tests.cluster.clients import PEERS
from tests.cluster.invariants import (
    EagerCompaction,
    Life,
    Violation,
    WatchedLog,
    WatchedMachine,
    WatchedStore,
)
from tests.flash import SECTOR_BYTES, PowerCut, RamFlash
from tests.store.model import Install, Model, Write

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from tests.cluster.simulator import World

US = 1000  # microseconds of a millisecond: virtual time is counted in the former


class Board:
    """One node's hardware: flash, clock, power. What survives a crash is here."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.id = number
        self.name = "n%d" % number
        self.dice = world.dice_of(number)
        self.flash = RamFlash(world.plan.sectors)
        if world.plan.old_flash:
            junk = self.dice.bytes(256) * (SECTOR_BYTES // 256)
            for sector in range(world.plan.sectors):
                self.flash.fill(sector, junk)
        # Its ms in 1,000 ms of virtual time
        self.rate = world.decides(self.name, "clock", 1000, self.dice.draw(900, 1100))
        self.node: SimNode | None = None
        self.life: Life | None = None
        self.lives = 0
        self.disk = Model()  # what its flash has to hold
        self.identity = 0  # of its flash, as remembered elsewhere
        self.has_lost = False  # something that its flash held, since it was last up
        self.write: Write | Install | None = None  # or may hold: what the last crash has cut
        self.is_installed = number in world.plan.voters
        self.joins = False  # it waits until it is added: no founder
        self.busy_until = 0
        self.sends = -1  # datagrams until the power fails; -1 for ever
        self.inbox: list[bytes] = []
        self.requests: list[tuple[bytes, tuple[int, int]]] = []
        self.is_woken = False
        self.incarnations: list[bytes] = []  # of all its lives

    def load(self) -> int:
        return self.identity

    def save(self, identity: int) -> None:
        self.identity = identity

    def draw(self, low: int, high: int) -> int:
        """What the driver wants of an interpreter."""
        drawn = self.dice.draw(low, high)
        if [low, high] != self.world.plan.election_ms:
            return drawn
        of_all = self.id * (high - low) // (len(self.world.plan.voters) + 1)
        return self.world.decides(self.name, "timeout", min(low + of_all, high), drawn)

    def ticks_ms(self) -> int:
        return self.world.now // US * self.rate // 1000

    def power_on(self) -> None:
        self.busy_until = 0
        self.sends = -1
        self.inbox.clear()
        self.requests.clear()
        self.is_woken = False
        self.node = SimNode(self)
        self.life = Life(self.world.watch, self.node, self.disk, self.write, self.has_lost)
        self.has_lost = False
        self.disk = self.life.disk
        self.write = None

    def power_off(self) -> None:
        assert self.life
        try:
            self.life.look()
        except StoreError:
            if not self.has_lost:
                raise
        self.life.end()
        self.write = self.life.write
        self.node = None
        self.life = None
        self.lives += 1
        self.flash = self.flash.copy()


class Socket(Endpoint):
    """The driver's UDP endpoint without a socket."""

    def __init__(
        self, board: Board, address: tuple[int, int], buf: bytes = b"", heads: "tuple[()]" = ()
    ) -> None:
        self._board = board
        self.joins = board.world.plan.joins_datagrams
        super().__init__(address, buf, heads)

    def _open(self) -> None:
        """There is nothing to be opened."""

    def _read(self) -> bool:
        """The next datagram, or as many as MicroPython's `readinto` would join and cut off."""
        self._next = self._end = 0
        self._searches = MAX_SEARCHES
        inbox = self._board.inbox
        while inbox and self._end < len(self._buf):
            datagram = inbox.pop(0)[: len(self._buf) - self._end]
            self._view[self._end : self._end + len(datagram)] = datagram
            self._end += len(datagram)
            if not self.joins:
                break
        return self._end > 0

    def receive_from(self, most: int) -> tuple[bytes, tuple[int, int]] | None:
        return self._board.requests.pop(0) if self._board.requests else None

    def send(self, data: memoryview, address: tuple[int, int]) -> None:
        board = self._board
        if address[1] == PEERS:
            if board.sends == 0:
                raise PowerCut("before a datagram is sent")
            board.sends -= board.sends > 0
        board.world.send(self._address, address, bytes(data))


class SimNode(Node):
    """The shipped driver. Opened, it finds simulated parts under the real ones' names."""

    def __init__(self, board: Board) -> None:
        self.board = board
        world = board.world
        stand_ins = {
            "Compaction": EagerCompaction,
            "Endpoint": lambda *how: Socket(board, *how),
            "Log": lambda store: WatchedLog(store, world.plan.ram_bytes),
            "Store": WatchedStore,
            "interpreter": board,
            "resolve": lambda host, port: (int(host), port),
        }
        stand_ins.update(world.parts)
        real = {name: getattr(raft.node, name) for name in stand_ins}
        for name in stand_ins:
            setattr(raft.node, name, stand_ins[name])
        try:
            super().__init__(world.config(board), WatchedMachine(), self._event)
            self.open(board.flash, board if world.plan.remembers else None)
        finally:
            for name in real:
                setattr(raft.node, name, real[name])
        self.store.forgets = world.plan.forgets  # type: ignore[attr-defined]
        self.compaction.eager_at = world.plan.eager_at  # type: ignore[attr-defined]
        self.core.uncommitted_bytes = world.plan.uncommitted_bytes
        world.outsider.watch(self, board)
        self.now = self._greeted = board.ticks_ms()

    def _event(self, what: str, **facts: object) -> None:
        if what == "alarm":
            raise Violation("node %d: alarm %s" % (self.id, facts))
        known = " ".join("%s=%s" % fact for fact in sorted(facts.items()))
        self.board.world.note("n%d %s %s", self.id, what, known)

    def _note_address(self, peer: int) -> None:
        self.addresses[peer] = (peer, PEERS)

    def pass_time(self) -> None:
        now = self.board.ticks_ms()
        self.core.pass_time(now - self.now)
        self.now = now

    def _send(self, letters: list[Message]) -> None:
        for m in letters:
            self.board.life.sends(m)  # type: ignore[union-attr]
            super()._send((m,))

    def _restore(self) -> None:
        super()._restore()
        if self.compaction.restored:
            self.board.life.restored(self.applied)  # type: ignore[union-attr]

    def timer(self) -> None:
        """One turn of the driver's `_tick`."""
        world = self.board.world
        if not world.outsider.permille:  # he may hold back for as long as he likes what was lost
            self.board.life.tells_its_age(world.plan.late_us[1])  # type: ignore[union-attr]
        self._take_in()
        self.core.tick()
        self._drive()
        self.greet()
        if self.service.watching:
            self.service.watching.tick()
        if self.core.due_ms() >= self._heartbeat_ms // 2:
            self._use_quiet()
