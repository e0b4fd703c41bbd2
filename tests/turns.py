"""A measure of processor time that means something on another processor, too; MicroPython."""

import time

clock = time.clock  # type: ignore[attr-defined]  # s of processor time of this process
TURNS = 1000000


def turn_us() -> float:
    """us per loop turn: one pass of `for i in range(n): x = (x + i) & 0xffff`.

    An ESP32 takes about 10 us for it.
    """
    start = clock()
    x = 0
    for i in range(TURNS):
        x = (x + i) & 0xFFFF
    return float(clock() - start) * 1e6 / TURNS
