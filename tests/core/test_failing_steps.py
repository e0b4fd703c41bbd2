"""A step of a node that fails in the middle is its last: nothing goes on in the RAM that it leaves.

Exceptions come from where they may: in each task of a node, between flash and network, while
something is told, and out of what should never raise.
"""

import asyncio

from raft import interpreter
from raft.events import Events
from raft.messages import COMMAND
from raft.node import Node
from raft.sessions import OPEN, entry
from raft.udp import YOUNG_MS, Endpoint, resolve
from tests.flash import RamFlash
from tests.keys import SECRET
from tests.solo import SECTORS
from tests.support import raises

PORTABLE = True

PLACE = {"host": "127.0.0.1", "port": 0, "client_port": 0}
LONG_MS = 1000
PATIENCE_S = 20


class Told:
    """Event lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def events(self) -> Events:
        return Events(1, self.lines.append)

    def crashes(self) -> list[str]:
        return [line.split(" ", 3)[3] for line in self.lines if " crash " in line]


def node_that_leads(told: Told):  # type: ignore[no-untyped-def]
    config = {"id": 1, "cluster": "test", "keys": [SECRET], "nodes": {"1": PLACE}}
    node = Node(config, events=told.events())
    node.open(RamFlash(SECTORS))
    node.core.tick(LONG_MS)
    node._drive()
    return node


def raising(error):  # type: ignore[no-untyped-def]
    def fail(*args):  # type: ignore[no-untyped-def]
        raise error

    return fail


def failure_of_serving(node, between=None):  # type: ignore[no-untyped-def]
    """What a node that is served ends with."""

    async def main():  # type: ignore[no-untyped-def]
        serving = asyncio.create_task(node.serve())
        if between:
            await between()
        try:
            await asyncio.wait_for(serving, PATIENCE_S)
        except Exception as e:
            return e

    return asyncio.run(main())


def knock(node, address):  # type: ignore[no-untyped-def]
    """Send it a datagram at that port."""
    endpoint = Endpoint(None)
    endpoint.send(b"knock", address)
    endpoint.close()


def bind_anew(endpoint):  # type: ignore[no-untyped-def]
    """Put a socket at a port that is known; its address, which MicroPython doesn't tell."""
    endpoint.close()
    for port in range(20011, 60000, 7):
        endpoint._address = resolve("127.0.0.1", port)
        try:
            endpoint._open()
            return endpoint._address
        except OSError:
            endpoint.close()  # somebody else is there
    raise AssertionError("no port is free")


def close(node):  # type: ignore[no-untyped-def]
    """What `serve` does at its end."""
    node.endpoint.close()
    node._clients.close()


class FragmentedSocket:
    """Has a datagram, and a heap that gives no more than `most` bytes in one piece."""

    def __init__(self, datagram: bytes, most: int) -> None:
        self._datagram = datagram
        self._most = most

    def recvfrom(self, most: int):  # type: ignore[no-untyped-def]
        if most > self._most:
            raise MemoryError
        return self._datagram[:most], ("127.0.0.1", 1)

    def close(self) -> None:
        pass


def test_what_is_too_long_for_the_heap_is_a_failure_and_not_a_lost_datagram() -> None:
    endpoint = Endpoint(None)
    endpoint.close()

    endpoint.socket = FragmentedSocket(bytes(299), 500)  # type: ignore[assignment]
    assert endpoint.receive_from(1200) == (bytes(299), ("127.0.0.1", 1))

    endpoint.socket = FragmentedSocket(bytes(300), 500)  # type: ignore[assignment]
    endpoint._begun = interpreter.ticks_ms() - YOUNG_MS
    raises(MemoryError, endpoint.receive_from, 1200)
    endpoint._begun += 1 << 20  # so long that the ticks have wrapped
    raises(MemoryError, endpoint.receive_from, 1200)


def test_nobody_brings_a_board_to_safe_mode_by_long_datagrams() -> None:
    endpoint = Endpoint(None)
    endpoint.close()
    endpoint.socket = FragmentedSocket(bytes(300), 500)  # type: ignore[assignment]
    assert endpoint.receive_from(1200) == (bytes(300), ("127.0.0.1", 1))
    assert endpoint.errors == 1


