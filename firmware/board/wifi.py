"""Wi-Fi as a station that joins its network again and again, and says so.

How an ESP32 behaves: MicroPython's ports/esp32/network_wlan.c.
"""

import asyncio

import network

from raft.interpreter import sleep_ms, ticks_diff, ticks_ms

POLL_MS = 250
STABLE_MS = 1000  # it counts as up only after it has stayed up that long
ATTEMPT_MS = 15000  # for joining and DHCP
RETRY_MS = 500  # a pause, doubled from one attempt to the next
MAX_RETRY_MS = 30000
ALONE_MS = 10000  # on the network without a word from another node

_CONNECTING = 1001
# esp_wifi_types.h, wifi_err_reason_t; 15 is what a wrong password leads to with WPA2.
_REASONS = {
    15: "wrong_password",
    200: "beacon_timeout",
    201: "no_ap_found",
    202: "wrong_password",
    204: "handshake_timeout",
    _CONNECTING: "no_address",
}


class Wifi:
    """Keeps the board on the network `ssid`. Nobody ever waits for it but who wants to.

    is_up: whether the link is there, and was stable. joined: an asyncio.Event, set from the
    first time on. ip: the board's address, as last seen; on_address: called when that is another
    one, if it isn't None. reason: of the last failure, while the link isn't there. facts: `rssi`,
    as last seen (dBm).
    """

    def __init__(self, ssid, password, hostname, events):
        self.is_up = False
        self.reason = ""
        self.joined = asyncio.Event()
        self.ip = ""
        self.on_address = None
        self.facts = {"rssi": 0}
        self._ssid = ssid
        self._password = password
        self._hostname = hostname
        self._events = events
        self._wlan = network.WLAN(network.STA_IF)

    async def run(self):
        """Join, and join again, for ever."""
        wlan = self._wlan
        self.is_up = False
        network.hostname(self._hostname)
        wlan.active(True)
        # Power save, the default, holds datagrams back for hundreds of ms. And the firmware's
        # own reconnecting knows no pause, and hides the reason of a failure.
        wlan.config(pm=wlan.PM_NONE, reconnects=0)
        pause = RETRY_MS
        while True:
            # `connect` fails where an attempt is under way, and the news of that one's end, which
            # takes a moment, must not be taken for the next one's.
            wlan.disconnect()
            await sleep_ms(pause)
            wlan.connect(self._ssid, self._password)
            pause = min(2 * pause, MAX_RETRY_MS)
            if await self._is_stable():
                pause = RETRY_MS
                self.is_up = True
                self.reason = ""
                self.joined.set()
                self._look_at_address()
                self._events("wifi_up", ip=self.ip, **self.facts)
                while wlan.isconnected():
                    self._look()
                    self._look_at_address()
                    await sleep_ms(POLL_MS)
                self.is_up = False
            status = wlan.status()
            self.reason = str(_REASONS.get(status, status))
            self._events("wifi_down", reason=self.reason, retry_ms=pause, **self.facts)

    def link(self):
        """How the link is: the facts; `ip`, `pm` (0: power save is off), and `reason`."""
        wlan = self._wlan
        facts = {"ip": wlan.ifconfig()[0], "pm": wlan.config("pm"), "reason": self.reason}
        facts.update(self.facts)
        return facts

    async def _is_stable(self):
        """Whether the attempt ends with a link that stays; waits for as long as it takes."""
        wlan = self._wlan
        begun = ticks_ms()
        # What ended the last link or attempt, in this life of the board or the one before, may
        # stay to be seen until there is an address, and hide that this attempt is under way.
        before = wlan.status()
        up_since = None
        while True:
            now = ticks_ms()
            if wlan.isconnected():
                self._look()
                if up_since is None:
                    up_since = now
                if ticks_diff(now, up_since) >= STABLE_MS:
                    return True
            else:
                has_failed = up_since is not None or wlan.status() not in (_CONNECTING, before)
                if has_failed or ticks_diff(now, begun) >= ATTEMPT_MS:
                    return False
            await sleep_ms(POLL_MS)

    def _look_at_address(self):
        ip = self._wlan.ifconfig()[0]
        if ip != self.ip:
            self.ip = ip
            if self.on_address:
                self._events("address", ip=ip)
                self.on_address()

    def _look(self):
        try:
            self.facts["rssi"] = self._wlan.status("rssi")
        except OSError:
            pass  # the link went away a moment ago


async def watch_peers(node, others, wifi, events):
    """Say `alone` whenever the link is there, and none of the `others` (how many) is heard.

    That is what client isolation looks like: an access point that lets its stations talk to
    the world, and not to each other.
    """
    heard, is_told = 0, False
    while True:
        await sleep_ms(ALONE_MS)
        before, heard = heard, node.endpoint.received - node.dropped
        if heard != before or not wifi.is_up:
            is_told = False
        elif not is_told:
            is_told = True
            events("alone", heard=0, of=others, **wifi.facts)
