"""Who has no key, records what is said on a simulated network, and says it again; portable.

To whom it was said and to others, soon, and long after whoever said or heard it has started anew.
And what nodes must never do about it is checked at each datagram that they let in.
"""

from raft.access import TOO_OFTEN, UNKNOWN
from tests.cluster.invariants import Violation

OUTSIDER = 255  # by which what it does is ordered: beyond nodes and clients
KEPT = 300  # datagrams that it remembers
KNOWN_BY = 8  # bytes by which a frame is told from all others
LATEST = 4000  # frames, of which it is known when they were made: more than are under way
LATER_US = (0, 3_000_000)


class Outsider:
    """In the world it is part of. permille: of all datagrams, how many it sends again."""

    def __init__(self, world) -> None:  # type: ignore[no-untyped-def]
        self._world = world
        self._dice = world.dice_of(OUTSIDER)
        self.permille = self._dice.pick((0, 0, 20, 100))
        if world.plan.replayed is not None:
            self.permille = world.plan.replayed
        self._counts: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
        # From, to, and the how manieth between those two it is
        self._kept: list[tuple[tuple[int, int], tuple[int, int], int]] = []
        self._said: dict[tuple[tuple[int, int], tuple[int, int], int], bytes] = {}
        # Of the latest frames, by the end of their tags: what none of these is must not be let in.
        self._made_in: dict[bytes, int] = {}  # the life of its receiver when it was sent
        self._made_before: dict[bytes, int] = {}  # the same of older ones
        self._let_in: set[bytes] = set()  # by which node

    def overhears(self, sender: tuple[int, int], to: tuple[int, int], data: bytes) -> None:
        """A datagram is on its way; perhaps this one is a reason to send an old one again."""
        world, dice = self._world, self._dice
        if to[0] <= len(world.boards):
            self._note(data[-KNOWN_BY:], world.boards[to[0] - 1].lives)
        if not self.permille or world.draining:
            return
        count = self._counts[sender, to] = self._counts.get((sender, to), 0) + 1
        if len(self._kept) < KEPT or not world.chance.is_free:  # a script may want any of them
            self._kept.append((sender, to, count))
            self._said[sender, to, count] = data
        elif dice.one_in(3):
            at = dice.below(KEPT)
            del self._said[self._kept[at]]
            self._kept[at] = sender, to, count
            self._said[sender, to, count] = data
        if world.chance.is_free and dice.below(1000) < self.permille:
            claimed, receiver, count = dice.pick(self._kept)
            again = receiver
            if dice.one_in(3):  # to somebody else, or to another port
                again = dice.pick(world.boards).id, dice.pick((0, 1))
            later = dice.draw(*LATER_US)
            world.does("repeat", *claimed, *receiver, count, *again, later)

    def say(
        self,
        claimed: tuple[int, int],
        receiver: tuple[int, int],
        count: int,
        again: tuple[int, int],
        later: int,
    ) -> None:
        """Send again, `later` us from now, the datagram of that number between two to `again`."""
        old = self._said.get((claimed, receiver, count))
        if old is not None:
            world = self._world
            world.watch.count("replays")
            world.at(world.now + later, OUTSIDER, world.arrive, (claimed, again, old))

    def _note(self, end: bytes, life: int) -> None:
        if len(self._made_in) >= LATEST:
            for mark in list(self._let_in):
                if mark[1:] not in self._made_in:
                    self._let_in.remove(mark)
            self._made_before, self._made_in = self._made_in, {}
        self._made_in[end] = life

    def watch(self, node, board) -> None:  # type: ignore[no-untyped-def]
        """Look at what the node lets in from now on."""
        decode, hear, meet = node.codec.decode, node.gate.hear, node.seal.meet
        board.incarnations.append(node.seal.incarnation)

        def watched_decode(frame, m):  # type: ignore[no-untyped-def]
            data = bytes(frame)
            is_let_in = decode(frame, m)
            if is_let_in:
                self._lets_in(board, data)
            return is_let_in

        def watched_hear(data, now):  # type: ignore[no-untyped-def]
            request = hear(data, now)
            if request and request[0] not in (UNKNOWN, TOO_OFTEN):
                self._lets_in(board, data)
            return request

        def watched_meet(key, peer, incarnation):  # type: ignore[no-untyped-def]
            lives = self._world.boards[peer - 1].incarnations
            session = node.seal.sessions.get(peer)
            if session and lives.index(session.incarnation) > lives.index(incarnation):
                raise Violation("node %d takes node %d for its former self" % (board.id, peer))
            meet(key, peer, incarnation)

        node.codec.decode, node.gate.hear, node.seal.meet = (
            watched_decode,
            watched_hear,
            watched_meet,
        )

    def _lets_in(self, board, data: bytes) -> None:  # type: ignore[no-untyped-def]
        end = data[-KNOWN_BY:]
        mark = bytes((board.id,)) + end
        if mark in self._let_in:
            raise Violation("node %d lets a datagram in twice" % board.id)
        if self._made_in.get(end, self._made_before.get(end)) != board.lives:
            raise Violation("node %d lets in what was made for another life" % board.id)
        self._let_in.add(mark)
