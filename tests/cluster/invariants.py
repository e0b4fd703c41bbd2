"""What must hold in every state of a cluster, looked at after every step; portable.

The names are those of the Raft paper's figure 3 where it has one. Each check costs a few
comparisons: a log is compared entry by entry as it grows, never as a whole, because two entries
of one index and term that agree, and whose predecessors' terms agree, carry Log Matching on.
"""

from raft.compaction import Compaction
from raft.core import LEADER
from raft.kv import KeyValue
from raft.log import Log
from raft.machines import Machines
from raft.members import DEAD, ROLES, STANDBY, Members
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    CONFIG,
    DOUBT_REJECT,
    DOUBT_REPLY,
    MAX_NUMBER,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_ASK,
    READ_REPLY,
    RESCUE,
    SNAPSHOT,
    TRUST,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.sessions import EXPIRED, HEADER_BYTES, OPEN, STAMP_BYTES, Sessions, has_session
from raft.store import Snapshot, Store
from tests.flash import SECTOR_BYTES
from tests.store.model import Install, Model, Write, contents


class Violation(Exception):
    """Something that must never be has been."""


FASTEST = 11  # ticks of a node's clock in 10 of the simulator's
STILL_US = 2_000_000  # a node stands still at most: faults, and flash that takes its time
MACHINE_BYTES = 4096  # more than the clients' keys and values ever take


class WatchedStore(Store):
    """Tells its node's life what is to be written and what has been."""

    life: "Life | None" = None  # not yet while the node is being made
    forgets = False  # as if all sectors that aren't needed were erased at once

    def _forget_oldest(self) -> None:
        super()._forget_oldest()
        if self.forgets:
            self.oldest = max(self.oldest, self.safe)

    def append(self, save, term, vote, first, entries, doubt=None):  # type: ignore[no-untyped-def]
        if self.life:
            self.life.writes(Write(save, term, vote, first, list(entries)))
        super().append(save, term, vote, first, entries, doubt)
        if self.life:
            self.life.has_written()

    def end_snapshot(self, keeps: bool) -> None:
        if self.life:
            self.life.ends_snapshot(self.coming, keeps)
        super().end_snapshot(keeps)
        if self.life:
            self.life.has_written()


class EagerCompaction(Compaction):
    """Writes a snapshot whenever so many sectors are in use."""

    eager_at = 0

    def is_due(self) -> bool:
        if 0 < self.eager_at <= self._store.used_sectors() and not self._is_moving():
            return True
        return bool(super().is_due())


class WatchedLog(Log):
    """Tells its node's life how it changes."""

    life: "Life"

    def append(self, entry: tuple[int, int, bytes]) -> None:
        self.life.appends(self.last + 1, entry)
        super().append(entry)

    def truncate(self, index: int) -> None:
        self.life.truncates(index)
        super().truncate(index)

    def _install(self, snapshot: Snapshot) -> None:
        super()._install(snapshot)
        if not self.keeps:
            self.life.begins_anew(snapshot.index)


class WatchedMachine(KeyValue):
    """A key-value store that knows its own history.

    life: of the node that it belongs to, if it isn't the reference.
    """

    def __init__(self, life: "Life | None" = None) -> None:
        super().__init__(MACHINE_BYTES)
        self.life = life
        self.executed: list[bytes] = []  # all commands
        self.versions: dict[bytes, list[tuple[int, bytes | None]]] = {}  # (index, value) per key
        self.index = 0  # of the entry being applied

    def apply(self, payload: memoryview, now: int) -> bytes:
        command = bytes(payload)
        self.executed.append(command)
        if self.life:
            self.life.executes()
        result: bytes = super().apply(payload, now)
        key = command[2 : 2 + command[1]]
        self.versions.setdefault(key, [(0, None)]).append((self.index, self._values.get(key)))
        return result


