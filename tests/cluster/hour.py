"""An hour of five boards with all their habits, in a minute or so: the shipped node and client.

    python -m tests.cluster.hour --minutes 60 --seed 1

Time is virtual (`virtual_time.py`), and so are the boards (`virtual_boards.py`) and the air between
them (`air.py`); one seed decides everything. The boards lose their power and their network;
an outsider sends empty datagrams, too long ones, garbage, and what he has heard before. What runs
is `raft.node.Node` with its endpoints, its flash log and its service, and on each board a program
that writes by `raft.client.Client`. What it was acknowledged must be there, in the end on all
boards; no term has two leaders; no two boards apply different entries at one index. The exit status
is 1 if it isn't so.
"""

import argparse
import json
import os
import subprocess
import sys

from host_tools import desk
from host_tools.desktop.habits import HABITS
from host_tools.processes import PROJECT

SCRIPT = "tests/cluster/virtual_world.py"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{PROJECT / 'firmware'}:{PROJECT}",
    "MICROPYPATH": f".frozen:{PROJECT / 'firmware'}:{PROJECT}",
}
HEAP = ["-X", "heapsize=32m"]  # of five boards, and of what their world remembers


def run(
    interpreter: str,
    seconds: int,
    seed: int,
    pace: int = 1,
    names: tuple[str, ...] = HABITS,
    trace: bool = False,
) -> dict[str, float]:
    """The figures of such a world. Raises CalledProcessError when it has told what is wrong."""
    command = desk.interpreter_command(interpreter)
    if interpreter != desk.CPYTHON:
        command += HEAP
    numbers = [str(number) for number in (seconds, seed, pace, int(trace))]
    command += [SCRIPT, *numbers, *names]
    lines = []
    with subprocess.Popen(
        command, cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if not line.startswith("{"):
                print(line, end="")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    figures: dict[str, float] = json.loads(lines[-1])
    return figures


def table(figures: dict[str, float]) -> str:
    return "\n".join(f"{_shown(name, figures[name]):>12}  {name}" for name in sorted(figures))


def _shown(name: str, figure: float) -> str:
    is_share = name == "leader" or name.startswith("no leader")
    return f"{figure:.3%}" if is_share else f"{figure:,.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Virtual boards; see the module's text.")
    parser.add_argument("--minutes", type=float, default=60, help="of virtual time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=int, default=1, help="so many times as much goes wrong")
    parser.add_argument("--interpreter", default=desk.MICROPYTHON)
    parser.add_argument("--habit", action="append", help="these alone; `none`: none at all")
    parser.add_argument("--trace", action="store_true", help="print what nodes tell")
    options = parser.parse_args()
    names = tuple(name for name in options.habit or HABITS if name != "none")
    try:
        figures = run(
            options.interpreter, round(options.minutes * 60), options.seed, options.pace, names,
            options.trace,
        )  # fmt: skip
    except subprocess.CalledProcessError as e:
        return e.returncode
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
