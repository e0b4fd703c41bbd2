"""One LED that tells the state of a board at a glance."""

import machine

from raft.core import FOLLOWER, LEADER
from raft.interpreter import sleep_ms

STEP_MS = 125
STEPS = 16  # in one turn of two seconds

# What is on in each step, from the highest bit on; and the colour, where there is one.
NO_NETWORK = 0b1111111100000000, (24, 0, 0)
SAFE_MODE = 0b1010100000000000, (16, 0, 16)
LEARNER = 0b1010000000000000, (12, 12, 12)
OUT = 0b1010101000000000, (24, 6, 0)
FOLLOWING = 0b1000000000000000, (0, 16, 0)
STANDING = 0b1010101010101010, (20, 10, 0)  # a candidate before its pre-vote as well
LEADING = 0b1111111111111111, (0, 0, 24)

_OFF = 0, 0, 0


class Led:
    """kind: `plain`, `inverted` (it lights when its pin is low) or `rgb` (WS2812)."""

    def __init__(self, pin, kind):
        pin = machine.Pin(pin, machine.Pin.OUT)
        self._inverted = kind == "inverted"
        self._pin = pin
        self._pixel = None
        if kind == "rgb":
            from neopixel import NeoPixel

            self._pixel = NeoPixel(pin, 1)
        self._step = 0
        self._shown = None

    def step(self, state):
        """Go on by STEP_MS in the pattern of a state."""
        bits, colour = state
        self._step = (self._step + 1) % STEPS
        is_on = bits >> (STEPS - 1 - self._step) & 1
        shown = colour if is_on else _OFF
        if shown == self._shown:
            return
        self._shown = shown
        if self._pixel:
            self._pixel[0] = shown
            self._pixel.write()
        else:
            self._pin.value(not is_on if self._inverted else is_on)

    def blink_alone(self, state):
        """Go on with that state for ever, at the REPL too."""
        timer = machine.Timer(0)
        timer.init(period=STEP_MS, callback=lambda timer: self.step(state))


class Glance:
    """Shows what `wifi` (None: there is none to join) and `node` (None: not yet) are up to.

    board: the key `board` of config.json.
    """

    def __init__(self, board, wifi):
        self.node = None
        self._board = board
        self._wifi = wifi

    async def run(self):
        led = led_of(self._board)
        while True:
            led.step(self.state())
            await sleep_ms(STEP_MS)

    def state(self):
        if self.node is None or (self._wifi and not self._wifi.is_up):
            return NO_NETWORK
        core = self.node.core
        if core.is_out:
            return OUT
        if core.role == LEADER:
            return LEADING
        if core.role_name() == "learner":
            return LEARNER
        return FOLLOWING if core.role == FOLLOWER else STANDING


def led_of(board):
    """The LED that the key `board` of config.json names."""
    return Led(board["led"], board.get("led_kind", "plain"))
