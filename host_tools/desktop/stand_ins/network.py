"""Stands in for the module `network` of a board.

Its one network is out of reach while the working directory has a file `wifi.off`, in which the
reason may stand, a number as ESP-IDF has them; joining it takes a moment. The news of having
left it does, too, and ends an attempt that was begun meanwhile. What `status` says follows
ports/esp32/network_wlan.c: the reason of a failure stays until an address is there, and some
reasons hide that another attempt is under way. A soft reset of a board (tests/boards) leaves the
reason, RAFT_DESK_WIFI in the environment.

The address that it gives is what stands in the file `wifi.address`, or RAFT_DESK_ADDRESS in the
environment; it may change at any time.
"""

import json
import os
import socket
import time

from host_tools.desktop import loopback
from host_tools.desktop.system import mac

STA_IF = 0

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
LEFT = 8  # ESP-IDF's WIFI_REASON_ASSOC_LEAVE
_AUTH_FAIL, _CONNECTION_FAIL = 202, 205
_HIDING = (STAT_NO_AP_FOUND, 210, 211, 212, _AUTH_FAIL)

OFF_FILE = "wifi.off"
ADDRESS_FILE = "wifi.address"
JOIN_S = 0.1
LEAVE_S = 0.1
RSSI = -55  # dBm
EMPTIES = 5  # something else may come between any two, though hardly between all

_hostname = "desk"


def hostname(name=None):
    """Set the name, or tell it."""
    global _hostname
    if name is None:
        return _hostname
    _hostname = name


def saves_power():
    """Whether the radio is on, and sleeps from beacon to beacon."""
    return WLAN._active and WLAN._settings["pm"] != WLAN.PM_NONE


class WLAN:
    """A station on the loopback network. There is one, however often this is called."""

    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    _active = False
    _asked = 0.0  # when the attempt or link that there is was begun; 0: there is none
    _left = 0.0  # when one was left
    _has_joined = False
    _reason = int(os.getenv("RAFT_DESK_WIFI") or 0)
    _address = ""  # none was given yet
    _settings = {"pm": PM_PERFORMANCE, "reconnects": -1, "mac": mac()}

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise ValueError("a desk has the interface STA_IF only")

    def active(self, on=None):
        """Switch it on or off, or tell whether it is on."""
        if on is None:
            return self._active
        WLAN._active = bool(on)
        if not on:
            self.disconnect()

    def config(self, *name, **settings):
        """Change settings (keywords), or tell the one that is named."""
        for key in list(name) + list(settings):
            if key not in self._settings:
                raise ValueError("unknown config param " + key)
        if name:
            return self._settings[name[0]]
        self._settings.update(settings)

    def connect(self, ssid, password=None):
        if not self._active:
            raise OSError("Wifi Not Started")
        if self._asked:
            raise OSError("Wifi Internal Error")
        WLAN._asked = time.time()

    def disconnect(self):
        if self._asked:
            WLAN._left = time.time()
            WLAN._reason = LEFT
        WLAN._asked = 0.0
        WLAN._has_joined = False

    def isconnected(self):
        self._look()
        return self._has_joined

    def status(self, what=None):
        """How it stands, as a number; with "rssi" the strength of the signal (dBm)."""
        self._look()
        if what == "rssi":
            if not self._has_joined:
                raise OSError("Wifi Not Connected")
            return RSSI
        if self._has_joined:
            return STAT_GOT_IP
        reason = _AUTH_FAIL if self._reason == _CONNECTION_FAIL else self._reason
        if reason in _HIDING:
            return reason
        if reason == LEFT:
            return STAT_IDLE
        if self._asked:
            return STAT_CONNECTING
        return reason or STAT_IDLE

    def ifconfig(self):
        """(address, netmask, gateway, DNS server)"""
        self._look()
        return (self._address or "0.0.0.0", "255.0.0.0", "127.0.0.1", "127.0.0.1")

    def _look(self):
        """See what has become of the link meanwhile."""
        if self._has_joined:
            self._take_address()
        if not self._asked or time.time() - self._asked < JOIN_S:
            return
        has_just_left = self._asked - self._left < LEAVE_S
        reason = LEFT if has_just_left else _reason_to_fail()
        WLAN._has_joined = reason == 0
        WLAN._reason = reason
        if reason:
            WLAN._asked = time.time() if self._settings["reconnects"] else 0.0
        else:
            self._take_address()

    def _take_address(self):
        address = _given_address()
        before = self._address
        if address == before:
            return
        WLAN._address = address
        loopback.take(address)
        if before:
            _move_sockets(before)


def _reason_to_fail():
    try:
        with open(OFF_FILE) as f:
            return int(f.read() or STAT_NO_AP_FOUND)
    except OSError:
        return 0


def _given_address():
    try:
        with open(ADDRESS_FILE) as f:
            return f.read()
    except OSError:
        return os.getenv("RAFT_DESK_ADDRESS") or loopback.ADDRESSES[0]


def _move_sockets(before):
    """As a board's do, which are bound to all its addresses, those of its node go along."""
    from raft import interpreter  # the board's own, wherever that lies

    with open("config.json") as f:
        config = json.load(f)
    entry = config["nodes"][str(config["id"])]
    interpreter.MAX_EMPTY = 1
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in (entry["port"], entry["client_port"]):
        # Then at an empty datagram it opens a socket anew (firmware/raft/udp.py); not at one behind
        # another datagram, which `readinto` takes for the end of that.
        for _ in range(EMPTIES):
            sender.sendto(b"", socket.getaddrinfo(before, port)[0][-1])
    sender.close()
