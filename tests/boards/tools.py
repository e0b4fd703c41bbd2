"""The real tools, as a person would start them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 60


def esptool(port: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "esptool", "--port", str(port), "--no-stub", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def mpremote(port: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mpremote", "connect", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


@contextmanager
def hasty(folder: Path) -> Iterator[None]:
    """Meanwhile esptool tries twice to connect, and waits two seconds for a port that is lost."""
    file = folder / "esptool.cfg"
    file.write_text("[esptool]\nconnect_attempts = 2\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPTOOL_CFGFILE", str(file))
        yield
