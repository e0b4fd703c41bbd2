"""An LED that is lit on the board that leads, and on no other.

    "app": {"name": "leader_led", "pin": 4}

What one board alone is to do (run the pump, open the gateway, keep the schedule) goes into a task
that runs while the board leads: `@node.leader_only`.

A leader that is cut off from the others finds out only after an election timeout, and they may
have elected another one by then: for a moment two may be lit. What must never be done twice wants
a lock with its number (lock.py).
"""

import machine

from raft import Node

node = Node.from_config()
led = machine.Pin(node.settings["pin"], machine.Pin.OUT)


@node.on_role
def show(role):
    is_leader = role == "leader"
    led.value(is_leader)
    node.events("leader_led", on=int(is_leader))


node.run()
