"""Clusters whose members come, go and take turns while all sorts of things fail; portable.

    python -m tests.cluster.simulator --churn --seeds 1-100

Nine boards, some of which found the cluster. An administrator asks whoever leads for changes, as
`raftctl` would: boards are added, new ones and such as were members before, with what their flash
held then or erased; removed, the leader too; replaced; promoted; given other priorities; and told
to lead. In some clusters the dead are removed by themselves, or reads are answered by lease. All
the faults of `simulator.py` go on meanwhile.

What nobody may do who wants to keep what was committed: erase the flash of a board before its
removal is committed, or give it back its place sooner than any of its datagrams is long lost.
"""

from raft import admin
from raft.compaction import Compaction
from raft.core import LEADER, Core, Refused
from raft.members import LEARNER, ROLES, STANDBY, Members, founders, record
from tests.cluster.board import US, Board
from tests.cluster.chance import Chance
from tests.cluster.clients import CLIENTS, PEERS, Client
from tests.cluster.invariants import EagerCompaction, configurations
from tests.cluster.simulator import HEAL_MS, Plan, World, is_sound
from tests.dice import Dice
from tests.flash import RamFlash
from tests.store.model import Model

BOARDS = 9
ORDERS = {"remove": admin.REMOVE, "promote": admin.PROMOTE, "transfer": admin.TRANSFER}
ADMINISTRATOR = 200  # its dice: a number that no node and no client has
DEAD_US = (1_500_000, 6_000_000)  # without power
ERASING_US = 3_000_000  # so long it takes to erase a board and set it up again, at least


class ChurnPlan(Plan):
    """What one seed decides at the start."""

    def __init__(self, dice: Dice) -> None:
        super().__init__(dice)
        pick = dice.pick
        self.voters = list(range(1, pick((1, 2, 3, 3, 3, 4, 5, 5, 6)) + 1))
        self.boards = BOARDS
        self.change_ms = pick((100, 300, 1000))  # between two changes, about
        self.lease = dice.one_in(3)
        self.remove_dead_ms = pick((0, 500, 1000, 1000))  # shorter than anybody would have it
        self.least_voters = pick((2, 3))
        self.faults = self.faults + ["die"] * pick((0, 1, 3))
        self.fault_ms = pick((100, 300, 1000, 3000))
        self.priorities = pick(((0,), (0, 0, 50, 200)))
        changes = [name for name in ChurnWorld.CHANGES if not dice.one_in(4)]
        self.changes = changes or ["add"]
        if dice.one_in(3):  # so little happens that a leader can tell who is dead
            self.faults = ["die"] * 3 + self.faults
            self.fault_ms = self.change_ms = 2500
            self.remove_dead_ms, self.least_voters = 500, 2


class CompactionOfNews(EagerCompaction):
    """Writes no snapshot twice: members without a vote are sent its pieces in their time."""

    def is_due(self) -> bool:
        has_news = self._core.commit > self._store.snapshot.index
        return has_news and super().is_due() or bool(Compaction.is_due(self))


class ChurnClient(Client):
    """It asks any node for what it wants to read."""

    def _reader(self, node: int) -> int:
        return self.dice.pick(self.world.nodes()) if self.dice.one_in(2) else node


