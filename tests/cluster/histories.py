"""Histories of real processes under all sorts of faults, and whether they are linearizable.

    python -m tests.cluster.histories --minutes 5 --seed 7
    python -m tests.cluster.histories --check build/history-7.jsonl
    python -m tests.cluster.histories --mutant ReadWithoutAsking

Five nodes, eight clients. The seed decides what happens and what clients ask for, but not when:
processes take their time, and a run can't be repeated. So a history that shows a fault is kept.
"""

import argparse
import random
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from host_tools.client import Client, ClusterError
from host_tools.desk import CPYTHON
from host_tools.processes import PROJECT, Processes
from tests.cluster import history, staleness
from tests.cluster.history import Operation
from tests.cluster.linearizability import check
from tests.cluster.nemesis import NETWORK_S, ORDER_S, STOPPED_S, Nemesis
from tests.cluster.network import Network
from tests.cluster.recording import Recorder
from tests.clusters import free_cluster, write
from tests.mutants.named import mistake
from tests.mutants.process import MutantProcesses
from tests.options import interpreter, write_figures

NODES = 5
CLIENTS = 8
SESSION_S = 1  # so short that sessions are replaced, and expire, whenever there is no leader
UP_S = 60.0
LEAST_PER_S = 10  # far fewer operations than on a machine that has much else to do
# What a node says of its copy's age leaves out how long its leader's last message took, and lay
# there while the node, or the leader, stood still
SLACK_S = NETWORK_S + STOPPED_S[1] + 0.5
PATIENCE_S = 120.0  # for the least that is wanted
BUILD = PROJECT / "build"


@dataclass(frozen=True)
class Run:
    """What was recorded, in so many seconds. operations, happened: how often there was what.

    alarms: what must not happen, and did; however bad, what was recorded before is there.
    """

    seed: int
    seconds: float
    history: list[Operation]
    operations: Counter[str]
    happened: Counter[str]
    alarms: list[str]


