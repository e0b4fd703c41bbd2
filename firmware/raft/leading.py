"""What only a leader knows and does: what its peers have, commits, reads, changes of members.

One object for one term's leadership, of which `core.Core` is the rest of the node. Sections and
figures as there.
"""

from raft.members import DEAD, STANDBY, VOTER, Members
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    COMMAND,
    COMMIT,
    CONFIG,
    DOUBT_REJECT,
    DOUBT_REPLY,
    ENTRIES_BYTES,
    ENTRY_HEADER_BYTES,
    MAX_DATA,
    MAX_NUMBER,
    NOOP,
    READ_REPLY,
    SNAPSHOT,
    TRANSFER,
    TRUST,
)
from raft.progress import REPLICATE, Progress
from raft.progress import SNAPSHOT as SENDING_SNAPSHOT
from raft.sessions import has_session, restamped, same_command
from raft.store import RESERVE, Compacted

# Members without a vote get what is committed, a few at a time, so that thirty of them are no
# burden for a leader, and their answers no flood; and heartbeats so many times more seldom.
OTHERS_AT_ONCE = 4
OTHERS_PACE_MS = 10
OTHERS_BEATS = 8
SILENT_BEATS = 3  # of those without an answer, and they become more seldom still:
DEAD_BEATS = 32

STEADY = 10  # checks of the quorum: as long a better leader must have been heard before it leads
LEASE = 3, 4  # of the shortest election timeout: so long a majority's answers vouch for a leader


class Refused(Exception):
    """A proposal was not taken and has no effect."""


class Busy(Refused):
    """Too many bytes wait for commit, or for room in the flash; or a change is under way."""


class HandingOver(Refused):
    """Another node is about to lead: wait for it."""


class TooLong(Refused):
    """The data don't fit into an entry."""


