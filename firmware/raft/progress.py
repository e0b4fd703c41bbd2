"""What a leader knows of one peer's log, and how much it may send to it.

    PROBE      where the logs agree isn't known: one append at a time; heartbeats go on
    REPLICATE  known to agree up to `match`: appends leave without waiting for answers, up to
               MAX_IN_FLIGHT of them, each counting on the one before to arrive

A rejection leads back to PROBE, an acceptance to REPLICATE.
"""

PROBE = 0
REPLICATE = 1

# Appends with entries that may wait for their answers: as many as fit into the receiver's
# buffer (messages.BUFFER_BYTES). An ESP32's socket would keep six datagrams.
MAX_IN_FLIGHT = 2


class Progress:
    """One peer, as its leader sees it."""

    def __init__(self, next_index):
        self.state = PROBE
        self.match = 0  # highest index known to be durable there, and the same as here
        self.next = next_index  # the first index to send
        self.round = 0  # the latest round it has answered
        self.floor = 0  # rejections of rounds up to this one are old news
        # The index before `next` and its term as last looked up: for a peer that is long dead
        # it lies in flash, and is wanted for every heartbeat.
        self.prev = -1
        self.prev_term = 0
        self.heard = True  # since the last check of the quorum
        self._paused = False  # PROBE: an append is under way
        self._in_flight = []  # REPLICATE: last index of each append under way

    def may_send(self):
        """Whether another append with entries may leave now."""
        if self.state == PROBE:
            return not self._paused
        return len(self._in_flight) < MAX_IN_FLIGHT

    def sent(self, last, term):
        """An append with entries up to index `last`, which has `term`, has left."""
        if self.state == PROBE:
            self._paused = True
        else:
            self._in_flight.append(last)
            self.next = last + 1
            self.prev = last
            self.prev_term = term

    def accepted(self, index):
        """It holds all up to `index`. Returns whether that was news."""
        news = index > self.match
        if news:
            self.match = index
        if self.state == PROBE:
            self.state = REPLICATE
            self.next = self.match + 1
            self._paused = False
        elif self.next <= self.match:
            self.next = self.match + 1
        in_flight = self._in_flight
        while in_flight and in_flight[0] <= index:
            in_flight.pop(0)
        return news

    def rejected(self, next_index, now):
        """Its log doesn't hold what was counted on: probe from `next_index`.

        `now` is the latest round sent: later rejections of it or of older ones are ignored.
        """
        if self.state == PROBE and self.next == self.match + 1:
            # It was asked, after the last rejection, for what it has acknowledged, and doesn't
            # have it: its flash has lost entries.
            self.match = 0
        self.state = PROBE
        self._paused = False
        self._in_flight.clear()
        self.next = max(next_index, self.match + 1)
        self.floor = now