def test_after_a_step_that_fails_behind_the_flash_nothing_is_written_or_sent() -> None:
    node = node_that_leads(Told())
    sent: list = []  # type: ignore[type-arg]
    write = node.store.write

    def write_and_fail(ready):  # type: ignore[no-untyped-def]
        write(ready)
        raise MemoryError

    node.store.write = write_and_fail
    node.core.propose(COMMAND, entry(0, OPEN))
    raises(MemoryError, node._hear_peers)
    node.store.write = write
    programs = node.store.programs

    node._send = sent.append
    node.core.propose(COMMAND, entry(0, OPEN))
    node._hear_peers()
    node._hear_clients()
    asyncio.run(tick_for_a_while(node))

    assert node.store.programs == programs
    assert not sent
    assert not node.has_ticked
    close(node)


async def tick_for_a_while(node):  # type: ignore[no-untyped-def]
    ticking = asyncio.create_task(node._tick())
    await asyncio.sleep(0.1)
    ticking.cancel()


def test_a_failure_of_any_task_ends_the_node_and_is_told() -> None:
    for name, spoil in (
        ("tick", lambda node, fail: setattr(node.core, "tick", fail)),
        ("tick", lambda node, fail: setattr(node.store, "idle", fail)),
        ("tick", lambda node, fail: setattr(node, "_report", fail)),
        ("peers", lambda node, fail: setattr(node.endpoint, "receive", fail)),
        ("clients", lambda node, fail: setattr(node.service, "receive", fail)),
    ):
        for error in (MemoryError(), ValueError(1)):
            told = Told()
            node = node_that_leads(told)
            node._report_ms = 0
            at = {"peers": node.endpoint, "clients": node._clients}.get(name)
            address = bind_anew(at) if at else None
            spoil(node, raising(error))

            async def come(node=node, address=address):  # type: ignore[no-untyped-def]
                await asyncio.sleep(0)
                if address:
                    knock(node, address)

            assert failure_of_serving(node, come) is error
            (crash,) = told.crashes()
            assert crash == "crash error=%s task=%s" % (repr(error).replace(" ", "_"), name)


def test_a_cancellation_that_nobody_meant_for_the_node_ends_it() -> None:
    told = Told()
    node = node_that_leads(told)
    node.core.tick = raising(asyncio.CancelledError())

    failure = failure_of_serving(node)

    assert isinstance(failure, RuntimeError)
    assert "it_was_cancelled" in told.crashes()[0]

    # and where CPython's asyncio calls the node, which then prints a line and goes on
    node = node_that_leads(told)
    address = bind_anew(node._clients)
    node.service.receive = raising(asyncio.CancelledError())

    async def come():  # type: ignore[no-untyped-def]
        await asyncio.sleep(0)
        knock(node, address)

    assert isinstance(failure_of_serving(node, come), RuntimeError)


def test_a_task_that_ends_though_it_never_should_ends_the_node() -> None:
    told = Told()
    node = node_that_leads(told)

    async def end():  # type: ignore[no-untyped-def]
        pass

    node._tick = end

    failure = failure_of_serving(node)

    assert isinstance(failure, RuntimeError)
    assert "it_has_ended" in told.crashes()[0] and "task=tick" in told.crashes()[0]


def test_a_failure_while_it_hands_over_ends_the_node() -> None:
    told = Told()
    node = node_that_leads(told)
    node.core.transfer = raising(MemoryError())

    assert isinstance(failure_of_serving(node, node.leave), MemoryError)
    assert "task=leave" in told.crashes()[0]


def test_what_can_not_be_told_for_want_of_memory_ends_the_node_all_the_same() -> None:
    node = node_that_leads(Told())
    error = ValueError(2)
    node.core.tick = raising(error)
    node.events = raising(MemoryError())

    node._tell_recovery = lambda: None  # which comes first

    assert failure_of_serving(node) is error


def test_lines_that_can_not_be_written_are_counted_and_stop_nobody() -> None:
    node = node_that_leads(Told())
    node.events = Events(1, raising(OSError(28)))

    node._report()
    node._report()

    assert node.events.lost == 2
    close(node)
