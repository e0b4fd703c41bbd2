"""What a leader knows of one peer's log, and how much it may send to it.

    PROBE      where the logs agree isn't known: one append at a time; heartbeats go on
    REPLICATE  known to agree up to `match`: appends leave without waiting for answers, up to
               MAX_IN_FLIGHT of them, each counting on the one before to arrive
    SNAPSHOT   what it lacks has left the leader's log: pieces of the snapshot leave, up to
               WINDOW_BYTES ahead of what it holds, as long as it answers; heartbeats go on

A rejection leads back to PROBE, an acceptance to REPLICATE.
"""

from raft.messages import MAX_NUMBER

PROBE = 0
REPLICATE = 1
SNAPSHOT = 2
STATES = ("probe", "replicate", "snapshot")

# Appends with entries that may wait for their answers: as many as fit into the receiver's
# buffer (messages.BUFFER_BYTES). An ESP32's socket would keep six datagrams.
MAX_IN_FLIGHT = 2
WINDOW_BYTES = 1536  # of a snapshot: three pieces (messages.MAX_PIECE) fit into that buffer too


class Progress:
    """One peer, as its leader sees it. node: its id."""

    # What few peers ever need stands here: then it takes no heap for each of thirty.
    floor = 0  # rejections of rounds up to this one are old news
    told = -1  # without a vote: the latest commit index sent
    sent_at = 0  # without a vote: when that was, by the leader's clock
    doubts = False  # it can't trust its flash: nothing that it says counts
    doubt_number = 0  # which doubt it is: it may have been trusted, and damaged again
    doubt_round = 0  # the latest round sent when it said so first
    doubt_last = 0  # the last entry then: it can't have acknowledged more
    held = 0  # SNAPSHOT: how many of its bytes are durable there
    offset = 0  # SNAPSHOT: the next byte to send
    _held_round = 0  # SNAPSHOT: the round whose answer told `held`
    _held_before = -1  # SNAPSHOT: `held` one heartbeat ago

    def __init__(self, node, next_index):
        self.node = node
        self.state = PROBE
        self.match = 0  # highest index known to be durable there, and the same as here
        self.next = next_index  # the first index to send
        self.round = 0  # the latest round it has answered
        # The index before `next` and its term as last looked up: for a peer that is long dead
        # it lies in flash, and is wanted for every heartbeat.
        self.prev = -1
        self.prev_term = 0
        self.votes = True  # it is a voter
        self.heard = True  # since the last check of the quorum, and what it said counts
        self.answered = False  # since then, whatever
        self.silent = 0  # ms without an answer, as of that check; at most MAX_NUMBER
        self.steady = 0  # checks in a row at which it had been heard
        self.snapshot = None  # SNAPSHOT: the one being sent
        self._paused = False  # PROBE: an append is under way
        self._in_flight = []  # REPLICATE: last index of each append under way

    def check(self, since_ms):
        """So long after the last check: whether it was heard since."""
        heard = self.heard
        # It may be weeks, of one that nobody switches on again.
        self.silent = 0 if heard or self.answered else min(self.silent + since_ms, MAX_NUMBER)
        self.steady = self.steady + 1 if heard else 0
        self.heard = self.answered = False
        return heard

    def is_fit(self):
        """Whether it was heard before that check, and what it says counts."""
        return not self.silent and not self.doubts

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
        if index <= self.match and self.state == REPLICATE:
            return False
        news = index > self.match
        if news:
            self.match = index
        if self.state != REPLICATE:
            self.state = REPLICATE
            self.next = self.match + 1
            self.snapshot = None
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
        self.snapshot = None
        self._paused = False
        self._in_flight.clear()
        self.next = max(next_index, self.match + 1)
        self.floor = now

    def doubted(self, number, now, last):
        """It can't trust its flash, and may have lost anything that it has acknowledged.

        number: of this doubt. now: the latest round sent. last: the last entry.
        """
        if not self.doubts or number != self.doubt_number:
            self.doubts = True
            self.doubt_number = number
            self.doubt_round = now
            self.doubt_last = last
            self.match = 0

    def trusted(self, number):
        """One in doubt answers the round `number` without it. Returns whether that counts."""
        # What it said before it lost something may arrive later.
        if number > self.doubt_round:
            self.doubts = False
            self.match = 0
        return not self.doubts

    # SNAPSHOT

    def install(self, snapshot):
        """It has to be sent this snapshot; the first piece leaves when it has answered."""
        known = self.snapshot
        self.snapshot = snapshot
        # One that was written anew at the same index is the same to whoever gets it.
        if known is None or known.index != snapshot.index or known.crc != snapshot.crc:
            self.state = SNAPSHOT
            self.held = self.offset = 0
            self._held_before = -1
            self._paused = True
            self._in_flight.clear()

    def answers(self):
        """It is alive: pieces may leave."""
        self._paused = False

    def may_send_piece(self):
        end = min(self.snapshot.size, self.held + WINDOW_BYTES)
        return not self._paused and self.offset < end

    def holds(self, held, number):
        """It has answered the round `number`: so many bytes of the snapshot are durable there.

        Less than before if it has begun anew.
        """
        if held > self.held or held < self.held and number > self._held_round:
            if held < self.held or held > self.offset:
                self.offset = held
            self.held = held
            self._held_round = number
        self._paused = False

    def beat(self):
        """A heartbeat leaves: if nothing has come of the pieces since the last one, they are
        lost, and leave again when it answers."""
        if self.held == self._held_before:
            self.offset = self.held
            self._paused = True
        self._held_before = self.held
