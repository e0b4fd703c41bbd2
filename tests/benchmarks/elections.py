"""False elections of three nodes whose flash is slow, on a virtual clock.

Nothing else is wrong with them: no datagram is lost, none is later than on a good Wi-Fi. One in
SLOW operations of the flash takes longer than typically, up to the worst that the datasheet
allows. The partitions are used ones, the timeouts the defaults.
"""

from tests.cluster.board import US
from tests.cluster.simulator import Plan, World
from tests.solo import SECTORS

HOURS = 1
SLOW = 16


def slow_flash(plan: Plan) -> None:
    plan.voters = [1, 2, 3]
    plan.reads = 0
    plan.value_bytes = 56
    plan.sectors = SECTORS
    plan.eager_at = 0
    plan.election_ms = [150, 300]
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.delay_us = (1000, 10_000)
    plan.faults = ["restore"]
    plan.old_flash = True
    plan.slow_flash = SLOW


def idle(plan: Plan) -> None:
    slow_flash(plan)
    plan.clients = 0


def writing(plan: Plan) -> None:
    """About 18 commands a second."""
    slow_flash(plan)
    plan.clients = 1


def measure() -> dict[str, float]:
    figures = {}
    for adapt in (idle, writing):
        world = World(1, adapt=adapt)
        while world.now < HOURS * 3600 * 1000 * US:
            world.step()
        elections = world.watch.happened["elections"] - 1  # one has to be
        figures[f"elections.false_per_hour.{adapt.__name__}"] = elections / HOURS
    erases = sum(board.flash.erases for board in world.boards)
    figures["elections.erases_per_hour.writing"] = erases / len(world.boards) / HOURS
    return figures
