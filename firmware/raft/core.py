"""The Raft algorithm as a pure state machine.

No clock, socket, file or randomness of its own: it is given messages (`step`), elapsed time
(`pass_time`, `tick`), commands (`propose`) and reads (`read`), and says in one `Ready` what
is to be done. The same inputs give the same outputs.

Sections and figures are those of "In Search of an Understandable Consensus Algorithm"
(Ongaro and Ousterhout, 2014, extended version), or of Ongaro's dissertation where named so.
"""

from raft.members import Members
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    DOUBT_REJECT,
    DOUBT_REPLY,
    ENTRIES_BYTES,
    ENTRY_HEADER_BYTES,
    MAX_DATA,
    MAX_NUMBER,
    NOOP,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    RESCUE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TRUST,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.progress import REPLICATE, Progress
from raft.progress import SNAPSHOT as SENDING_SNAPSHOT
from raft.sessions import has_session, same_command
from raft.store import RESERVE, Compacted

FOLLOWER = 0
PRE_CANDIDATE = 1
CANDIDATE = 2
LEADER = 3
ROLES = ("follower", "precandidate", "candidate", "leader")

NOBODY = 0  # no vote in this term; no leader known

HEARTBEAT_MS = 50
ELECTION_MS = (150, 300)
UNCOMMITTED_BYTES = 8192  # of data proposed and not yet committed

# Sectors of flash that a follower keeps for terms and votes: less than the leader does, which
# may have used fewer for the same log.
FOLLOWER_RESERVE = 1


class Refused(Exception):
    """A proposal was not taken and has no effect."""


class NotLeader(Refused):
    """Another node leads, or none."""


class Busy(Refused):
    """Too many bytes wait for commit, or for room in the flash."""


class TooLong(Refused):
    """The data don't fit into an entry."""


class Ready:
    """What the driver has to do, in this order. Reused by the core.

    save: whether `term`, `vote` or `doubt` has changed and must be durable; they go first
    chunks: of a snapshot that comes, to make durable: (store.Snapshot, offset, data)
    installed: that snapshot if it is whole by them, or None; keeps: whether the log goes on
        behind it, or begins anew there
    first, entries: entries to make durable, the first at index `first`; what the store
        holds from there on is replaced
    early: messages that may leave before all that is durable (if not `save`)
    after: messages that may leave only when all that is durable
    commit: entries up to this index may be applied
    reads: (token, index): answer it once `index` is applied
    """

    def __init__(self):
        self.save = False
        self.term = 0
        self.vote = NOBODY
        self.doubt = 0
        self.chunks = ()
        self.installed = None
        self.keeps = True
        self.first = 0
        self.entries = ()
        self.early = []
        self.after = []
        self.commit = 0
        self.reads = []


