"""State machines by name: commands, queries and chunks of snapshots say which one they are for.

What each begins with:

    offset  size  what
    0       1     n: length of the name
    1       n     the name; empty: the key-value store
    1 + n         the machine's part

A chunk may thus take 20 bytes beside the machine's part, its own length (compaction.py) included.
"""

BROKEN = b"\xff"  # the result of a command that no machine understands
MAX_NAME = 16  # bytes


class NoMachine(Exception):
    """Others in the cluster have a state machine that this node lacks: it can't go on with them."""


class Machines:
    """One state machine made of several, of which `default` has the empty name."""

    def __init__(self, default):
        self.default = default
        self._named = {b"": default}

    def add(self, name, machine):
        """Add one by its name (bytes). Before the first command, and on all nodes alike.

        Raises ValueError.
        """
        if not 1 <= len(name) <= MAX_NAME or name in self._named:
            raise ValueError(
                "a machine's name has 1 to %d bytes, and is no other's: %r" % (MAX_NAME, name)
            )
        self._named[name] = machine

    def apply(self, payload, now):
        """Apply one command at `now` (s); returns its result. Raises NoMachine."""
        if not _has_name(payload):
            return BROKEN
        return self._known(payload).apply(_part(payload), now)

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
        if not _has_name(payload):
            return None
        return self._named.get(_name(payload)) if payload[0] else self.default

    def _known(self, payload):
        machine = self._machine(payload)
        if machine is None:
            raise NoMachine(
                "the cluster has a state machine that this node lacks, %r: run the same program on "
                "all nodes" % _name(payload)
            )
        return machine

    # Snapshots

    @property
    def max_bytes(self):
        return sum([machine.max_bytes for machine in self._named.values()])

    def snapshot(self):
        named = self._named
        return _chunks([(name, named[name].snapshot()) for name in named])

    def reset(self):
        for machine in self._named.values():
            machine.reset()

    def restore(self, chunk):
        """Take in one chunk. Raises NoMachine."""
        self._known(chunk).restore(_part(chunk))


def _has_name(payload):
    return len(payload) > 0 and payload[0] < len(payload)


def _name(payload):
    return bytes(payload[1 : 1 + payload[0]])


def _part(payload):
    return payload[1 + payload[0] :]


def _chunks(snapshots):
    for name, chunks in snapshots:
        head = bytes((len(name),)) + name
        for chunk in chunks:
            yield head + chunk
