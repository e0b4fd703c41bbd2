"""What `make` starts for boards."""

import os
import subprocess

import pytest

from host_tools.firmware import FIRMWARE

# What a `make` that has started these tests hands on, and names that mean something to ours
KEPT_OUT = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PORT", "NODE", "BOARD", "FIRMWARE", "ARGS")


def made(*arguments: str) -> str:
    """What make says, and would do."""
    environment = {key: value for key, value in os.environ.items() if key not in KEPT_OUT}
    command = ["make", "--no-print-directory", "-C", str(FIRMWARE.parent), *arguments]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["up"], "up"),
        (
            ["up", "PORT=/dev/ttyUSB0 /dev/ttyUSB1", "NODE=1 2", "FIRMWARE=a.bin b.bin"],
            "up 1 2 --port '/dev/ttyUSB0' --port '/dev/ttyUSB1' "
            "--firmware 'a.bin' --firmware 'b.bin'",
        ),
        (["deploy", "PORT=COM3", "NODE=2"], "deploy 2 --port 'COM3'"),
        (["boards", "PORT=rfc2217://host:1?a&b"], "boards --port 'rfc2217://host:1?a&b'"),
        (
            ["flash", "PORT=COM3", "BOARD=esp32_generic", "FIRMWARE=a.bin", "ARGS=--wipe"],
            "flash --port 'COM3' --board esp32_generic --firmware 'a.bin' --wipe",
        ),
        (["monitor", "PORT=COM3 COM4"], "monitor 'COM3' 'COM4'"),
        (["doctor", "PORT=COM3 COM4", "ARGS=--json"], "doctor --port 'COM3' --port 'COM4' --json"),
        (["repl", "PORT=COM3"], "repl 'COM3'"),
        (["repl", "NODE=2"], "repl 2"),
        (["erase", "PORT=COM3"], "erase --port 'COM3'"),
        (["firmware", "BOARD=esp32_generic mine"], "firmware esp32_generic mine"),
    ],
)
def test_make_starts_raftctl_with_what_it_was_given(arguments: list[str], command: str) -> None:
    last = made("-n", *arguments).splitlines()[-1]

    assert " ".join(last.split()) == f".venv/bin/raftctl {command}"


def test_make_lists_its_commands_on_lines_that_fit_a_terminal() -> None:
    lines = made().splitlines()

    assert {"test", "up", "erase"} <= {line.split()[1] for line in lines}
    assert max(map(len, lines)) <= 100
