"""All that is claimed and takes too long for `make test`, one part after the other.

    python -m tests.proof                   everything; in about half an hour on two cores
    python -m tests.proof model lab         some parts
    python -m tests.proof --list            which there are

A table at the end tells which of them hold. All output and figures are kept in build/proof/, and
the figures in build/proof.json, too: one flat object.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from host_tools.processes import PROJECT
from tests.proof.parts import PARTS, Part

OUT = PROJECT / "build" / "proof"
FIGURES = PROJECT / "build" / "proof.json"
WIDTH = 100  # at least: of a terminal, or a file


@dataclass(frozen=True)
class Verdict:
    """Of one part. figures: of its own, by dotted names."""

    part: Part
    holds: bool
    seconds: float
    figures: dict[str, float]


def prove(part: Part, out: Path, console: Console) -> Verdict:
    """Run it, showing what it says and keeping it in a file, too."""
    console.print(Rule(f"[bold]{part.name}[/bold]: {part.claim}", align="left"))
    figures = out / f"{part.name}.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-u", "-m", *shlex.split(part.command), "--json", str(figures)]
    began = time.monotonic()
    with (
        open(out / f"{part.name}.txt", "w") as kept,
        subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            kept.write(line)
            console.out(line, end="", highlight=False)
    known = json.loads(figures.read_text()) if figures.exists() else {}
    return Verdict(part, process.returncode == 0, time.monotonic() - began, known)


def table(verdicts: list[Verdict]) -> Table:
    shown = Table("part", "what it shows", box=SIMPLE)
    shown.add_column("s", justify="right")
    shown.add_column("")
    for verdict in verdicts:
        holds = "[green]holds[/green]" if verdict.holds else "[red bold]broken[/red bold]"
        part = verdict.part
        shown.add_row(f"[bold]{part.name}[/bold]", part.claim, f"{verdict.seconds:.0f}", holds)
    total = sum(verdict.seconds for verdict in verdicts)
    shown.add_section()
    shown.add_row("", "", f"{total:.0f}", "")
    return shown


def chosen(names: list[str]) -> list[Part]:
    """The parts of these names, in their own order; all if there are none. Raises SystemExit."""
    known = [part.name for part in PARTS]
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no part {name!r}: choose of {', '.join(known)}")
    return [part for part in PARTS if not names or part.name in names]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Show all that is claimed.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="which; all if there is none")
    parser.add_argument("--list", action="store_true", help="show the parts, and their commands")
    options = parser.parse_args(arguments)
    parts = chosen(options.parts)
    console = Console()
    console.width = max(console.width, WIDTH)
    if options.list:
        for part in parts:
            print(f"{part.name:15} {part.claim}\n{'':15} python -m {part.command}")
        return 0
    OUT.mkdir(parents=True, exist_ok=True)
    verdicts = [prove(part, OUT, console) for part in parts]
    figures = {f"proof.{verdict.part.name}.seconds": round(verdict.seconds) for verdict in verdicts}
    for verdict in verdicts:
        figures.update(verdict.figures)  # type: ignore[arg-type]
    FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    console.print(table(verdicts))
    broken = [verdict.part.name for verdict in verdicts if not verdict.holds]
    if broken:
        print(f"broken: {', '.join(broken)}; what they said is in {OUT}")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
