"""What counts as an interpreter, and what is said when one can't be had."""

import platform
import sys
from pathlib import Path

import pytest

from host_tools import micropython

NATIVE = micropython.PREFIX + micropython.native_architecture()


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no tools at all; the folder returned is its PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setattr(micropython, "TOOLS", tmp_path / ".tools")
    monkeypatch.setattr(micropython, "expected", lambda: [NATIVE])
    monkeypatch.setenv("PATH", str(path))
    return path


def put_command(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_new_enough_micropython_on_path_is_used_and_nothing_is_fetched(
    bare_machine: Path,
) -> None:
    put_command(bare_machine / "micropython", "echo 1.22.0; echo 64")

    found, missing = micropython.install()

    assert not missing
    assert [(i.name, i.argv, i.version, i.bits) for i in found] == [
        (NATIVE, [str(bare_machine / "micropython")], "1.22.0", 64)
    ]


def test_a_micropython_on_path_that_is_too_old_is_refused(bare_machine: Path) -> None:
    put_command(bare_machine / "micropython", "echo 1.21.0; echo 64")

    found, missing = micropython.survey()

    assert not found
    assert "is version 1.21.0; 1.22 or newer is needed" in missing[NATIVE]


def test_something_else_named_micropython_is_refused(bare_machine: Path) -> None:
    put_command(bare_machine / "micropython", "echo hello")

    assert "does not run here" in micropython.survey()[1][NATIVE]


def test_an_interpreter_that_cannot_run_leaves_the_other_usable(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micropython, "expected", lambda: ["micropython-alien", NATIVE])
    put_command(micropython.TOOLS / "micropython-alien", "echo Exec format error >&2; exit 126")
    put_command(micropython.TOOLS / NATIVE, "echo 1.25.0; echo 64")

    found, missing = micropython.install()

    assert [interpreter.name for interpreter in found] == [NATIVE]
    assert "does not run here: Exec format error" in missing["micropython-alien"]


@pytest.mark.usefixtures("bare_machine")
def test_without_debian_tools_the_user_is_told_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = micropython.main()

    assert status == 1
    assert f"{NATIVE} is missing: " in (said := capsys.readouterr().err)
    assert ("brew" if sys.platform == "darwin" else "build its unix port") in said


def test_the_machines_own_mirror_is_asked_first(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_command(
        bare_machine / "apt-get",
        "echo \"'http://other.example/deb/dists/nodistro/InRelease' a 0\"\n"
        "echo \"'https://mirror.example/debian/dists/bookworm/InRelease' b 0\"\n"
        "echo \"'https://mirror.example/debian/dists/bookworm/main/Packages.xz' c 0\"",
    )
    system = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)

    assert micropython.mirrors() == ["https://mirror.example/debian", micropython.ARCHIVE]


def test_ubuntu_has_no_debian_release_and_asks_debians_archive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)

    assert micropython.mirrors() == [micropython.ARCHIVE]
