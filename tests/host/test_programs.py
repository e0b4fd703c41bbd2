"""Programs of a node, by `raftctl node --app`: what they share, and what happens when nodes die."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from host_tools.events import Event, parse
from host_tools.firmware import FIRMWARE
from tests.clusters import free_cluster
from tests.host.test_node import PATIENCE_S, Process, each_interpreter

NODES = (1, 2, 3)
APP = """
[app]
name = "leader_led"
pin = 4
"""

KEEPS_LOCK = """
import asyncio
from raft import Node

node = Node.from_config()

@node.task
async def keep():
    async with node.lock("pump", ttl_s=3) as number:
        node.events("holds", number=number)
        await asyncio.sleep(3600)

node.run()
"""

LEADS = """
import asyncio
from raft import Node

node = Node.from_config()

@node.leader_only
async def lead():
    node.events("begins", pin=node.settings["pin"])
    try:
        await asyncio.sleep(3600)
    finally:
        node.events("ends")

node.run()
"""


VOTES = """
from raft import Node

class Votes:
    max_bytes = 512

    def __init__(self):
        self.reset()

    def reset(self):
        self.count = 0

    def apply(self, payload, now):
        self.count += 1
        return b"%d" % self.count

    def is_valid(self, payload):
        return bytes(payload) == b"vote"

    def room_for(self, payload):
        return True

    def query(self, payload):
        return b"%d" % self.count

    def snapshot(self):
        return [b"%d" % self.count]

    def restore(self, chunk):
        self.count = int(chunk)

node = Node.from_config()
votes = node.machine("votes", Votes())

@node.leader_only
async def vote():
    result = await votes.command(b"vote")
    answer = await votes.query(b"")
    own = votes.local(b"")
    node.events("voted", result=int(result), answer=int(answer), own=int(own))

node.run()
"""
WITHOUT_VOTES = """
from raft import Node

