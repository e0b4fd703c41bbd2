"""A setting that all boards follow, and that outlives any of them: how fast an LED blinks.

    "app": {"name": "shared_settings", "pin": 4}

    $ raftctl put settings/blink_ms 100     all boards blink faster, those too that come back later

`await settings.set("blink_ms", 100)` in any board's program does the same. Every board keeps all
settings in its flash, and reads its own copy: that costs nothing, works without the others, and
on a board that is cut off may be old.
"""

import machine

from raft import Node
from raft.interpreter import sleep_ms

USUAL_MS = 500
LEAST_MS = 20
MOST_MS = 2000  # it sees no new value before it has slept

node = Node.from_config()
led = machine.Pin(node.settings["pin"], machine.Pin.OUT)
settings = node.dict("settings")


@node.task
async def blink():
    shown_ms = None
    is_on = 0
    while True:
        blink_ms = usable(settings.local("blink_ms"))
        if blink_ms != shown_ms:
            shown_ms = blink_ms
            node.events("shared_settings", blink_ms=blink_ms)
        is_on = 1 - is_on
        led.value(is_on)
        await sleep_ms(blink_ms)


def usable(blink_ms):
    """What was put, if it can be used: anybody may have put anything."""
    return min(max(LEAST_MS, blink_ms), MOST_MS) if isinstance(blink_ms, int) else USUAL_MS


node.run()
