"""Clusters of one to seven nodes live through all sorts of faults, and heal.

What is checked at each step is in `invariants.py`, what may happen in `simulator.py`. MicroPython
runs the first seed of each test, CPython all of them.
"""

import sys

from tests.cluster.board import US
from tests.cluster.simulator import Plan, World, check

PORTABLE = True
TIMEOUT_S = 240

IS_CPYTHON = sys.implementation.name == "cpython"
SEEDS = 20 if IS_CPYTHON else 1  # of each test
STEPS = 5000  # of each seed
QUIET_MS = 20_000  # `make bench` looks at an hour


def live_through_faults(first_seed: int) -> dict[str, int]:
    """How often happened what is worth counting."""
    happened: dict[str, int] = {}
    for seed in range(first_seed, first_seed + SEEDS):
        for what, count in check(seed, STEPS).watch.happened.items():
            happened[what] = happened.get(what, 0) + count
    return happened


def test_no_rule_is_broken_and_all_heals_1() -> None:
    live_through_faults(100)


def test_no_rule_is_broken_and_all_heals_2() -> None:
    live_through_faults(200)


def test_no_rule_is_broken_and_all_heals_3() -> None:
    live_through_faults(300)


def test_no_rule_is_broken_and_all_heals_4() -> None:
    live_through_faults(400)


def test_no_rule_is_broken_and_all_heals_and_what_the_rules_are_for_does_happen() -> None:
    happened = live_through_faults(692)

    if not IS_CPYTHON:
        return  # one seed brings a part of it
    for what in ("elections", "crashes", "torn programs", "writes", "reads", "snapshots"):
        assert happened.get(what, 0) > 20, "%s: %s" % (what, happened)
    for what in ("conflicts", "rescues", "installed", "trusted", "expired"):
        assert happened.get(what, 0) > 0, "%s: %s" % (what, happened)


def test_whoever_watches_is_told_each_change_once_and_in_order() -> None:
    happened: dict[str, int] = {}
    for seed in range(1, 1 + SEEDS):
        world = World(seed, adapt=watched)
        while world.steps < STEPS:
            world.step()
        world.heal()
        for what, count in world.watch.happened.items():
            happened[what] = happened.get(what, 0) + count

    if IS_CPYTHON:  # one seed brings a part of it
        assert happened["watched changes"] > 20 and happened["quiet watches"] > 20
        assert happened["gone"] > 0


def watched(plan: Plan) -> None:
    plan.watchers = 3


def without_faults(plan: Plan) -> None:
    plan.faults = ["restore"]
    plan.loss = plan.doubled = plan.late = plan.garbled = 0
    plan.delay_us = (1000, 15_000)
    plan.slow_flash = 1 << 30  # none takes longer than typically


def test_without_faults_the_first_leader_stays() -> None:
    for seed in range(1, 1 + SEEDS // 4 + 1):
        # given a cluster in which clients write and read
        world = World(seed, adapt=without_faults)
        while not world.watch.leaders:
            world.step()
        first = dict(world.watch.leaders)

        # when a third of a minute goes by
        while world.now < QUIET_MS * US:
            world.step()

        # then there has been no other election
        assert world.watch.leaders == first, "seed %d" % seed
        assert sum(client.done for client in world.clients) > 100
        world.heal()


def with_small_flash(plan: Plan) -> None:
    plan.sectors = 22
    plan.faults = ["stall", "restore", "cut_one_way", "cut_off_one"]
    plan.value_bytes = 700
    plan.reads = 2


def test_a_cluster_with_a_small_flash_goes_on_for_ever() -> None:
    for seed in range(1, 1 + SEEDS // 8 + 1):
        # given clients that write until each sector has been used several times
        world = World(seed, adapt=with_small_flash)
        while not all(board.flash.erases > 2 * world.plan.sectors for board in world.boards):
            world.step()
            assert world.steps < 100 * STEPS, "seed %d: the flash is never full" % seed

        # then all is well
        world.heal()
        assert world.watch.happened["snapshots"] > 2 * len(world.boards)


def test_a_seed_decides_everything() -> None:
    worlds = [check(7, STEPS // 5) for _ in range(2)]

    assert worlds[0].now == worlds[1].now
    assert worlds[0].watch.committed == worlds[1].watch.committed
