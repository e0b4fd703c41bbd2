"""Random events on a group of nodes: lost, doubled and reordered datagrams, crashes, cut links,
and with `compacts` snapshots.

Portable. One seed gives one sequence of events, on every interpreter.
"""

from raft.core import Busy
from tests.core.group import Group
from tests.dice import Dice

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_UNDER_WAY = 200  # datagrams; the oldest of more are lost
REORDERED = 10  # how many datagrams may overtake one
ROOM_SECTORS = 8  # of 16: with more of them in use, a node begins no snapshot
MOST_SNAPSHOT_BYTES = 3000


class Storm:
    """`group` under random events drawn from `seed`. See `Group.check` for what must hold."""

    def __init__(self, seed: int, nodes: int, compacts: bool = False) -> None:
        self._dice = Dice(seed)
        self._compacts = compacts
        self.group = Group(nodes, draw=self._dice.draw, ram_bytes=200)
        self._commands = 0

    def blow(self, steps: int, look: "Callable[[Group], None]") -> None:
        """So many events; `look(group)` is called after each."""
        for _ in range(steps):
            if self._compacts and self._dice.one_in(20):
                self._compact()
            self._event(self._dice.draw(1, 100))
            look(self.group)

    def calm(self, ms: int) -> None:
        """No more faults: all nodes up, all links whole, for so long."""
        self.group.heal()
        for node in sorted(self.group.down):
            self.group.restart(node)
        self.group.run(ms)

    def _event(self, which: int) -> None:
        group, dice = self.group, self._dice
        if which <= 60:
            self._move_datagram()
        elif which <= 80:
            for member in group.up():
                group.tick(member.node, dice.draw(1, 15))
        elif which <= 95:
            self._propose()
        elif which <= 98:
            self._toggle(self._victim())
        elif dice.one_in(2):
            group.isolate(self._victim())
        else:
            group.heal()

    def _move_datagram(self) -> None:
        wire, dice = self.group.wire, self._dice
        del wire[: max(0, len(wire) - MOST_UNDER_WAY)]
        if not wire:
            return
        i = dice.draw(0, min(len(wire), REORDERED) - 1)
        if dice.one_in(10):
            wire.append(wire[i])
        if dice.one_in(10):
            wire.pop(i)
        else:
            # Several at one time, now and then, as when they have waited in the socket.
            self.group.deliver(i, works=not (self._compacts and dice.one_in(2)))

    def _propose(self) -> None:
        leader = self.group.leader()
        if leader is None:
            return
        self._commands += 1
        try:
            self.group.propose(leader.node, b"command %d" % self._commands)
        except Busy:
            pass  # refused: no effect

    def _compact(self) -> None:
        """A node writes a snapshot, and what that stands for leaves its flash at once."""
        victim = self._victim()
        member = self.group.members[victim]
        store = member.store
        if (
            victim not in self.group.down
            and len(member.applied) == member.log.last > store.snapshot.index
            and store.used_sectors() <= ROOM_SECTORS
        ):
            member.compact(self._dice.below(MOST_SNAPSHOT_BYTES))
            member.forget()

    def _victim(self) -> int:
        """The leader or any other."""
        leader = self.group.leader()
        if leader is not None and self._dice.one_in(2):
            return leader.node
        return self._dice.draw(1, len(self.group.members))

    def _toggle(self, node: int) -> None:
        """Switch a node off or on, but never off a majority."""
        group = self.group
        if node in group.down:
            group.restart(node)
        elif 2 * (len(group.down) + 1) < len(group.members):
            group.crash(node)
