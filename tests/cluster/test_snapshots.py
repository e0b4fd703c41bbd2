"""Snapshots in a cluster of simulated nodes: flash that rots, and nodes far behind; portable.

The seven scenarios of MIT 6.5840 are in tests/lab/. As ever, `invariants.py` looks at every step: a
state that was restored is held against the one that all committed entries lead to.
"""

import sys

from tests.cluster.board import US, Board
from tests.cluster.simulator import HEAL_MS, Plan, World
from tests.flash import RamFlash
from tests.store.model import Model

PORTABLE = True
TIMEOUT_S = 240

IS_CPYTHON = sys.implementation.name == "cpython"
MOST_STEPS = 400_000  # of a scenario; many more than it needs


def calm(plan: Plan) -> None:
    """Three nodes that nothing happens to by itself."""
    plan.voters = [1, 2, 3]
    plan.clients = 2
    plan.reads = 2
    plan.value_bytes = 40
    plan.sectors = 32
    plan.ram_bytes = 600
    plan.eager_at = 0
    plan.forgets = False
    plan.remembers = True
    plan.faults = ["restore"]
    plan.fault_ms = 1_000_000
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.delay_us = (200, 3000)


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


def are_abreast(boards: list[Board], index: int) -> bool:
    """Whether they are up, trust their flash, and have applied all up to that entry."""
    nodes = [board.node for board in boards]
    return all(n is not None and not n.core.doubt and n.applied >= index for n in nodes)


def small(plan: Plan) -> None:
    calm(plan)
    plan.sectors = 22
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
