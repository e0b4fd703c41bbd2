"""Options that commands share, and what they do."""

import json
from argparse import ArgumentTypeError
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from host_tools.desk import DeskError, interpreter_command


def at_least_1(text: str) -> int:
    """How many, of something that there must be: argparse's `type`."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{number} is too few")
    return number


def range_of_seeds(text: str) -> range:
    """Such as 1-40: argparse's `type`."""
    first, _, last = text.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if not seeds:
        raise ArgumentTypeError(f"there are no seeds {text}")
    return seeds


def interpreter(text: str) -> str:
    """The name of one that is there: argparse's `type`."""
    try:
        interpreter_command(text)
    except DeskError as e:
        raise ArgumentTypeError(str(e)) from e
    return text


def write_figures(figures: Mapping[str, float], file: Path | None) -> None:
    """What `--json FILE` wants, if it was given."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def need(module: str) -> None:
    """SystemExit if that one of the extra `proof` isn't installed: said before all the work."""
    if not find_spec(module):
        raise SystemExit(f"this needs {module}: make .venv/proof")
