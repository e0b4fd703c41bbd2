"""Writes a trace down as a TLA+ module, with which TLC finds the same by itself.

    python -m tests.specification --tla FOLDER --seed 1

FOLDER gets Trace.tla, which is the trace, Trace.cfg, and Extensions.tla. With raft.tla as its
author publishes it beside them, TLC takes step after step: those of the specification by its own
actions, as they are in that file, and the others by those of Extensions.tla. If one isn't enabled,
it stops and tells which ("Deadlock reached"). It looks whether each is a step of `Next`, or of the
extensions; and whether the states are those that were seen of the implementation. Members must not
change, and no flash may have lost something.
"""

import shutil
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from tests.cluster.simulator import Plan
from tests.specification.actions import ACTIONS, Entry, Message
from tests.specification.extensions import Extra
from tests.specification.refine import Refinement
from tests.specification.simulated import recorded
from tests.specification.trace import Event

STEPS_OF_AN_ACTION = 3  # of the simulator, at most
EXTENSIONS = Path(__file__).with_name("Extensions.tla")
RECEIVED = (  # as parts of Receive(m)
    "UpdateTerm", "HandleRequestVoteRequest", "HandleRequestVoteResponse",
    "HandleAppendEntriesRequest", "HandleAppendEntriesResponse", "DropStaleResponse",
)  # fmt: skip
WITH_INDEX = ("LearnCommitIndex", "RestartWithoutTail", "LoadSnapshot")
WITH_BOTH = ("ChooseNextIndex",)
WITH_PEER = ("AskAgain", "Heartbeat", "ForgetMatchIndex")
OF_SERVERS = ("StepDown", *WITH_INDEX, *WITH_BOTH, *WITH_PEER)
OF_REQUESTS = ("RefuseVote", "TakePrefixOfRequest", "KeepCommitIndex", "AcceptUpToCommitIndex",
               "InstallSnapshot", "RejectOldSnapshot")  # fmt: skip
OF_MESSAGES = ("SendSnapshot", "Say", "Hear")

TRACE = """\
-------------------------------- MODULE Trace --------------------------------
\\* {title}

EXTENDS Extensions

VARIABLE step

traceVars == <<extendedVars, step>>

\\* do: the action, and its arguments. seen: what the implementation was like after it: server,
\\* term, state, vote, length of the log, its last term, commit index; empty in between.
Steps == <<
{steps}
>>

Matches(m, pattern) == \\A f \\in DOMAIN pattern : f \\in DOMAIN m /\\ m[f] = pattern[f]
IsThere(pattern) == \\E m \\in DOMAIN messages : Matches(m, pattern)
The(pattern) == CHOOSE m \\in DOMAIN messages : Matches(m, pattern)

Take(e) ==
    CASE e.do = "Restart" -> Restart(e.i)
      [] e.do = "Timeout" -> Timeout(e.i)
      [] e.do = "RequestVote" -> RequestVote(e.i, e.j)
      [] e.do = "BecomeLeader" -> BecomeLeader(e.i)
      [] e.do = "ClientRequest" -> ClientRequest(e.i, e.n)
      [] e.do = "AdvanceCommitIndex" -> AdvanceCommitIndex(e.i)
      [] e.do = "AppendEntries" -> AppendEntries(e.i, e.j)
      [] e.do = "Receive" -> IsThere(e.m) /\\ Receive(The(e.m))
      [] e.do = "DuplicateMessage" -> IsThere(e.m) /\\ DuplicateMessage(The(e.m))
      [] e.do = "DropMessage" -> IsThere(e.m) /\\ DropMessage(The(e.m))
{extensions}

TraceInit == Init /\\ committed = << >> /\\ step = 0
TraceNext ==
    \\/ /\\ step < Len(Steps)
       /\\ step' = step + 1
       /\\ Take(Steps[step'])
       /\\ Remember
    \\/ step = Len(Steps) /\\ UNCHANGED traceVars
TraceSpec == TraceInit /\\ [][TraceNext]_traceVars

\\* Each step is one of the specification as it was published, or of an extension.
IsSpecification == [][Next \\/ ExtensionNext]_vars

IsWhatWasSeen ==
    step > 0 /\\ Steps[step].seen /= << >> =>
        LET seen == Steps[step].seen
            i == seen[1]
        IN /\\ currentTerm[i] = seen[2]
           /\\ state[i] = seen[3]
           /\\ votedFor[i] = seen[4]
           /\\ Len(log[i]) = seen[5]
           /\\ LastTerm(log[i]) = seen[6]
           /\\ commitIndex[i] = seen[7]

==============================================================================
"""
CONFIG = """\
SPECIFICATION TraceSpec
INVARIANT IsWhatWasSeen
PROPERTY IsSpecification
CONSTANTS
    Server = {servers}
    Value = {values}
    Nil = 0
    Follower = "Follower"
    Candidate = "Candidate"
    Leader = "Leader"
    RequestVoteRequest = "RequestVoteRequest"
    RequestVoteResponse = "RequestVoteResponse"
    AppendEntriesRequest = "AppendEntriesRequest"
    AppendEntriesResponse = "AppendEntriesResponse"
"""


class NotExportable(Exception):
    """The trace has what Extensions.tla hasn't."""


