"""What runs on a board beside its node."""

import asyncio

from raft.interpreter import sleep_ms
from tests.flash import RamFlash
from tests.host.board_folder import stand_in
from tests.keys import SECRET

PORTABLE = True

machine = stand_in("machine")
stand_in("network")

from board import safe_mode, tasks, watchdog, wifi  # noqa: E402
from raft import program  # noqa: E402

PATIENCE_MS = 10000


class Told:
    """Gathers events."""

    def __init__(self) -> None:
        self.events: list = []  # type: ignore[type-arg]

    def __call__(self, what, **facts):  # type: ignore[no-untyped-def]
        self.events.append((what, facts))


async def until(condition):  # type: ignore[no-untyped-def]
    for _ in range(PATIENCE_MS):
        if condition():
            return
        await sleep_ms(1)
    raise AssertionError("it didn't come")


async def while_runs(task, check):  # type: ignore[no-untyped-def]
    """Run the coroutine `task` until the coroutine `check` has ended."""
    running = asyncio.create_task(task)
    try:
        await check
    finally:
        running.cancel()


def test_a_task_that_fails_is_told_counted_and_started_again() -> None:
    told, starts = Told(), []
    tasks.PAUSE_MS = 1

    async def fail(whom):  # type: ignore[no-untyped-def]
        starts.append(whom)
        if len(starts) < 3:
            raise ValueError(len(starts))

    async def main():  # type: ignore[no-untyped-def]
        lives = safe_mode.Lives()
        supervised = tasks.Tasks(told, lives)
        supervised.start("app", fail, "me")
        await until(lambda: len(starts) == 3)
        await sleep_ms(5)  # it has returned: that is not a failure
        return lives.facts["failures"]

    machine.RTC().memory(b"")
    assert asyncio.run(main()) == 2
    assert starts == ["me"] * 3
    assert told.events == [
        ("failure", {"task": "app", "error": repr(ValueError(i)), "count": i}) for i in (1, 2)
    ]


def test_what_fails_because_leadership_is_over_is_told_and_not_started_again() -> None:
    told, starts = Told(), []
    tasks.PAUSE_MS = 1
    place = {"host": "127.0.0.1", "port": 0, "client_port": 0}
    config = {"id": 1, "cluster": "demo", "keys": [SECRET], "nodes": {"1": place}, "state_kb": 1}
    node = program.Node(config, events=Told())
    node.open(RamFlash(32))

    @node.leader_only
    async def lead():  # type: ignore[no-untyped-def]
        starts.append(node.core.term)
        try:
            await sleep_ms(PATIENCE_MS)
        except asyncio.CancelledError:
            raise OSError(5)  # noqa: B904

    machine.RTC().memory(b"")

    async def main():  # type: ignore[no-untyped-def]
        node.begin(tasks.Tasks(told, safe_mode.Lives()))
        node.core.tick(1000)
        node._drive()
        await until(lambda: starts)
        node.core.give_way()
        node._drive()
        await until(lambda: told.events)
        await sleep_ms(20)

    asyncio.run(main())
    node.endpoint.close()
    node._clients.close()
    assert starts == [1]
    assert told.events == [("failure", {"task": "lead", "error": repr(OSError(5)), "count": 1})]


def lives_of_a_task(function, told, is_enough):  # type: ignore[no-untyped-def]
    """What is known of the board's lives once that is enough, and the task is stopped."""
    machine.RTC().memory(b"")
    tasks.PAUSE_MS = 1

    async def main():  # type: ignore[no-untyped-def]
        lives = safe_mode.Lives()
        supervised = tasks.Tasks(told, lives)
        supervised.start("app", function)
        await until(is_enough)
        await supervised.stop()
        return lives

    return asyncio.run(main())


