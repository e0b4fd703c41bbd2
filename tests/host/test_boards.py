"""boards/: all that are shipped can be used; what is wrong is told by file, key and remedy."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from host_tools import boards, cli
from host_tools.boards import BoardFileError, Partition
from host_tools.cluster import flash_kb_needed
from host_tools.options import NOT_POSSIBLE

SHIPPED = ["esp32_generic", "esp32c3_generic", "esp32c6_generic", "esp32s3_generic"]
NAME = "mine"
BOARD, TABLE = boards.BOARD_FILE, boards.PARTITIONS_FILE
RAFT_LINE = "raft,     data, 0x40,    0x200000, 0x40000"
VFS_LINE = "vfs,      data, fat,     0x240000, 0x1C0000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of one board, a copy of a shipped one."""
    shutil.copytree(boards.BOARDS / "esp32_generic", tmp_path / NAME)
    return tmp_path


def test_all_that_are_shipped_load() -> None:
    assert boards.names() == SHIPPED

    for name in SHIPPED:
        board = boards.load(name)

        assert name == f"{board.chip}_generic"
        assert board.micropython.startswith("ESP32_GENERIC")
        assert board.tested == ()  # none was there to test it on
        assert board.partition("raft") == Partition("raft", 1, 0x40, 0x200000, 0x40000)
        assert board.partition("factory") == Partition("factory", 0, 0, 0x10000, 0x1F0000)
        assert board.partitions[-1].name == "vfs"
        assert board.partitions[-1].end == board.flash_bytes == 4 << 20
        assert board.election_ms[0] > 2 * board.heartbeat_ms


def test_what_a_node_must_know_of_its_board_goes_into_its_configuration(folder: Path) -> None:
    assert boards.load("esp32c3_generic").config() == {
        "led": 8, "led_kind": "rgb", "button": 9, "watchdog_ms": 8000,
    }  # fmt: skip
    file = folder / NAME / BOARD
    text = re.sub(r"\[led\][^[]*", "", file.read_text())
    file.write_text(text.replace("button = 0\n", ""))

    bare = boards.load(NAME, folder)

    assert (bare.led, bare.button) == (None, None)
    assert bare.config() == {"watchdog_ms": 8000}


def test_sizes_may_be_written_as_esp_idf_allows(folder: Path) -> None:
    plain = boards.load(NAME, folder).partitions
    file = folder / NAME / TABLE
    text = file.read_text().replace("0x40000", "256K").replace("0x200000", "2M")
    file.write_text(text.replace("0x1000\n", "4096,\n"))

    assert boards.load(NAME, folder).partitions == plain