class Watch:
    """What the cluster as a whole has promised so far."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}  # term -> node
        self.votes: dict[tuple[int, int], int] = {}  # (node, term) -> candidate
        self.acknowledged: dict[tuple[int, int], int] = {}  # (node, term) -> index
        self.rounds: dict[int, int] = {}  # term -> the latest round its leader has sent
        self.answered: dict[tuple[int, int], int] = {}  # (node, term) -> when it last did
        self.ticks = 0  # orders reads and answers
        self.contents: dict[tuple[int, int], tuple[int, int, bytes]] = {}  # see `Life.appends`
        self.committed: list[tuple[int, int, bytes]] = []
        self.committed_in: list[int] = []  # the term of the leader that committed it
        self.committed_at: list[int] = []  # and when
        self.configurations: list[tuple[int, Members]] = []  # committed: index of the entry
        self.lives: list[Life] = []  # of the nodes that are up
        self.disks: dict[int, Model] = {}  # of all nodes
        self.machine = WatchedMachine()  # the reference: all that is committed, applied once
        self.sessions = Sessions(Machines(self.machine))
        self.changes: list[tuple[int, bytes, bytes | None]] = []  # all that there ever were
        self.machine.on_change = self._changed
        # Per index: the state after it; keys and values, sessions, how many commands
        self.states: list[tuple[dict[bytes, bytes], object, int]] = [
            ({}, known_by(self.sessions), 0)
        ]
        self.rotten: set[int] = set()  # nodes whose flash has lost something
        self.results: dict[bytes, bytes] = {}  # header of a command -> result of its first copy
        self.expired: set[bytes] = set()  # headers of which a copy found its session expired
        self.now_us = 0  # by a clock that all nodes' clocks run about as fast as
        self.born: dict[tuple[int, int], int] = {}  # (index, term) -> when its leader appended it
        self.times: list[tuple[int, int]] = []  # cluster time -> when the last of it was born
        self.positions: dict[bytes, int] = {}  # header of a command -> index of its first copy
        self.told = 0  # index up to which clients know the state
        self.happened: dict[str, int] = {}  # how often, of what is worth counting

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def count(self, what: str) -> None:
        self.happened[what] = self.happened.get(what, 0) + 1

    # What clients see

    def client_opened(self, session: int) -> None:
        """A session was acknowledged."""
        if session > len(self.committed) or command_of(self.committed[session - 1][2]) != OPEN:
            raise Violation("session %d was acknowledged and is not committed" % session)
        self.told = max(self.told, session)

    def client_wrote(self, header: bytes, result: bytes) -> None:
        """A command of a session was acknowledged with that result."""
        if header not in self.results:
            raise Violation("a command was acknowledged that is not committed")
        if result[0] == EXPIRED:
            if header not in self.expired:
                raise Violation("a session has expired for its client alone")
            self.count("expired")
            return
        if self.results[header] != result:
            raise Violation("a command's result is %r, not %r" % (result, self.results[header]))
        self.told = max(self.told, self.positions[header])
        self.count("writes")

    def client_read(self, key: bytes, value: "bytes | None", told: int) -> None:
        """A read was answered; `told` is what clients knew when it began."""
        for index, version in reversed(self.machine.versions.get(key, [(0, None)])):
            if version == value:
                self.told = max(self.told, index)
                self.count("reads")
                return
            if index <= told:
                break
        raise Violation("a read of %r gave %r, which is stale or never was" % (key, value))

    def client_watched(
        self, prefix: bytes, after: int, upto: int, told: list[tuple[int, bytes, "bytes | None"]]
    ) -> None:
        """A client was told the changes behind `after` and up to `upto`."""
        if not after <= upto <= len(self.committed):
            raise Violation("a watch from %d on goes on from %d" % (after, upto))
        changes = [c for c in self.changes if after < c[0] <= upto and c[1].startswith(prefix)]
        if told != changes:
            raise Violation(
                "a watch of %r from %d to %d was told %s of %s"
                % (prefix, after, upto, told, changes)
            )
        self.count("watched changes" if told else "quiet watches")

    def _changed(self, key: bytes, value: "bytes | None") -> None:
        self.changes.append((self.machine.index, key, value))

    # What nodes do

    def commits(self, life: "Life", index: int, entry: tuple[int, int, bytes]) -> None:
        """A node holds that the entry at `index` is committed."""
        if index <= len(self.committed):
            if self.committed[index - 1] != entry:
                raise Violation("State Machine Safety: two entries are committed at %d" % index)
            return
        core = life.core
        if core.role != LEADER:
            raise Violation("node %d commits %d before any leader has" % (core.node, index))
        voters = core.members.voters
        durable = sum(
            node in self.rotten
            or node in self.disks
            and self.disks[node].log[index - 1 : index] == [entry]
            for node in voters
        )
        if durable * 2 <= len(voters):
            raise Violation("entry %d is committed, and durable on %d nodes" % (index, durable))
        self.committed.append(entry)
        self.committed_in.append(core.term)
        self.committed_at.append(self.now_us)
        if entry[1] == COMMAND:
            self._apply(index, entry[0], entry[2])
        elif entry[1] == CONFIG:
            self._configures(index, Members(entry[2]))
        machine = self.machine
        self.states.append((dict(machine._values), known_by(self.sessions), len(machine.executed)))
        for other in self.lives:
            if other.core.role == LEADER and other.core.term > core.term:
                other.holds_committed()

    def _configures(self, index: int, new: Members) -> None:
        if self.configurations:
            old = self.configurations[-1][1]
            moved = set(old.voters) ^ set(new.voters)
            if len(moved) > 1 or not new.voters:
                raise Violation("the voters change from %s to %s" % (old.voters, new.voters))
            for node in sorted(set(old.ids) | set(new.ids)):
                self._count_change(old.role(node), new.role(node))
        self.configurations.append((index, new))

    def _count_change(self, before: int, after: int) -> None:
        if not after and before:
            self.count("removed")
        elif not before and after:
            self.count("added")
        elif before != after:
            self.count("dead" if after == DEAD else "back" if before == DEAD else
                       "promoted" if after == STANDBY else "became %s" % ROLES[after])  # fmt: skip

    def _apply(self, index: int, term: int, data: bytes) -> None:
        header = command_of(data)
        executed = len(self.machine.executed)
        self.machine.index = index
        result = self.sessions.apply(index, data)
        self._time_moved(self.born[index, term])
        if result[0] == EXPIRED:
            self.expired.add(header)
        if header in self.results:
            if len(self.machine.executed) != executed:
                raise Violation("the command at %d takes effect a second time" % index)
        elif has_session(data):
            self.results[header] = result
            self.positions[header] = index

    def _time_moved(self, born: int) -> None:
        """Cluster time may be slower than any clock, but not faster than the fastest."""
        now = self.sessions.time
        if self.times and self.times[-1][0] == now:
            self.times[-1] = now, born
            return
        for time, before in self.times:
            if (now - time - 1) * 1_000_000 * 10 > (born - before) * FASTEST:
                raise Violation("%d s of cluster time pass in %d us" % (now - time, born - before))
        self.times.append((now, born))


def command_of(data: bytes) -> bytes:
    """What tells a command in an entry from all others; of an opening one, that it is."""
    return data[STAMP_BYTES : STAMP_BYTES + HEADER_BYTES]


def known_by(sessions: Sessions) -> object:
    """All that it knows beside its machine's state, to compare."""
    return sessions.time, sessions._life, dict(sessions._sessions)


