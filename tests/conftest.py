"""Runs portable tests under MicroPython too, and says at the end which interpreters ran."""

import os
import platform
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from host_tools.micropython import Interpreter
from tests.interpreter import portable

CPYTHON = "cpython"
IN_MICROPYTHON = re.compile(r"\[(micropython-\w+)\]$")
HOW_TO_GET = "run `make micropython`"


def interpreter_of(nodeid: str) -> str:
    match = IN_MICROPYTHON.search(nodeid)
    return match[1] if match else CPYTHON


@pytest.hookimpl(trylast=True)  # after the same file for CPython
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> portable.PortableFile | None:
    patterns = parent.config.getini("python_files")
    wanted = any(file_path.match(p) for p in patterns) or parent.session.isinitpath(file_path)
    if file_path.suffix == ".py" and wanted and portable.is_portable(file_path):
        return portable.PortableFile.from_parent(parent, path=file_path)
    return None


class ByFileAndInterpreter(LoadScopeScheduling):
    """Keeps on one worker what shares a process or fixtures: a file's tests in one interpreter."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("::")[0] + interpreter_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return ByFileAndInterpreter(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Half as many again as there are cores: for a third of its time, a test waits."""
    cores = yield
    return cores + (cores + 1) // 2


def pytest_sessionfinish(session: pytest.Session) -> None:
    if is_strict() and portable.machine_survey()[1] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.option.collectonly:
        return
    ran = Counter(
        interpreter_of(report.nodeid)
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
    )
    found, missing = portable.machine_survey()
    terminalreporter.ensure_newline()
    terminalreporter.write_line(ran_line(ran, found))
    for name, reason in missing.items():
        terminalreporter.write_line(missing_line(name, reason), red=True, bold=True)


def ran_line(ran: Counter[str], found: list[Interpreter]) -> str:
    names = {CPYTHON: f"CPython {platform.python_version()}"} | {i.name: str(i) for i in found}
    return "interpreters: " + ", ".join(f"{text} ({ran[name]})" for name, text in names.items())


def missing_line(name: str, reason: str) -> str:
    verdict = "FAILED, as CI is set" if is_strict() else "NOT TESTED"
    return f"{verdict}: nothing ran under {name}: {reason}; {HOW_TO_GET}"


def is_strict() -> bool:
    """Whether a missing interpreter is a failure, as it is for CI services."""
    return os.environ.get("CI", "").lower() in ("1", "true")
