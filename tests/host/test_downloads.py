"""`raftctl firmware`, and which of the files it got is for a board."""

import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools import boards, downloads
from host_tools.boards import FIRMWARE_OFFSETS, Board
from host_tools.cli import main
from host_tools.cluster import Cluster, Member, on_desk
from host_tools.flashing import FlashError
from host_tools.options import NOT_POSSIBLE
from tests.boards.images import APP_OFFSET, firmware

ESP32, C3 = boards.load("esp32_generic"), boards.load("esp32c3_generic")
NAME = "ESP32_GENERIC_C3-v1.26.1.bin"

# What mpflash 1.29 does with its options: it always ends with 0, and on GitHub it takes another
# folder. SITE has what it can get, by name.
MPFLASH = """
import os
import shutil
from pathlib import Path

import click

SITE = Path(__file__).parent.parent / "site"

@click.group()
@click.option("--interactive/--no-interactive", default=True)
def cli(interactive):
    assert not interactive

@cli.command()
@click.option("--version", required=True)
@click.option("--board", multiple=True)
def download(version, board):
    assert os.environ["GITHUB_ACTIONS"] != "true"
    folder = Path(os.environ["MPFLASH_FIRMWARE"])
    (folder / "mpflash.db").touch()
    files = [f for f in SITE.glob(f"*-v{version}.bin") if f.name.split("-")[0] in board]
    for file in files:
        (folder / "esp32").mkdir(exist_ok=True)
        shutil.copyfile(file, folder / "esp32" / file.name)
    if not files:
        print("13:44:15 | \\u2139\\ufe0f Found 0 potentially relevant firmwares")
        print("13:44:15 | \\u274c No relevant firmwares could be found")
        print("13:44:15 | \\u2139\\ufe0f Please check the website")

cli()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloaded files go."""
    monkeypatch.setattr(downloads, "FOLDER", tmp_path / "build" / "firmware")
    downloads.FOLDER.mkdir(parents=True)
    return downloads.FOLDER


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What micropython.org has, for the mpflash that takes the place of the real one."""
    package = tmp_path / "stand_in" / "mpflash"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli_main.py").write_text(MPFLASH, encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    site = package.parent / "site"
    site.mkdir()
    return site


def image(board: Board, seed: int = 1) -> bytes:
    return firmware(board.chip, FIRMWARE_OFFSETS[board.chip], seed=seed)


def put(folder: Path, name: str, data: bytes = b"", age_s: int = 0) -> Path:
    file = folder / name
    file.write_bytes(data)
    os.utime(file, (1_000_000 - age_s, 1_000_000 - age_s))
    return file


def get(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["firmware", *arguments])


def is_refused(result: Result, *words: str) -> bool:
    assert result.exit_code == NOT_POSSIBLE
    assert re.fullmatch(r"Error: .+\n", result.stderr), result.stderr
    return all(word in result.stderr for word in words)


def cluster_of(file: Path, kinds: Sequence[str]) -> Path:
    nodes = {
        id: Member(id, "", 7100, 7200, f"24:0a:c4:00:00:{id:02x}", kind)
        for id, kind in enumerate(kinds, 1)
    }
    file.write_text(Cluster(file, "demo", nodes).to_toml(), encoding="utf-8")
    return file


def test_the_file_that_was_got_last_is_the_one_for_a_board(folder: Path) -> None:
    put(folder, "ESP32_GENERIC_C3-v1.26.1.bin", age_s=9)
    last = put(folder, "ESP32_GENERIC_C3-v1.25.0.bin", age_s=5)
    put(folder, "ESP32_GENERIC_C3-v1.24.0.bin", age_s=7)

    assert downloads.fitting(C3, ()) == last


def test_the_firmware_of_another_board_or_variant_is_not_taken(folder: Path) -> None:
    put(folder, "ESP32_GENERIC_C3-v1.26.1.bin")
    put(folder, "ESP32_GENERIC-SPIRAM-v1.26.1.bin")
    assert downloads.fitting(ESP32, ()) is None

    plain = put(folder, "ESP32_GENERIC-v1.26.1.bin", age_s=9)

    assert downloads.fitting(ESP32, ()) == plain


def test_of_given_files_the_one_with_the_boards_chip_is_taken(folder: Path) -> None:
    put(folder, NAME)
    given = [put(folder, "a", image(ESP32)), put(folder, "b", image(C3))]

    assert downloads.fitting(C3, given) == given[1]


def test_a_given_file_that_is_no_firmware_is_refused(folder: Path) -> None:
    with pytest.raises(FlashError, match="no firmware image"):
        downloads.fitting(C3, [put(folder, "a", b"PK")])


def test_firmware_is_got_checked_and_kept_with_its_sum(folder: Path, site: Path) -> None:
    data = put(site, NAME, image(C3)).read_bytes()
    put(site, "ESP32_GENERIC_C3-SPIRAM-v1.26.1.bin", b"a variant, which mpflash gets as well")

    result = get("esp32c3_generic", "--version", "1.26.1")

    file, sum = folder / NAME, hashlib.sha256(data).hexdigest()
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [f"esp32c3_generic: {file}", f"  SHA-256 {sum}"]
    assert file.read_bytes() == data
    assert (folder / f"{NAME}.sha256").read_text(encoding="utf-8") == f"{sum}  {NAME}\n"
    assert len(list(folder.iterdir())) == 2
    assert downloads.fitting(C3, ()) == file


def test_a_board_may_want_a_variant(folder: Path, site: Path) -> None:
    put(site, "ESP32_GENERIC-v1.26.1.bin", image(ESP32))
    put(site, "ESP32_GENERIC-SPIRAM-v1.26.1.bin", image(ESP32, seed=2))
    board = dataclasses.replace(ESP32, micropython="ESP32_GENERIC-SPIRAM")

    got = downloads.download([board], "1.26.1")

    assert got == [folder / "ESP32_GENERIC-SPIRAM-v1.26.1.bin"]
    assert downloads.fitting(board, ()) == got[0]


def test_firmware_that_has_changed_since_is_refused_until_it_is_got_again(
    folder: Path, site: Path
) -> None:
    put(site, NAME, image(C3))
    assert get("esp32c3_generic", "--version", "1.26.1").exit_code == 0
    put(folder, NAME, image(C3, seed=2))

    with pytest.raises(FlashError, match="is not what was downloaded: remove it, and get it again"):
        downloads.fitting(C3, ())

    assert get("esp32c3_generic", "--version", "1.26.1").exit_code == 0
    assert downloads.fitting(C3, ()) == folder / NAME


def test_the_boards_of_the_cluster_are_meant_unless_others_are_named(
    folder: Path, site: Path, tmp_path: Path
) -> None:
    put(site, "ESP32_GENERIC-vstable.bin", image(ESP32))
    put(site, "ESP32_GENERIC_C3-vstable.bin", image(C3))
    file = cluster_of(tmp_path / "cluster.toml", [C3.name, ESP32.name, C3.name])

    result = get("--cluster", str(file), "--json")

    assert result.exit_code == 0, result.output
    assert [(got["board"], Path(got["file"]).name) for got in json.loads(result.stdout)] == [
        (ESP32.name, "ESP32_GENERIC-vstable.bin"),
        (C3.name, "ESP32_GENERIC_C3-vstable.bin"),
    ]


def test_a_cluster_on_a_desk_has_no_boards_to_get_firmware_for(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(on_desk(file, 3).to_toml(), encoding="utf-8")

    assert is_refused(get("--cluster", str(file)), "esp32c3_generic")


def test_what_can_not_be_got_is_told_with_the_way_to_get_it_by_hand(
    folder: Path, site: Path
) -> None:
    by_hand = "by hand from https://micropython.org/download/ESP32_GENERIC_C3 and give it with"
    none = "got no ESP32_GENERIC_C3 of version 1.26.1"
    why = " (No relevant firmwares could be found)"
    assert is_refused(get(C3.name, "--version", "1.26.1"), none + why, by_hand)

    put(site, "ESP32_GENERIC-v1.26.1.bin", image(ESP32))

    assert is_refused(get(ESP32.name, C3.name, "--version", "1.26.1"), f"{none}: ", by_hand)
    assert not list(folder.iterdir())  # all or none


@pytest.mark.parametrize("data", [image(C3)[: APP_OFFSET + 5000], b"<html>", image(ESP32)])
def test_what_is_got_and_can_not_be_flashed_is_not_kept(
    folder: Path, site: Path, data: bytes
) -> None:
    put(site, NAME, data)

    assert is_refused(get(C3.name, "--version", "1.26.1"), NAME)

    assert not list(folder.iterdir())


def test_without_mpflash_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpflash", None)  # what can't be imported

    assert is_refused(get(C3.name), "make firmware", "download/ESP32_GENERIC_C3 ", "--firmware")


def test_a_mpflash_that_waits_for_ever_is_given_up(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE_S", 0.0)

    assert is_refused(get(C3.name), "no answer within", "by hand")
