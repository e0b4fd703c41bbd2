"""The machinery that runs portable tests under MicroPython must be able to fail, and say why."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from host_tools.micropython import Interpreter
from tests import conftest
from tests.interpreter import portable

MISBEHAVING = "tests.interpreter.data.misbehaving"
FOUND = portable.machine_survey()[0]
LONG_S = 60
SHORT_S = 1

each_interpreter = pytest.mark.parametrize("interpreter", FOUND, ids=lambda i: f"by-{i.name}")


@each_interpreter
def test_a_failure_names_the_test_the_line_and_the_reason(interpreter: Interpreter) -> None:
    names = ["test_that_fails", "test_that_passes"]

    outcomes = portable.run_tests(interpreter, MISBEHAVING, names, LONG_S)

    failed = outcomes["test_that_fails"]
    assert not failed.passed
    assert "Traceback" in failed.output
    assert "    check(1)" in failed.output
    assert '    assert value == 2, "two expected"' in failed.output
    assert "AssertionError: two expected" in failed.output
    assert outcomes["test_that_passes"] == portable.Outcome(True, "seen on the way\n")


@each_interpreter
def test_the_death_of_the_interpreter_fails_its_test_and_those_after_it(
    interpreter: Interpreter,
) -> None:
    names = ["test_that_passes", "test_that_ends_the_interpreter", "test_that_fails"]

    outcomes = portable.run_tests(interpreter, MISBEHAVING, names, LONG_S)

    assert outcomes["test_that_passes"].passed
    dead = outcomes["test_that_ends_the_interpreter"]
    assert not dead.passed
    assert "last words" in dead.output
    assert "ended with status 3 in this test" in dead.output
    after = outcomes["test_that_fails"]
    assert not after.passed
    assert "not run" in after.output
    assert "test_that_ends_the_interpreter" in after.output


@each_interpreter
def test_a_test_that_hangs_is_stopped_and_named(interpreter: Interpreter) -> None:
    outcomes = portable.run_tests(
        interpreter, MISBEHAVING, ["test_that_passes", "test_that_hangs"], SHORT_S
    )

    assert outcomes["test_that_passes"].passed
    assert not outcomes["test_that_hangs"].passed
    assert f"was stopped after {SHORT_S} s in this test" in outcomes["test_that_hangs"].output


@each_interpreter
def test_a_module_that_cannot_be_imported_fails_all_its_tests(interpreter: Interpreter) -> None:
    outcomes = portable.run_tests(interpreter, "tests.interpreter.data.absent", ["test_a"], LONG_S)

    assert not outcomes["test_a"].passed
    assert "ImportError" in outcomes["test_a"].output


@pytest.mark.parametrize("workers", ["0", "2"])
def test_pytest_reports_each_test_in_each_interpreter(workers: str) -> None:
    module = "tests/interpreter/data/misbehaving.py"
    command = [sys.executable, "-m", "pytest", "-n", workers, "-k", "passes or fails", module]

    done = subprocess.run(
        command, cwd=portable.ROOT, capture_output=True, text=True, timeout=LONG_S
    )

    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    for interpreter in FOUND:
        assert f"FAILED {module}::test_that_fails[{interpreter.name}]" in done.stdout
        assert f"{interpreter} (2)" in done.stdout
    assert f"FAILED {module}::test_that_fails - " in done.stdout
    assert f"{1 + len(FOUND)} failed, {1 + len(FOUND)} passed" in done.stdout


def test_the_last_lines_say_what_ran_where() -> None:
    found = [Interpreter("micropython-i386", ["mp"], "1.25.0", 32)]

    line = conftest.ran_line(Counter({"cpython": 3, "micropython-i386": 2}), found)

    assert line.startswith("interpreters: CPython 3.")
    assert line.endswith("(3), MicroPython 1.25.0 i386 (2)")


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_a_missing_interpreter_is_named_and_in_ci_a_failure(
    ci: str, status: int, tmp_path: Path
) -> None:
    # none installed and none on PATH
    script = (
        "import sys, pathlib, pytest, host_tools.micropython as m;"
        f"m.TOOLS = pathlib.Path({str(tmp_path)!r}); m.shutil.which = lambda name: None;"
        "sys.exit(pytest.main(['-k', 'passes', 'tests/interpreter/data/misbehaving.py']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=portable.ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )

    assert done.returncode == status, done.stdout + done.stderr
    assert "nothing ran under micropython-" in done.stdout
    assert "run `make micropython`" in done.stdout
