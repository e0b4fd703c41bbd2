"""A setting that all boards follow, and that outlives any of them: how fast an LED blinks.

    "app": {"name": "shared_settings", "pin": 4}

    $ raftctl put blink_ms 100      all boards blink faster, those too that come back later

Every board keeps all settings in its flash, and reads its own copy: that costs nothing, works
without the others, and on a board that is cut off may be old.
"""

import machine

from raft.client import Client
from raft.interpreter import sleep_ms

KEY = b"blink_ms"
USUAL_MS = 500
LEAST_MS = 20


async def run(node, settings):
    """What main.py starts beside the node. settings: the key `app` of config.json."""
    led = machine.Pin(settings["pin"], machine.Pin.OUT)
    client = Client(node, settings["nodes"])
    shown_ms = None
    is_on = 0
    while True:
        blink_ms = number(client.local(KEY))
        if blink_ms != shown_ms:
            shown_ms = blink_ms
            node.events("shared_settings", blink_ms=blink_ms)
        is_on = 1 - is_on
        led.value(is_on)
        await sleep_ms(blink_ms)


def number(value):
    """What was put, if it can be used: anybody may have put anything."""
    try:
        return max(LEAST_MS, int(value.decode()))
    except (AttributeError, ValueError):  # there is none, or it is no number
        return USUAL_MS
