"""Collects portable test modules once more for every MicroPython interpreter there is.

A test module with the line `PORTABLE = True` is portable. It consists of plain functions
`test_*()` without arguments, imports nothing but firmware/, other portable modules and what
MicroPython has, and asserts. pytest runs it as usual; beside that, each of its tests becomes an
item such as `tests/core/test_log.py::test_rule[micropython-i386]`. All of a module's items of
one interpreter run in one process of that interpreter, which may take TIMEOUT_S seconds, a
constant that a module may set for itself.
"""

import ast
import functools
import linecache
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from host_tools.micropython import Interpreter, survey
from tests.interpreter.run_portable import MARK

ROOT = Path(__file__).resolve().parents[2]
RUNNER = "tests/interpreter/run_portable.py"
TIMEOUT_S = 120
HEAP = "heapsize=32m"  # room for a simulated cluster; what a board has is tested on its own

machine_survey = functools.cache(survey)


@dataclass(frozen=True)
class Outcome:
    passed: bool
    output: str


class PortableFile(pytest.File):
    """One portable module, for all MicroPython interpreters."""

    def collect(self) -> Iterator["PortableItem"]:
        tree = parse(self.path)
        tests = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        for test in tests:
            if test.args.args or test.decorator_list:
                raise self.CollectError(
                    f"{self.path.name}:{test.lineno}: a portable test has no arguments "
                    f"and no decorators: {test.name}"
                )
        module_name = ".".join(self.path.relative_to(ROOT).with_suffix("").parts)
        timeout_s = constants(tree).get("TIMEOUT_S", TIMEOUT_S)
        for interpreter in machine_survey()[0]:
            batch = Batch(interpreter, module_name, timeout_s)
            for test in tests:
                yield PortableItem.from_parent(
                    self,
                    name=f"{test.name}[{interpreter.name}]",
                    test_name=test.name,
                    line=test.lineno,
                    batch=batch,
                )


class PortableItem(pytest.Item):
    """One test in one MicroPython interpreter."""

    def __init__(self, *, test_name: str, line: int, batch: "Batch", **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.test_name = test_name
        self.line = line
        self.batch = batch

    def runtest(self) -> None:
        outcome = self.batch.outcome(self)
        if not outcome.passed:
            pytest.fail(outcome.output, pytrace=False)
        print(outcome.output, end="")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.line - 1, self.name


class Batch:
    """The selected tests of one module in one interpreter: they share a process, run once."""

    def __init__(self, interpreter: Interpreter, module_name: str, timeout_s: float) -> None:
        self.interpreter = interpreter
        self.module_name = module_name
        self.timeout_s = timeout_s
        self.outcomes: dict[str, Outcome] = {}

    def outcome(self, wanted: PortableItem) -> Outcome:
        if not self.outcomes:
            names = [
                item.test_name
                for item in wanted.session.items
                if isinstance(item, PortableItem) and item.batch is self
            ]
            self.outcomes = run_tests(self.interpreter, self.module_name, names, self.timeout_s)
        return self.outcomes[wanted.test_name]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def constants(tree: ast.Module) -> dict[str, Any]:
    """Values of the module's plain constants."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def is_portable(path: Path) -> bool:
    try:
        return constants(parse(path)).get("PORTABLE") is True
    except SyntaxError:
        return False  # pytest's own collector reports it


def run_tests(
    interpreter: Interpreter, module_name: str, names: list[str], timeout_s: float
) -> dict[str, Outcome]:
    """Runs the named tests of a module in one process of the interpreter; one outcome for each."""
    command = [*interpreter.argv, "-X", HEAP, RUNNER, module_name, *names]
    try:
        done = subprocess.run(
            command, cwd=ROOT, timeout=timeout_s, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, end = done.stdout, f"{interpreter} ended with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"{interpreter} was stopped after {timeout_s} s"
    return read_outcomes(output.decode(errors="replace"), names, end)


def read_outcomes(output: str, names: list[str], end: str) -> dict[str, Outcome]:
    """What the runner's output says of each test; `end` says how its process ended."""
    before, *records = output.split(MARK)
    outcomes = {}
    running, last_words = "", before
    for record in records:
        head, _, text = record.partition("\n")
        verdict, name = head.split(" ")
        if verdict == "begin":
            running, last_words = name, text
        else:
            outcomes[name] = Outcome(verdict == "ok", with_source(last_words))
            running, last_words = "", text
    last_words = with_source(last_words)
    if running:
        outcomes[running] = Outcome(False, f"{last_words}\n{end} in this test")
    not_run = Outcome(False, f"{last_words}\nnot run: {end} {f'in {running}' if running else ''}")
    return {name: outcomes.get(name, not_run) for name in names}


def with_source(text: str) -> str:
    """The text with the source line under each line of MicroPython's tracebacks."""

    def add_source(match: re.Match[str]) -> str:
        source = linecache.getline(str(ROOT / match["file"]), int(match["line"])).strip()
        return f"{match[0]}\n    {source}" if source else match[0]

    return re.sub(r'^  File "(?P<file>.+)", line (?P<line>\d+).*', add_source, text, flags=re.M)