Node.from_config().run()
"""


class Desk:
    """A cluster whose nodes all run that program. lines: by node."""

    def __init__(self, folder: Path, interpreter: str, program: str) -> None:
        self.file = folder / "cluster.toml"
        self.interpreter = interpreter
        self.program = folder / "program.py"
        self.program.write_text(program)
        free_cluster(self.file, len(NODES))
        self.file.write_text(self.file.read_text() + APP)
        self.running: dict[int, Process] = {}
        self.lines: dict[int, list[str]] = {node: [] for node in NODES}

    def start(self, node: int) -> None:
        command = self._command("node", "--id", str(node), "--interpreter", self.interpreter)
        command += ["--app", str(self.program)]
        self.running[node] = Process(command, lines=self.lines[node])

    def kill(self, node: int) -> None:
        self.running.pop(node).end(signal.SIGKILL)

    def raftctl(self, *arguments: str) -> str:
        return subprocess.check_output(self._command(*arguments), text=True)

    def _command(self, name: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "host_tools.cli", name, *arguments]
        return [*command, "--cluster", str(self.file)]

    def pause(self, node: int) -> None:
        os.kill(self.running[node].pid, signal.SIGSTOP)

    def go_on(self, node: int) -> None:
        os.kill(self.running[node].pid, signal.SIGCONT)

    def events(self, what: str, node: int) -> list[Event]:
        """Since that node was started last."""
        parsed = [parse(line) for line in list(self.lines[node])]
        told = [event for event in parsed if event]
        starts = [i for i in range(len(told)) if told[i].what == "boot"]
        return [event for event in told[starts[-1] if starts else 0 :] if event.what == what]

    def crashes(self, node: int) -> list[Event]:
        """In any of its lives."""
        parsed = [parse(line) for line in list(self.lines[node])]
        return [event for event in parsed if event and event.what == "crash"]

    def leader(self) -> int:
        """Who has become leader in the newest term; 0: nobody."""
        told = [event for node in NODES for event in self.events("leader", node)]
        terms = {int(event.facts["term"]): event.node for event in told}
        return terms[max(terms)] if terms else 0

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.lines
            time.sleep(0.01)


@contextmanager
def running(folder: Path, interpreter: str, program: str) -> Iterator[Desk]:
    desk = Desk(folder, interpreter, program)
    try:
        for node in NODES:
            desk.start(node)
        yield desk
    finally:
        for node in list(desk.running):
            desk.kill(node)
    assert not any(desk.crashes(node) for node in NODES), desk.lines


def first_program() -> str:
    """The one with which firmware/README.md begins to teach."""
    text = (FIRMWARE / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Programs\n\n.*\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert found
    return "".join(line[4:] + "\n" for line in found[1].split("\n"))


@each_interpreter
def test_the_first_program_of_the_readme_does_what_is_said_there(
    tmp_path: Path, interpreter: str
) -> None:
    with running(tmp_path, interpreter, first_program()) as desk:

        def greets(name: str) -> list[int]:
            line = f"leader greets {name}"
            return [node for node in NODES if line in desk.lines[node]]

        desk.until(lambda: greets("whoever"))
        desk.raftctl("put", "settings/name", "Ada")
        leader = desk.leader()
        desk.kill(leader)

        desk.until(lambda: set(greets("Ada")) - {leader})


@each_interpreter
def test_a_lock_of_a_killed_holder_goes_to_another_one_with_a_greater_number(
    tmp_path: Path, interpreter: str
) -> None:
    with running(tmp_path, interpreter, KEEPS_LOCK) as desk:

        def holder() -> tuple[int, int]:
            """The greatest number, and which node has told it in this life; (0, 0): none."""
            told = [event for node in desk.running for event in desk.events("holds", node)]
            return max([(int(event.facts["number"]), event.node) for event in told] + [(0, 0)])

        desk.until(lambda: holder() > (0, 0))
        number, node = holder()
        desk.kill(node)
        desk.start(node)  # who comes back isn't taken for the one that it was

        desk.until(lambda: holder()[0] > number)
        assert desk.raftctl("get", "pump").split()[0] == str(holder()[0])


@each_interpreter
def test_leader_only_runs_where_the_leader_is_and_nowhere_else(
    tmp_path: Path, interpreter: str
) -> None:
    with running(tmp_path, interpreter, LEADS) as desk:

        def leading() -> list[int]:
            """Where it runs."""
            return [
                node
                for node in desk.running
                if len(desk.events("begins", node)) > len(desk.events("ends", node))
            ]

        def is_with_leader() -> bool:
            return desk.leader() in desk.running and leading() == [desk.leader()]

        desk.until(is_with_leader)
        dead = desk.leader()
        assert desk.events("begins", dead)[0].facts["pin"] == "4"  # as [app] says

        # when the leader dies
        desk.kill(dead)
        desk.until(is_with_leader)

        # when it stands still, and finds that another one leads
        desk.start(dead)
        desk.until(lambda: desk.events("follower", dead))
        slow = desk.leader()
        desk.pause(slow)
        desk.until(lambda: desk.leader() != slow and desk.leader() in leading())
        desk.go_on(slow)
        desk.until(lambda: desk.events("ends", slow))
        desk.until(is_with_leader)


@each_interpreter
def test_a_machine_of_the_programs_own_goes_on_with_each_leader_but_not_where_it_is_lacking(
    tmp_path: Path, interpreter: str
) -> None:
    with running(tmp_path, interpreter, VOTES) as desk:

        def votes() -> dict[int, dict[str, str]]:
            """By the node that has voted."""
            told = [event for node in desk.running for event in desk.events("voted", node)]
            return {event.node: event.facts for event in told}

        desk.until(lambda: votes() and desk.leader() in votes())
        first = desk.leader()
        before = int(votes()[first]["result"])
        desk.kill(first)
        desk.until(lambda: desk.leader() != first and desk.leader() in votes())
        facts = votes()[desk.leader()]
        assert int(facts["result"]) > before
        assert facts["answer"] == facts["own"] == facts["result"]

        # when a node runs another program
        desk.program.write_text(WITHOUT_VOTES)
        desk.start(first)
        desk.until(lambda: desk.crashes(first))
        desk.kill(first)

        assert "NoMachine" in desk.crashes(first)[0].facts["error"]
        assert "votes" in desk.crashes(first)[0].facts["error"]
        desk.lines[first].clear()
