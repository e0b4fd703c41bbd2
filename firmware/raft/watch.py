"""The changes of some keys, for a program on a board: see `client.Client.watch`."""

from raft.interpreter import sleep_ms
from raft.requests import Gone

WATCH_MS = 50  # between two looks for changes


class Watch:
    """See `Client.watch`. after: the index up to which all changes were told."""

    def __init__(self, node, prefix, after):
        self.after = after
        self._node = node
        self._prefix = prefix
        self._found = []

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self._found:
            changes = self._node.changes
            if self.after < changes.floor:
                self.after = changes.floor
                raise Gone(changes.floor)
            self._found = changes.since(self.after, self._prefix)
            if not self._found:
                self.after = max(self.after, self._node.applied)
                await sleep_ms(WATCH_MS)
        change = self._found.pop(0)
        self.after = change[0]
        return change
