"""The Raft algorithm as a pure state machine.

No clock, socket, file or randomness of its own: it is given messages (`step`), elapsed time
(`pass_time`, `tick`), commands (`propose`) and reads (`read`), and says in one `Ready` what
is to be done. The same inputs give the same outputs.

Sections and figures are those of "In Search of an Understandable Consensus Algorithm"
(Ongaro and Ousterhout, 2014, extended version), or of Ongaro's dissertation where named so.
"""

from raft.leading import (  # noqa: F401
    OTHERS_BEATS,
    Busy,
    HandingOver,
    Leading,
    Refused,
    TooLong,
)
from raft.members import Members
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    CONFIG,
    DOUBT_REJECT,
    DOUBT_REPLY,
    ENTRIES_BYTES,
    ENTRY_HEADER_BYTES,
    MAX_NUMBER,
    OUT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_ASK,
    READ_REPLY,
    RESCUE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TRANSFER,
    TRUST,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.sessions import has_session

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

# Kinds of messages that only a member may send; of the others, the sender may be one that this
# node hasn't heard of yet (dissertation 4.1).
_FROM_MEMBERS = (
    1 << PRE_VOTE_REPLY | 1 << VOTE_REPLY | 1 << APPEND_REPLY | 1 << APPEND_REJECT | 1 << RESCUE
    | 1 << SNAPSHOT_REPLY | 1 << DOUBT_REPLY | 1 << DOUBT_REJECT | 1 << READ_ASK
)  # fmt: skip
_TO_LEADERS = (
    APPEND_REJECT, SNAPSHOT_REPLY, DOUBT_REPLY, DOUBT_REJECT, RESCUE, READ_ASK,
)  # fmt: skip
_SOMEBODY = 255


