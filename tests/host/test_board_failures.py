"""A board goes on whatever fails on it, and keeps what it has acknowledged.

Which functions fail here, and how all of them can: `failing.py`.
"""

from pathlib import Path

from host_tools.desk import CPYTHON
from tests.host.failing import check, live
from tests.host.test_node import each_interpreter

SHARES = {CPYTHON: "3/24"}
ANOTHER = "11/24"
LEAST = 6  # functions


@each_interpreter
def test_any_function_may_fail(interpreter: str, tmp_path: Path) -> None:
    outcome = live(tmp_path, interpreter, SHARES.get(interpreter, ANOTHER))

    check(outcome)
    assert len(outcome.failed) >= LEAST
    assert outcome.restarts > 0 and outcome.failures > 0
