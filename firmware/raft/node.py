"""The driver: the only place where core, store, transport and clock meet."""

import asyncio

from raft import interpreter, messages, udp
from raft.access import Gate
from raft.changes import Changes
from raft.compaction import Compaction, sectors_needed
from raft.core import ELECTION_MS, HEARTBEAT_MS, LEADER, ROLES, Core, Refused
from raft.events import Events
from raft.hello import Greeter
from raft.interpreter import sleep_ms, ticks_diff, ticks_ms
from raft.kv import KeyValue
from raft.leading import OTHERS_PACE_MS
from raft.log import Log
from raft.machines import Machines
from raft.messages import Codec, Message
from raft.seal import Seal
from raft.service import Service
from raft.sessions import SESSION_S, Sessions
from raft.store import Store
from raft.udp import AUTO, Endpoint, resolve, with_port

STATE_KB = 24  # RAM for the state machine's contents
WATCH_KB = 4  # RAM for its latest changes
REPORT_MS = 2000  # between two `stat` events
DEAD_S = 600  # without a word from a voter: it is taken for dead
LEAST_VOTERS = 3  # that are left when the dead are removed
LEAVE_STEP_MS = 10
MAX_BURST = 16  # datagrams taken in before anything else has its turn
APPLY_BURST = 16  # entries applied before anything else has its turn


