"""A world of virtual boards for each habit; and without the remedy, where that is one thing.

    MICROPYPATH=.frozen:firmware:. micropython tests/cluster/each_habit.py

Prints, as JSON, which of them live on: all acknowledged is there, there was a leader for most of
the time, and something was written. Without its remedy a habit must show; else it isn't there.
"""

import json

from host_tools.desktop.habits import HABITS
from tests.cluster import virtual_boards, virtual_world
from tests.cluster.virtual_world import Violation

SECONDS = 4
LONG_S = 12  # what a habit does without the remedy has happened by then
SEED = 1
PACE = 40  # so that boards lose power and link in that time, though not for long
DOWN_MS = (200, 1000)
OFF_MS = (200, 600)
ENOUGH = 10  # writes
HEAL_MS = 5000


def lives_on(habit: str, seconds: int = SECONDS) -> bool:
    """Whether a cluster does whose boards have this habit alone."""
    try:
        figures = virtual_world.run(seconds, SEED, {habit}, PACE).figures()
    except (Violation, OSError):
        return False
    return figures["leader"] > 0.5 and figures.get("acknowledged", 0) >= ENOUGH


def without(owner, name: str, instead, habit: str) -> bool:  # type: ignore[no-untyped-def]
    """The same, with something else in a remedy's place."""
    real = getattr(owner, name)
    setattr(owner, name, instead)
    try:
        return lives_on(habit, LONG_S)
    finally:
        setattr(owner, name, real)


def keep_closed(endpoint) -> None:  # type: ignore[no-untyped-def]
    pass


def send_or_fail(endpoint, data, address) -> None:  # type: ignore[no-untyped-def]
    endpoint.socket.sendto(data, address)


def always(board) -> bool:  # type: ignore[no-untyped-def]
    return True


def main() -> None:
    from raft.udp import Endpoint

    virtual_world.HEAL_MS = HEAL_MS
    virtual_boards.DOWN_MS = DOWN_MS
    virtual_boards.OFF_MS = OFF_MS
    told = {
        "with": {habit: lives_on(habit) for habit in HABITS},
        "without": {
            "empty": without(Endpoint, "_reopen", keep_closed, "empty"),
            "enomem": without(Endpoint, "send", send_or_fail, "enomem"),
            "powersave": without(virtual_boards.Board, "is_saving", always, "powersave"),
        },
    }
    print(json.dumps(told))


main()
