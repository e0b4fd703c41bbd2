"""What must hold in every state of a cluster, looked at after every step; portable.

The names are those of the Raft paper's figure 3 where it has one. Each check costs a few
comparisons: a log is compared entry by entry as it grows, never as a whole, because two entries
of one index and term that agree, and whose predecessors' terms agree, carry Log Matching on.
"""

from raft.core import LEADER
from raft.kv import KeyValue
from raft.log import Log
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    RESCUE,
    VOTE,
    VOTE_REPLY,
    Message,
)
from raft.sessions import HEADER_BYTES, OPEN, Sessions, has_session
from raft.store import Store
from tests.store.model import Model, Write


class Violation(Exception):
    """Something that must never be has been."""


class WatchedStore(Store):
    """Tells its node's life what is to be written and what has been."""

    life: "Life"

    def append(self, save, term, vote, first, entries):  # type: ignore[no-untyped-def]
        self.life.writes(Write(save, term, vote, first, list(entries)))
        super().append(save, term, vote, first, entries)
        self.life.has_written()


class WatchedLog(Log):
    """Tells its node's life how it changes."""

    life: "Life"

    def append(self, entry: tuple[int, int, bytes]) -> None:
        self.life.appends(self.last + 1, entry)
        super().append(entry)

    def truncate(self, index: int) -> None:
        self.life.truncates(index)
        super().truncate(index)


class WatchedMachine(KeyValue):
    """A key-value store that knows its own history.

    life: of the node that it belongs to, if it isn't the reference.
    """

    def __init__(self, life: "Life | None" = None) -> None:
        super().__init__(1 << 29)
        self.life = life
        self.executed: list[bytes] = []  # all commands
        self.versions: dict[bytes, list[tuple[int, bytes | None]]] = {}  # (index, value) per key
        self.index = 0  # of the entry being applied

    def apply(self, payload: memoryview) -> bytes:
        command = bytes(payload)
        self.executed.append(command)
        if self.life:
            self.life.executes()
        result: bytes = super().apply(payload)
        key = command[2 : 2 + command[1]]
        self.versions.setdefault(key, [(0, None)]).append((self.index, self._values.get(key)))
        return result


class Watch:
    """What the cluster as a whole has promised so far."""

    def __init__(self, voters: list[int]) -> None:
        self.voters = voters
        self.leaders: dict[int, int] = {}  # term -> node
        self.votes: dict[tuple[int, int], int] = {}  # (node, term) -> candidate
        self.acknowledged: dict[tuple[int, int], int] = {}  # (node, term) -> index
        self.rounds: dict[int, int] = {}  # term -> the latest round its leader has sent
        self.answered: dict[tuple[int, int], int] = {}  # (node, term) -> when it last did
        self.ticks = 0  # orders reads and answers
        self.contents: dict[tuple[int, int], tuple[int, int, bytes]] = {}  # see `Life.appends`
        self.committed: list[tuple[int, int, bytes]] = []
        self.committed_in: list[int] = []  # the term of the leader that committed it
        self.lives: list[Life] = []  # of the nodes that are up
        self.disks: dict[int, Model] = {}  # of all nodes
        self.machine = WatchedMachine()  # the reference: all that is committed, applied once
        self.sessions = Sessions(self.machine)
        self.results: dict[bytes, bytes] = {}  # header of a command -> result
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
        if session > len(self.committed) or self.committed[session - 1][2] != OPEN:
            raise Violation("session %d was acknowledged and is not committed" % session)
        self.told = max(self.told, session)

    def client_wrote(self, header: bytes, result: bytes) -> None:
        """A command of a session was acknowledged with that result."""
        if header not in self.results:
            raise Violation("a command was acknowledged that is not committed")
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
        durable = sum(disk.log[index - 1 : index] == [entry] for disk in self.disks.values())
        if durable * 2 <= len(self.voters):
            raise Violation("entry %d is committed, and durable on %d nodes" % (index, durable))
        self.committed.append(entry)
        self.committed_in.append(core.term)
        if entry[1] == COMMAND:
            self._apply(index, entry[2])
        for other in self.lives:
            if other.core.role == LEADER and other.core.term > core.term:
                other.holds_committed()

    def _apply(self, index: int, data: bytes) -> None:
        header = data[:HEADER_BYTES]
        executed = len(self.machine.executed)
        self.machine.index = index
        result = self.sessions.apply(index, data)
        if header in self.results:
            if len(self.machine.executed) != executed:
                raise Violation("the command at %d takes effect a second time" % index)
        elif has_session(data):
            self.results[header] = result
            self.positions[header] = index


