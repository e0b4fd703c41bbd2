"""A node for programs: what they share with other nodes, and what they do beside their own.

    from raft import Node

    node = Node.from_config()
    settings = node.dict("settings")
    node.on_role(lambda role: led.value(role == "leader"))
    node.run()

firmware/README.md tells more ("Programs"). Until `run`, nothing of this touches flash or network.
"""

import asyncio

from raft.node import Node as Driver

TIMEOUT_MS = 5000

hosts = []  # what runs a program's node: main.py, which knows the board, puts itself here


class Node(Driver):
    """A node, and what a program wants of it.

    settings, nodes: the keys `app` and `nodes` of config.json (dicts). timeout_ms: how long the
    cluster is asked at most, each time.
    """

    def __init__(self, config, machine=None, events=None):
        super().__init__(config, machine, events)
        self.settings = config.get("app", {})
        self.nodes = config["nodes"]
        self.timeout_ms = TIMEOUT_MS
        self._client = None
        self._supervisor = None  # from `begin` on
        self._waiting = []  # (name, function, args): to be started then
        # What was so when the tasks below were woken last, and what wakes them
        self._was_role = self._was_leading = None
        self._news = asyncio.Event()

    @classmethod
    def from_config(cls):
        """The node that `config.json` in the working directory describes. Raises ConfigError."""
        from raft.config import load

        return cls(load())

    def run(self):
        """Run node and program, until the node is stopped, or fails: then it raises why."""
        if not hosts:
            raise RuntimeError(
                "node.run() wants main.py around it: reset the board, or on a desk start the "
                "program with `raftctl node --id N --app FILE.py`"
            )
        hosts[0](self)

    # What nodes share

    def dict(self, name):
        """The dict of that name (shared.Dict)."""
        from raft.shared import Dict

        return Dict(self, _checked(name) + "/")

    def counter(self, name):
        """The counter of that name (shared.Counter)."""
        from raft.shared import Counter

        return Counter(self, _checked(name).encode())

    def lock(self, name, ttl_s=10):
        """The lock of that name, for `async with` (lock.Lock)."""
        from raft.lock import Lock

        return Lock(self, _checked(name).encode(), ttl_s)

    def machine(self, name, machine):
        """Add a state machine of the program's own, before `run`; how to use it (shared.Machine).

        machine: as firmware/README.md describes them. name: 1 to 16 bytes; the same on all nodes.
        """
        from raft.shared import Machine

        if self._supervisor:
            raise RuntimeError("a state machine is added before node.run()")
        self.sessions.machine.add(name.encode(), machine)
        return Machine(self, name.encode())

    def client(self):
        """Asks the cluster: the one client of all that the program shares (client.Client)."""
        if self._client is None:
            if self._supervisor is None:
                raise RuntimeError("nothing can be asked of the cluster before node.run()")
            from raft.client import Client

            self._client = Client(self, self.timeout_ms)
        return self._client

    # What it knows

    def is_stopped(self):
        return self._stopped.is_set()

    def local(self, query):
        """What its own copy of the state answers (bytes), perhaps an old one; None: malformed."""
        return self.sessions.machine.query(query)

    def members(self):
        """Who belongs to the cluster, by rising id, as this node knows it (list of dicts).

        Of each: id, role ("voter", "standby": a voter soon, "learner", "dead"), priority, host,
        port, client_port, and whether it leads, as far as this node knows.
        """
        from raft.members import ROLES

        core, known = self.core, []
        for member in core.members.ids:
            host, port, client_port = core.members.place(member)
            known.append(
                {
                    "id": member,
                    "role": ROLES[core.members.role(member)],
                    "priority": core.members.priority(member),
                    "host": host,
                    "port": port,
                    "client_port": client_port,
                    "leads": member == core.leader,
                }
            )
        return known

    def status(self):
        """What the node knows of itself, as `raftctl status --json` tells it (dict)."""
        from raft.status import status

        return status(self)

    # What runs beside the node. Each is a task that is started again when it fails.

    def task(self, function):
        """Run the coroutine function beside the node; a decorator, too."""
        self._beside(_name(function), function)
        return function

    def on_role(self, call):
        """Call `call(role)` at the start, and whenever the role has changed.

        role: "follower", "precandidate", "candidate", "leader"; "learner" while it has no vote,
        "out" when it is no member any more. Of quick changes only the last may be told. It must
        not block.
        """
        self._beside("on_role", self._tell_program, call)
        return call

    def leader_only(self, function):
        """Run the coroutine function while this node leads, and cancel it then; a decorator, too.

        It begins when the node's own copy has all that was committed before. A leader that is
        cut off notices after an election timeout, and there may be another one by then: what
        must never be done twice at a time wants a lock.
        """
        self._beside(_name(function), self._while_leading, function)
        return function

    def begin(self, supervisor):
        """The node is open: start what waits. supervisor: a board.tasks.Tasks."""
        self._supervisor = supervisor
        for name, function, args in self._waiting:
            supervisor.start(name, function, *args)
        self._waiting = []

    def _beside(self, name, function, *args):
        if self._supervisor:
            self._supervisor.start(name, function, *args)
        else:
            self._waiting.append((name, function, args))

    def _drive(self):
        super()._drive()
        role = self.core.role_name()
        leading = self._leading()
        if role != self._was_role or leading != self._was_leading:
            self._was_role = role
            self._was_leading = leading
            self._news.set()
            self._news = asyncio.Event()

    def _leading(self):
        """The term in which this node leads, and knows all of before; or 0."""
        leading = self.core.leading
        return self.core.term if leading and self.applied >= leading.own_term_from else 0

    async def _tell_program(self, call):
        told = None
        while True:
            role = self.core.role_name()
            if role != told:
                told = role
                call(role)
            else:
                await self._news.wait()

    async def _while_leading(self, function):
        while True:
            term = self._leading()
            if term:
                task = self._supervisor.start(_name(function), function)
                try:
                    while self._leading() == term:
                        await self._news.wait()
                finally:
                    self._supervisor.drop(task)
            else:
                await self._news.wait()


def _checked(name):
    if not name or "/" in name:
        raise ValueError("a name is not empty and has no '/': %r" % name)
    return name


def _name(function):
    return getattr(function, "__name__", "task")
