"""One line per thing that happened, for people and for tools.

    [raft] n2 0001532 leader term=4 last=17
           |  |       |      `- facts: name=value, no blanks within
           |  |       `- what happened
           |  `- ms since start, at least seven digits
           `- who says it

A line matches `^\\[raft\\] n(\\d+) (\\d{7,}) ([a-z_]+)((?: [a-z_]+=\\S*)*)$`; whatever else a
program prints doesn't.
"""

from raft.interpreter import ticks_diff, ticks_ms


class Events:
    """Writes event lines of node `node` (int). lost: how many couldn't be written."""

    def __init__(self, node, write=print):
        self.lost = 0
        self._node = node
        self._write = write
        self._uptime = 0
        self._last = ticks_ms()

    def uptime(self):
        """ms since this object was made."""
        # Added up, for a board's ticks wrap after 12 days; `stat` events come often enough.
        now = ticks_ms()
        self._uptime += ticks_diff(now, self._last)
        self._last = now
        return self._uptime

    def __call__(self, what, **facts):
        line = "[raft] n%d %07d %s" % (self._node, self.uptime(), what)
        for name in sorted(facts):  # MicroPython's dictionaries have no order
            line += " %s=%s" % (name, str(facts[name]).replace(" ", "_"))
        try:
            self._write(line)
        except OSError:  # a desk's full disk, say: a node goes on without a reader
            self.lost += 1
