"""Stands in for the module `network` of a board. Its one network is always in reach."""

STA_IF = 0

_hostname = "desk"


def hostname(name=None):
    """Set the name, or tell it."""
    global _hostname
    if name is None:
        return _hostname
    _hostname = name


class WLAN:
    """A station on the loopback network."""

    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise ValueError("a desk has the interface STA_IF only")
        self._active = False
        self._ssid = None
        self._settings = {"pm": self.PM_PERFORMANCE}

    def active(self, on=None):
        """Switch it on or off, or tell whether it is on."""
        if on is None:
            return self._active
        self._active = bool(on)

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
        self._ssid = ssid

    def disconnect(self):
        self._ssid = None

    def isconnected(self):
        return self._active and self._ssid is not None

    def ifconfig(self):
        """(address, netmask, gateway, DNS server)"""
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