class Life:
    """One node from one start to the next crash, and what its flash has to hold.

    disk: hard state and log that its flash must hold. Raises Violation if the node has not found
    just that, or additionally a prefix of `write`, which a crash had cut. If its flash has lost
    something since, it may have found less, but must say so.
    """

    def __init__(  # type: ignore[no-untyped-def]
        self, watch: Watch, node, disk: Model, write: "Write | Install | None", has_lost: bool
    ) -> None:
        self.watch = watch
        self.node = node
        self.core = node.core
        self.write: Write | Install | None = None
        try:
            store = node.store
            if has_lost and store.doubt or store.damage and node.id in watch.rotten:
                self.disk = self._remains()
                watch.rotten.add(node.id)
            else:
                self.disk = disk.found(node.store, write)
        except AssertionError as e:
            raise Violation("node %d has lost or made up something: %s" % (node.id, e)) from e
        if not node.core.doubt:
            watch.rotten.discard(node.id)
        watch.disks[node.id] = self.disk
        if node.store.torn:
            watch.count("torn programs")
        self.commit = node.core.commit
        self._knows(self.commit, node.store.snapshot.term)
        self.term = self.disk.term
        self.vote = self.disk.vote
        self.matches: dict[int, int] = {}  # leader: peer -> match index
        self.led = 0  # the term it was last seen to lead
        # Of its log: index and data of each; first what it was founded with
        self.configurations = configurations(self.disk.log)
        self.configurations.insert(0, (0, node._founders.data))
        self.machine = node.sessions.machine.default
        node.store.life = node.core.log.life = self.machine.life = self
        # token -> how many entries were committed when it was asked for, and when that was
        self.reads: dict[object, tuple[int, int]] = {}
        self.asked: dict[tuple[int, int], int] = {}  # (node, question) -> when it was asked
        self._step, self.core.step = self.core.step, self._watched_step
        self._stand, self.core._stand = self.core._stand, self._watched_stand
        self._read, self.core.read = self.core.read, self._watched_read
        self._confirmed, node.service.confirmed = node.service.confirmed, self._watched_confirmed
        watch.lives.append(self)

    def _remains(self) -> Model:
        """What is left on a flash that has lost something and says so."""
        store = self.node.store
        watch = self.watch
        entries = contents(store)
        remains = Model()
        remains.term, remains.vote = store.term, store.vote
        remains.log = watch.committed[: store.base]
        before = store.base_term
        for entry in entries:  # of a log that it has had at some time, be it long ago
            remains.log.append(entry)
            known = watch.contents[len(remains.log), entry[0]]
            assert known == (before, entry[1], entry[2]), "not what it has held"
            before = entry[0]
        return remains

    def _knows(self, index: int, term: int) -> None:
        """The node has a snapshot up to there."""
        committed = self.watch.committed
        if index and (index > len(committed) or committed[index - 1][0] != term):
            raise Violation("node %d has a snapshot of what isn't committed" % self.core.node)

    def _watched_step(self, m: Message) -> None:
        # A node takes in several messages before it is driven: look in between.
        if m.kind == READ_ASK:
            self.asked.setdefault((m.src, m.ctx), self.watch.tick())
        self._step(m)
        self.look()

    def _watched_stand(self, role: int, is_sent: bool = False) -> None:
        core = self.core
        voters = core.members.voters
        if self.configurations[-1][0] > core.commit and len(self.configurations) > 1:
            voters += Members(self.configurations[-2][1]).voters
        if core.is_out or core.node not in voters:
            raise Violation("node %d stands, and is out or has no vote" % core.node)
        self._stand(role, is_sent)

    def _watched_read(self, token: object) -> None:
        self._read(token)
        self.reads[token] = (len(self.watch.committed), self.watch.tick())

    def _watched_confirmed(self, reads: list[tuple[object, int]]) -> None:
        # Stricter than what clients can see, who may not have asked in just that moment.
        core = self.core
        for token, index in reads:
            committed, begun = self.reads[token]
            if index < committed:
                raise Violation("node %d confirms a read of a past state" % core.node)
            if core.role == LEADER:
                self._is_supported(begun)
            else:
                self.watch.count("reads at followers")
        self._confirmed(reads)

    def _is_supported(self, since: int) -> None:
        """A majority has answered this leader since then."""
        core = self.core
        for _, data in self.configurations[-2:]:  # the last may be younger than the answers
            voters = Members(data).voters
            support = sum(
                voter == core.node or self.watch.answered.get((voter, self.led), 0) > since
                for voter in voters
            )
            if support * 2 > len(voters) or core.lease:
                return
        raise Violation("node %d confirms a read without a majority" % core.node)

    def end(self) -> None:
        self.watch.count("crashes")
        self.watch.lives.remove(self)

    def look(self) -> None:
        """Check all that can be seen from outside."""
        core = self.core
        if core.term != self.term or core.vote != self.vote:
            self._hard_state_moved()
        if not core.doubt:
            self.watch.rotten.discard(core.node)
        if core.role == LEADER:
            self._leads()
        if core.commit != self.commit:
            self._commit_moved()
        if (core.members_index, core.members.data) != self.configurations[-1]:
            if not core.log.installed:  # else it isn't durable yet
                raise Violation("node %d has another configuration than its log" % core.node)

    def tells_its_age(self, message_us: int) -> None:
        """What it says of how old its copy is (`Core.age_ms`), must be true; but for the time that
        a message takes at most, and for which a leader stood still."""
        core, watch = self.core, self.watch
        age_ms = core.age_ms()
        if core.commit >= len(watch.committed) or age_ms == MAX_NUMBER:
            return
        unknown_us = watch.now_us - watch.committed_at[core.commit]
        if unknown_us > age_ms * 1000 * FASTEST // 10 + message_us + STILL_US:
            raise Violation(
                "node %d's copy is %d ms old, not %d" % (core.node, unknown_us // 1000, age_ms)
            )

    def _hard_state_moved(self) -> None:
        core = self.core
        if core.term < self.term:
            raise Violation(
                "node %d: the term falls from %d to %d" % (core.node, self.term, core.term)
            )
        if core.term == self.term and self.vote:
            raise Violation("node %d: the vote of term %d changes" % (core.node, core.term))
        self.term = core.term
        self.vote = core.vote

    def _commit_moved(self) -> None:
        core = self.core
        if core.commit < self.commit:
            raise Violation("node %d: the commit index falls" % core.node)
        if core.commit > core.log.last:
            raise Violation("node %d: the commit index is beyond the log" % core.node)
        known = len(self.watch.committed)
        if core.commit > known and core.log.term(core.commit) != core.term:
            raise Violation("node %d commits an entry of an earlier term by counting" % core.node)
        index = self.commit
        snapshot = core.log.installed or core.log.snapshot()
        if index < snapshot.index <= core.commit:
            self._knows(snapshot.index, snapshot.term)
            index = snapshot.index
        while index < core.commit:
            for entry in core.log.slice(index + 1, SECTOR_BYTES, 0)[: core.commit - index]:
                index += 1
                self.watch.commits(self, index, entry)
        self.commit = core.commit

    # Leaders

    def _leads(self) -> None:
        core = self.core
        if self.led != core.term:
            self._begins_to_lead()
        bytes = core.leading.uncommitted
        if core.commit < core.members_index:
            bytes -= len(core.members.data)
        if bytes > core.uncommitted_bytes and core.log.last > core.commit + 1:
            raise Violation("leader %d: %d bytes are uncommitted" % (core.node, bytes))
        acknowledged = self.watch.acknowledged
        matches = self.matches
        for peer in [peer for peer in matches if peer not in core.peers]:
            del matches[peer]
        for peer, progress in core.peers.items():
            match = 0 if progress.doubts else progress.match
            if progress.doubts:
                matches[peer] = 0
            if match != matches.get(peer, 0):
                if match < matches.get(peer, 0):
                    raise Violation("leader %d: node %d's match index falls" % (core.node, peer))
                if match > acknowledged.get((peer, core.term), 0):
                    raise Violation("leader %d: node %d never had %d" % (core.node, peer, match))
                matches[peer] = match

    def _begins_to_lead(self) -> None:
        core, watch = self.core, self.watch
        self.led = core.term
        self.matches.clear()
        watch.count("elections")
        if watch.leaders.setdefault(core.term, core.node) != core.node:
            raise Violation("Election Safety: term %d has two leaders" % core.term)
        if core._is_sent:
            watch.count("handed over")
        votes = int(core.node in core.members.voters)  # its own
        for voter in core.members.voters:
            votes += watch.votes.get((voter, core.term)) == core.node and voter != core.node
        if votes * 2 <= len(core.members.voters):
            raise Violation("node %d leads term %d with %d votes" % (core.node, core.term, votes))
        self.holds_committed()

    def holds_committed(self) -> None:
        core, watch = self.core, self.watch
        index = len(watch.committed)
        while index and watch.committed_in[index - 1] >= core.term:
            index -= 1
        if index and not core.log.matches(index, watch.committed[index - 1][0]):
            raise Violation("Leader Completeness: leader %d lacks entry %d" % (core.node, index))

    # The log

    def appends(self, index: int, entry: tuple[int, int, bytes]) -> None:
        core = self.core
        if entry[0] > core.term or core.role == LEADER and entry[0] != core.term:
            raise Violation("node %d appends an entry of term %d" % (core.node, entry[0]))
        if core.role == LEADER:
            self.watch.born[index, entry[0]] = self.watch.now_us
        before = core.log.last_term
        if entry[0] < before:
            raise Violation("node %d: the terms of its log fall" % core.node)
        content = (before, entry[1], entry[2])
        if self.watch.contents.setdefault((index, entry[0]), content) != content:
            raise Violation("Log Matching: two entries %d of term %d" % (index, entry[0]))
        if entry[1] == CONFIG:
            self.configurations.append((index, entry[2]))

    def begins_anew(self, index: int) -> None:
        """Its log begins behind the snapshot that stands for the entries up to `index`."""
        self.configurations[1:] = configurations(self.watch.committed[:index])

    def truncates(self, index: int) -> None:
        core = self.core
        while self.configurations[-1][0] >= index:
            self.configurations.pop()
        if core.doubt:
            return  # it has forgotten what it acknowledged
        self.watch.count("conflicts")
        if core.role == LEADER:
            raise Violation("Leader Append-Only: leader %d drops entry %d" % (core.node, index))
        if index <= core.commit:
            raise Violation("node %d drops the committed entry %d" % (core.node, index))
        if index <= self.watch.acknowledged.get((core.node, core.term), 0):
            raise Violation(
                "node %d drops entry %d, acknowledged in this term" % (core.node, index)
            )

    # The flash

    def writes(self, write: Write) -> None:
        if self.write:
            raise Violation("node %d writes on after a failed write" % self.core.node)
        disk = self.disk
        if write.save and (
            write.term < disk.term
            or write.term == disk.term and disk.vote and disk.vote != write.vote
        ):  # fmt: skip
            raise Violation("node %d saves a term or vote over a later one" % self.core.node)
        if write.entries and write.first > len(disk.log) + 1:
            raise Violation("node %d leaves a gap in its flash log" % self.core.node)
        self.write = write

    def ends_snapshot(self, snapshot, keeps: bool) -> None:  # type: ignore[no-untyped-def]
        self.look()
        self.watch.count("snapshots" if keeps else "installed")
        self._knows(snapshot.index, snapshot.term)
        if not keeps:
            self.write = Install(self.watch.committed[: snapshot.index])

    def restored(self, index: int) -> None:
        """The machine has taken in a snapshot that stands for the entries up to `index`."""
        values, sessions, executed = self.watch.states[index]
        if self.machine._values != values or known_by(self.node.sessions) != sessions:
            raise Violation("node %d has restored another state" % self.core.node)
        self.machine.executed = self.watch.machine.executed[:executed]

    def has_written(self) -> None:
        if self.write:
            self.disk.take(self.write)
        self.write = None

    # Messages

    def sends(self, m: Message) -> None:
        """A message leaves: nothing in it may be forgotten by a crash in this moment."""
        self.look()
        disk, kind = self.disk, m.kind
        # A pre-vote names a term that nobody is in yet; its granted answer gives that back.
        is_promise = not (kind == PRE_VOTE_REPLY and m.index)
        if is_promise and m.term > disk.term + (kind == PRE_VOTE):
            raise Violation("node %d sends term %d, which isn't durable" % (m.src, m.term))
        if kind not in (DOUBT_REPLY, DOUBT_REJECT) and m.commit > len(self.watch.committed):
            raise Violation("node %d tells of a commit of %d" % (m.src, m.commit))
        if self.core.doubt and kind not in (PRE_VOTE_REPLY, VOTE_REPLY, RESCUE):
            if kind in (APPEND_REPLY, APPEND_REJECT, VOTE, APPEND, COMMIT):
                raise Violation("node %d takes part and can't trust its flash" % m.src)
        elif kind in (APPEND_REPLY, APPEND_REJECT):
            self._answers(m)
        elif kind == VOTE or kind == VOTE_REPLY and m.index:
            self._votes(m.src if kind == VOTE else m.dst, m)
        elif kind in (APPEND, COMMIT, SNAPSHOT, TRUST):
            if self.watch.leaders.get(m.term) != m.src:
                raise Violation("node %d sends as leader of term %d" % (m.src, m.term))
            if kind == TRUST:
                self.watch.count("trusted")
            self.watch.rounds[m.term] = max(m.ctx, self.watch.rounds.get(m.term, 0))
        elif kind == READ_REPLY:
            self._is_supported(self.asked[m.dst, m.ctx])
        elif kind == RESCUE:
            self.watch.count("rescues")
            if self.watch.leaders.get(m.term) != m.dst:
                raise Violation("node %d rescues entries to one that never led" % m.src)

    def _votes(self, candidate: int, m: Message) -> None:
        # In a later term the vote of an earlier one can't be given again, durable or not.
        if self.disk.term == m.term and self.disk.vote != candidate:
            raise Violation("node %d's vote in term %d isn't durable" % (m.src, m.term))
        if self.watch.votes.setdefault((m.src, m.term), candidate) != candidate:
            raise Violation("node %d votes twice in term %d" % (m.src, m.term))

    def _answers(self, m: Message) -> None:
        # Or else a round sent later could pass for answered, and with it a read.
        if m.ctx > self.watch.rounds.get(m.term, 0):
            raise Violation("node %d answers a round that wasn't sent in term %d" % (m.src, m.term))
        self.watch.answered[m.src, m.term] = self.watch.tick()
        if m.kind == APPEND_REPLY:
            self._acknowledges(m)

    def _acknowledges(self, m: Message) -> None:
        log = self.disk.log
        if self.disk.term == m.term and m.index:  # a later leader may have replaced it since
            if self.core.log.store.reaches(m.index):
                term = self.core.log.term(m.index)
            else:  # it has gone into a snapshot since
                term = self.watch.committed[m.index - 1][0]
            if m.index > len(log) or log[m.index - 1][0] != term:
                raise Violation("node %d acknowledges %d, which isn't durable" % (m.src, m.index))
        key = (m.src, m.term)
        self.watch.acknowledged[key] = max(m.index, self.watch.acknowledged.get(key, 0))

    # The state machine

    def executes(self) -> None:
        """It applies one more command, the last of `machine.executed`."""
        self.look()
        mine, all_of_them = self.machine.executed, self.watch.machine.executed
        if len(mine) > len(all_of_them) or mine[-1] != all_of_them[len(mine) - 1]:
            raise Violation("State Machine Safety: node %d applies something else" % self.core.node)


def configurations(log: list[tuple[int, int, bytes]]) -> list[tuple[int, bytes]]:
    """(index, data) of each configuration in a log that begins with entry 1."""
    return [(i + 1, entry[2]) for i, entry in enumerate(log) if entry[1] == CONFIG]
