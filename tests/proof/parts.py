"""What there is to show, and by which command."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """command: a module and its options. It uses all cores, and takes --json FILE."""

    name: str
    claim: str
    command: str


PARTS = (
    Part("lab", "all scenarios of MIT 6.5840's lab 3, alike under all interpreters", "tests.lab"),
    Part("model", "no state that three nodes can reach breaks a property", "tests.model"),
    Part("mutants", "the ten classic mistakes are found", "tests.mutants --seconds 200"),
    Part(
        "specification",
        "what nodes do, simulated or real, are steps of Ongaro's TLA+ specification",
        "tests.specification",
    ),
    Part(
        "simulator",
        "ten million steps under faults break nothing, and all heals",
        "tests.cluster.endless --steps 10000000 --seed 1",
    ),
    Part("coverage", "the simulator takes each branch of the core", "tests.cluster.coverage"),
    Part(
        "histories",
        "what clients see of killed, paused and parted processes is linearizable",
        "tests.cluster.histories --minutes 2 --seed 1",
    ),
    Part(
        "leases",
        "so it is when leaders answer reads by their lease",
        "tests.cluster.histories --lease --minutes 1 --seed 2",
    ),
    Part(
        "elections",
        "a leader is replaced as fast as in the paper",
        "tests.elections --trials 1000",
    ),
)
