"""A board's entry: configuration, network, node. The same file runs on a desk."""

import asyncio

import machine

from board.flash import raft_partition
from board.wifi import connect
from raft.events import Events
from raft.interpreter import collect_early, print_exception, sleep_ms, unload
from raft.node import Node

RESTART_MS = 1000  # a pause before a reset, so that a crash at start can be read and stopped


async def pause():
    await sleep_ms(RESTART_MS)


async def start(settings, events):
    wifi = settings.get("wifi")
    if wifi:
        await connect(wifi["ssid"], wifi["password"], "raft-%d" % settings["id"])
    import board.identity  # here, so that nothing keeps it when it is unloaded

    node = Node(settings, raft_partition(), events=events, memory=board.identity)
    # What isn't needed again is some KB of heap.
    settings.clear()
    unload("board", "identity")
    unload("raft", "recovery")
    unload("raft", "config")
    await node.run()


def main():
    from raft.config import load  # here, so that nothing keeps it when it is unloaded

    settings = load()
    events = Events(settings["id"])
    collect_early()
    try:
        asyncio.run(start(settings, events))
    except KeyboardInterrupt:
        events("stopped")
    except Exception as e:
        print_exception(e)
        events("reset", error=repr(e))
        asyncio.run(pause())  # a task, for MicroPython's asyncio runs nothing else
        machine.reset()


main()