class Node:
    """One node of a cluster; it takes part once it is opened and served.

    config: as `config.json` holds it (firmware/README.md). machine: the state machine; by
    default a key-value store. events: where its event lines go; by default to stdout.
    now: when the clock was last looked at, in ticks. has_ticked: set whenever it has run
    (board/watchdog.py). facts: dicts of what `stat` events and the status tell beside the node's
    own. Raises ConfigError.
    """

    VERSION = "0.1.0"

    def __init__(self, config, machine=None, events=None):
        from raft.config import checked, founders  # here: a board may unload it (firmware/main.py)

        self.id, self.cluster, self._keys, self._peers = checked(config)
        self.events = events or Events(self.id)
        kv = machine or KeyValue(config.get("state_kb", STATE_KB) * 1024)
        self.sessions = Sessions(Machines(kv))
        self.changes = Changes(config.get("watch_kb", WATCH_KB) * 1024)
        kv.on_change = self.changes.add
        self.applied = 0
        self.dropped = 0  # datagrams that were no messages
        self.appended = 0  # entries made durable since start
        self.has_ticked = False
        self.facts = []
        self._heartbeat_ms = config.get("heartbeat_ms", HEARTBEAT_MS)
        self._election_ms = config.get("election_ms", ELECTION_MS)
        self._founders = founders(self.id, self._peers)
        self._lease = config.get("lease", False)
        dead = config.get("dead", {})
        self.dead_ms = dead.get("after_s", DEAD_S) * 1000
        self._removes_dead = dead.get("remove", False)
        self._least_voters = dead.get("least", LEAST_VOTERS)
        self._report_ms = config.get("report_ms", REPORT_MS)
        self._session_s = config.get("session_s", SESSION_S)
        self.is_secret = config.get("secrecy", False)
        self._message = Message()
        self._role = self._term = self._leader = None  # as last told
        self._is_amid = False  # a step has begun, and not ended
        self._tasks = []
        self._failure = None
        self._stopped = asyncio.Event()

    def open(self, partition, memory=None):
        """Read the flash log, and open the sockets.

        partition: its block device. memory: a second place for the identity of the flash, with
        `load() -> int` (0: none) and `save(int)`; without one, a flash that was wiped or swapped
        isn't recognised. Raises ConfigError, StoreError, OSError.
        """
        # Here: see __init__.
        from raft.config import ConfigError
        from raft.recovery import identify

        self.draw = interpreter.draw
        self.store = Store(partition, self.id)
        needed = sectors_needed(self.sessions.max_bytes)
        if self.store.sectors < needed:
            raise ConfigError(
                "a state machine of %d bytes (state_kb in config.json) needs a raft partition of "
                "%d KB, this one has %d KB"
                % (self.sessions.max_bytes, needed * 4, self.store.sectors * 4)
            )
        self._stranger = identify(self.store, memory, self.draw) if memory else None
        self.seal = Seal(self.id, self._keys, self.draw, self.is_secret)
        self.codec = Codec(self.id, self.seal.sessions)
        self.gate = Gate(self.id, self._keys, self.draw, self.codec.buf)
        self.core = Core(
            self.id, self._founders, Log(self.store), self.store.term, self.store.vote,
            self.draw, self._heartbeat_ms, self._election_ms, self.store.doubt,
            self._lease, self.dead_ms if self._removes_dead else 0, self._least_voters,
        )  # fmt: skip
        self.compaction = Compaction(self.store, self.core, self.sessions)
        self._faults = 0
        self._doubt = self.core.doubt
        self.now = self._reported = self._greeted = ticks_ms()
        self._places = {
            peer: (entry["host"], entry["port"], entry["client_port"])
            for peer, entry in self._peers.items()
        }
        self._members = None  # as last told
        self._is_out = False
        self._peers = None  # some heap
        host, port, client_port = self._places[self.id]
        heads = messages.heads_of(self.id, self._keys)
        self.endpoint = Endpoint(_bound_to(host, port), self.codec.buf, heads)
        self._clients = Endpoint(_bound_to(host, client_port))
        self._client_address = resolve(udp.OWN if host == AUTO else host, client_port)
        self.service = Service(self, self._clients, self._session_s)
        self.addresses = {}  # of other nodes, those that were members too; None: not known yet
        for peer in self.others():
            self._note_address(peer)
        self.greeter = Greeter(self, self.seal, self._clients, self._places, self.addresses)

    def age_ms(self):
        """How old its copy of the state may be, in ms: see `Core.age_ms`."""
        if self.applied < self.core.commit:
            return messages.MAX_NUMBER
        return self.core.age_ms()

    def others(self):
        """The ids of all other nodes."""
        return sorted([node for node in self._places if node != self.id])

    def client_address(self, node):
        """Where that node, which may be this one, listens to clients; None if it isn't known."""
        if node not in self._places:
            return None
        if node == self.id:
            return self._client_address
        address = self.addresses[node]
        return with_port(address, self._places[node][2]) if address else None

    async def serve(self):
        """Take part until `stop` is called; raises what a task has failed with.

        After a failure nothing in RAM is to be trusted: make a new Node from the flash.
        """
        self._tell_recovery()
        self.greet()
        self._start("peers", self._serve_peers)
        self._start("clients", self._serve_clients)
        self._start("tick", self._tick)
        try:
            await self._stopped.wait()
        finally:
            self._stopped.set()
            for task in self._tasks:
                task.cancel()
            self.endpoint.close()
            self._clients.close()
        if self._failure:
            raise self._failure

    def stop(self):
        """End `serve`. What was acknowledged is durable already."""
        self._stopped.set()

    async def leave(self):
        """Hand leadership over, if this node has it and another can take it, and `stop`.

        Takes as long as an election timeout at most.
        """
        left_ms = self.core.election_high if self._begins_to_hand_over() else 0
        while left_ms > 0 and (self.core.leading or self.service.held):
            await sleep_ms(LEAVE_STEP_MS)
            left_ms -= LEAVE_STEP_MS
        self.stop()

    def _begins_to_hand_over(self):
        if not self._begin_step():
            return False
        begins = True
        try:
            try:
                self.core.transfer()
            except Refused:  # another leads, or this one alone can: nothing to wait for
                begins = False
            self._drive()
            self._is_amid = False
        except Exception as e:
            begins = False
            self._failed("leave", e)
        return begins

    # The tasks

    def _start(self, name, task):
        self._tasks.append(asyncio.create_task(self._supervise(name, task)))

    async def _supervise(self, name, task):
        try:
            await task()
            self._failed(name, RuntimeError("it has ended"))
        except asyncio.CancelledError:
            if self._stopped.is_set():
                raise
            self._failed(name, RuntimeError("it was cancelled"))
        except Exception as e:
            self._failed(name, e)

    def _failed(self, name, error):
        self._failure = self._failure or error
        self._stopped.set()  # first: to tell it may take more memory than there is
        self.events("crash", task=name, error=repr(error))

    def _begin_step(self):
        """Whether another step may begin; who has begun one sets `_is_amid` back at its end.

        Not after one that has failed in the middle: what that has left in RAM must not get into
        the flash, nor to other nodes, while the node comes to its end.
        """
        if self._is_amid:
            return False
        self._is_amid = True
        return True

    async def _serve_peers(self):
        await self.endpoint.serve(self._hear_peers)

    async def _serve_clients(self):
        await self._clients.serve(self._hear_clients)

    async def _tick(self):
        while True:
            await sleep_ms(self._pause_ms())
            if self._begin_step():
                self._pass_tick()
                self._is_amid = False

    def _pause_ms(self):
        if self.applied < self.core.commit:
            return 0  # a long log is being applied: others have their turn, and on it goes
        leading = self.core.leading
        if leading and leading.others_wait:
            return min(OTHERS_PACE_MS, max(1, leading.due_ms()))
        # At most a heartbeat's time: a follower may become leader meanwhile.
        return max(1, min(self.core.due_ms(), self._heartbeat_ms))

    def _use_quiet(self):
        """Nothing is to be sent for a while: erase a sector, or write a slice of a snapshot."""
        self.store.idle() or self.compaction.step(self.applied)

    # Their steps, none of which waits for anything but the flash

    def _pass_tick(self):
        self._take_in()  # after a stall, what has waited in the socket goes first
        self.core.tick()
        self._drive()
        self.greet()
        self.has_ticked = True
        if self.service.watching:
            self.service.watching.tick()
        if self.core.due_ms() >= self._heartbeat_ms // 2:
            self._use_quiet()
        if ticks_diff(self.now, self._reported) >= self._report_ms:
            self._reported = self.now
            self._report()

    def greet(self):
        """Ask other nodes who and where they are, if it is time to."""
        self.greeter.step(ticks_diff(self.now, self._greeted))
        self._greeted = self.now

    def pass_time(self):
        """Look at the clock. By it is judged what has come already, and never what comes later.

        Else a node that has stood still in between would believe in a lease that is over.
        """
        now = ticks_ms()
        self.core.pass_time(ticks_diff(now, self.now))
        self.now = now

    def _hear_peers(self):
        if self._begin_step():
            self._take_in()
            self._drive()
            self._is_amid = False

    def _hear_clients(self):
        if self._begin_step():
            self.service.receive(MAX_BURST)
            self._drive()
            self._take_in()  # acknowledgements that came while the command was written
            self._drive()
            self._is_amid = False

    def _take_in(self):
        # Until all that was read is taken: then the buffer is free for what is to be sent.
        m = self._message
        taken = 0
        while taken < MAX_BURST or not self.endpoint.is_empty():
            frame = self.endpoint.receive()
            if frame is None:
                if taken == 0:
                    self.pass_time()
                return
            self.pass_time()
            taken += 1
            if self.codec.decode(frame, m):
                self.core.step(m)
            else:
                self.dropped += 1
                self.endpoint.refuse()
                if self.codec.stranger:
                    self.greeter.meet(self.codec.stranger)
                    self.codec.stranger = 0

    def _drive(self):
        """Do what the core wants done, in the order that Ready names."""
        core = self.core
        has_written = False
        while True:
            ready = core.ready()
            if ready is None:
                break
            if self.applied < core.commit and not (ready.save or ready.entries or ready.chunks):
                self._apply()  # who waits for a result goes before the news of the commit
            # A leader's entries travel while it writes them itself. Its term, if new, goes
            # to flash before anybody hears of it.
            if ready.early and not ready.save:
                self._send(ready.early)
            if ready.save or ready.entries or ready.chunks:
                self.store.write(ready)
                self.appended += len(ready.entries)
                if ready.installed:
                    self.compaction.restored = False
                has_written = True
            if ready.early and ready.save:
                self._send(ready.early)
            if ready.after:
                self._send(ready.after)
            if ready.reads:
                self.service.confirmed(ready.reads)
            core.advance()
            if core.role != LEADER:
                break  # only a leader's own write can lead to more
        if core.role != self._role or core.term != self._term or core.leader != self._leader:
            self._tell_role()
        if core.members is not self._members:
            self._meet()
        if core.is_out != self._is_out:
            self._tell_out()
        if self.service.held:
            self.service.settle()
        if self.applied < core.commit:
            self._apply()
        if self.service.reads_wait:
            self.service.answer_reads()
        if self.service.watching:
            self.service.watching.look()
        if has_written:
            self.compaction.keep_pace(self.applied)
            if self.store.faults != self._faults or core.doubt != self._doubt:
                self._tell_flash()
        if core.alarm:
            self._tell_alarm(core.alarm)

    def _send(self, letters):
        for m in letters:
            self._send_one(m)

    def _send_one(self, m):
        address = self.addresses.get(m.dst)
        if not address:
            return  # a lost datagram
        n = self.codec.encode(m)
        if n:
            self.endpoint.send(self.codec.frame(n), address)
        else:
            self.greeter.meet(m.dst)

    def _apply(self):
        core = self.core
        if self.applied < core.log.snapshot().index and not self.compaction.restored:
            self._restore()
            return
        index = self.applied
        last = min(core.commit, index + APPLY_BURST)
        while index < last:
            for term, kind, data in core.log.slice(index + 1, APPLY_BURST * 64, 0):
                index += 1
                self.changes.index = index
                result = self.sessions.apply(index, data) if kind == messages.COMMAND else b""
                self.applied = index
                self.service.applied(index, term, result)
                if index == last:
                    break

    def _restore(self):
        index = self.compaction.restore()
        if index is not None:
            self.applied = index
            self.changes.reset(index)
            self.events("restored", index=index)

    def _meet(self):
        """The configuration is another one: note where its members are."""
        core = self.core
        members = self._members = core.members
        for peer in members.ids:
            place = members.place(peer)
            if peer != self.id and place[0] and self._places.get(peer) != place:
                self._places[peer] = place
                try:
                    self._note_address(peer)  # at once, of an IP address
                except OSError:  # a name out of some config.json, which isn't known now
                    self._places[peer] = (AUTO,) + place[1:]
                    self._note_address(peer)
                self.greeter.meet(peer)
        for peer in self.others():
            if members.ids and peer not in members.ids:
                del self._places[peer]  # but there it may be told that it is out
        self.events(
            "members", index=core.members_index, voters=_listed(members.voters),
            others=_listed(members.others),
        )  # fmt: skip

    def _note_address(self, peer):
        host, port, _ = self._places[peer]
        if host == AUTO:
            self.addresses.setdefault(peer, None)  # it may have been found before it was added
        else:
            self.addresses[peer] = resolve(host, port)

    # Events

    def _tell_out(self):
        self._is_out = self.core.is_out
        if self._is_out:
            self.events("out", index=self.core.members_index)
            self.service.drop_reads()

    def _tell_recovery(self):
        store = self.store
        self.events(
            "boot", version=self.VERSION, interpreter=interpreter.NAME, cluster=self.cluster
        )
        self.events(
            "recovered", term=store.term, vote=store.vote, last=store.last,
            sectors=store.used_sectors(), of=store.sectors, torn=int(store.torn),
            snapshot=store.snapshot.index,
        )  # fmt: skip
        if store.damage is not None:
            self.events("damage", sound=store.last, held=store.damage)
        if self._stranger:
            self.events(self._stranger, identity=store.identity)
        if store.doubt:
            self.events("learner", last=store.last)

    def _tell_alarm(self, alarm):
        self.events("alarm", peer=alarm[0], claims=alarm[1], last=self.core.log.last)
        self.core.alarm = None

    def _tell_flash(self):
        store, core = self.store, self.core
        if store.faults != self._faults:
            self.events("flash_fault", left_out=len(store.bad), of=store.sectors)
        if core.doubt == 0 and self._doubt:
            self.events("trusted", last=core.log.last)
        self._faults = store.faults
        self._doubt = core.doubt

    def _report(self):
        core = self.core
        if self.seal.renew():
            self.greeter.look()
        more = {}
        for facts in self.facts:
            more.update(facts)
        self.events(
            "stat", role=core.role_name(), term=core.term, leader=core.leader,
            commit=core.commit, applied=self.applied, last=core.log.last,
            heap=interpreter.free_heap() or 0, **more,
        )  # fmt: skip

    def _tell_role(self):
        core = self.core
        if self._role == LEADER:  # no longer, or in a new term
            self.service.lost_leadership()
        self._role = core.role
        self._term = core.term
        self._leader = core.leader
        facts = {"term": core.term, "last": core.log.last}
        if core.role != LEADER and core.leader:
            facts["leader"] = core.leader
        self.events(ROLES[core.role], **facts)


def _listed(nodes):
    return ",".join([str(node) for node in nodes])


def _bound_to(host, port):
    """What an endpoint of this node is told."""
    return port if host == AUTO else resolve(host, port)
