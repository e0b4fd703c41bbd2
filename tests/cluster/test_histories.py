"""What clients of real processes record under faults is linearizable, and the checker would tell.

`python -m tests.cluster.histories` records longer ones.
"""

import shlex
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from host_tools.processes import Processes
from tests.cluster import histories, history
from tests.cluster.histories import Run, keep, record, verdict
from tests.cluster.history import CAS, GET, Operation
from tests.cluster.recording import READINGS, SHARES

SEED = 1
SECONDS = 5.0
LEAST = 400  # operations
FAULTS = ("kills", "pauses", "handovers", "cut: ", "weathers", "blackouts", "wiped flashes")
MOST_FAULTS = 4  # of these, at least, in so short a time


@pytest.fixture(scope="module", params=[False, True], ids=["read-index", "lease"])
def run(request: pytest.FixtureRequest) -> Run:
    return record(SEED, SECONDS, lease=request.param, least=LEAST)


def overwritten_before(told: list[Operation], late: Operation) -> str | None:
    """A value of its key that was overwritten when `late` was called, and was certainly there.

    Each value is written once.
    """
    sure = [o for o in told if o.key == late.key and not o.is_open and not o.is_observation]
    before = [o for o in sure if o.returned is not None and o.returned < late.called]
    last = max(before, key=lambda o: o.called, default=late)
    old = [o for o in before if o.written and o.returned is not None and o.returned < last.called]
    return old[-1].written if old else None


def test_what_clients_record_under_faults_is_linearizable(run: Run) -> None:
    wrong = verdict(run.history)  # stale reads are looked at as such
    if wrong or run.alarms:
        keep(run)
    assert not wrong, wrong
    assert run.alarms == []
    happened = [what for what in FAULTS if any(known.startswith(what) for known in run.happened)]
    assert len(happened) >= MOST_FAULTS, run.happened
    assert run.happened["elections"] > 0
    for kind in SHARES.keys() - {GET}:
        assert run.operations[kind] > 0, run.operations
    for how in READINGS:
        assert run.operations[f"reads by {how}"] > 0, run.operations


def test_a_seeded_stale_read_in_a_recorded_history_is_rejected(run: Run) -> None:
    # given the last read of a key that had several values before
    place, read, old = next(
        (place, operation, old)
        for place, operation in reversed(list(enumerate(run.history)))
        if operation.kind == GET
        and operation.age is None
        and (old := overwritten_before(run.history, operation))
    )

    # when it has the result that was right earlier
    tampered = [*run.history]
    tampered[place] = replace(read, result=old)

    # then it is rejected, and told
    assert f"get {read.key} ({read.how}) -> {old}" in verdict(tampered)


def test_a_seeded_lost_update_in_a_recorded_history_is_rejected(run: Run) -> None:
    # given a cas that failed, for the value that it expected had been overwritten
    place, cas = next(
        (place, operation)
        for place, operation in reversed(list(enumerate(run.history)))
        if operation.kind == CAS
        and operation.result is False
        and operation.arguments[0]
        and overwritten_before(run.history, operation)
    )
    old = overwritten_before(run.history, cas)
    new = cas.arguments[1]

    # when it has succeeded, and so has undone what was written meanwhile
    tampered = [*run.history]
    tampered[place] = replace(cas, arguments=(old, new), result=True)

    # then it is rejected, and told
    assert f"cas {cas.key} {old} {new} -> True" in verdict(tampered)


def test_a_history_that_was_kept_is_checked_again_by_the_command_that_was_printed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(histories, "BUILD", tmp_path / "build")
    path = keep(replace(run, seed=77))
    assert history.load(path) == run.history
    arguments = capsys.readouterr().out.split(": python -m tests.cluster.histories ")[1]
    monkeypatch.setattr("sys.argv", ["histories.py", *shlex.split(arguments)])

    assert histories.main() == 0

    assert f"linearizable: {len(run.history)} operations" in capsys.readouterr().out


class ProcessesThatEnd(Processes):
    """Nodes that are to stand still end."""

    def pause(self, node: int) -> None:
        self._running[node].send_signal(signal.SIGKILL)


def test_a_node_that_ends_by_itself_is_told_and_the_history_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(histories, "BUILD", tmp_path / "build")
    monkeypatch.setattr(histories, "Processes", ProcessesThatEnd)
    monkeypatch.setattr("sys.argv", ["histories.py", "--seed", str(SEED), "--minutes", "2"])

    assert histories.main() == 1

    out = capsys.readouterr().out
    assert f"has ended by itself, with status {-signal.SIGKILL}\n" in out
    told = history.load(tmp_path / f"build/history-{SEED}.jsonl")
    assert f"linearizable: {len(told)} operations" in out


def test_a_run_in_which_nothing_was_done_shows_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given clients that have only read what nodes had
    own = [operation for operation in run.history if operation.age is not None]
    monkeypatch.setattr(histories, "BUILD", tmp_path / "build")
    monkeypatch.setattr(histories, "record", lambda *how, **more: replace(run, history=own))
    monkeypatch.setattr("sys.argv", ["histories.py", "--minutes", "1"])

    assert histories.main() == 1

    least = 60 * histories.LEAST_PER_S
    assert f"too few operations to show anything: 0, and {least} were" in capsys.readouterr().out