class Life:
    """One node from one start to the next crash, and what its flash has to hold.

    disk: hard state and log that its flash must hold. Raises Violation if the node has not found
    just that, or additionally a prefix of `write`, which a crash had cut.
    """

    def __init__(self, watch: Watch, node, disk: Model, write: Write | None) -> None:  # type: ignore[no-untyped-def]
        self.watch = watch
        self.node = node
        self.core = node.core
        self.write: Write | None = None
        try:
            self.disk = disk.found(node.store, write)
        except AssertionError as e:
            raise Violation("node %d has lost or made up something: %s" % (node.id, e)) from None
        watch.disks[node.id] = self.disk
        if node.store.torn:
            watch.count("torn programs")
        self.commit = 0
        self.term = self.disk.term
        self.vote = self.disk.vote
        self.matches: dict[int, int] = {}  # leader: peer -> match index
        self.led = 0  # the term it was last seen to lead
        self.machine = node.machine.machine
        node.store.life = node.core.log.life = self.machine.life = self
        # token -> how many entries were committed when it was asked for, and when that was
        self.reads: dict[object, tuple[int, int]] = {}
        self._step, self.core.step = self.core.step, self._watched_step
        self._read, self.core.read = self.core.read, self._watched_read
        self._confirmed, node.service.confirmed = node.service.confirmed, self._watched_confirmed
        watch.lives.append(self)

    def _watched_step(self, m: Message) -> None:
        # A node takes in several messages before it is driven: look in between.
        self._step(m)
        self.look()

    def _watched_read(self, token: object) -> None:
        self._read(token)
        self.reads[token] = (len(self.watch.committed), self.watch.tick())

    def _watched_confirmed(self, reads: list[tuple[object, int]]) -> None:
        # Stricter than what clients can see, who may not have asked in just that moment.
        core, watch = self.core, self.watch
        for token, index in reads:
            committed, begun = self.reads[token]
            if index < committed:
                raise Violation("node %d confirms a read of a past state" % core.node)
            support = 1  # its own
            for voter in watch.voters:
                support += watch.answered.get((voter, self.led), 0) > begun
            if support * 2 <= len(watch.voters):
                raise Violation("node %d confirms a read without a majority" % core.node)
        self._confirmed(reads)

    def end(self) -> None:
        self.watch.count("crashes")
        self.watch.lives.remove(self)

    def look(self) -> None:
        """Check all that can be seen from outside."""
        core = self.core
        if core.term != self.term or core.vote != self.vote:
            self._hard_state_moved()
        if core.role == LEADER:
            self._leads()
        if core.commit != self.commit:
            self._commit_moved()

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
        while index < core.commit:
            index += 1
            self.watch.commits(self, index, core.log.entry(index))
        self.commit = core.commit

    # Leaders

    def _leads(self) -> None:
        core = self.core
        if self.led != core.term:
            self._begins_to_lead()
        if core._uncommitted > core._uncommitted_bytes and core.log.last > core.commit + 1:
            raise Violation("leader %d: %d bytes are uncommitted" % (core.node, core._uncommitted))
        acknowledged = self.watch.acknowledged
        matches = self.matches
        for peer, progress in core.peers.items():
            match = progress.match
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
        votes = 1  # its own
        for voter in watch.voters:
            votes += watch.votes.get((voter, core.term)) == core.node and voter != core.node
        if votes * 2 <= len(watch.voters):
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
        before = core.log.last_term
        if entry[0] < before:
            raise Violation("node %d: the terms of its log fall" % core.node)
        content = (before, entry[1], entry[2])
        if self.watch.contents.setdefault((index, entry[0]), content) != content:
            raise Violation("Log Matching: two entries %d of term %d" % (index, entry[0]))

    def truncates(self, index: int) -> None:
        core = self.core
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
        if write.save and (write.term < disk.term or write.term == disk.term and disk.vote):
            raise Violation("node %d saves a term or vote over a later one" % self.core.node)
        if write.entries and write.first > len(disk.log) + 1:
            raise Violation("node %d leaves a gap in its flash log" % self.core.node)
        self.write = write

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
        if m.commit > len(self.watch.committed):
            raise Violation("node %d tells of a commit of %d" % (m.src, m.commit))
        if kind in (APPEND_REPLY, APPEND_REJECT):
            self._answers(m)
        elif kind == VOTE or kind == VOTE_REPLY and m.index:
            self._votes(m.src if kind == VOTE else m.dst, m)
        elif kind in (APPEND, COMMIT):
            if self.watch.leaders.get(m.term) != m.src:
                raise Violation("node %d sends as leader of term %d" % (m.src, m.term))
            self.watch.rounds[m.term] = max(m.ctx, self.watch.rounds.get(m.term, 0))
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
            if m.index > len(log) or log[m.index - 1][0] != self.core.log.term(m.index):
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
