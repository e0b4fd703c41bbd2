"""Wi-Fi as a station."""

import network

from raft.interpreter import sleep_ms, ticks_diff, ticks_ms

STABLE_MS = 1000  # it counts as up only after it has stayed up that long
POLL_MS = 100


async def connect(ssid, password, hostname):
    """Join the network `ssid` and return its address (str) once the link is stable."""
    network.hostname(hostname)
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    # Power save, the default, holds datagrams back for hundreds of ms.
    wlan.config(pm=wlan.PM_NONE)
    if not wlan.isconnected():
        wlan.connect(ssid, password)
    up_since = None
    while True:
        if not wlan.isconnected():
            up_since = None
        elif up_since is None:
            up_since = ticks_ms()
        elif ticks_diff(ticks_ms(), up_since) >= STABLE_MS:
            return wlan.ifconfig()[0]
        await sleep_ms(POLL_MS)
