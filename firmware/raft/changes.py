"""The latest changes of the key-value store, in RAM: what a watch is told.

Each is (index of its log entry, key, value), and None for the value of a key that was removed.
"""

CHANGE_RAM_BYTES = 48  # what one costs beside its key and value


class Changes:
    """Of the latest changes, as many as have `max_bytes` by its own estimate.

    index: of the entry that is being applied. floor: all changes behind that index are known.
    """

    def __init__(self, max_bytes):
        self.index = 0
        self.floor = 0
        self._max_bytes = max_bytes
        self._used = 0
        self._changes = []

    def add(self, key, value):
        """The entry `index` has changed `key`."""
        self._changes.append((self.index, key, value))
        self._used += _size(key, value)
        while self._used > self._max_bytes:
            index, key, value = self._changes.pop(0)
            self._used -= _size(key, value)
            self.floor = index

    def reset(self, index):
        """The state is that of a snapshot up to `index`: how it came about isn't known."""
        self._changes.clear()
        self._used = 0
        self.floor = index

    def since(self, after, prefix):
        """The changes behind the index `after` of keys that begin with `prefix`, in order."""
        changes = self._changes
        at = len(changes)
        while at and changes[at - 1][0] > after:
            at -= 1
        return [change for change in changes[at:] if change[1].startswith(prefix)]


def _size(key, value):
    return CHANGE_RAM_BYTES + len(key) + (0 if value is None else len(value))
