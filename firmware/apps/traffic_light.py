"""Boards at a crossing agree whose light is green: never two at a time, whatever fails.

    "app": {"name": "traffic_light", "pin": 4, "phase_ms": 3000}

The phase is a number in the store that only grows. An even one gives one road green: the LED of
its board is lit. The odd ones between give none. Whoever has seen a phase for `phase_ms` moves it
on: with `cas`, so that one board does, and a late copy does nothing.

A board's own copy may be old. So the one whose turn it is asks for the phase before it shows
green, again and again, and shows red when it hears nothing: an answer holds for two timeouts at
most, about half of the red phase that follows. (A board that stands still for the other half
shows what it has shown. `watchdog_ms` is for that, and in a real crossing a relay.)
"""

import machine

from raft.client import Client, ClusterError
from raft.interpreter import sleep_ms

KEY = b"phase"
TURN_MS = 50


async def run(node, settings):
    """What main.py starts beside the node. settings: the key `app` of config.json."""
    light = machine.Pin(settings["pin"], machine.Pin.OUT)
    roads = sorted(int(i) for i in settings["nodes"])
    mine = roads.index(node.id)
    full = settings["phase_ms"] // TURN_MS
    client = Client(node, settings["nodes"], settings["phase_ms"] // 4)
    seen = was_green = None
    turns = 0  # that this phase was seen
    try:
        while True:
            phase = client.local(KEY)
            turns = turns + 1 if phase == seen else 0
            seen = phase
            number = int(phase or b"1")
            is_green = number % 2 == 0 and number // 2 % len(roads) == mine
            try:
                if turns >= full + mine:  # one after the other, so that one write is enough
                    await client.cas(KEY, phase, b"%d" % (number + 1))
                    is_green = False
                elif is_green:
                    is_green = await client.get(KEY) == phase
            except ClusterError:
                is_green = False
            if is_green != was_green:
                was_green = is_green
                light.value(int(is_green))
                node.events("traffic_light", green=int(is_green), phase=number)
            await sleep_ms(TURN_MS)
    finally:
        light.value(0)