class Export(Refinement):
    """A refinement that can be written down."""

    def __init__(self, servers: list[int]) -> None:
        super().__init__(servers)
        self.spec.note = self._note
        self.steps: list[dict[str, str]] = []  # field -> TLA+
        self._values: dict[Hashable, int] = {}

    def write(self, folder: Path, title: str) -> None:
        """Trace.tla, Trace.cfg, Extensions.tla."""
        folder.mkdir(parents=True, exist_ok=True)
        steps = ",\n".join(_record({"seen": "<< >>"} | step) for step in self.steps)
        text = TRACE.format(title=title, steps=steps, extensions="\n".join(_cases()))
        (folder / "Trace.tla").write_text(text)
        servers = _set(self.spec.Server)
        values = _set(self._values.values())
        (folder / "Trace.cfg").write_text(CONFIG.format(servers=servers, values=values))
        shutil.copy(EXTENSIONS, folder)

    def _compare(self, event: Event) -> None:
        super()._compare(event)
        i, spec = event.node, self.spec
        if self.steps:
            self.steps[-1]["seen"] = (
                f'<<{i}, {spec.currentTerm[i]}, "{spec.state[i]}", {spec.votedFor[i]}, '
                f"{len(spec.log[i])}, {spec.LastTerm(spec.log[i])}, {spec.commitIndex[i]}>>"
            )

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        if name in RECEIVED:
            self._step("Receive", m=self._message(args[-1]))
        elif name in ("DuplicateMessage", "DropMessage", *OF_MESSAGES):
            self._step(name, m=self._message(args[0]))
        elif name in OF_REQUESTS:
            self._step(name, m=self._message(args[-1]))
        elif name in ("ClientRequest", "ChangeMembers"):
            self._add_entry(*args)
        elif name in ACTIONS or name in OF_SERVERS:
            known = {"i": args[0]}
            if len(args) > 1:
                known["n" if name in WITH_INDEX else "j"] = args[1]
            if len(args) > 2:
                known["n"] = args[2]
            self._step(name, **{field: str(value) for field, value in known.items()})
        else:
            raise NotExportable(name)

    def _add_entry(self, i: int, value: Hashable) -> None:
        if set(self.spec.voters(i)) != set(self.spec.Server):
            raise NotExportable("ChangeMembers")
        self._step("ClientRequest", i=str(i), n=str(self._value(value)))

    def _step(self, name: str, **fields: str) -> None:
        self.steps.append({"do": f'"{name}"'} | fields)

    def _value(self, value: Hashable) -> int:
        return self._values.setdefault(value, len(self._values) + 1)

    def _message(self, m: Message) -> str:
        fields = {}
        for name, value in m._asdict().items():
            if name == "facts" and isinstance(m, Extra):
                fields[name] = "<<" + ", ".join(map(str, value)) + ">>"
            elif name == "mentries":
                fields[name] = "<<" + ", ".join(map(self._entry, value)) + ">>"
            elif isinstance(value, bool):
                fields[name] = str(value).upper()
            else:
                fields[name] = f'"{value}"' if name == "mtype" else str(value)
        return _record(fields)

    def _entry(self, entry: Entry) -> str:
        return f"[term |-> {entry.term}, value |-> {self._value(entry.value)}]"


def _cases() -> list[str]:
    """How the extensions are taken."""
    how = {"StepDown": "StepDown(e.i)"}
    how |= {name: f"{name}(e.i, e.n)" for name in WITH_INDEX}
    how |= {name: f"{name}(e.i, e.j, e.n)" for name in WITH_BOTH}
    how |= {name: f"{name}(e.i, e.j)" for name in WITH_PEER}
    how |= {
        name: f"IsThere(e.m) /\\ LET m == The(e.m) IN {name}(m.mdest, m.msource, m)"
        for name in OF_REQUESTS
    }
    how |= {"SendSnapshot": "SendSnapshot(e.m)", "Say": "Say(e.m)"}
    how |= {"Hear": "IsThere(e.m) /\\ Hear(The(e.m))"}
    return [f'      [] e.do = "{name}" -> {taken}' for name, taken in how.items()]


def _record(fields: dict[str, str]) -> str:
    return "[" + ", ".join(f"{name} |-> {value}" for name, value in fields.items()) + "]"


def _set(numbers: Any) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"


def calm(plan: Plan) -> None:
    """Three voters that stay, and whose flash keeps what it holds."""
    plan.voters = [1, 2, 3]
    plan.clients = 1
    plan.reads = 2
    plan.faults = ["cut_off_one", "restore", "crash_one", "crash_in_program", "crash_in_sending"]
    plan.fault_ms = 300
    plan.down_ms = 50
    plan.loss, plan.doubled, plan.late, plan.garbled = 50, 20, 50, 0
    plan.eager_at = 2
    plan.replayed = 0
    plan.watchers = 0


def export(folder: Path, seed: int, actions: int) -> Counter[str]:
    """Write down the first so many actions, or some more, of a simulated cluster."""
    world, error = recorded(seed, STEPS_OF_AN_ACTION * actions, adapt=calm)
    assert not error, error
    refinement = Export([board.id for board in world.boards])
    for event in world.events:
        refinement.take(event)
        if len(refinement.steps) >= actions:
            break
    refinement.write(folder, f"Seed {seed} of tests.specification")
    return refinement.spec.taken
