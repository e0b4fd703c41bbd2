"""A lock that one board at a time holds: whoever presses its button, when it is free.

    "app": {"name": "lock", "pin": 4, "button": 0, "hold_ms": 2000}

The LED is lit while the board holds the lock: put in its place what one board alone may do. Each
time the lock is taken it gets a greater number. Hand that on with all you do: who is told to act
(a pump, a server) refuses a number that is less than one it has seen, for that comes from a board
which stood still and hasn't noticed yet that its time is over.

The lock is a value in the store, "NUMBER HOLDER", or "NUMBER 0" if it is free. Who takes it has
it for `hold_ms`, from when it asked. If it dies, or is cut off, the lock is taken over by whoever
wants it and has seen it unchanged for twice that time.
"""

import machine

from raft.client import Client, ClusterError
from raft.interpreter import sleep_ms, ticks_diff, ticks_ms

KEY = b"lock"
TURN_MS = 20


async def run(node, settings):
    """What main.py starts beside the node. settings: the key `app` of config.json."""
    led = machine.Pin(settings["pin"], machine.Pin.OUT)
    button = machine.Pin(settings["button"], machine.Pin.IN, machine.Pin.PULL_UP)
    hold_ms = settings["hold_ms"]
    client = Client(node, settings["nodes"], hold_ms // 2)
    seen = None
    turns = 0  # that the lock was seen like this
    while True:
        lock = client.local(KEY)
        turns = turns + 1 if lock == seen else 0
        seen = lock
        number, holder = (lock or b"0 0").split()
        is_free = holder == b"0" or turns * TURN_MS >= 2 * hold_ms
        if is_free and button.value() == 0:
            number = int(number) + 1
            mine = b"%d %d" % (number, node.id)
            asked = ticks_ms()
            try:
                if await client.cas(KEY, lock, mine):
                    await hold(node, led, number, hold_ms - ticks_diff(ticks_ms(), asked))
                    await client.cas(KEY, mine, b"%d 0" % number)
                    await sleep_ms(hold_ms)  # the others' turn
            except ClusterError as e:
                node.events("lock", number=number, error=e)
        await sleep_ms(TURN_MS)


async def hold(node, led, number, ms):
    """What is done while the board has the lock."""
    node.events("lock", number=number, held=1)
    led.value(1)
    await sleep_ms(ms)
    led.value(0)
    node.events("lock", number=number, held=0)
