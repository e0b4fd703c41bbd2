"""Boards at a crossing agree whose light is green: never two at a time, whatever fails.

    "app": {"name": "traffic_light", "pin": 4, "phase_ms": 3000}

The phase is a shared number that only grows. An even one gives one road green: the LED of its
board is lit. The odd ones between give none. Whoever has seen a phase for `phase_ms` moves it on:
with `cas`, so that one board does, and a late copy does nothing.

A board's own copy may be old. So the one whose turn it is asks for the phase before it shows
green, again and again, and shows red when it hears nothing: an answer holds for two timeouts at
most, about half of the red phase that follows. (A board that stands still for the other half
shows what it has shown. `watchdog_ms` is for that, and in a real crossing a relay.)
"""

import machine

from raft import Node
from raft.interpreter import sleep_ms
from raft.requests import ClusterError

TURN_MS = 50

node = Node.from_config()
light = machine.Pin(node.settings["pin"], machine.Pin.OUT)
crossing = node.dict("crossing")
phase_ms = node.settings["phase_ms"]
node.timeout_ms = phase_ms // 4
roads = sorted([int(i) for i in node.nodes])
mine = roads.index(node.id)


@node.task
async def take_turns():
    seen = was_green = None
    turns = 0  # that this phase was seen
    try:
        while True:
            phase = crossing.local("phase")
            turns = turns + 1 if phase == seen else 0
            seen = phase
            number = phase or 1
            is_green = number % 2 == 0 and number // 2 % len(roads) == mine
            try:
                if turns >= phase_ms // TURN_MS + mine:  # one after the other: one write is enough
                    await crossing.cas("phase", phase, number + 1)
                    is_green = False
                elif is_green:
                    is_green = await crossing.get("phase") == phase
            except ClusterError:
                is_green = False
            if is_green != was_green:
                was_green = is_green
                light.value(is_green)
                node.events("traffic_light", green=int(is_green), phase=number)
            await sleep_ms(TURN_MS)
    finally:
        light.value(0)


node.run()
