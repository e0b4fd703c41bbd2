"""Stands in for the module `neopixel` of a board."""


class NeoPixel:
    """`n` LEDs in a row at `pin`; what the first of them shows is in `machine.Pin.levels`."""

    def __init__(self, pin, n):
        self._pin = pin
        self._colours = [(0, 0, 0)] * n

    def __setitem__(self, i, colour):
        self._colours[i] = colour

    def write(self):
        self._pin.levels[self._pin.id] = self._colours[0]