class Core:
    """One node's part in the algorithm.

    node: its id (1..254). voters: the ids of all voters. log: a `Log`. term, vote: as they
    are durable. draw(low, high): a random int, both ends included. doubt: an index up to
    which the node may have acknowledged entries that its flash has lost, as it is durable. Until
    it knows of a commit that reaches there, or all others vouch for it, it doesn't vote or
    stand, and its answers don't count.
    """

    def __init__(
        self, node, voters, log, term, vote, draw, heartbeat_ms=HEARTBEAT_MS,
        election_ms=ELECTION_MS, uncommitted_bytes=UNCOMMITTED_BYTES, doubt=0,
    ):  # fmt: skip
        self.node = node
        self.members = Members(voters)
        self.log = log
        self.term = term
        self.vote = vote
        self.role = FOLLOWER
        self.leader = NOBODY
        self.commit = log.snapshot.index
        self.doubt = doubt
        self.peers = {}  # leader: node id -> Progress
        self.alarm = None  # (peer, its commit index): it claims what can't be
        self._others = tuple(v for v in self.members.voters if v != node)
        self._draw = draw
        self._heartbeat_ms = heartbeat_ms
        self._election_low, self._election_high = election_ms
        self._uncommitted_bytes = uncommitted_bytes
        self._saved_term = term
        self._saved_vote = vote
        self._saved_doubt = doubt
        # Tells this doubt from an earlier one, so that nobody's late word on that ends this one
        self._doubt_number = draw(1, MAX_NUMBER) if doubt else 0
        if self.commit >= doubt:
            self.doubt = 0
        self._ready = Ready()
        self._pool = []  # messages to reuse
        self._elapsed = 0  # ms since a leader was heard, a vote given or an election begun
        self._timeout = 0
        self._since_send = 0  # ms since the last round of heartbeats or vote requests
        self._since_check = 0  # leader: ms since the last check of the quorum
        self._gave_way = False  # to another pre-candidate, since a leader was heard
        self._answers = {}  # candidate: node id -> granted
        self._known_commit = 0  # candidate: the highest commit index its voters told
        self._uncommitted = 0  # leader: bytes of data proposed and not committed
        self._own_term_from = 0  # leader: index of the no-op of its term
        self._round = 0  # leader: the number of the latest round of messages
        self._must_send = False  # leader: a heartbeat or a read wants a round
        self._news = False  # leader: the commit index has moved
        self._more = False  # leader: there may be entries to send
        self._reads = []  # leader: [token, index, round], round 0: not sent yet
        self._draw_timeout()

    @property
    def role_name(self):
        """Its role, as people are told it: one of ROLES, or "learner" for a node in doubt."""
        return "learner" if self.doubt else ROLES[self.role]

    # What the driver calls

    def pass_time(self, elapsed_ms):
        """Time has gone by. Nothing happens yet: messages that came meanwhile go first."""
        self._elapsed += elapsed_ms
        self._since_send += elapsed_ms
        self._since_check += elapsed_ms

    def tick(self, elapsed_ms=0):
        """Time has gone by: do what is due."""
        self.pass_time(elapsed_ms)
        if self.role == LEADER:
            self._elapsed = 0  # not its own; added up for weeks, it would be a long integer
            if self._since_check >= self._election_high:
                self._check_quorum()
            if self._since_send >= self._heartbeat_ms:
                self._since_send = 0
                self._must_send = True
        elif self._elapsed >= self._timeout:
            self._campaign()
        elif self.role == FOLLOWER:
            self._since_send = self._since_check = 0  # a leader's
        elif self._since_send >= self._heartbeat_ms:
            self._ask()  # requests get lost; and voters that refused may have changed

    def due_ms(self):
        """In how many ms `tick` has something to do."""
        if self.role == LEADER:
            return max(0, self._heartbeat_ms - self._since_send)
        due = self._timeout - self._elapsed
        if self.role != FOLLOWER:
            due = min(due, self._heartbeat_ms - self._since_send)
        return max(0, due)

    def propose(self, kind, data):
        """Append an entry to the leader's log; returns its index.

        Raises NotLeader, TooLong or Busy; then the proposal has no effect.
        """
        if self.role != LEADER:
            raise NotLeader("node %d is not the leader" % self.node)
        if len(data) > MAX_DATA:
            raise TooLong("an entry has at most %d bytes, this one %d" % (MAX_DATA, len(data)))
        if self._uncommitted and self._uncommitted + len(data) > self._uncommitted_bytes:
            raise Busy("%d bytes wait for commit: try again" % self._uncommitted)
        if not self.log.has_room(len(data), RESERVE):
            raise Busy("the flash log is being compacted: try again")
        return self._append_own(kind, data)

    def read(self, token):
        """Ask for a linearizable read: `Ready.reads` will name the index to wait for.

        A read index (dissertation 6.4), confirmed by the answers to a round of messages
        that is sent after this call. Raises NotLeader. Forgotten when leadership ends.
        """
        if self.role != LEADER:
            raise NotLeader("node %d is not the leader" % self.node)
        self._reads.append([token, 0, 0])

    def step(self, m):
        """Take in one message from another node."""
        kind = m.kind
        if m.src == self.node or m.src not in self.members.voters:
            return
        if m.term > self.term:
            if kind == VOTE and self._hears_leader(m.src):
                return  # dissertation 4.2.3: a healthy leader isn't deposed
            if kind != PRE_VOTE and not (kind == PRE_VOTE_REPLY and m.index):
                self._follow(m.term, NOBODY)
        elif m.term < self.term:
            self._answer_old(m)
            return
        if kind == APPEND or kind == COMMIT:
            self._handle_append(m)
        elif kind == APPEND_REPLY or kind == APPEND_REJECT or kind >= DOUBT_REPLY:
            if self.role == LEADER:
                self._handle_append_reply(m)
        elif kind == PRE_VOTE:
            self._handle_pre_vote(m)
        elif kind == VOTE:
            self._handle_vote(m)
        elif kind == RESCUE:
            self._handle_rescue(m)
        elif kind == SNAPSHOT:
            self._handle_snapshot(m)
        elif kind == SNAPSHOT_REPLY:
            self._handle_snapshot_reply(m)
        elif kind == TRUST:
            self._handle_trust(m)
        else:
            self._handle_vote_reply(m)

    def ready(self):
        """What is to be done now, or None. Call `advance` when all of it is done."""
        if self.role == LEADER:
            self._send_round()
        r = self._ready
        r.save = (
            self.term != self._saved_term or self.vote != self._saved_vote
            or self.doubt != self._saved_doubt
        )  # fmt: skip
        log = self.log
        if not (
            r.save or log.durable < log.last or r.early or r.after
            or r.reads or r.commit != self.commit or log.chunks
        ):  # fmt: skip
            return None
        r.term = self.term
        r.vote = self.vote
        r.doubt = self.doubt
        r.chunks = log.chunks
        r.installed = log.installed
        r.keeps = log.keeps
        r.first = log.durable + 1
        r.entries = log.unstable() if log.durable < log.last else ()
        r.commit = self.commit
        return r

    def advance(self):
        """All of the last Ready is done: what it named is durable."""
        r = self._ready
        self._saved_term = r.term
        self._saved_vote = r.vote
        self._saved_doubt = r.doubt
        for messages in (r.early, r.after):
            for m in messages:
                m.entries = ()
                m.data = b""
                self._pool.append(m)
            messages.clear()
        r.reads.clear()
        if r.entries or r.chunks:
            r.entries = ()
            self.log.stable(self.commit)
            if self.role == LEADER:
                self._advance_commit()

    # Elections

    def _draw_timeout(self):
        # Drawn anew each time, or else two nodes could split the vote again and again (5.2).
        self._elapsed = 0
        self._timeout = self._draw(self._election_low, self._election_high)

    def _follow(self, term, leader):
        """Become (or stay) a follower in `term`. The vote of a term outlives its role."""
        if term != self.term:
            self.term = term
            self.vote = NOBODY
        if self.role == LEADER:
            self.peers = {}
            self._reads.clear()
        if self.role != FOLLOWER:
            self.role = FOLLOWER
            self._draw_timeout()
        self.leader = leader

    def _is_trusted(self):
        return self.node in self.members.voters and not self.doubt

    def _campaign(self):
        # First only ask whether it would be elected (dissertation 9.6): a node that was cut
        # off, and would lose, must not raise everybody's term when it comes back.
        self._draw_timeout()
        self.leader = NOBODY
        if self._is_trusted():
            self._stand(PRE_CANDIDATE)

    def _stand(self, role):
        self.role = role
        self.leader = NOBODY
        if role == CANDIDATE:
            self.term += 1
            self.vote = self.node
            self._draw_timeout()
        self._known_commit = 0
        self._answers = {self.node: True}
        self._count_votes()
        if self.role == role:
            self._ask()

    def _ask(self):
        self._since_send = 0
        pre = self.role == PRE_CANDIDATE
        for peer in self._others:
            if not self._answers.get(peer, False):
                m = self._new(self._ready.after, PRE_VOTE if pre else VOTE, peer)
                m.term = self.term + 1 if pre else self.term
                m.index = self.log.last
                m.log_term = self.log.last_term

    def _hears_leader(self, asking):
        # The minimal election timeout since the leader was heard: by then nobody whom that
        # leader reaches can want another one. The old leader itself may always ask.
        if self.role == LEADER:
            return True
        return self.leader not in (NOBODY, asking) and self._elapsed < self._election_low

    def _up_to_date(self, m):
        """Whether the log described in `m` holds at least what this one holds (5.4.1)."""
        if m.log_term != self.log.last_term:
            return m.log_term > self.log.last_term
        return m.index >= self.log.last

    def _handle_pre_vote(self, m):
        if self._hears_leader(m.src):
            return
        granted = m.term > self.term and self._up_to_date(m) and self._is_trusted()
        reply = self._new(self._ready.after, PRE_VOTE_REPLY, m.src)
        reply.term = m.term if granted else self.term
        reply.index = 1 if granted else 0
        if granted and self.role == PRE_CANDIDATE and m.src < self.node and not self._gave_way:
            # Two that ask at once would split the vote: the one with the lower id goes on.
            # Once only, or else one that nobody's answers reach would hold off all others.
            self._gave_way = True
            self.role = FOLLOWER
            self._draw_timeout()

    def _handle_vote(self, m):
        granted = self.vote in (NOBODY, m.src) and self._up_to_date(m) and self._is_trusted()
        granted = granted and self.leader == NOBODY  # nobody can win a term that has a leader
        if granted:
            self.vote = m.src
            self.role = FOLLOWER  # a pre-candidate that went on would unseat whom it votes for
            self._draw_timeout()
        reply = self._new(self._ready.after, VOTE_REPLY, m.src)
        reply.index = 1 if granted else 0

    def _handle_vote_reply(self, m):
        if m.kind == VOTE_REPLY:
            if self.role != CANDIDATE or m.term != self.term:
                return
        elif self.role != PRE_CANDIDATE or (m.index and m.term != self.term + 1):
            return
        # A later answer may differ from an earlier one; a vote once given stays given.
        if m.index or m.src not in self._answers:
            self._answers[m.src] = m.index != 0
        if m.index and m.commit > self._known_commit:
            self._known_commit = m.commit
        self._count_votes()

    def _count_votes(self):
        granted = 0
        for answer in self._answers.values():
            granted += answer
        if granted >= self.members.quorum:
            if self.role == PRE_CANDIDATE:
                self._stand(CANDIDATE)
            else:
                self._lead()

    def _lead(self):
        self.role = LEADER
        self.leader = self.node
        self.peers = {peer: Progress(self.log.last + 1) for peer in self._others}
        self._uncommitted = 0
        self._since_check = 0
        self._since_send = 0
        self._round = 0
        self._must_send = True
        self._news = False
        self._more = False
        # Entries of earlier terms commit only together with one of its own (5.4.2).
        self._own_term_from = self._append_own(NOOP, b"")
        self._learn_commit(self.node, self._known_commit)

    def _check_quorum(self):
        # Dissertation 6.2: a leader that no longer hears from a majority gives way.
        self._since_check = 0
        heard = 1
        for progress in self.peers.values():
            heard += progress.heard
            progress.heard = False
        if heard < self.members.quorum:
            self._follow(self.term, NOBODY)

    # Replication, the follower's side

    def _answer_old(self, m):
        # A leader or candidate of an older term learns of the newer one from the answer, or
        # else a node whose term has run ahead could never be led again (etcd#8501).
        if m.kind in (APPEND, COMMIT, SNAPSHOT):
            # Answers no round: the asker may lead this term by now, and count its rounds anew.
            self._reject(m)
        elif m.kind == PRE_VOTE:
            self._new(self._ready.after, PRE_VOTE_REPLY, m.src)
        elif m.kind == VOTE:
            self._new(self._ready.after, VOTE_REPLY, m.src)

    def _hears_from_leader(self, m):
        """Follow the leader that has sent `m`; False if that can't be."""
        if self.role == LEADER:
            self.alarm = (m.src, m.commit)  # two leaders in one term
            return False
        if self.role != FOLLOWER or self.leader != m.src:
            self._follow(m.term, m.src)
            self._gave_way = False
        self._elapsed = 0
        return True

    def _handle_append(self, m):
        if not self._hears_from_leader(m):
            return
        log = self.log
        if m.index < self.commit:
            # Old news: all up to the commit index is known to match.
            self._accept(m, self.commit)
            return
        if not log.matches(m.index, m.log_term):
            reply = self._reject(m)
            # Up to the commit index all is known to match.
            reply.index = max(self.commit, log.conflict(m.index, m.log_term))
            reply.log_term = log.term(reply.index)
            reply.ctx = m.ctx
            return
        last_new = m.index
        for entry in m.entries:
            index = last_new + 1
            if index > log.last or log.term(index) != entry[0]:
                if not log.has_room(len(entry[2]), FOLLOWER_RESERVE):
                    break  # acknowledge what there was room for; others may make the majority
                if index <= log.last:
                    # Only here does a follower drop entries: at a real conflict (5.3). With
                    # datagrams, "all after prev" would drop what a later append brought.
                    self._rescue(index)
                    log.truncate(index)
                log.append(entry)
            last_new = index
        if m.commit > self.commit and last_new > self.commit:
            self._know_commit(min(m.commit, last_new))
        # An answer that there was no room at all would only bring the same again, at once.
        if last_new > m.index or not m.entries:
            self._accept(m, last_new)

    def _reject(self, m):
        return self._answer(m.src, APPEND_REJECT, DOUBT_REJECT)

    def _answer(self, dst, kind, doubt_kind):
        """An answer to a leader, of the one kind or, of a node in doubt, of the other."""
        if not self.doubt:
            return self._new(self._ready.after, kind, dst)
        reply = self._new(self._ready.after, doubt_kind, dst)
        reply.commit = self._doubt_number
        return reply

    def _know_commit(self, index):
        self.commit = index
        # A leader that has had so much committed without a node in doubt holds all that it may
        # ever have acknowledged.
        if index >= self.doubt:
            self.doubt = 0

    def _accept(self, m, index):
        if m.kind != COMMIT:
            reply = self._answer(m.src, APPEND_REPLY, DOUBT_REPLY)
            reply.index = index
            reply.ctx = m.ctx

    def _handle_snapshot(self, m):
        """InstallSnapshot (section 7), piece by piece in order."""
        if not self._hears_from_leader(m):
            return
        if m.index <= self.commit:
            self._accept(m, self.commit)
            return
        log = self.log
        if log.installed:
            return  # first that one has to be durable
        coming = log.coming
        if coming is None or (
            coming.index != m.index or coming.term != m.log_term
            or coming.size != m.size or coming.crc != m.crc
        ):  # fmt: skip
            coming = None
            if m.offset == 0:
                log.begin_snapshot(m.index, m.log_term, m.size, m.crc)
                coming = log.coming
        if coming and m.offset == coming.next:
            if not log.has_room(len(m.data), FOLLOWER_RESERVE):
                return
            if m.offset + len(m.data) >= coming.size and log.durable < log.last:
                return  # entries that were acknowledged just now have to be durable before
            if not log.add_to_snapshot(m.data):
                coming = None  # from the beginning once more
            elif log.installed:
                self._know_commit(m.index)
                self._accept(m, m.index)
                return
        reply = self._new(self._ready.after, SNAPSHOT_REPLY, m.src)
        reply.index = m.index
        reply.log_term = coming.next if coming else 0
        reply.ctx = m.ctx

    def _handle_trust(self, m):
        # All other voters were in this term when this doubt was there, so it can't have voted
        # or acknowledged anything in a later one; and what it may have acknowledged before, it
        # holds by now.
        if not self.doubt or m.ctx != self._doubt_number:
            return
        if m.src == self.leader and m.index <= self.log.durable:
            self.doubt = 0
            if self.vote == NOBODY:
                self.vote = m.src

    def _rescue(self, index):
        """Hand the commands from `index` on, which are about to be dropped, to the leader.

        Only those of a client session: it makes sure that none is applied twice.
        """
        while index <= self.log.last:
            entries = self.log.slice(index, ENTRIES_BYTES, ENTRY_HEADER_BYTES)
            index += len(entries)
            saved = [e for e in entries if e[1] == COMMAND and has_session(e[2])]
            if saved:
                m = self._new(self._ready.after, RESCUE, self.leader)
                m.entries = saved

    # Replication, the leader's side

    def _handle_append_reply(self, m):
        peer = self.peers.get(m.src)
        if peer is None or m.ctx > self._round:
            return
        if m.kind >= DOUBT_REPLY:
            peer.doubted(m.commit, self._round, self.log.last)
        elif peer.doubts and not peer.trusted(m.ctx):
            return
        else:
            peer.heard = True
            if m.ctx > peer.round:
                peer.round = m.ctx
                if self._reads:
                    self._confirm_reads()
        if m.index > self.log.last or (not peer.doubts and not self._learn_commit(m.src, m.commit)):
            return  # it claims what can't be: nothing else that it says counts either
        if m.kind == APPEND_REJECT or m.kind == DOUBT_REJECT:
            agreed = self.log.conflict(m.index, m.log_term)
            if peer.state == SENDING_SNAPSHOT and agreed < 0:
                peer.answers()
            elif m.ctx > peer.floor:
                peer.rejected(agreed + 1, self._round)
        else:
            if peer.accepted(m.index) and not peer.doubts:
                self._advance_commit()
            if peer.doubts:
                self._vouch(peer, m)
        if peer.next <= self.log.last:
            self._more = True

    def _handle_snapshot_reply(self, m):
        peer = self.peers.get(m.src) if self.role == LEADER else None
        if peer is None or peer.state != SENDING_SNAPSHOT or m.ctx > self._round:
            return
        if m.index == peer.snapshot.index and m.log_term <= peer.snapshot.size:
            peer.holds(m.log_term, m.ctx)
            self._more = True

    def _vouch(self, peer, m):
        """A node in doubt holds `m.index`: trust it once all others have been heard since."""
        if m.index < peer.doubt_last:
            return
        for other in self._others:
            if other != m.src and self._answered(other) <= peer.doubt_round:
                return
        trust = self._new(self._ready.after, TRUST, m.src)
        trust.index = peer.doubt_last
        trust.ctx = peer.doubt_number

    def _learn_commit(self, src, commit):
        """Take over a commit index that another node knows. Returns whether it can be true."""
        # A follower may know of commits of earlier terms that this leader doesn't know of. By
        # Leader Completeness (5.4.3) the leader holds those entries; a claim of more means
        # that something is broken, and is not a thing to merge.
        if commit > self.commit:
            if commit >= self._own_term_from:
                self.alarm = (src, commit)
                return False
            self._set_commit(commit)
        return True

    def _handle_rescue(self, m):
        if self.role != LEADER:
            return
        for _, kind, data in m.entries:
            if kind != COMMAND or not has_session(data) or self._is_waiting(data):
                continue
            try:
                self.propose(COMMAND, data)
            except Refused:
                return  # its client will ask again

    def _is_waiting(self, data):
        log = self.log
        for index in range(self.commit + 1, log.last + 1):
            entry = log.entry(index)
            if entry[1] == COMMAND and same_command(entry[2], data):
                return True
        return False

    def _append_own(self, kind, data):
        self._uncommitted += len(data)
        self._more = True
        self.log.append((self.term, kind, data))
        return self.log.last

    def _match(self, node):
        if node == self.node:
            return self.log.durable
        peer = self.peers[node]
        return 0 if peer.doubts else peer.match

    def _answered(self, node):
        if node == self.node:
            return self._round
        peer = self.peers[node]
        return 0 if peer.doubts else peer.round

    def _advance_commit(self):
        agreed = self.members.agreed(self._match)
        # Only an entry of its own term commits by counting (5.4.2, figure 8).
        if agreed > self.commit and agreed >= self._own_term_from:
            self._set_commit(agreed)

    def _set_commit(self, index):
        if self._uncommitted:
            for i in range(max(self.commit, self._own_term_from - 1) + 1, index + 1):
                self._uncommitted -= len(self.log.entry(i)[2])
        self.commit = index
        self._news = True

    def _confirm_reads(self):
        confirmed = self.members.agreed(self._answered)
        reads = self._reads
        while reads and 0 < reads[0][2] <= confirmed:
            token, index, _ = reads.pop(0)
            self._ready.reads.append((token, index))

    def _send_round(self):
        """Messages to all peers: new entries, a heartbeat, or the news of a commit."""
        must = self._must_send
        number = self._round + 1
        # Before an entry of its term is committed, a leader can't know the commit index (6.4).
        if self._reads and self._reads[-1][2] == 0 and self.commit >= self._own_term_from:
            for read in self._reads:
                if read[2] == 0:
                    read[1] = self.commit
                    read[2] = number
            must = True
        if not (must or self._news or self._more):
            return
        used = False
        for peer in self._others:  # not `peers`: a dictionary's order is the interpreter's
            progress = self.peers[peer]
            try:
                sent = self._send_to(peer, progress, number, must)
            except Compacted:
                progress.install(self.log.snapshot)
                sent = self._send_to(peer, progress, number, must)
            used = used or sent
        if used:
            self._round = number
        self._must_send = False
        self._news = False
        self._more = False
        if self._reads and not self.peers:
            self._round = number
            self._confirm_reads()

    def _send_to(self, peer, progress, number, must):
        """What this peer lacks; else a heartbeat or the news. Returns whether any has left.

        Raises Compacted if what it lacks has left the log.
        """
        sent = False
        if progress.state == SENDING_SNAPSHOT:
            progress.install(self.log.snapshot)  # there may be a newer one
            if must and self._since_send == 0:
                progress.beat()
            sent = self._send_pieces(peer, progress, number) and not must
        elif progress.next <= self.log.last:
            sent = self._send_entries(peer, progress, number)
        if not sent and (must or self._news):
            if must or progress.state == REPLICATE:
                self._append_to(peer, progress, APPEND if must else COMMIT, number)
                return True
        return sent

    def _send_pieces(self, peer, progress, number):
        sent = False
        snapshot = progress.snapshot
        while progress.may_send_piece():
            m = self._new(self._ready.early, SNAPSHOT, peer)
            m.index = snapshot.index
            m.log_term = snapshot.term
            m.ctx = number
            m.offset = progress.offset
            m.size = snapshot.size
            m.crc = snapshot.crc
            m.data = self.log.store.read_snapshot(progress.offset)
            progress.offset += len(m.data)
            sent = True
        return sent

    def _send_entries(self, peer, progress, number):
        sent = False
        while progress.next <= self.log.last and progress.may_send():
            entries = self.log.slice(progress.next, ENTRIES_BYTES, ENTRY_HEADER_BYTES)
            m = self._append_to(peer, progress, APPEND, number)
            m.entries = entries
            progress.sent(m.index + len(m.entries), m.entries[-1][0])
            sent = True
        return sent

    def _append_to(self, peer, progress, kind, number):
        if progress.state == SENDING_SNAPSHOT:
            prev, prev_term = progress.snapshot.index, progress.snapshot.term
        else:
            prev = progress.next - 1
            if progress.prev != prev:
                progress.prev_term = self.log.term(prev)
                progress.prev = prev
            prev_term = progress.prev_term
        m = self._new(self._ready.early, kind, peer)
        m.index = prev
        m.log_term = prev_term
        m.ctx = number
        return m

    def _new(self, messages, kind, dst):
        """A message in the list `messages`; its other fields are the caller's to set."""
        m = self._pool.pop() if self._pool else Message()
        m.kind = kind
        m.src = self.node
        m.dst = dst
        m.term = self.term
        m.index = 0
        m.log_term = 0
        m.commit = self.commit
        m.ctx = 0
        messages.append(m)
        return m