class ChurnWorld(World):
    """A world with an administrator, who changes it until all faults end."""

    PLAN = ChurnPlan
    CLIENT = ChurnClient
    OPTION = " --churn"
    CHANGES = ("add", "add", "remove", "replace", "promote", "prefer", "transfer", "remove_leader")

    plan: ChurnPlan

    def __init__(  # type: ignore[no-untyped-def]
        self, seed: int, trace=None, parts=None, adapt=None, chance: "Chance | None" = None
    ) -> None:
        with_news = {"Compaction": CompactionOfNews}
        with_news.update(parts or {})
        super().__init__(seed, trace, with_news, adapt, chance)
        self._administrator = self.dice_of(ADMINISTRATOR)
        self._to_erase: list[Board] = []  # once their removal is committed
        self._erased: dict[int, int] = {}  # node -> when
        if self.chance.is_free:
            self._next_change()

    def config(self, board: Board) -> dict[str, object]:
        config = super().config(board)
        plan = self.plan
        config["lease"] = plan.lease
        config["dead"] = {
            "remove": plan.remove_dead_ms > 0, "after_s": 1, "least": plan.least_voters,
        }  # fmt: skip
        return config

    def _boot(self, board: Board) -> None:
        super()._boot(board)
        if board.node:
            board.node.core.remove_dead_ms = self.plan.remove_dead_ms

    # The administrator

    def _next_change(self) -> None:
        mean = self.plan.change_ms
        time = self.now + self._administrator.draw(mean // 2, mean * 3 // 2) * US
        self.at(time, 0, self._change, None)

    def _change(self, _: None) -> None:
        if self.draining:
            return
        for board in self._to_erase[:]:
            if self._is_out(board):
                self._to_erase.remove(board)
                keeps = 0 if self._administrator.one_in(2) else 1
                self.does("erase", board.id, keeps)
        leaders = [board for board in self.leaders() if self.now >= board.busy_until]
        if leaders:
            name = self._administrator.pick(self.plan.changes)
            leader = self._administrator.pick(leaders)
            self.note("n%d is asked: %s", leader.id, name)
            getattr(self, "_" + name)(leader)
        self._next_change()

    def do_tell(self, leader: int, order: str, node: int) -> None:
        """order: one of ORDERS. Nobody is removed if what is left may be two, of which one has
        just lost its memory."""
        if order == "remove" and not self._are_sound():
            if not all(len(members.voters) > 3 for members in self._in_force()):
                return
        self._order(leader, bytes((ORDERS[order], node)))

    def _order(self, leads: int, order: bytes) -> None:
        """Let a leader do what it is told, as if a client had asked for it."""
        leader = self.boards[leads - 1]
        node = leader.node
        if not node or not node.core.leading or self.now < leader.busy_until:
            return

        def obey() -> None:
            node.pass_time()
            try:
                admin.execute(node.core, order)
            except Refused as e:
                self.watch.count("refused")
                self.note("n%d refuses: %s", leader.id, e)
            node._drive()

        self._run(leader, obey)

    def _add(self, leader: Board) -> None:
        assert leader.node
        members = leader.node.core.members
        free = [b for b in self.boards if b.id not in members.ids and self._is_ready(b)]
        if not free:
            return
        board = self._administrator.pick(free)
        if not board.is_installed:
            self.does("install", board.id)
        role = LEARNER if self._administrator.one_in(4) else STANDBY
        priority = self._administrator.pick(self.plan.priorities)
        self.does("add", leader.id, board.id, ROLES[role], priority)

    def do_add(self, leader: int, node: int, role: str, priority: int) -> None:
        new = record(node, ROLES.index(role), priority, "10.0.0.%d" % node, PEERS, CLIENTS)
        self._order(leader, bytes((admin.ADD,)) + new)

    def _is_ready(self, board: Board) -> bool:
        erased = self._erased.get(board.id)
        return board.is_installed or erased is None or self.now - erased >= ERASING_US

    def do_install(self, node: int) -> None:
        """Power on a board that has never been a member, or is as if."""
        board = self.boards[node - 1]
        if board.is_installed or not self._is_ready(board):
            return
        board.is_installed = board.joins = True
        watch = self.watch
        for promises in (watch.votes, watch.acknowledged):
            for key in [key for key in promises if key[0] == board.id]:
                del promises[key]
        self._boot(board)

    def _member(self, leader: Board) -> int:
        """Any of them."""
        assert leader.node
        return int(self._administrator.pick(leader.node.core.members.ids))

    def _remove(self, leader: Board) -> None:
        self._take_away(leader, self._member(leader))

    def _remove_leader(self, leader: Board) -> None:
        self._take_away(leader, leader.id)

    def _take_away(self, leader: Board, node: int) -> None:
        self.does("tell", leader.id, "remove", node)

    def _replace(self, leader: Board) -> None:
        node = self._member(leader)
        self._take_away(leader, node)
        board = self.boards[node - 1]
        if board not in self._to_erase:
            self._to_erase.append(board)

    def _promote(self, leader: Board) -> None:
        assert leader.node
        members = leader.node.core.members
        for node in members.others:
            if members.role(node) == LEARNER:
                self.does("tell", leader.id, "promote", node)
                return

    def _prefer(self, leader: Board) -> None:
        assert leader.node
        node = self._member(leader)
        priority = self._administrator.pick(self.plan.priorities)
        self.does("add", leader.id, node, ROLES[STANDBY], priority)  # a member's role stays

    def _transfer(self, leader: Board) -> None:
        assert leader.node
        voters = leader.node.core.members.voters
        node = 0 if self._administrator.one_in(3) else self._administrator.pick(voters)
        self.does("tell", leader.id, "transfer", node)

    # Boards that are no members

    def _is_out(self, board: Board) -> bool:
        """Whether its removal is committed, and nobody has begun to count it in again."""
        return all(board.id not in members.ids for members in self._in_force())

    def _in_force(self) -> list[Members]:
        """The last committed configuration, and what later ones any node knows."""
        if not self.watch.configurations:
            return [founders(self.plan.voters)]
        last, members = self.watch.configurations[-1]
        found = [members]
        for other in self.boards:
            known = other.life.configurations if other.life else configurations(other.disk.log)
            found += [Members(data) for index, data in known if index > last]
        return found

    def do_erase(self, node: int, keeps_identity: int) -> None:
        board = self.boards[node - 1]
        if not board.is_installed or not self._is_out(board):
            return
        self.note("n%d is erased", board.id)
        self.watch.count("erased")
        if board.node:
            board.power_off()
        board.is_installed = False
        board.flash = RamFlash(self.plan.sectors)
        board.disk, board.write = Model(), None
        board.has_lost = False
        self.watch.disks[board.id] = board.disk
        self.watch.rotten.discard(board.id)
        self._erased[board.id] = self.now
        if not keeps_identity:
            board.identity = 0  # else it will be seen that something is gone
        elif board.identity:
            board.has_lost = True

    def _may_anybody_lose(self) -> bool:
        if any(len(members.voters) < 3 for members in self._in_force()):
            return False
        return self._are_sound()

    def _may_lose(self, board: Board) -> bool:
        return is_sound(board) and (board.identity > 0 or not self.plan.remembers)

    def _are_sound(self) -> bool:
        """Whether all members are up, and none has lost something."""
        in_force = [node for members in self._in_force() for node in members.ids]
        return all(is_sound(self.boards[node - 1]) for node in in_force)

    def _die(self) -> None:
        """One is without power for so long that it may be taken for dead."""
        board = self._victim()
        if board.node:
            self.does("die", board.id, self.dice.draw(*DEAD_US))

    def do_die(self, node: int, us: int) -> None:
        board = self.boards[node - 1]
        if board.node:
            board.power_off()
            self.at(self.now + us, board.id, self._boot, board)

    # The end

    def nodes(self) -> list[int]:
        # By then clients have been told who the members are.
        return [board.id for board in self.members()] if self.draining else super().nodes()

    def heal_ms(self) -> int:
        return 3 * HEAL_MS  # members are counted in again, one after the other

    def members(self) -> list[Board]:
        leaders = self.leaders()
        if len(leaders) != 1:
            return self.installed()
        assert leaders[0].node
        return [self.boards[node - 1] for node in leaders[0].node.core.members.ids]

    def what_ails(self) -> str:
        what = super().what_ails()
        if what:
            return what
        (leader,) = [board.node for board in self.leaders() if board.node]
        core = leader.core
        if core.members_index != self.watch.configurations[-1][0]:
            return "the members are changing"
        for node in core.members.others:
            if core.members.role(node) != LEARNER:
                return "node %d has no vote" % node
        for board in self.installed():
            if board.id not in core.members.ids and not self._knows_that_it_is_out(board, core):
                return "node %d doesn't say that it is out" % board.id
        return ""

    def _knows_that_it_is_out(self, board: Board, leader: Core) -> bool:
        assert board.node
        core = board.node.core
        if not core.members_index and board.joins:
            return True  # it waits until it is added, and has never been
        # Whom it knows may have been removed as well: then nobody tells it.
        knows = [node for node in core.members.voters if node in leader.members.ids]
        # Nor does one ask that can't trust its flash.
        return core.role_name() == "out" or core.role != LEADER and (not knows or core.doubt > 0)
