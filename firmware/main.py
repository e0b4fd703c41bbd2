"""A board's entry: configuration, network, node. The same file runs on a desk."""

import asyncio
import json

import machine

from board.flash import raft_partition
from board.wifi import connect
from raft.events import Events
from raft.interpreter import collect_early, print_exception, sleep_ms, unload
from raft.node import ConfigError, Node

RESTART_MS = 1000  # a pause before a reset, so that a crash at start can be read and stopped


def configuration():
    """What `raftctl` has written for this node (dict)."""
    try:
        with open("config.json") as f:
            return json.load(f)
    except (OSError, ValueError) as e:
        raise ConfigError("config.json can't be read (%r): deploy this node again" % e)


async def start(config, events):
    wifi = config.get("wifi")
    if wifi:
        await connect(wifi["ssid"], wifi["password"], "raft-%d" % config["id"])
    node = Node(config, raft_partition(), events=events)
    # What isn't needed again is some KB of heap.
    config.clear()
    unload("raft", "recovery")
    await node.run()


def main():
    config = configuration()
    events = Events(config["id"])
    collect_early()
    try:
        asyncio.run(start(config, events))
    except KeyboardInterrupt:
        events("stopped")
    except Exception as e:
        print_exception(e)
        events("reset", error=repr(e))
        asyncio.run(sleep_ms(RESTART_MS))
        machine.reset()


main()
