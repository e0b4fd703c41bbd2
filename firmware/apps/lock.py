"""A lock that one board at a time holds: whoever presses its button, one after the other.

    "app": {"name": "lock", "pin": 4, "button": 0, "hold_ms": 2000, "ttl_s": 5}

The LED is lit while the board holds the lock: put in its place what one board alone may do. Each
time the lock is taken it gets a greater number. Hand that on with all you do: who is told to act
(a pump, a server) refuses a number that is less than one it has seen, for that comes from a board
which stood still and hasn't noticed yet that its time is over.

If the board that holds it dies, the lock is free `ttl_s` later. If it is cut off for so long, it
loses the lock: what it does is broken off before another one can have it.
"""

import machine

from raft import Node
from raft.interpreter import sleep_ms
from raft.lock import LockLost

TURN_MS = 20

node = Node.from_config()
led = machine.Pin(node.settings["pin"], machine.Pin.OUT)
button = machine.Pin(node.settings["button"], machine.Pin.IN, machine.Pin.PULL_UP)
hold_ms = node.settings["hold_ms"]


@node.task
async def take_turns():
    while True:
        if button.value() == 0:
            try:
                async with node.lock("lock", node.settings["ttl_s"]) as number:
                    await act(number)
            except LockLost as e:
                node.events("lock", error=e)
            await sleep_ms(hold_ms)  # the others' turn
        await sleep_ms(TURN_MS)


async def act(number):
    """What is done while the board has the lock."""
    node.events("lock", number=number, held=1)
    led.value(1)
    try:
        await sleep_ms(hold_ms)
    finally:  # broken off, too
        led.value(0)
        node.events("lock", number=number, held=0)


node.run()
