"""Snapshots in a cluster of simulated nodes; portable.

The seven scenarios are those of MIT 6.5840's lab 3D, by their names there. As ever,
`invariants.py` looks at every step: a state that was restored is held against the one that all
committed entries lead to.
"""

import sys

from raft.store import Compacted
from tests.cluster.simulator import HEAL_MS, US, Board, Plan, World
from tests.flash import RamFlash
from tests.store.model import Model

PORTABLE = True
TIMEOUT_S = 240

IS_CPYTHON = sys.implementation.name == "cpython"
SEEDS = range(1, 4 if IS_CPYTHON else 2)  # of each scenario
ROUNDS = 6 if IS_CPYTHON else 2  # of each seed
MOST_STEPS = 400_000  # of a scenario; many more than it needs


def calm(plan: Plan) -> None:
    """Three nodes that write a snapshot whenever they can, and forget what isn't needed."""
    plan.voters = [1, 2, 3]
    plan.clients = 2
    plan.reads = 2
    plan.value_bytes = 40
    plan.sectors = 32
    plan.ram_bytes = 600
    plan.eager_at = 2
    plan.forgets = True
    plan.remembers = True
    plan.faults = ["restore"]
    plan.fault_ms = 1_000_000
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.delay_us = (200, 3000)


def unreliable(plan: Plan) -> None:
    calm(plan)
    plan.loss = 100
    plan.doubled = 100
    plan.late = 100
    plan.delay_us = (200, 20_000)


def until(world: World, is_so, *facts) -> None:  # type: ignore[no-untyped-def]
    """Let things happen until `is_so(*facts)`."""
    most = world.steps + MOST_STEPS
    while not is_so(*facts):
        world.step()
        assert world.steps < most, "it never is"


def let_commit(world: World, entries: int) -> None:
    """Let so many more entries be committed."""
    goal = len(world.watch.committed) + entries
    until(world, lambda: len(world.watch.committed) >= goal)


def let_compact(world: World) -> None:
    """Let each node write a snapshot of more than what is committed now."""
    index = len(world.watch.committed)
    until(world, lambda: all(b.node and b.node.store.snapshot.index > index for b in world.boards))


def has_compacted(world: World, times: int) -> bool:
    return count(world, "snapshots") >= times


def count(world: World, what: str) -> int:
    return world.watch.happened.get(what, 0)


def leader(world: World) -> Board:
    until(world, lambda: bool(world.leaders()))
    return world.leaders()[0]


def disconnect(world: World, board: Board) -> None:
    others = [number for number in world.plan.voters if number != board.id]
    world.cut = {(board.id, n) for n in others} | {(n, board.id) for n in others}


def are_abreast(boards: list[Board], index: int) -> bool:
    """Whether they are up, trust their flash, and have applied all up to that entry."""
    nodes = [board.node for board in boards]
    return all(n is not None and not n.core.doubt and n.applied >= index for n in nodes)


def has_gone(world: World, board: Board) -> bool:
    """Whether what this node lacks has left the log of whoever may lead."""
    held = len(board.disk.log)
    for other in world.boards:
        if other is not board:
            if not other.node or other.node.core.log.last <= held:
                return False
            try:
                other.node.core.log.entry(held + 1)
                return False
            except Compacted:
                pass
    return True


def fall_behind_and_install(seed: int, adapt, crashes: bool) -> None:  # type: ignore[no-untyped-def]
    """One follower after the other is away until what it lacks has left the log of the others."""
    world = World(seed, adapt=adapt)
    for _ in range(ROUNDS):
        installed = count(world, "installed")
        board = world.dice.pick([b for b in world.boards if b is not leader(world)])
        if crashes:
            board.power_off()
        else:
            disconnect(world, board)
        until(world, has_gone, world, board)

        world.cut = set()
        world._boot(board)
        goal = len(world.watch.committed)
        until(world, are_abreast, [board], goal)

        assert count(world, "installed") > installed, "seed %d" % seed
    world.heal()


def test_snapshots_basic() -> None:
    for seed in SEEDS:
        # given a cluster whose nodes compact their logs again and again
        world = World(seed, adapt=calm)
        until(world, has_compacted, world, 5 * len(world.boards))

        # then each has one, and has forgotten the beginning of its log
        for board in world.boards:
            assert board.node.store.snapshot.index > 0  # type: ignore[union-attr]
            assert not board.node.core.log.store.reaches(0)  # type: ignore[union-attr]
        world.heal()


def test_install_snapshots_disconnect() -> None:
    for seed in SEEDS:
        fall_behind_and_install(seed, calm, crashes=False)