class Leading:
    """The leadership of `core` in its term.

    peers: node id -> Progress, of all other members. round: the number of the latest round of
    messages. own_term_from: index of its term's first entry. successor: whom leadership is
    being handed over to, or 0. others_wait: whether any member without a vote lacks something.
    uncommitted: bytes of data proposed and not committed. clock: ms since it leads; wraps.
    """

    def __init__(self, core, known_commit):
        self.core = core
        self.log = core.log
        self.peers = {}
        self.round = 0
        self.successor = 0
        self.others_wait = False
        self.uncommitted = 0
        self._voters = self._others = ()  # of the peers: `peers` has the interpreter's order
        self._turn = 0  # of the others: who was sent to last
        self.clock = 0
        self._stamp = self._stamped_at = 0  # cluster time in s, and when it was just so much
        self._sent_at = 0  # when the last heartbeat left
        self._checked_at = 0  # when the quorum was looked at last
        self._settled = 0  # the commit index at the last check
        self._checked_ms = 0  # how long before that one the one before it was
        self._must_send = True  # a heartbeat or a read wants a round
        self._news = False  # the commit index has moved
        self._more = False  # there may be entries to send
        self._reads = []  # [token, index, round, asking node or 0]; round 0: not sent yet
        self._handing_since = 0
        # The lease: a round on its way, when it was sent, and whether leases may be given
        self._probe = self._probe_at = self._lease_until = 0
        self._has_lease = False
        self._gives_leases = core.lease
        self.attend()
        # Entries of earlier terms commit only together with one of its own (5.4.2). The first
        # leader of all logs the configuration that it was founded with.
        self.own_term_from = self.log.last + 1
        if core.members_index:
            self._append(NOOP, b"")
        else:
            self._append(CONFIG, core.members.data)
            core.adopt(self.own_term_from, core.members)
        if known_commit > core.commit:
            self._learn_commit(core.node, known_commit)

    # Time

    def _since(self, time):
        """ms that have gone by since the clock stood there."""
        return (self.clock - time) & MAX_NUMBER

    def stamp(self):
        """Cluster time in s, by which commands are stamped."""
        seconds = self._since(self._stamped_at) // 1000
        if seconds:
            self._stamp += seconds
            self._stamped_at = (self._stamped_at + 1000 * seconds) & MAX_NUMBER
        return self._stamp

    def set_time(self, now):
        """The cluster's time is `now` at least: all before an entry of its own is applied.

        It goes on from there with the leader's own clock. So what ends by it (a session, a lock)
        may last longer, for time stands still from the last command under one leader to here;
        but ends no earlier than leaders' clocks are fast.
        """
        if now > self.stamp():
            self._stamp = now
            self._stamped_at = self.clock

    def tick(self):
        core = self.core
        if self._since(self._checked_at) >= core.election_high and not self._check_quorum():
            return
        if self.successor and self._since(self._handing_since) >= core.election_high:
            if not self._end_transfer():
                return
        if self._since(self._sent_at) >= core.heartbeat_ms:
            self._sent_at = self.clock
            self._must_send = True
            if self.successor:
                self._hand_over()
            if self._gives_leases:
                self._renew_lease()
        if self._others:
            self._send_to_others()

    def due_ms(self):
        """In how many ms the next heartbeat is due."""
        return max(0, self.core.heartbeat_ms - self._since(self._sent_at))

    def _check_quorum(self):
        """Dissertation 6.2: a leader that no longer hears from a majority gives way.

        Returns whether it leads on.
        """
        core = self.core
        members = core.members
        since = self._since(self._checked_at)
        self._checked_at = self.clock
        self.set_time(0)  # before the clock wraps
        heard = int(core.node in members.voters)
        for peer in self.peers.values():
            heard += peer.check(since) and peer.votes
        if heard < members.quorum:
            core.give_way()
            return False
        self._checked_ms = since
        settled, self._settled = self._settled, core.commit
        if not self.successor and not self._changes():
            try:
                self._look_after_members(settled)
            except Refused:
                pass  # no room in the flash, or nobody fit to lead just now: at the next check
        return True

    # Members

    def attend(self):
        """The configuration is another one."""
        core, peers = self.core, self.peers
        members = core.members
        for node in members.ids:
            if node != core.node:
                votes = node in members.voters
                if node not in peers:
                    peers[node] = Progress(node, self.log.last + 1)
                    peers[node].heard = votes  # who has none waits until it really is
                peers[node].votes = votes
        for node in list(peers):
            if node not in members.ids:
                del peers[node]
        self._voters = tuple([node for node in members.voters if node != core.node])
        self._others = tuple([node for node in members.others if node != core.node])
        self.others_wait = len(self._others) > 0

    def _changes(self):
        """Whether a change now could be one too many.

        One at a time, and none before an entry of the own term is committed: or else two
        majorities that don't overlap could be counted (Ongaro 2015, raft-dev).
        """
        return self.core.commit < max(self.own_term_from, self.core.members_index)

    def change(self, data):
        """Append another configuration (bytes, valid), which takes effect; returns its index.

        Raises Busy, or Refused if it may not follow on this one.
        """
        core = self.core
        if self._changes() or self.successor:
            raise Busy("another change of members or leader is under way: try again")
        new = Members(data)
        before = core.members.voters
        moved = [node for node in before if node not in new.voters]
        moved += [node for node in new.voters if node not in before]
        if len(moved) > 1 or not new.voters:
            raise Refused("one voter at a time comes or goes, and the last one stays")
        if moved and not self._is_heard(new):
            raise Refused("of the voters that there would be, no majority is heard just now")
        if not self.log.has_room(len(data), RESERVE):
            raise Busy("the flash log is being compacted: try again")
        self._append(CONFIG, data)
        core.adopt(self.log.last, new)
        return self.log.last

    def _is_heard(self, members):
        """Whether a majority of these voters is there, and what it says counts."""
        heard = 0
        for node in members.voters:
            peer = self.peers.get(node)
            heard += node == self.core.node or bool(peer and peer.is_fit())
        return heard >= members.quorum

    def _look_after_members(self, settled):
        """Change what has to change by itself: one thing at a time, the most urgent first.

        settled: the commit index one check ago.
        """
        core = self.core
        members = core.members
        if core.node not in members.voters:
            return self.transfer()
        for node in members.others:
            peer = self.peers.get(node)
            role = members.role(node)
            if peer is None or peer.silent:
                continue
            if role == DEAD:
                return self.change(members.with_role(node, STANDBY))
            # It has caught up if it wouldn't hold up a majority: dissertation 4.2.1.
            if role == STANDBY and peer.match >= max(settled, self.own_term_from):
                if peer.state == REPLICATE and not peer.doubts:
                    return self.change(members.with_role(node, VOTER))
        if core.remove_dead_ms and len(members.voters) > core.least_voters:
            for node in self._voters:
                if self.peers[node].silent >= core.remove_dead_ms:
                    return self.change(members.with_role(node, DEAD))
        best = self._best(settled) if members.has_priorities else 0
        if best and members.priority(best) > members.priority(core.node):
            if self.peers[best].steady >= STEADY:
                self.transfer(best)

    def _best(self, settled):
        """The voter that should lead if this node didn't; 0 if none is fit."""
        best = 0
        for node in self._voters:
            peer = self.peers[node]
            if not peer.is_fit() or peer.match < settled:
                continue
            if not best or self._rank(node) > self._rank(best):
                best = node
        return best

    def _rank(self, node):
        return self.core.members.priority(node), self.peers[node].match

    # Handing over (dissertation 3.10)

    def transfer(self, node=0):
        """Make that voter the leader, or with 0 whoever is fit; proposals wait meanwhile.

        Raises Busy, or Refused if there is none that could. Given up after an election timeout.
        """
        if self.successor:
            raise Busy("leadership is being handed over already: try again")
        node = node or self._best(0)
        if node not in self._voters:
            raise Refused("no other voter can lead: is a majority heard?" if not node else
                          "node %d is no other voter" % node)  # fmt: skip
        peer = self.peers[node]
        if not peer.is_fit():
            raise Refused("node %d isn't fit to lead: it is not heard, or has no vote yet" % node)
        self.successor = node
        self._handing_since = self.clock
        # Its election takes no notice of any lease; nor does one that begins later, by a copy.
        self._gives_leases = self._has_lease = False
        self._hand_over()

    def _hand_over(self):
        if self.peers[self.successor].match == self.log.last == self.log.durable:
            self.core.new(self.core.after, TRANSFER, self.successor)

    def _end_transfer(self):
        """The successor isn't elected in time. Returns whether this node leads on."""
        if self.successor in self.peers:
            self.peers[self.successor].steady = 0  # it has to be steady again, to be preferred
        self.successor = 0
        if self.core.node in self.core.members.voters:
            return True
        self.core.give_way()
        return False

    # Proposals and reads

    def propose(self, kind, data):
        """As `Core.propose`."""
        core = self.core
        if len(data) > MAX_DATA:
            raise TooLong("an entry has at most %d bytes, this one %d" % (MAX_DATA, len(data)))
        if self.successor:
            raise HandingOver("node %d is about to lead" % self.successor)
        if self.uncommitted and self.uncommitted + len(data) > core.uncommitted_bytes:
            raise Busy("%d bytes wait for commit: try again" % self.uncommitted)
        if not self.log.has_room(len(data), RESERVE):
            raise Busy("the flash log is being compacted: try again")
        self._append(kind, data)
        return self.log.last

    def read(self, token, asking=0):
        """As `Core.read`; asking: the node whose question it is, by the number `token`."""
        core = self.core
        if self.has_lease():
            return self._answer_read(token, core.commit, asking)
        if asking:
            if [token, asking] in [[read[0], read[3]] for read in self._reads]:
                return  # a copy of a question that is being answered
            self._reads = [read for read in self._reads if read[3] != asking]  # an older one
        self._reads.append([token, 0, 0, asking])

    def _answer_read(self, token, index, asking):
        if not asking:
            self.core.reads.append((token, index))
            return
        m = self.core.new(self.core.after, READ_REPLY, asking)
        m.index = index
        m.ctx = token

    def waiting_reads(self):
        """The tokens of its own reads that aren't confirmed yet."""
        return [read[0] for read in self._reads if not read[3]]

    def _confirm_reads(self):
        confirmed = self.core.members.agreed(self._answered)
        reads = self._reads
        while reads and 0 < reads[0][2] <= confirmed:
            token, index, _, asking = reads.pop(0)
            self._answer_read(token, index, asking)

    # Lease (dissertation 6.4.1): followers that have answered a round don't elect another leader
    # for the shortest election timeout since they heard it. That the lease is shorter than that
    # allows for clocks: the fastest may run by a third faster than the leader's.

    def has_lease(self):
        """Whether no other node can lead just now, and the commit index is known."""
        if not self._gives_leases or self.core.commit < self.own_term_from:
            return False
        self._take_lease()
        left = (self._lease_until - self.clock) & MAX_NUMBER
        return self._has_lease and left <= self._lease_ms()

    def _lease_ms(self):
        share, of = LEASE
        return self.core.election_low * share // of

    def _renew_lease(self):
        self._take_lease()
        if not self.has_lease():
            self._has_lease = False
        if not self._probe:
            self._probe = self.round + 1
            self._probe_at = self.clock

    def _take_lease(self):
        if self._probe and self.core.members.agreed(self._answered) >= self._probe:
            self._probe = 0
            self._has_lease = True
            self._lease_until = (self._probe_at + self._lease_ms()) & MAX_NUMBER

    def age_ms(self):
        """See `Core.age_ms`: by the lease, or the last check of the quorum."""
        if self.core.commit < self.own_term_from:
            return MAX_NUMBER
        if self.has_lease() or not self._voters:
            return 0
        return self._since(self._checked_at) + self._checked_ms

    # What peers answer

    def handle_append_reply(self, m):
        peer = self.peers.get(m.src)
        number = m.ctx
        if peer is None or number > self.round:
            return
        peer.answered = True
        kind = m.kind
        doubts = kind == DOUBT_REPLY or kind == DOUBT_REJECT
        if doubts:
            peer.doubted(m.commit, self.round, self.log.last)
        elif peer.doubts and not peer.trusted(number):
            return
        else:
            peer.heard = True
            if number > peer.round:
                peer.round = number
                if self._reads:
                    self._confirm_reads()
        if m.index > self.log.last:
            return  # it claims what can't be: nothing else that it says counts either
        if not doubts and m.commit > self.core.commit and not self._learn_commit(m.src, m.commit):
            return
        if kind == APPEND_REJECT or kind == DOUBT_REJECT:
            self._handle_reject(peer, m)
        else:
            if peer.accepted(m.index) and not doubts:
                self.advance_commit()
                if m.src == self.successor:
                    self._hand_over()
            if doubts:
                self._vouch(peer, m)
        if peer.next <= self.log.last:
            self._wants_more(peer)

    def _handle_reject(self, peer, m):
        agreed = self.log.conflict(m.index, m.log_term)
        if peer.state == SENDING_SNAPSHOT and agreed < 0:
            peer.answers()
        elif m.ctx > peer.floor:
            peer.rejected(agreed + 1, self.round)

    def handle_snapshot_reply(self, m):
        peer = self.peers.get(m.src)
        if peer is None or peer.state != SENDING_SNAPSHOT or m.ctx > self.round:
            return
        peer.answered = True
        if m.index == peer.snapshot.index and m.log_term <= peer.snapshot.size:
            peer.holds(m.log_term, m.ctx)
            self._wants_more(peer)

    def _wants_more(self, peer):
        if peer.votes:
            self._more = True
        else:
            self.others_wait = True

    def _vouch(self, peer, m):
        """A node in doubt holds `m.index`: trust it once all voters have been heard since."""
        # What it has promised may matter in the last configuration, as long as that isn't settled.
        if m.index < peer.doubt_last or self._changes():
            return
        for voter in self._voters:
            if voter != m.src and self._answered(voter) <= peer.doubt_round:
                return
        trust = self.core.new(self.core.after, TRUST, m.src)
        trust.index = peer.doubt_last
        trust.ctx = peer.doubt_number

    def _learn_commit(self, src, commit):
        """Take over a higher commit index that another node knows. Returns whether it can be true.

        A follower may know of commits of earlier terms that this leader doesn't know of. By Leader
        Completeness (5.4.3) the leader holds those entries; a claim of more means that something
        is broken, and is not a thing to merge.
        """
        if commit >= self.own_term_from:
            self.core.alarm = (src, commit)
            return False
        self._set_commit(commit)
        return True

    def handle_rescue(self, m):
        for _, kind, data in m.entries:
            if kind != COMMAND or not has_session(data) or self._is_waiting(data):
                continue
            try:
                self.propose(COMMAND, restamped(data, self.stamp()))
            except Refused:
                return  # its client will ask again

    def _is_waiting(self, data):
        log = self.log
        for index in range(self.core.commit + 1, log.last + 1):
            entry = log.entry(index)
            if entry[1] == COMMAND and same_command(entry[2], data):
                return True
        return False

    # Commit

    def _append(self, kind, data):
        self.uncommitted += len(data)
        self._more = True
        self.log.append((self.core.term, kind, data))

    def _match(self, node):
        if node == self.core.node:
            return self.log.durable
        peer = self.peers[node]
        return 0 if peer.doubts else peer.match

    def _answered(self, node):
        if node == self.core.node:
            return self.round
        peer = self.peers[node]
        return 0 if peer.doubts else peer.round

    def advance_commit(self):
        core = self.core
        agreed = core.members.agreed(self._match)
        # Only an entry of its own term commits by counting (5.4.2, figure 8).
        if agreed > core.commit and agreed >= self.own_term_from:
            self._set_commit(agreed)

    def _set_commit(self, index):
        core = self.core
        if self.uncommitted:
            for i in range(max(core.commit, self.own_term_from - 1) + 1, index + 1):
                self.uncommitted -= len(self.log.entry(i)[2])
        core.commit = index
        self._news = True
        if self._others:
            self.others_wait = True
        if core.node not in core.members.voters and core.members_index <= index:
            self._leave()

    def _leave(self):
        """It has led to the end what takes its own vote away (dissertation 4.2.2)."""
        try:
            self.transfer()
        except Refused:
            return  # at the next commit, or when it isn't heard any more

    # What leaves

    def send_round(self):
        """Messages to all voters: new entries, a heartbeat, or the news of a commit."""
        if self._reads:
            self._number_reads()
        if not (self._must_send or self._news or self._more):
            return
        used = False
        for node in self._voters:
            used = self._send_round_to(self.peers[node]) or used
        self._must_send = False
        self._news = False
        self._more = False
        if used:
            self.round += 1
        elif self._reads and not self._voters:
            self.round += 1
            self._confirm_reads()

    def _number_reads(self):
        """Reads that are new go with the next round."""
        # Before an entry of its term is committed, a leader can't know the commit index (6.4).
        commit = self.core.commit
        if self._reads[-1][2] == 0 and commit >= self.own_term_from:
            for read in self._reads:
                if read[2] == 0:
                    read[1] = commit
                    read[2] = self.round + 1
            self._must_send = True

    def _send_round_to(self, peer):
        try:
            return self._send_to(peer, self.round + 1, self._must_send, self._news)
        except Compacted:
            return self._send_snapshot(peer, self.round + 1, self._must_send, self._news)

    def _send_to_others(self):
        """Send to some of those without a vote what is committed, or their heartbeat."""
        others = self._others
        count = len(others)
        beat_ms = self.core.heartbeat_ms * OTHERS_BEATS
        left = OTHERS_AT_ONCE
        number = self.round + 1
        commit = self.core.commit
        for _ in range(count):
            if not left:
                self.others_wait = True
                return
            self._turn = (self._turn + 1) % count
            peer = self.peers[others[self._turn]]
            is_silent = peer.silent >= beat_ms * SILENT_BEATS
            must = self._since(peer.sent_at) >= (
                self.core.heartbeat_ms * DEAD_BEATS if is_silent else beat_ms
            )
            news = peer.told < commit and peer.state == REPLICATE
            if not (must or news) and not (peer.next <= commit and peer.may_send()):
                continue
            try:
                sent = self._send_to(peer, number, must, news)
            except Compacted:
                sent = self._send_snapshot(peer, number, must, news)
            if sent:
                self.round = number
                peer.told = commit
                peer.sent_at = self.clock
                left -= 1
        self.others_wait = False

    def _send_snapshot(self, peer, number, must, news):
        peer.install(self.log.snapshot())
        return self._send_to(peer, number, must, news)

    def _send_to(self, peer, number, must, news):
        """What this peer lacks; else a heartbeat or the news. Returns whether any has left.

        Raises Compacted if what it lacks has left the log.
        """
        sent = False
        if peer.state == SENDING_SNAPSHOT:
            peer.install(self.log.snapshot())  # there may be a newer one
            if must and (self._sent_at == self.clock or not peer.votes):
                peer.beat()
            sent = self._send_pieces(peer, number) and not must
        elif peer.next <= self.log.last:
            sent = self._send_entries(peer, number)
        if not sent and (must or news):
            if must or peer.state == REPLICATE:
                self._append_to(peer, APPEND if must else COMMIT, number)
                return True
        return sent

    def _send_pieces(self, peer, number):
        sent = False
        snapshot = peer.snapshot
        core = self.core
        while peer.may_send_piece():
            m = core.new(core.early, SNAPSHOT, peer.node)
            m.index = snapshot.index
            m.log_term = snapshot.term
            m.ctx = number
            m.offset = peer.offset
            m.size = snapshot.size
            m.crc = snapshot.crc
            m.data = self.log.store.read_snapshot(peer.offset)
            peer.offset += len(m.data)
            sent = True
        return sent

    def _send_entries(self, peer, number):
        sent = False
        while peer.next <= self.log.last and peer.may_send():
            entries = self.log.slice(peer.next, ENTRIES_BYTES, ENTRY_HEADER_BYTES)
            m = self._append_to(peer, APPEND, number)
            m.entries = entries
            peer.sent(m.index + len(m.entries), m.entries[-1][0])
            sent = True
        return sent

    def _append_to(self, peer, kind, number):
        is_behind = peer.state == SENDING_SNAPSHOT
        if not is_behind and peer.prev != peer.next - 1:
            peer.prev_term = self.log.term(peer.next - 1)
            peer.prev = peer.next - 1
        m = self.core.new(self.core.early, kind, peer.node)
        m.index = peer.snapshot.index if is_behind else peer.prev
        m.log_term = peer.snapshot.term if is_behind else peer.prev_term
        m.ctx = number
        return m