def record(
    seed: int,
    seconds: float,
    interpreter: str = CPYTHON,
    lease: bool = False,
    least: int = 0,
    mutant: str = "",
) -> Run:
    """A history of so many seconds under faults, or of more until it has `least` operations.

    lease: whether leaders answer reads by their lease. mutant: the name of a mistake that all
    nodes make.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="raft-history-") as name:
        folder = Path(name)
        cluster = replace(
            free_cluster(folder / "cluster.toml", NODES, habits=("flash",)),
            lease=lease,
            session_s=SESSION_S,
        )
        write(cluster)
        with Network(cluster, seed) as network:
            clients_file = folder / "clients.toml"
            clients_file.write_text(network.clients.to_toml())
            with Client(clients_file, ORDER_S) as client:
                start = (
                    partial(MutantProcesses, cluster, mutant)
                    if mutant
                    else (partial(Processes, cluster, interpreter))
                )
                nemesis = Nemesis(cluster, start, network, client, seed)
                with nemesis.processes:
                    recorders = let_rage(nemesis, clients_file, seed, seconds, least)
            network.stop()
    happened = nemesis.happened
    happened.update({f"datagrams {what}": count for what, count in network.counts.items()})
    told = [operation for recorder in recorders for operation in recorder.history]
    operations = sum((recorder.counts() for recorder in recorders), Counter())
    told.sort(key=lambda o: o.called)
    seconds = time.monotonic() - began
    return Run(seed, seconds, told, operations, happened, nemesis.alarms)


def let_rage(
    nemesis: Nemesis, clients_file: Path, seed: int, seconds: float, least: int
) -> list[Recorder]:
    """The clients, after they have lived through that."""
    nemesis.start()
    wait_until_up(clients_file)
    began = time.monotonic()
    recorders = [Recorder(clients_file, i, seed, began) for i in range(CLIENTS)]
    for recorder in recorders:
        recorder.start()

    def is_over() -> bool:
        done = sum(len(recorder.history) for recorder in recorders)
        return time.monotonic() > began + (seconds if done >= least else PATIENCE_S)

    nemesis.rage(is_over)
    ends: list[Callable[[], None]] = [partial(wait_until_up, clients_file)]
    ends += [recorder.stop for recorder in recorders]
    for end in ends:
        try:
            end()
        except Exception as e:  # then of all times the history is wanted
            nemesis.alarms.append(f"{type(e).__name__}: {e}")
    return recorders


def wait_until_up(clients_file: Path) -> None:
    """Until the cluster takes a write. Raises AssertionError."""
    deadline = time.monotonic() + UP_S
    with Client(clients_file) as client:
        while True:
            try:
                return client.put("up", b"")
            except ClusterError as e:
                assert time.monotonic() < deadline, f"the cluster isn't up: {e}"


def verdict(told: list[Operation]) -> str:
    """What is wrong with the history, for people; empty if it is linearizable."""
    violations = [str(violation) for violation in check(told)]
    return "\n".join(violations + staleness.check(told, SLACK_S))


def too_few(told: list[Operation], seconds: float) -> str:
    """What to say if that is too little to show anything; empty if it is enough.

    Neither what is unknown counts nor what a node reads of its own copy: that needs no cluster.
    """
    done = sum(not operation.is_open and operation.age is None for operation in told)
    least = round(LEAST_PER_S * seconds)
    if done >= least:
        return ""
    return f"too few operations to show anything: {done}, and {least} were wanted"


def keep(run: Run) -> Path:
    """Write the history to where it stays, and say how to look at it again."""
    BUILD.mkdir(exist_ok=True)
    path = BUILD / f"history-{run.seed}.jsonl"
    history.save(path, run.history)
    again = f"python -m tests.cluster.histories --check {shlex.quote(str(path))}"
    print(f"the history is kept; again: {again}")
    return path


def tell(run: Run) -> None:
    for title, counts in (("operations", run.operations), ("happened", run.happened)):
        facts = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        print(f"{title}: {facts}")
    for alarm in run.alarms:
        print(f"alarm: {alarm}")


def check_and_tell(told: list[Operation]) -> bool:
    """Whether it is linearizable."""
    began = time.monotonic()
    wrong = verdict(told)
    keys = len({operation.key for operation in told})
    if wrong:
        print(wrong)
    result = "not linearizable, or older than told" if wrong else "linearizable"
    took_s = time.monotonic() - began
    print(f"{result}: {len(told)} operations on {keys} keys, in {took_s:.1f} s")
    return not wrong


def figures(run: Run, is_linearizable: bool) -> dict[str, float]:
    """How much was done, and how often what happened."""
    counts = (
        run.operations
        + run.happened
        + Counter(
            operations=len(run.history), keys=len({operation.key for operation in run.history})
        )
    )
    named: dict[str, float] = {
        re.sub(r"\W+", "_", what): count for what, count in sorted(counts.items())
    }
    return named | {"seconds": round(run.seconds), "linearizable": int(is_linearizable)}


def kept(text: str) -> list[Operation]:
    """The history in a file of that name: argparse's `type`."""
    try:
        return history.load(Path(text))
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise argparse.ArgumentTypeError(f"no history can be read: {e}") from e


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="histories of real processes under faults")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--interpreter", type=interpreter, default=CPYTHON)
    parser.add_argument("--lease", action="store_true", help="leaders answer reads by lease")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    parser.add_argument(
        "--check", type=kept, metavar="FILE", help="a history that was kept, and no other"
    )
    parser.add_argument("--mutant", type=mistake, help="nodes make this mistake; is it seen?")
    return parser.parse_args()


def main() -> int:
    options = parsed_arguments()
    if options.check is not None:
        return 0 if check_and_tell(options.check) else 1
    reads = "lease" if options.lease else "read index"
    print(
        f"seed {options.seed}: {CLIENTS} clients, {NODES} nodes, {options.interpreter}, "
        f"reads by {reads}"
    )
    run = record(
        options.seed,
        options.minutes * 60,
        options.interpreter,
        options.lease,
        mutant=options.mutant.name if options.mutant else "",
    )
    tell(run)
    is_linearizable = check_and_tell(run.history)
    if options.json:
        prefix = f"histories.{reads.replace(' ', '_')}."
        flat = {prefix + name: figure for name, figure in figures(run, is_linearizable).items()}
        write_figures(flat, options.json)
    is_well = is_linearizable and not run.alarms
    if options.mutant:
        print(f"{options.mutant.name} {'was not' if is_well else 'was'} seen")
        return int(is_well)
    lacking = too_few(run.history, options.minutes * 60)
    if lacking:
        print(lacking)
    if is_well and not lacking:
        return 0
    keep(run)
    return 1


if __name__ == "__main__":
    sys.exit(main())
