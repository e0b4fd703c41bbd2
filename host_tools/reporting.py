"""How work on boards is shown: a bar for each on a terminal, elsewhere a line for each step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

# whose, what is being done, how much of it (0 to 1, or None if it isn't known)
Report = Callable[[str, str, float | None], None]


@contextmanager
def reporting(console: Console, is_silent: bool) -> Iterator[Report]:
    """What to call with the progress of whatever is done meanwhile, from any thread."""
    if is_silent:
        yield lambda name, step, share: None
    elif console.is_terminal:
        columns = TextColumn("{task.fields[name]}"), BarColumn(), TaskProgressColumn()
        with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
            yield _Bars(progress).report
    else:
        yield _Lines().report


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def report(self, name: str, step: str, share: float | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", name=name)
        total = None if share is None else 1
        self._progress.update(
            self._tasks[name], description=step, total=total, completed=share or 0, refresh=True
        )


class _Lines:
    def __init__(self) -> None:
        self._steps: dict[str, str] = {}

    def report(self, name: str, step: str, share: float | None) -> None:
        if self._steps.get(name) != step:
            self._steps[name] = step
            click.echo(f"{name}: {step}" if name else step)
