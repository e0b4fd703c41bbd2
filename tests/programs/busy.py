"""A program that uses what a node gives it, and does what the file `order` in its folder says:

    loop                  an endless loop
    stand MS              stand still for so long
    stop_clock            the node's clock doesn't run any more, all else goes on
    raise KIND            in this task
    fail NAME KIND        the next call of that function raises it
    fail_any NUMBER KIND  so does that of one out of all that are loaded
    leave KB              take all memory but so much

It is then told by an event: `ordered`.
"""

import asyncio
import builtins
import gc
import os
import time

from host_tools.desktop import failures
from raft import Node
from raft.interpreter import free_heap, sleep_ms

ORDER = "order"
TURN_MS = 20
MOST_BYTES, LEAST_BYTES = 65536, 32  # of a piece of memory

node = Node.from_config()
shared = node.dict("busy")
turns = node.counter("busy-turns")
hoard: object = None


def tell(role: str) -> None:
    node.events("busy", role=role)


async def lead() -> None:
    while True:
        await shared.set("leader", node.id)
        await sleep_ms(TURN_MS)


async def work() -> None:
    while True:
        async with node.lock("busy-lock", 2):
            await turns.add(1)
        await sleep_ms(TURN_MS)


async def obey() -> None:
    while True:
        words = order()
        if words:
            node.events("ordered", order=" ".join(words))
            globals()["do_" + words[0]](*words[1:])
        await sleep_ms(TURN_MS)


def order() -> list[str]:
    if ORDER not in os.listdir():
        return []
    with open(ORDER) as f:
        words = f.read().split()
    os.remove(ORDER)
    return words


def do_loop() -> None:
    while True:
        pass


def do_stand(ms: str) -> None:
    time.sleep(int(ms) / 1000)


def do_stop_clock() -> None:
    node._pass_tick = nothing


def nothing() -> None:
    pass


def do_raise(kind: str) -> None:
    raise kind_of(kind)("on purpose")


def do_fail(name: str, kind: str) -> None:
    failures.arm(name, kind_of(kind))


def do_fail_any(number: str, kind: str) -> None:
    names = failures.functions()
    failures.arm(names[int(number) % len(names)], kind_of(kind))


def do_leave(kb: str) -> None:
    global hoard
    gc.collect()
    size = MOST_BYTES
    while size >= LEAST_BYTES:
        if (free_heap() or 0) - size < int(kb) * 1024:
            size //= 2
            continue
        try:
            hoard = (hoard, bytearray(size))  # a list would want room in one piece
        except MemoryError:  # there are no pieces of that size any more
            size //= 2


def kind_of(name: str) -> type:
    return asyncio.CancelledError if name == "CancelledError" else getattr(builtins, name)


node.on_role(tell)
node.leader_only(lead)
node.task(work)
node.task(obey)
node.run()