def test_a_task_that_fails_is_started_again_though_nothing_can_be_told() -> None:
    starts = []

    async def fail():  # type: ignore[no-untyped-def]
        starts.append(1)
        raise MemoryError

    def told(what, **facts):  # type: ignore[no-untyped-def]
        raise MemoryError

    lives = lives_of_a_task(fail, told, lambda: len(starts) > 2)

    assert lives.facts["failures"] >= 2
    assert safe_mode.Lives().facts == lives.facts  # kept over a restart


def test_a_task_that_ends_by_anothers_cancellation_or_exit_is_started_again() -> None:
    told, starts = Told(), []

    async def end():  # type: ignore[no-untyped-def]
        starts.append(1)
        if len(starts) == 1:
            raise SystemExit
        if len(starts) == 2:
            other = asyncio.create_task(sleep_for_long())
            await sleep_ms(1)
            other.cancel()
            await other
        await sleep_ms(PATIENCE_MS)

    async def sleep_for_long():  # type: ignore[no-untyped-def]
        await sleep_ms(PATIENCE_MS)

    lives = lives_of_a_task(end, told, lambda: len(starts) == 3)

    assert lives.facts["failures"] == 2
    errors = [facts["error"] for _, facts in told.events]
    assert "SystemExit" in errors[0] and "CancelledError" in errors[1]


def test_a_task_that_is_stopped_puts_away_what_it_has() -> None:
    done = []

    async def work():  # type: ignore[no-untyped-def]
        done.append("begun")
        try:
            await sleep_ms(PATIENCE_MS)
        finally:
            done.append("put away")

    lives = lives_of_a_task(work, Told(), lambda: done)

    assert done == ["begun", "put away"]
    assert lives.facts["failures"] == 0


class Dog:
    """In the place of machine.WDT."""

    fed = 0
    timeouts: list = []  # type: ignore[type-arg]

    def __init__(self, timeout) -> None:  # type: ignore[no-untyped-def]
        Dog.timeouts.append(timeout)

    def feed(self) -> None:
        Dog.fed += 1


class Node:
    has_ticked = False
    dropped = 0

    def __init__(self) -> None:
        self.endpoint = self
        self.received = 0


def test_the_watchdog_is_fed_only_while_the_nodes_clock_runs() -> None:
    node = Node()
    before = machine.WDT
    machine.WDT, watchdog.FEED_MS = Dog, 1

    async def check():  # type: ignore[no-untyped-def]
        # while there is no node, it is enough that tasks run
        await until(lambda: Dog.fed > 2)
        assert Dog.timeouts == [watchdog.START_MS]
        dog.node = node
        await until(lambda: len(Dog.timeouts) == 2)
        assert Dog.timeouts[1] == 3000
        Dog.fed = 0
        await sleep_ms(20)
        assert Dog.fed == 0
        for fed in (1, 2, 3):
            node.has_ticked = True
            await until(lambda: not node.has_ticked)
            await sleep_ms(20)
            assert Dog.fed == fed

    dog = watchdog.Watchdog(3000)
    try:
        asyncio.run(while_runs(dog.run(), check()))
    finally:
        machine.WDT = before


class Link:
    """In the place of a board.wifi.Wifi."""

    facts = {"rssi": -60}
    is_up = True


def test_a_board_that_hears_nobody_says_so_once() -> None:
    told, node, link = Told(), Node(), Link()
    wifi.ALONE_MS = 2
    alone = "alone", {"heard": 0, "of": 4, "rssi": -60}

    async def check():  # type: ignore[no-untyped-def]
        await until(lambda: told.events)
        await sleep_ms(20)
        assert told.events == [alone]
        # what isn't of the cluster is no company, and without the link there can't be any
        node.received += 1
        node.dropped += 1
        link.is_up = False
        await sleep_ms(20)
        assert told.events == [alone]
        node.received += 1
        link.is_up = True
        await until(lambda: len(told.events) == 2)
        assert told.events == [alone, alone]

    asyncio.run(while_runs(wifi.watch_peers(node, 4, link, told), check()))
