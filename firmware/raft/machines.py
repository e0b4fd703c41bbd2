"""State machines by name: commands and queries say which one they are for.

What each begins with:

    offset  size  what
    0       1     n: length of the name
    1       n     the name; empty: the key-value store
    1 + n         the machine's part
"""

BROKEN = b"\xff"  # the result of a command that no machine understands


class Machines:
    """One state machine made of several, of which `default` has the empty name."""

    def __init__(self, default):
        self.default = default

    def apply(self, payload, now):
        """Apply one command at `now` (s); returns its result."""
        machine = self._machine(payload)
        return machine.apply(_part(payload), now) if machine else BROKEN

    def is_valid(self, payload):
        """Whether `payload` is a well-formed command."""
        machine = self._machine(payload)
        return machine is not None and machine.is_valid(_part(payload))

    def room_for(self, payload):
        """Whether there is room to apply the well-formed command `payload`."""
        return self._machine(payload).room_for(_part(payload))

    def query(self, payload):
        """Answer one query, or None if it is malformed."""
        machine = self._machine(payload)
        return machine.query(_part(payload)) if machine else None

    def _machine(self, payload):
        return self.default if len(payload) and payload[0] == 0 else None

    # Snapshots

    @property
    def max_bytes(self):
        return self.default.max_bytes

    def snapshot(self):
        return self.default.snapshot()

    def reset(self):
        self.default.reset()

    def restore(self, chunk):
        self.default.restore(chunk)


def _part(payload):
    return payload[1 + payload[0] :]