def test_install_snapshots_disconnect_unreliable() -> None:
    for seed in SEEDS:
        fall_behind_and_install(seed, unreliable, crashes=False)


def test_install_snapshots_crash() -> None:
    for seed in SEEDS:
        fall_behind_and_install(seed, calm, crashes=True)


def test_install_snapshots_unreliable_crash() -> None:
    for seed in SEEDS:
        fall_behind_and_install(seed, unreliable, crashes=True)


def test_crash_and_restart_all_servers() -> None:
    for seed in SEEDS:
        world = World(seed, adapt=calm)
        for _ in range(ROUNDS):
            # given nodes with new snapshots
            let_compact(world)
            snapshots = [board.node.store.snapshot.index for board in world.boards]  # type: ignore[union-attr]
            committed = len(world.watch.committed)

            # when the power fails for all of them
            for board in world.boards:
                board.power_off()
            for board in world.boards:
                world._boot(board)

            # then no index has fallen, and the state is what it was
            for board, index in zip(world.boards, snapshots):
                assert board.node.core.commit >= index  # type: ignore[union-attr]
            until(world, are_abreast, world.boards, committed)
        world.heal()


def test_snapshot_initialization_after_crash() -> None:
    for seed in SEEDS:
        # given nodes that have started from a snapshot
        world = World(seed, adapt=calm)
        let_compact(world)
        for _ in range(3):
            committed = len(world.watch.committed)
            for board in world.boards:
                board.power_off()
                world._boot(board)
            until(world, are_abreast, world.boards, committed)
            let_commit(world, 3)

        # then they do so a second time and a third, and go on
        let_compact(world)
        world.heal()


def small(plan: Plan) -> None:
    calm(plan)
    plan.sectors = 22
    plan.eager_at = 0
    plan.forgets = False
    plan.value_bytes = 300


def is_needed(board: Board, sector: int) -> bool:
    """Whether it is up, and its log needs what is in that sector, which isn't its newest."""
    if not board.node:
        return False
    store = board.node.store
    return sector in [n % store.sectors for n in range(store.floor, store.newest)]


def test_a_bit_flipped_in_every_sector_of_a_live_node() -> None:
    # given a node whose ring has gone round
    world = World(1, adapt=small)
    victim = world.boards[1]
    until(world, lambda: victim.flash.erases > world.plan.sectors)
    doubts = 0
    for sector in range(0, world.plan.sectors, 1 if IS_CPYTHON else 4):
        # when a bit turns in one of its sectors, and it starts again at once or some time later
        until(world, is_needed, victim, sector)
        victim.has_lost = True
        victim.flash.rot(world.dice, sector)
        if sector % 2:
            let_commit(world, 3)
        if victim.node:  # it may have seen it by itself
            world._crash(victim)
        until(world, lambda: victim.node is not None)
        assert victim.node
        doubts += victim.node.core.doubt > 0

        # then the others go on, and it is repaired by them, and a voter again
        let_commit(world, 3)
        goal = len(world.watch.committed)
        until(world, are_abreast, [victim], goal)
    print("%d of the flipped bits have made it doubt" % doubts)
    assert doubts > 0
    world.heal()


def five(plan: Plan) -> None:
    calm(plan)
    plan.voters = [1, 2, 3, 4, 5]
    plan.clients = 8
    plan.reads = 1
    plan.sectors = 64
    plan.eager_at = 0
    plan.forgets = False


def test_nodes_far_behind_and_blank_catch_up_while_the_leader_serves() -> None:
    far = 5000 if IS_CPYTHON else 300
    # given a node that has been off for 5,000 entries, and one that is blank
    world = World(1, adapt=five)
    late, blank = world.boards[3:]
    blank.power_off()
    blank.flash, blank.disk = RamFlash(world.plan.sectors), Model()
    blank.identity = 0
    world.watch.disks[blank.id] = blank.disk
    late.power_off()
    let_commit(world, far)

    # when both come, and a fifth of all datagrams gets lost
    world.plan.loss = 200
    world._boot(late)
    world._boot(blank)
    begun = world.now
    answers = sum(client.done for client in world.clients)
    goal = len(world.watch.committed)
    until(world, are_abreast, [late, blank], goal)

    # then they are soon abreast, and clients have been served meanwhile
    taken = (world.now - begun) // US
    answered = sum(client.done for client in world.clients) - answers
    print("%d entries behind: abreast after %d ms, %d requests meanwhile" % (far, taken, answered))
    assert taken < 12 * HEAL_MS
    assert answered * 1000 > taken * 5, "%d answers in %d ms" % (answered, taken)
    world.heal()
