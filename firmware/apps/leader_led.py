"""An LED that is lit on the board that leads, and on no other.

    "app": {"name": "leader_led", "pin": 4}

Copy this file, and put in the LED's place whatever one board alone is to do: run the pump, open
the gateway, keep the schedule.

A leader that is cut off from the others finds out only after an election timeout, and they may
have elected another one by then: for a moment two may be lit. What must never be done twice has
to go through the log.
"""

import machine

from raft.core import LEADER
from raft.interpreter import sleep_ms

LOOK_MS = 20


async def run(node, settings):
    """What main.py starts beside the node. settings: the key `app` of config.json."""
    led = machine.Pin(settings["pin"], machine.Pin.OUT)
    was_leader = False
    led.value(0)
    while True:
        is_leader = node.core.role == LEADER
        if is_leader != was_leader:
            was_leader = is_leader
            led.value(int(is_leader))
            node.events("leader_led", on=int(is_leader))
        await sleep_ms(LOOK_MS)