def test_a_board_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(BoardFileError, match=f"esp8266.* does not exist: .*{', '.join(SHIPPED)}"):
        boards.load("esp8266")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (BOARD, 'title = "ESP32', 'tilte = "ESP32', "tilte is not known here"),
        (BOARD, 'chip = "esp32"', "", "the file: chip is missing"),
        (BOARD, 'chip = "esp32"', 'chip = "ESP32"', "chip is ESP32: .* esptool .* esp32, esp32s2"),
        (BOARD, "flash_mb = 4", "flash_mb = 2", "flash_mb is 2, .* from 4 to 32"),
        (BOARD, "flash_mb = 4", "flash_mb = 6", "flash_mb is 6: .* 4, 8, 16, 32"),
        (BOARD, "0x1000\n", "0x0\n", "firmware_offset is 0x0, .* the esp32 .* set it to 0x1000"),
        (BOARD, "button = 0", "button = 99", "button is 99, .* from 0 to 54"),
        (BOARD, 'kind = "plain"', 'kind = "red"', r"\[led\]: kind is red: .* plain, inverted, rgb"),
        (BOARD, "pin = 2", "", r"\[led\]: pin is missing"),
        (BOARD, "pin = 2", "pin = 2\nactive = 1", r"\[led\]: active is not known here"),
        (BOARD, "[micropython]", "[python]", "python is not known here: .* micropython"),
        (BOARD, "tested = []", "tested = [1.26]", r"tested must list versions such as \[\"1.26.1"),
        (BOARD, "tested = []", "", "tested must list versions"),
        (BOARD, "kb = 110", "kb = 0", r"\[heap\]: kb is 0, .* from 1"),
        (BOARD, "kb = 110", "kbytes = 1", r"\[heap\]: kbytes is not known here"),
        (BOARD, "[300, 600]", "[150, 600]", r"\[timing\]: election_ms must be two .* \(100\)"),
        (BOARD, "election_ms = [300, 600]", "", "election_ms must be two numbers"),
        (BOARD, "heartbeat_ms = 100", "", r"\[timing\]: heartbeat_ms is missing"),
        (BOARD, "watchdog_ms = 8000", "watchdog_ms = 5", r"watchdog_ms is 5, .* from 1000"),
        (BOARD, "[led]", "[led", "is not valid TOML"),
        (TABLE, RAFT_LINE, "", "raft is missing: add a line such as `raft, data, 0x40, 0x200000"),
        (TABLE, RAFT_LINE, "raft, data", "line 6: must be name, type, subtype, offset, size"),
        (TABLE, "0x40, ", "nvs, ", "raft has another type or subtype: make it .*`raft, data, 0x40"),
        (TABLE, "vfs, ", "ffat, ", "vfs is missing: add a line such as `vfs, data, fat"),
        (TABLE, "nvs, ", "nwt, ", "nvs is missing: add a line such as `nvs, data, nvs, 0x9000"),
        (TABLE, "factory,  app,  factory", "factory, data, nvs", "the application is missing: add"),
        (TABLE, "phy_init", "nvs", "nvs is there twice: give each partition its own name"),
        (TABLE, "phy_init", "n" * 16, "line 4: name must have 1 to 15 characters"),
        (TABLE, "data, phy", "date, phy", "line 4: type of phy_init is 'date': give one of app"),
        (TABLE, "data, phy", "data, fy", "line 4: subtype of phy_init is 'fy': give one of ota"),
        (TABLE, "0xf000", "", "line 4: offset of phy_init is '': give a number such as 0x1000"),
        (TABLE, "0xf000", "0xf100", "phy_init has an offset of 0xf100: .* multiple of 0x1000"),
        (TABLE, "0x10000,", "0x11000,", "factory has an offset of 0x11000: .* multiple of 0x10000"),
        (TABLE, "0x6000", "0x6100", "nvs has a size of 0x6100: make it a multiple of 0x1000"),
        (TABLE, "0x6000", "0", "nvs has a size of 0x0: make it a multiple"),
        (TABLE, "0x6000", "-1", "line 3: size of nvs is '-1': give a number"),
        (TABLE, "0x6000", "0x7000", "phy_init overlaps nvs: let it begin at 0x10000 or later"),
        (TABLE, "0x9000", "0x8000", "nvs overlaps the partition table: let it begin at 0x9000"),
        (TABLE, "0x1C0000", "0x1D0000", "vfs ends at 0x410000, .* make it end by 0x400000"),
        (
            TABLE,
            RAFT_LINE + "\n" + VFS_LINE,
            "vfs, data, fat, 0x200000, 0x40000\nraft, data, 0x40, 0x240000, 0x40000",
            "raft must lie behind the application and before vfs: change its offset",
        ),
        (
            TABLE,
            VFS_LINE,
            "vfs, data, fat, 0x240000, 0x40000\nmore, data, fat, 0x280000, 0x40000",
            "vfs must be the last one: move more before it",
        ),
        (
            TABLE,
            "0x40000\n",
            "0x20000\n",
            f"raft has a size of 0x20000, .* needs {flash_kb_needed(24) * 1024:#x}: enlarge it",
        ),
    ],
)
def test_errors_name_the_file_the_key_and_the_remedy(
    folder: Path, name: str, old: str, new: str, message: str
) -> None:
    file = folder / NAME / name
    text = file.read_text().replace(old, new, 1)
    assert text != file.read_text()
    file.write_text(text)

    with pytest.raises(BoardFileError, match=message) as error:
        boards.load(NAME, folder)

    assert f"{NAME}/{name}" in str(error.value)


def test_a_board_without_a_partition_table_is_told_so(folder: Path) -> None:
    (folder / NAME / TABLE).unlink()

    with pytest.raises(BoardFileError, match=f"{TABLE} does not exist: copy another board's"):
        boards.load(NAME, folder)


def test_a_command_ends_with_such_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: object) -> None:
        boards.load("esp8266")

    monkeypatch.setattr("host_tools.cluster.load", fail)

    done = CliRunner().invoke(cli.main, ["status"])

    assert done.exit_code == NOT_POSSIBLE
    assert "esp8266" in done.output and "Traceback" not in done.output
