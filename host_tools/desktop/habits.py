"""What stock MicroPython does on an ESP32 and a desk doesn't, each habit to be had by its name.

A node on a desk has those that its config.json lists as `habits` of `desk`; that comes from
`[desk]` in cluster.toml, or from `raftctl demo --habit`. What they are: firmware/README.md, and
for those of a socket `lwip.py`.
"""

import json

HABITS = (
    "empty", "mailbox", "mtu", "enomem", "speed", "wakeups", "powersave", "flash", "nvs", "wrap",
)  # fmt: skip
ALL = "all"
CONFIG_FILE = "config.json"

TICKS_PERIOD = 1 << 30  # ms
BEFORE_WRAP_MS = 2000  # so soon after the start the ticks begin again at 0
RTOS_TICK_MS = 10

_OF_SOCKETS = {"empty", "mailbox", "mtu", "enomem", "speed", "wakeups", "powersave"}


def wanted():
    """The names (set) that the working directory's config.json lists."""
    try:
        with open(CONFIG_FILE) as f:
            return set(json.load(f).get("desk", {}).get("habits", ()))
    except (OSError, ValueError):
        return set()  # firmware/main.py says what is wrong


def apply():
    """To be called before anything of the node is imported but `raft.interpreter`."""
    names = wanted()
    if "wrap" in names:
        _wrap_soon()
    if "wakeups" in names:
        _wake_by_ticks()
    if "nvs" in names:
        _wipe_nvs()
    if names & _OF_SOCKETS:
        from host_tools.desktop import lwip

        lwip.install(lwip.Board(names))


def ticks_diff(later, earlier):
    """The time from one to the other, of ticks that wrap."""
    half = TICKS_PERIOD // 2
    return (later - earlier + half) % TICKS_PERIOD - half


def ticks_after(elapsed_ms):
    """The ticks of a clock that was started so long ago, shortly before they wrap."""
    return (elapsed_ms - BEFORE_WRAP_MS) % TICKS_PERIOD


def _wrap_soon():
    from raft import interpreter

    real_ms, real_diff = interpreter.ticks_ms, interpreter.ticks_diff
    begun = real_ms()
    interpreter.ticks_ms = lambda: ticks_after(real_diff(real_ms(), begun))
    interpreter.ticks_diff = ticks_diff


def _wake_by_ticks():
    from raft import interpreter

    ticks_ms, sleep_ms = interpreter.ticks_ms, interpreter.sleep_ms

    def sleep(ms):
        return sleep_ms(ms + -(ticks_ms() + ms) % RTOS_TICK_MS)

    interpreter.sleep_ms = sleep


def _wipe_nvs():
    import esp32  # type: ignore[import-not-found]

    esp32.storage.wipe()
