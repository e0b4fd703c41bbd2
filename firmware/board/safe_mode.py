"""How a board's lives end, and safe mode: the REPL and nothing else, for one that goes on crashing.

Crashes are counted in the RTC's memory, which survives every reset and is lost with the power
(RTC_NOINIT_ATTR in ports/esp32/machine_rtc.c): that is what a crash loop is, and a board that is
plugged in again may try again. NVS would survive the power, and cost a program of the flash,
with all caches off, for each start and each second of a life.
"""

import struct
import time

import machine

from raft.interpreter import print_exception, sleep_ms, ticks_diff, ticks_ms

CRASHES = 3
WITHIN_MS = 60000
HELD_MS = 500  # the button
ALIVE_MS = 1000
RESTART_S = 1  # a pause before a reset, so that a crash at start can be read and stopped

# magic; crashes in a row; 1 if this life has ended in one; ms of the life before, and of this; and
# since power came, how many have ended badly, and how often a task beside the node has failed
_FORMAT = "<4sHHIIII"
_MAGIC = b"raft"
_HAS_CRASHED = 6  # where that is
_NEW = 0, 0, WITHIN_MS, WITHIN_MS, 0, 0


class Lives:
    """What is known of a board's lives since power came. A life lasts from a reset to the next.

    cause: how the last one has ended: `crash`, `watchdog`, or None if all was well. crashes: how
    many have ended badly, one after the other. is_loop: whether that were too many. facts: since
    power came, how many have ended badly (`restarts`), and how often a task beside the node has
    failed (`failures`).
    """

    def __init__(self):
        self._memory = machine.RTC()
        known = _unpacked(self._memory.memory())
        crashes, has_crashed, before, last, restarts, failures = known
        self.cause = None
        if has_crashed:
            self.cause = "crash"
        elif machine.reset_cause() == machine.WDT_RESET:
            self.cause = "watchdog"  # a brown-out, too, is one to MicroPython
        self.crashes = crashes + 1 if self.cause else 0
        self.facts = {"restarts": restarts + bool(self.cause), "failures": failures}
        self.is_loop = self.crashes >= CRASHES and before + last < WITHIN_MS
        self._before = last
        self._life = 0
        self._record = bytearray(struct.calcsize(_FORMAT))
        self._keep()

    async def run(self):
        """Keep how long this life has lasted, for its end may come without a warning."""
        begun = ticks_ms()
        while self._life < WITHIN_MS:
            await sleep_ms(ALIVE_MS)
            self._life = ticks_diff(ticks_ms(), begun)
            self._keep()

    def crashed(self):
        """This life ends in a reset because of a failure. Takes no memory: there may be none."""
        self._record[_HAS_CRASHED] = 1
        self._memory.memory(self._record)

    def task_failed(self):
        """A task beside the node has failed: how often that was, since power came."""
        self.facts["failures"] += 1
        self._keep()
        return self.facts["failures"]

    def _keep(self):
        struct.pack_into(
            _FORMAT, self._record, 0, _MAGIC, min(self.crashes, 0xFFFF), 0, self._before,
            self._life, self.facts["restarts"], self.facts["failures"],
        )  # fmt: skip
        self._memory.memory(self._record)


def crashes():
    """How many lives have ended badly, one after the other; for `raftctl`, at the REPL."""
    return _unpacked(machine.RTC().memory())[0]


def _unpacked(memory):
    if len(memory) != struct.calcsize(_FORMAT) or memory[:4] != _MAGIC:
        return _NEW
    return struct.unpack(_FORMAT, memory)[1:]


def restart():
    """Start anew from the flash, in a moment; Ctrl-C keeps it from that."""
    # Nothing else runs meanwhile, as it would in asyncio. And whole seconds: a fraction is a float,
    # which takes memory.
    time.sleep(RESTART_S)
    machine.reset()


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
