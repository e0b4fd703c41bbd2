"""An endpoint is served whoever has opened its socket anew; portable."""

import asyncio

from raft.interpreter import draw, sleep_ms
from raft.udp import Endpoint, resolve

PORTABLE = True

PATIENCE_MS = 5000
STEP_MS = 5


def bound() -> "tuple[Endpoint, object]":
    """An endpoint at a port that was free, and its address."""
    for _ in range(100):
        address = resolve("127.0.0.1", draw(20_000, 60_000))
        try:
            return Endpoint(address, bytearray(2000)), address
        except OSError:
            continue  # somebody has it
    raise AssertionError("no port is free")


async def served_after(reopens: int) -> None:
    """A datagram that comes after so many times is handled as soon as any."""
    endpoint, address = bound()
    sender = Endpoint(None)
    heard = []

    def handle() -> None:
        frame = endpoint.receive()
        while frame is not None:
            heard.append(bytes(frame))
            frame = endpoint.receive()

    task = asyncio.create_task(endpoint.serve(handle))
    await sleep_ms(STEP_MS)
    for _ in range(reopens):
        endpoint._reopen()  # as in a tick, which has found it closed
        await sleep_ms(STEP_MS)
    sender.send(b"datagram", address)
    waited = 0
    while not heard and waited < PATIENCE_MS:
        await sleep_ms(STEP_MS)
        waited += STEP_MS
    task.cancel()
    endpoint.close()
    sender.close()
    assert heard == [b"datagram"] and endpoint.reopened == reopens


def test_a_socket_that_was_opened_anew_elsewhere_is_served_on() -> None:
    for reopens in (0, 1, 2):
        asyncio.run(served_after(reopens))