class NotLeader(Refused):
    """Another node leads, or none."""


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

    node: its id (1..254). founders: the `Members` that it starts from as long as its log has no
    configuration; without any it waits until a leader counts it in. log: a `Log`. term, vote: as
    they are durable. draw(low, high): a random int, both ends included. doubt: an index up to
    which the node may have acknowledged entries that its flash has lost, as it is durable. Until
    it knows of a commit that reaches there, or all others vouch for it, it doesn't vote or
    stand, and its answers don't count. lease: whether a leader may answer reads by it; the same
    on all nodes. remove_dead_ms: as a leader, take the vote from whom it hasn't heard for so
    long, but leave `least_voters`; 0: never.
    """

    Leading = Leading

    def __init__(
        self, node, founders, log, term, vote, draw, heartbeat_ms=HEARTBEAT_MS,
        election_ms=ELECTION_MS, doubt=0, lease=False, remove_dead_ms=0, least_voters=3,
    ):  # fmt: skip
        self.node = node
        self.log = log
        self.term = term
        self.vote = vote
        self.role = FOLLOWER
        self.leader = NOBODY
        self.successor = NOBODY  # handed leadership over to, if no leader is known since
        self.leading = None  # leader: what it knows as such
        self.peers = {}  # leader: node id -> Progress
        self.commit = log.snapshot().index
        self.doubt = doubt
        self.is_out = False  # it is no member any more, says its own log or one who is
        self.alarm = None  # (peer, its commit index): it claims what can't be
        self.heartbeat_ms = heartbeat_ms
        self.election_low, self.election_high = election_ms
        self.uncommitted_bytes = UNCOMMITTED_BYTES
        self.lease = lease
        self.remove_dead_ms = remove_dead_ms
        self.least_voters = least_voters
        self._draw = draw
        self._saved_term = term
        self._saved_vote = vote
        self._saved_doubt = doubt
        # Tells this doubt from an earlier one, so that nobody's late word on that ends this one
        self._doubt_number = draw(1, MAX_NUMBER) if doubt else 0
        if self.commit >= doubt:
            self.doubt = 0
        # It waits to be counted in, and may have been a member in an earlier life, with another
        # flash: those who were removed must not find its vote. See `_hears_from_leader`.
        self._is_new = not (founders.ids or log.last or doubt)
        self._ready = Ready()
        self.early = self._ready.early
        self.after = self._ready.after
        self.reads = self._ready.reads
        self._pool = []  # messages to reuse
        self._elapsed = 0  # ms since a leader was heard, a vote given or an election begun
        self._timeout = 0
        self._since_ask = 0  # ms since the last round of vote requests, or question for a read
        # Whom it followed last, and ms since it heard that one. It may have before it started.
        self._heard = _SOMEBODY if lease else NOBODY
        self.silence_ms = 0
        # Follower: what its leader last told, and in which term; not heard yet.
        self._told_commit = MAX_NUMBER
        self._told_term = 0
        self._gave_way = False  # to another pre-candidate, since a leader was heard
        self._is_sent = False  # candidate: the leader wants it to lead
        self._answers = {}  # candidate: node id -> granted
        self._known_commit = 0  # candidate: the highest commit index its voters told
        self._waiting = []  # reads that no leader was asked about yet
        self._asked = []  # reads that the leader has been asked about, by the question ...
        self._question = 0  # ... of that number
        # The configuration, the index of its entry (0: founders), and the one before
        self.members = founders
        self.members_index = 0
        self._before = (0, founders)
        for index, data in log.configurations():
            self.adopt(index, Members(data))
        self._draw_timeout()

    def role_name(self):
        """Its role, as people are told it: one of ROLES, or "learner" without a vote, or "out"."""
        if self.is_out:
            return "out"
        if self.role == FOLLOWER and (self.doubt or self.node not in self.members.voters):
            return "learner"
        return ROLES[self.role]

    # What the driver calls

    def pass_time(self, elapsed_ms):
        """Time has gone by. Nothing happens yet: messages that came meanwhile go first."""
        leading = self.leading
        if leading:
            leading.clock = (leading.clock + elapsed_ms) & MAX_NUMBER
            return
        self._elapsed += elapsed_ms
        if self._since_ask < self.heartbeat_ms:  # no longer: in weeks it would be no small integer
            self._since_ask += elapsed_ms
        if self.silence_ms < MAX_NUMBER:
            self.silence_ms += elapsed_ms

    def tick(self, elapsed_ms=0):
        """Time has gone by: do what is due."""
        self.pass_time(elapsed_ms)
        if self.leading:
            self.leading.tick()
        elif self._elapsed >= self._patience():
            self._campaign()
        elif self._since_ask >= self.heartbeat_ms:
            # Requests get lost; and voters that refused may have changed.
            if self.role != FOLLOWER:
                self._ask()
            elif self._asked:
                self._ask_for_reads()

    def due_ms(self):
        """In how many ms `tick` has something to do."""
        if self.leading:
            return self.leading.due_ms()
        due = self._patience() - self._elapsed
        if self.role != FOLLOWER or self._asked:
            due = min(due, self.heartbeat_ms - self._since_ask)
        return max(0, due)

    def propose(self, kind, data):
        """Append an entry to the leader's log; returns its index.

        Raises NotLeader, TooLong, Busy or HandingOver; then the proposal has no effect.
        """
        return self._as_leader().propose(kind, data)

    def change(self, data):
        """Propose another configuration (bytes, valid); returns its index.

        Raises NotLeader, Busy, or Refused if it isn't one that may follow on this one.
        """
        return self._as_leader().change(data)

    def transfer(self, node=NOBODY):
        """Make another voter the leader, NOBODY: whoever is fit. Raises NotLeader, Refused."""
        self._as_leader().transfer(node)

    def _as_leader(self):
        if not self.leading:
            raise NotLeader("node %d is not the leader" % self.node)
        return self.leading

    def read(self, token):
        """Ask for a linearizable read: `Ready.reads` will name the index to wait for.

        A read index (dissertation 6.4), confirmed by the answers to a round of messages that the
        leader sends after this call; another node asks the leader for it. Raises NotLeader if
        none is known. If leadership changes, it is asked for again.
        """
        if self.leading:
            self.leading.read(token)
        elif self.leader == NOBODY:
            raise NotLeader("node %d knows no leader" % self.node)
        else:
            self._waiting.append(token)

    def drop_reads(self):
        """Forget what was asked for and isn't confirmed."""
        self._waiting = []
        self._asked = []

    def recover(self, data):
        """Lead by order of a human, with these members (bytes, valid), since no majority is left.

        What only the others had is lost. Raises Refused if there is a leader.
        """
        if self.leading or self.leader != NOBODY:
            raise Refused("node %d has a leader: change the members in the usual way" % self.node)
        if self.doubt:
            raise Refused("node %d can't trust its flash: recover on another one" % self.node)
        self.term += 1
        self.vote = self.node
        self.members = Members(data)
        self.members_index = 0  # so that it goes into the log
        self.is_out = False
        self._known_commit = 0
        self._lead()

    def age_ms(self):
        """For how many ms, at most, there may have been commits that this node doesn't know of.

        But for the time that its leader's last message took, and for which that leader stood
        still. MAX_NUMBER: that isn't known.
        """
        if self.leading:
            return self.leading.age_ms()
        # A leader knows what is committed once an entry of its own term is.
        if self._told_commit > self.commit or self.log.term(self.commit) != self._told_term:
            return MAX_NUMBER
        # Another one may have been elected: it finds out at the second check of its quorum.
        return min(self.silence_ms + 2 * (self.election_high + self.heartbeat_ms), MAX_NUMBER)

    def step(self, m):
        """Take in one message from another node."""
        kind = m.kind
        src = m.src
        if src == self.node or _FROM_MEMBERS >> kind & 1 and src not in self.members.ids:
            return
        if m.term != self.term and not self._heeds(m):
            return
        if kind == APPEND_REPLY:
            if self.leading:
                self.leading.handle_append_reply(m)
        elif kind == APPEND or kind == COMMIT:
            self._handle_append(m)
        elif kind in _TO_LEADERS:
            if self.leading:
                self._handle_as_leader(m)
        elif kind == PRE_VOTE:
            self._handle_pre_vote(m)
        elif kind == VOTE:
            self._handle_vote(m)
        elif kind == SNAPSHOT:
            self._handle_snapshot(m)
        elif kind == PRE_VOTE_REPLY or kind == VOTE_REPLY:
            self._handle_vote_reply(m)
        elif kind == TRUST:
            self._handle_trust(m)
        elif kind == READ_REPLY:
            self._handle_read_reply(m)
        elif kind == TRANSFER:
            self._handle_transfer(m)
        else:
            self._handle_out(m)

    def _heeds(self, m):
        """What `m` says of another term than this node's; whether there is more in it."""
        kind = m.kind
        if kind == OUT:
            return True  # that is told in whatever term
        if m.term < self.term:
            self._answer_old(m)
            return False
        if kind == VOTE and not m.ctx and self._hears_leader(m.src):
            return False  # dissertation 4.2.3: a healthy leader isn't deposed
        if kind != PRE_VOTE and not (kind == PRE_VOTE_REPLY and m.index):
            self._follow(m.term, NOBODY)
        return True

    def _handle_as_leader(self, m):
        kind = m.kind
        if kind == SNAPSHOT_REPLY:
            self.leading.handle_snapshot_reply(m)
        elif kind == RESCUE:
            self.leading.handle_rescue(m)
        elif kind == READ_ASK:
            self.leading.read(m.ctx, m.src)
        else:
            self.leading.handle_append_reply(m)

    def ready(self):
        """What is to be done now, or None. Call `advance` when all of it is done."""
        if self.leading:
            self.leading.send_round()
        elif self._waiting and not self._asked and self.leader != NOBODY:
            self._asked, self._waiting = self._waiting, []
            # From anywhere, for an answer to a question before a restart may be on its way.
            self._question = (self._question or self._draw(1, MAX_NUMBER)) % MAX_NUMBER + 1
            self._ask_for_reads()
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
        if r.doubt:
            self._is_new = False
        if r.early:
            self._reuse(r.early)
        if r.after:
            self._reuse(r.after)
        r.reads.clear()
        if r.entries or r.chunks:
            r.entries = ()
            self.log.stable(self.commit)
            if r.installed:
                self._take_members()
            if self.leading:
                self.leading.advance_commit()

    def _reuse(self, messages):
        for m in messages:
            if m.entries:
                m.entries = ()
            if m.data:
                m.data = b""
        self._pool.extend(messages)
        messages.clear()

    # Members

    def adopt(self, index, members):
        """The configuration in the entry `index` is the last one in the log: it takes effect."""
        self._before = (self.members_index, self.members)
        self.members_index = index
        self.members = members
        if self.leading:
            self.leading.attend()

    def members_at(self, index):
        """(index, Members): the configuration after the entry `index`; None if it is forgotten."""
        if self.members_index <= index:
            return self.members_index, self.members
        return self._before if self._before[0] <= index else None

    def _take_members(self):
        """The snapshot that has come has a configuration; entries behind it may have a later."""
        index, data = self.log.snapshot_members()
        if index >= self.members_index:
            self.adopt(index, Members(data))
        elif index > self._before[0]:
            self._before = (index, Members(data))

    def _handle_out(self, m):
        # A committed configuration that lacks it, and that its own isn't later than.
        knows = self.members_index - (self.node not in self.members.ids)
        if m.index > knows and self.role != LEADER:
            self.is_out = True
            self.role = FOLLOWER
            self._lose_leader()

    # Elections

    def _draw_timeout(self):
        # Drawn anew each time, or else two nodes could split the vote again and again (5.2).
        self._elapsed = 0
        self._timeout = self._draw(self.election_low, self.election_high)

    def _patience(self):
        # A leader sends to those without a vote so many times more seldom.
        return self._timeout if self._is_voter() else self._timeout * OTHERS_BEATS

    def give_way(self):
        """Cease to lead, in the same term."""
        self._follow(self.term, NOBODY)

    def _follow(self, term, leader):
        """Become (or stay) a follower in `term`. The vote of a term outlives its role."""
        if term != self.term:
            self.term = term
            self.vote = NOBODY
        if self.leading:
            self._waiting += self.leading.waiting_reads()
            self.successor = self.leading.successor
            self.leading = None
            self.peers = {}
            self._told_commit = MAX_NUMBER
        if self.role != FOLLOWER:
            self.role = FOLLOWER
            self._draw_timeout()
        self._lose_leader()
        self.leader = leader

    def _lose_leader(self):
        self.leader = NOBODY
        if self._asked:  # whoever leads next is asked another question
            self._waiting = self._asked + self._waiting
            self._asked = []

    def _campaign(self):
        # First only ask whether it would be elected (dissertation 9.6): a node that was cut
        # off, and would lose, must not raise everybody's term when it comes back.
        self._draw_timeout()
        self._lose_leader()
        if self.node not in self.members.ids and 0 < self.members_index <= self.commit:
            self.is_out = True  # it has the very entry, and nobody speaks to it any more
        if self._may_stand():
            self._stand(PRE_CANDIDATE)
        elif self.term and not self.is_out and not self._is_voter():
            self._answers = {}
            self._ask()  # whether it is a member still

    def _may_stand(self):
        return self._is_voter() and not self.doubt and not self.is_out and not self.log.installed

    def _is_voter(self):
        if self.node in self.members.voters:
            return True
        # It may be needed until what takes its vote away is committed (dissertation 4.2.2): those
        # who don't hold that entry can't be elected by those who do.
        return self.members_index > self.commit and self.node in self._before[1].voters

    def _stand(self, role, is_sent=False):
        self.role = role
        self._lose_leader()
        self._is_sent = is_sent
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
        self._since_ask = 0
        for peer in self.members.voters:
            if not self._answers.get(peer, False):
                self._ask_for_vote(peer)

    def _ask_for_vote(self, peer):
        m = self.new(self.after, VOTE if self.role == CANDIDATE else PRE_VOTE, peer)
        m.term = self.term + (self.role == PRE_CANDIDATE)
        m.index = self.log.last
        m.log_term = self.log.last_term
        m.ctx = int(self._is_sent)

    def _hears_leader(self, asking):
        # The minimal election timeout since a leader was heard: by then nobody whom that
        # leader reaches can want another one. The old leader itself may always ask.
        if self.leading:
            return True
        return self._heard not in (NOBODY, asking) and self.silence_ms < self.election_low

    def _handle_transfer(self, m):
        """The leader wants this node to lead: stand, whomever others hear (dissertation 3.10)."""
        if m.src == self.leader and self._may_stand():
            self._stand(CANDIDATE, True)
            if self.role == CANDIDATE and m.src not in self.members.voters:
                self._ask_for_vote(m.src)  # so that it knows that it leads no more

    def _has_vote(self):
        return not self.doubt and not self._is_new

    def _up_to_date(self, m):
        """Whether the log described in `m` holds at least what this one holds (5.4.1)."""
        if m.log_term != self.log.last_term:
            return m.log_term > self.log.last_term
        return m.index >= self.log.last

    def _handle_pre_vote(self, m):
        if self.leader != NOBODY and m.src not in self.members.ids:
            if 0 < self.members_index <= self.commit:
                self.new(self.after, OUT, m.src).index = self.members_index
                return
        if self._hears_leader(m.src):
            return
        granted = m.term > self.term and self._up_to_date(m) and self._has_vote()
        reply = self.new(self.after, PRE_VOTE_REPLY, m.src)
        reply.term = m.term if granted else self.term
        reply.index = 1 if granted else 0
        if granted and self.role == PRE_CANDIDATE and m.src < self.node and not self._gave_way:
            # Two that ask at once would split the vote: the one with the lower id goes on.
            # Once only, or else one that nobody's answers reach would hold off all others.
            self._gave_way = True
            self.role = FOLLOWER
            self._draw_timeout()

    def _handle_vote(self, m):
        granted = self.vote in (NOBODY, m.src) and self._up_to_date(m) and self._has_vote()
        granted = granted and self.leader == NOBODY  # nobody can win a term that has a leader
        # The term may have come by another way, and the leader before it have a lease.
        granted = granted and (m.ctx or not self._hears_leader(m.src))
        if granted:
            self.vote = m.src
            self.role = FOLLOWER  # a pre-candidate that went on would unseat whom it votes for
            self._draw_timeout()
        reply = self.new(self.after, VOTE_REPLY, m.src)
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
        for voter in self.members.voters:
            granted += self._answers.get(voter, False)
        if granted >= self.members.quorum:
            if self.role == PRE_CANDIDATE:
                self._stand(CANDIDATE)
            else:
                self._lead()

    def _lead(self):
        self.role = LEADER
        self.leader = self.node
        self._heard = NOBODY
        self.leading = self.Leading(self, self._known_commit)
        self.peers = self.leading.peers
        for token in self._waiting:
            self.leading.read(token)
        self._waiting.clear()

    # Replication, the follower's side

    def _answer_old(self, m):
        # A leader or candidate of an older term learns of the newer one from the answer, or
        # else a node whose term has run ahead could never be led again (etcd#8501).
        if m.kind in (APPEND, COMMIT, SNAPSHOT):
            # Answers no round: the asker may lead this term by now, and count its rounds anew.
            self._reject(m)
        elif m.kind == PRE_VOTE:
            self.new(self.after, PRE_VOTE_REPLY, m.src)
        elif m.kind == VOTE:
            self.new(self.after, VOTE_REPLY, m.src)

    def _hears_from_leader(self, m):
        """Follow the leader that has sent `m`; False if that can't be."""
        if self.role == LEADER:
            self.alarm = (m.src, m.commit)  # two leaders in one term
            return False
        if self.role != FOLLOWER or self.leader != m.src:
            self._follow(m.term, m.src)
            self._heard = m.src
            self._gave_way = self.is_out = False
            self.successor = NOBODY
        self._elapsed = self.silence_ms = 0
        self._told_commit = m.commit
        self._told_term = m.term
        if self._is_new:
            # This leader's log reaches beyond the entry that counts this node in: until all that
            # is here, too, it is in doubt. What else the message says comes again.
            self._doubt_number = self._doubt_number or self._draw(1, MAX_NUMBER)
            self.doubt = max(1, self.doubt, m.index)
            return False
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
        last_new = self._take_entries(m) if m.entries else m.index
        if m.commit > self.commit and last_new > self.commit:
            self._know_commit(min(m.commit, last_new))
        # An answer that there was no room at all would only bring the same again, at once.
        if last_new > m.index or not m.entries:
            self._accept(m, last_new)

    def _take_entries(self, m):
        """What is new of them; returns the index of the last one that there was room for."""
        log = self.log
        index = m.index
        for entry in m.entries:
            index += 1
            if index <= log.last and log.term(index) == entry[0]:
                continue
            if not log.has_room(len(entry[2]), FOLLOWER_RESERVE):
                return index - 1  # others may make the majority
            if index <= log.last:
                # Only here does a follower drop entries: at a real conflict (5.3). With
                # datagrams, "all after prev" would drop what a later append brought.
                self._rescue(index)
                log.truncate(index)
                if index <= self.members_index:
                    self.members_index, self.members = self._before
            log.append(entry)
            if entry[1] == CONFIG:
                self.adopt(index, Members(entry[2]))
        return index

    def _reject(self, m):
        return self._answer(m.src, APPEND_REJECT, DOUBT_REJECT)

    def _answer(self, dst, kind, doubt_kind):
        """An answer to a leader, of the one kind or, of a node in doubt, of the other."""
        if not self.doubt:
            return self.new(self.after, kind, dst)
        reply = self.new(self.after, doubt_kind, dst)
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
                if not log.keeps:
                    self.members_index = 0  # what was behind is gone; see `_take_members`
                self._know_commit(m.index)
                self._accept(m, m.index)
                return
        reply = self.new(self.after, SNAPSHOT_REPLY, m.src)
        reply.index = m.index
        reply.log_term = coming.next if coming else 0
        reply.ctx = m.ctx

    # Reads

    def _ask_for_reads(self):
        self._since_ask = 0
        self.new(self.after, READ_ASK, self.leader).ctx = self._question

    def _handle_read_reply(self, m):
        if m.src == self.leader and m.ctx == self._question:
            for token in self._asked:
                self.reads.append((token, m.index))
            self._asked = []

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
                m = self.new(self.after, RESCUE, self.leader)
                m.entries = saved

    def new(self, messages, kind, dst):
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
