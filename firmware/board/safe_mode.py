"""Safe mode: the REPL and nothing else, for a board that would go on crashing, or on demand.

Crashes are counted in the RTC's memory, which survives every reset and is lost with the power
(RTC_NOINIT_ATTR in ports/esp32/machine_rtc.c): that is what a crash loop is, and a board that is
plugged in again may try again. NVS would survive the power, and cost a program of the flash,
with all caches off, for each start and each second of a life.
"""

import struct

import machine

from raft.interpreter import print_exception, sleep_ms, ticks_diff, ticks_ms

CRASHES = 3
WITHIN_MS = 60000
HELD_MS = 500  # the button
ALIVE_MS = 1000

# magic; crashes in a row; 1 if this life has ended in one; ms of the life before, and of this
_FORMAT = "<4sHHII"
_MAGIC = b"raft"
_NEW = 0, 0, WITHIN_MS, WITHIN_MS


class Lives:
    """What is known of a board's lives since power came. A life lasts from a reset to the next.

    cause: how the last one has ended: `crash`, `watchdog`, or None if all was well. crashes: how
    many have ended badly, one after the other. is_loop: whether that were too many.
    """

    def __init__(self):
        self._memory = machine.RTC()
        crashes, has_crashed, before, last = _unpacked(self._memory.memory())
        self.cause = None
        if has_crashed:
            self.cause = "crash"
        elif machine.reset_cause() == machine.WDT_RESET:
            self.cause = "watchdog"  # a brown-out, too, is one to MicroPython
        self.crashes = crashes + 1 if self.cause else 0
        self.is_loop = self.crashes >= CRASHES and before + last < WITHIN_MS
        self._before = last
        self._life = 0
        self._has_crashed = 0
        self._keep()

    async def run(self):
        """Keep how long this life has lasted, for its end may come without a warning."""
        begun = ticks_ms()
        while self._life < WITHIN_MS:
            await sleep_ms(ALIVE_MS)
            self._life = ticks_diff(ticks_ms(), begun)
            self._keep()

    def crashed(self):
        """This life ends in a reset because of a failure."""
        self._has_crashed = 1  # `run` may go on until then
        self._keep()

    def _keep(self):
        facts = min(self.crashes, 0xFFFF), self._has_crashed, self._before, self._life
        self._memory.memory(struct.pack(_FORMAT, _MAGIC, *facts))


def crashes():
    """How many lives have ended badly, one after the other; for `raftctl`, at the REPL."""
    return _unpacked(machine.RTC().memory())[0]


def _unpacked(memory):
    if len(memory) != struct.calcsize(_FORMAT) or memory[:4] != _MAGIC:
        return _NEW
    return struct.unpack(_FORMAT, memory)[1:]


async def is_held(pin):
    """Whether the button at that pin is down, and stays so."""
    # After the reset, and not over it: then the ROM would wait for a new firmware instead.
    button = machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP)
    begun = ticks_ms()
    while not button.value():
        if ticks_diff(ticks_ms(), begun) >= HELD_MS:
            return True
        await sleep_ms(20)
    return False


def enter(reason, events, board):
    """Switch the radio off and say why; main.py then ends, and leaves the REPL.

    board: the key `board` of config.json.
    """
    events("safe_mode", reason=reason)
    print("No node runs here. Put right what is wrong, then reset the board (Ctrl-D).")
    try:  # nothing must come in the way of the REPL
        import network

        network.WLAN(network.STA_IF).active(False)
        if "led" in board:
            from board.led import SAFE_MODE, led_of

            led_of(board).blink_alone(SAFE_MODE)
    except Exception as e:
        print_exception(e)
