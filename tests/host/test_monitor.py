"""`raftctl monitor`, on ptys in the place of boards."""

import itertools
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from host_tools import ports, view
from host_tools.cli import main
from host_tools.cluster import on_free_ports
from host_tools.firmware import FIRMWARE
from host_tools.monitor import Filter, Glance, JsonLines, Lines, Logs, Watcher
from host_tools.processes import Processes
from host_tools.serial_lines import MAX_LINE, QUIET_S, Board, Item
from tests.clusters import INTERPRETERS, write
from tests.host.terminals import Shown, open_terminal

PATIENCE_S = 60
STEP = 256  # bytes that a board prints at a time
COMMAND = [sys.executable, "-m", "host_tools.cli", "monitor"]
AT = 100_000.0  # in the second day of the epoch, in every time zone
LEADER = "[raft] n2 0001532 leader last=17 term=4"
STAT = (
    "[raft] n2 0002000 stat applied=17 commit=17 heap=65536 last=17 leader=2 role=leader "
    "rssi=-61 term=4"
)
TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "main.py", line 44, in main',
    "OSError: [Errno 12] ENOMEM",
]
BOOT_ESP32 = [
    "ets Jun  8 2016 00:22:57",
    "",
    "rst:0x8 (TG1WDT_SYS_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
    "configsip: 0, SPIWP:0xee",
    "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00",
    "mode:DIO, clock div:2",
    "load:0x3fff0030,len:4892",
    "ho 0 tail 12 room 4",
    "load:0x40078000,len:14896",
    "entry 0x4008064c",
]


class PtyBoard:
    """A board at a path that stays the same, as a /dev/ttyUSB0 does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.late_ms = 0.0  # the most that `print_at` was behind, for nobody has read
        self.plug_in()

    def plug_in(self) -> None:
        self._board, device = os.openpty()
        self.path.symlink_to(os.ttyname(device))
        os.close(device)

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self._board)

    def say(self, *lines: str) -> None:
        """Whole lines, as MicroPython ends them."""
        self.write("".join(f"{line}\r\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._board, data) :]

    def print_at(self, data: bytes, rate: int) -> None:
        """At that many bytes/s, as a UART does; 0: as fast as they are taken."""
        start = time.monotonic()
        for at in range(0, len(data), STEP):
            if rate:
                due = start + at / rate
                time.sleep(max(0.0, due - time.monotonic()))
                self.late_ms = max(self.late_ms, 1000 * (time.monotonic() - due))
            self.write(data[at : at + STEP])


class Stream:
    """What a watcher has told; waits for what is to come."""

    def __init__(self, watcher: Watcher) -> None:
        self.items: list[Item] = []
        self._watcher = watcher

    def until(self, condition: Callable[[Item], bool], count: int = 1) -> None:
        end = time.monotonic() + PATIENCE_S
        while sum(map(condition, self.items)) < count:
            assert time.monotonic() < end, self.items
            self.items += self._watcher.items(0.1)

    def of(self, board: PtyBoard, *kinds: str) -> list[Item]:
        return [i for i in self.items if i.port == str(board.path) and i.kind in kinds]


@contextmanager
def watched(*boards: PtyBoard) -> Iterator[Stream]:
    """All of them opened: from here on nothing that they say gets lost."""
    with Watcher(str(board.path) for board in boards) as watcher:
        stream = Stream(watcher)
        stream.until(lambda item: item.facts.get("state") == "open", len(boards))
        yield stream


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[list[PtyBoard]]:
    made = [PtyBoard(tmp_path / f"ttyUSB{number}") for number in range(2)]
    yield made
    for board in made:
        board.unplug()


def fed(*data: bytes, quiet: bool = True) -> list[Item]:
    """The items that a board makes of these pieces."""
    board = Board("/dev/ttyUSB0")
    items = [item for piece in data for item in board.feed(piece, AT)]
    return items + list(board.rest(AT + (QUIET_S if quiet else 0.0)))


def text_of(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def kinds(items: Sequence[Item]) -> list[str]:
    return [item.kind for item in items]


# What a line is


def test_an_event_tells_node_time_and_facts() -> None:
    (item,) = fed(text_of(LEADER))

    assert (item.node, item.kind, item.what, item.ms) == (2, "event", "leader", 1532)
    assert item.facts == {"last": 17, "term": 4}
    assert item.text == "leader last=17 term=4"


def test_a_line_that_comes_in_pieces_is_one() -> None:
    data = text_of(LEADER, "grün", LEADER)
    whole = fed(data)

    assert kinds(whole) == ["event", "line", "event"]
    for size in (1, 2, 7):
        assert fed(*(data[at : at + size] for at in range(0, len(data), size))) == whole


def test_half_a_line_is_shown_when_nothing_follows() -> None:
    assert fed(b">>> ", quiet=False) == []

    (item,) = fed(b">>> ")

    assert (item.kind, item.text) == ("line", ">>> ")


def test_a_line_without_an_end_is_cut() -> None:
    items = fed(b"x" * (2 * MAX_LINE + 1), quiet=False)

    assert [len(item.text) for item in items] == [MAX_LINE, MAX_LINE]


def test_broken_utf_8_and_control_characters_do_no_harm() -> None:
    (item,) = fed(b"caf\xc3 \x1b[2J\x07 \xffok and much more that can be read\r\n")

    assert item.text == "caf\ufffd \ufffd[2J\ufffd \ufffdok and much more that can be read"
    assert item.facts == {}
    assert item.raw == b"caf\xc3 \x1b[2J\x07 \xffok and much more that can be read"


def test_what_comes_at_another_speed_is_noise() -> None:
    (item,) = fed(b"\x00\xf8\x80\xfe\x1c\x03x\xe0\xff\xf8\n")

    assert (item.kind, item.facts) == ("line", {"noise": "garbage"})
    assert item.text.startswith("10 bytes of noise")


@pytest.mark.parametrize(
    ("line", "name", "reason"),
    [
        ("rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "POWERON_RESET", "power on"),
        ("rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "SW_CPU_RESET", "by software"),
        ("rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "RTC_SW_CPU_RST", "by softw"),
        ("rst:0x8 (TG1WDT_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "TG1WDT_SYS_RST", "watchdog"),
        ("rst:0xf (BROWN_OUT_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "BROWN_OUT_RST", "brown-out"),
        ("rst:0x15 (USB_UART_CHIP_RESET),boot:0x8 (X)", "USB_UART_CHIP_RESET", "by USB"),
        ("rst:0x5 (DEEPSLEEP_RESET),boot:0x13 (X)", "DEEPSLEEP_RESET", "woke from deep sleep"),
        ("rst:0x99 (BY_MAGIC),boot:0x13 (X)", "BY_MAGIC", "BY_MAGIC"),
        ("[raft] n2 00015rst:0x1 (POWERON),boot:0x8 (X)", "POWERON", "power on"),
        ("MPY: soft reboot", "SOFT", "soft"),
    ],
)
def test_the_reason_of_a_reset_is_named(line: str, name: str, reason: str) -> None:
    (item,) = fed(text_of(line))

    assert item.kind == "reset" and item.facts["name"] == name
    assert item.facts["reason"].startswith(reason)


def test_a_board_that_waits_for_a_download_says_so() -> None:
    line = "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))"
    (item,) = fed(text_of(line))

    assert "waits for a download: let go of BOOT" in item.text


def test_what_the_boot_rom_prints_is_known_as_noise() -> None:
    items = fed(text_of(*BOOT_ESP32, "Connecting ...", LEADER))

    assert kinds(items) == ["line", "reset", *["line"] * 8, "event"]
    noise = [item.facts.get("noise") for item in items if item.kind == "line"]
    assert noise == ["boot"] * 8 + [None]


def test_a_traceback_is_one_item() -> None:
    task = ["Task exception wasn't retrieved", "future: <Task> coro= <generator object>"]
    items = fed(text_of("before", *TRACEBACK, "after", *task, *TRACEBACK, LEADER))

    assert kinds(items) == ["line", "traceback", "line", "traceback", "event"]
    assert items[1].text.split("\n") == TRACEBACK
    assert items[3].text.split("\n") == [*task, *TRACEBACK]


@pytest.mark.parametrize("line", [LEADER, BOOT_ESP32[0]])
def test_a_traceback_that_was_cut_off_takes_nothing_else_with_it(line: str) -> None:
    first, second = fed(text_of(*TRACEBACK[:2], line))

    assert (first.kind, first.text.split("\n")) == ("traceback", TRACEBACK[:2])
    assert second.kind != "traceback"


def test_a_panic_is_kept_together_to_the_reset() -> None:
    panic = [
        "Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.",
        "", "Core  1 register dump:", "PC      : 0x400d1234  PS      : 0x00060830", "",
        "Backtrace: 0x400d1231:0x3ffb1f20", "", "Rebooting...",
    ]  # fmt: skip
    items = fed(text_of(*panic, *BOOT_ESP32[:3]))

    assert kinds(items) == ["traceback", "line", "reset"]
    assert items[0].text.split("\n") == panic


# Many ports


def test_tracebacks_of_two_boards_are_not_mixed(boards: list[PtyBoard]) -> None:
    with watched(*boards) as stream:
        for line in TRACEBACK:
            for board in boards:
                board.say(line)
        stream.until(lambda item: item.kind == "traceback", count=2)

    out = StringIO()
    Lines([str(board.path) for board in boards], out).show(
        [item for item in stream.items if item.kind == "traceback"]
    )
    lines = [line.split(" | ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == TRACEBACK * 2


def test_a_port_that_goes_away_is_waited_for(boards: list[PtyBoard]) -> None:
    first, second = boards
    with watched(*boards) as stream:
        first.say(LEADER)
        stream.until(lambda item: item.kind == "event")
        first.write(b"half a li")
        stream.until(lambda item: item.text == "half a li")
        first.unplug()
        stream.until(lambda item: item.facts.get("state") == "absent")
        second.say("still here")
        stream.until(lambda item: item.text == "still here")
        first.plug_in()
        stream.until(lambda item: item.facts.get("state") == "open", count=3)
        first.say("back")
        stream.until(lambda item: item.text == "back")

    states = [item.facts["state"] for item in stream.of(first, "port")]
    assert states == ["open", "gone", "absent", "open"]
    assert [item.text for item in stream.of(first, "line")] == ["half a li", "back"]


def test_a_port_in_use_is_refused_and_the_others_let_go(boards: list[PtyBoard]) -> None:
    first, second = boards
    taken = ports.open_port(str(second.path))

    result = CliRunner().invoke(main, ["monitor", str(first.path), str(second.path)])

    assert result.exit_code == 2
    assert (
        result.stderr == f"Error: {second.path} is in use by another program: end that one first\n"
    )
    ports.close(taken)
    for board in boards:
        ports.close(ports.open_port(str(board.path)))


def test_without_a_port_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "found", list)

    result = CliRunner().invoke(main, ["monitor"])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: no serial port was found: plug a board in")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--filter", "("], "no regular expression"), (["--log-dir", "{0}/x/logs"], "choose another")],
)
def test_what_can_not_be_done_is_told(
    boards: list[PtyBoard], tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "x").touch()
    port = str(boards[0].path)

    result = CliRunner().invoke(main, ["monitor", port, *(a.format(tmp_path) for a in arguments)])

    assert result.exit_code == 2
    assert message in result.stderr


# What is shown


def item(text: str, kind: str = "line", node: int | None = 2, **facts: Any) -> Item:
    return Item(1_700_000_000.25, "/dev/ttyUSB0", node, kind, text, facts, raw=text.encode())


def test_lines_are_aligned() -> None:
    out = StringIO()

    Lines(["/dev/ttyUSB0", "/dev/ttyACM1"], out).show(
        [*fed(text_of(LEADER)), item("hello"), item("gone", "port", None)]
    )

    event, line, port = (x[len("12:00:00.250 ") :] for x in out.getvalue().splitlines())
    assert event == "n2           1.532 leader last=17 term=4"
    assert line == "n2                 | hello"
    assert port == "ttyUSB0         -- ttyUSB0 gone"


def test_json_is_an_object_per_line() -> None:
    out = StringIO()

    JsonLines(out).show([*fed(text_of(LEADER)), item("a\nb", "traceback")])

    event, traceback = map(json.loads, out.getvalue().splitlines())
    assert event.pop("time").startswith("1970-01-0")
    assert event == {
        "port": "/dev/ttyUSB0", "node": 2, "kind": "event", "event": "leader", "ms": 1532,
        "text": "leader last=17 term=4", "facts": {"last": 17, "term": 4},
    }  # fmt: skip
    assert (traceback["kind"], traceback["text"]) == ("traceback", "a\nb")


@pytest.mark.parametrize(
    ("pattern", "passing"),
    [("", "0123"), ("^n2 ", "03"), (" leader ", "03"), ("Error", "13"), ("^ttyUSB0", "23")],
)
def test_the_filter_finds_nodes_events_and_text(pattern: str, passing: str) -> None:
    chosen = Filter(pattern)
    items = [
        item("leader last=17 term=4", "event"),
        item("Traceback\nOSError: 5", "traceback", node=1),
        item("hello", node=None),
        item("gone", "port", node=None),
    ]

    assert "".join(str(i) for i, x in enumerate(items) if chosen.passes(x)) == passing


def test_logs_hold_what_came_with_the_time_a_file_per_node(tmp_path: Path) -> None:
    for _ in range(2):  # appended
        Logs(tmp_path / "logs").write(fed(b"\xff\xfe...........\n" + text_of(LEADER, *TRACEBACK)))

    before = (tmp_path / "logs" / "ttyUSB0.log").read_bytes().splitlines()
    node = (tmp_path / "logs" / "n2.log").read_bytes().splitlines()
    assert [line.split(b" ", 1)[1] for line in before] == [b"\xff\xfe..........."] * 2
    assert [line.split(b" ", 1)[1].decode() for line in node] == [LEADER, *TRACEBACK] * 2
    assert node[0].startswith(b"1970-01-0")


def test_the_glance_follows_what_the_boards_say() -> None:
    glance = Glance()
    boot = "[raft] n2 0000001 boot cluster=x"

    for one in fed(text_of(boot, LEADER, STAT)):
        glance.take(one)
    (row,) = glance.rows()
    assert (row.node, row.role, row.restarts) == (2, "leader", 0)
    console = view.console()
    with console.capture() as captured:
        console.print(view.glance([row]))
    assert captured.get().splitlines()[1].split() == (
        ["2", "leader", "4", "2", "17", "64.0", "KB", "-61", "dBm", "0", "/dev/ttyUSB0"]
    )

    for one in fed(text_of(*BOOT_ESP32, boot)):
        glance.take(one)
    (row,) = glance.rows()
    assert (row.role, row.restarts) == ("", 1)
    for one in fed(text_of(boot)):  # a reset that was not seen
        glance.take(one)
    for one in fed(text_of(STAT + " restarts=5")):  # of which most were before
        glance.take(one)
    (row,) = glance.rows()
    assert (row.restarts, row.all_restarts) == (2, 5)
    glance.take(item("gone", "port", state="gone"))
    (row,) = glance.rows()
    assert (row.restarts, row.is_gone) == (2, True)


def test_at_a_glance_a_board_that_is_gone_leads_no_more() -> None:
    glance = Glance()

    for one in fed(text_of(LEADER)):
        glance.take(one)
    glance.take(item("gone", "port", state="gone"))

    console = view.console()
    with console.capture() as captured:
        console.print(view.glance(glance.rows()))
    assert captured.get().splitlines()[1].split()[:2] == ["2", "gone"]


# The command itself


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """`raftctl monitor` as a process, with Ctrl-C heard where tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*COMMAND, *arguments], cwd=FIRMWARE.parent, **options)
    signal.signal(signal.SIGINT, before)
    bound = threading.Timer(PATIENCE_S, process.kill)  # ends whoever reads from it in vain
    bound.start()
    try:
        yield process
    finally:
        bound.cancel()
        process.kill()
        process.wait()


@contextmanager
def as_json(*arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", Iterator[Any]]]:
    with running(*arguments, "--json", stdout=subprocess.PIPE) as process:
        assert process.stdout
        with process.stdout as out:
            yield process, map(json.loads, out)


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_of_a_real_cluster_it_sees_one_leader_in_the_newest_term(
    tmp_path: Path, interpreter: str
) -> None:
    cluster = on_free_ports(tmp_path / "cluster.toml", 3)
    write(cluster)
    boards = {node: PtyBoard(tmp_path / f"tty{node}") for node in cluster.nodes}
    names = [str(board.path) for board in boards.values()]
    lines = Processes(cluster, interpreter, lambda node, line: boards[node].say(line))
    leaders: dict[int, set[int]] = {}  # term -> who said that it leads

    followed: set[int] = set()  # terms whose leader has a follower

    def led(seen: Iterator[Any], term: int) -> int:
        """Waits for a leader of a later term that another node follows; told in either order."""
        for one in seen:
            facts = one["facts"]
            if one.get("event") == "leader":
                leaders.setdefault(facts["term"], set()).add(one["node"])
            elif one.get("event") == "follower" and facts.get("leader"):
                followed.add(facts["term"])
            newest = max(leaders.keys() & followed, default=0)
            if newest > term:
                return min(leaders[newest])
        raise AssertionError("the monitor has ended")

    with as_json("--filter", " (leader|follower) ", *names) as (process, seen), lines as nodes:
        for state in itertools.islice(seen, 3):
            assert state["facts"] == {"state": "open"}
        for node in cluster.nodes:
            nodes.start(node)
        first = led(seen, 0)
        nodes.kill(first)
        second = led(seen, max(leaders))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0

    assert second != first
    assert all(len(nodes) == 1 for nodes in leaders.values())


def test_logs_are_written_while_it_runs_and_sigterm_ends_it(
    tmp_path: Path, boards: list[PtyBoard]
) -> None:
    board = boards[0]
    log = "--log-dir", str(tmp_path / "logs")
    with as_json(str(board.path), *log, "--filter", "last one") as (process, seen):
        assert next(seen)["kind"] == "port"
        board.say(LEADER, "left out of the stream", "the last one")
        assert next(seen)["text"] == "the last one"
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM

    logged = (tmp_path / "logs" / "n2.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in logged] == (
        [LEADER, "left out of the stream", "the last one"]
    )


def test_on_a_terminal_the_cluster_stands_above_the_lines_and_a_key_leaves(
    boards: list[PtyBoard],
) -> None:
    terminal, device = open_terminal()
    before = termios.tcgetattr(device)
    names = [str(board.path) for board in boards]
    env = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": ""}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), device)
    with running(*names, env=env, **streams) as process:
        shown = Shown(terminal)
        shown.until("ttyUSB1 opened", "ttyUSB0 opened")
        boards[0].say(STAT)
        boards[1].say("hello from 1", *TRACEBACK)
        shown.until("2 boards, leader: 2", "Ctrl-] quits", "-61 dBm", "| hello", "| OSError")
        os.write(terminal, b"\x1d")
        assert process.wait(PATIENCE_S) == 0

    assert termios.tcgetattr(device) == before
    shown.until("\x1b[?25h")  # the cursor is back
    os.close(terminal)
    os.close(device)


# How much it holds

RATE = ports.BAUD // 10  # bytes/s of a board: ten bits each
BOARDS = 5
DENSE_S = 3.0


def dense(node: int, size: int) -> bytes:
    """Numbered event lines, about that many bytes."""
    line = "[raft] n%d %07d stat applied=17 commit=17 heap=65536 last=17 leader=2 term=4\r\n"
    count = size // len(line % (node, 0))
    return "".join(line % (node, number) for number in range(count)).encode()


@pytest.mark.parametrize(("bytes_each", "rate"), [(RATE * DENSE_S, RATE), (400_000, 0)])
def test_five_boards_that_print_without_a_pause_lose_no_line(
    tmp_path: Path, bytes_each: float, rate: int, capsys: pytest.CaptureFixture[str]
) -> None:
    boards = [PtyBoard(tmp_path / f"tty{node}") for node in range(1, BOARDS + 1)]
    texts = [dense(node, int(bytes_each)) for node in range(1, BOARDS + 1)]
    lines = sum(text.count(b"\n") for text in texts)
    with as_json(*(str(board.path) for board in boards)) as (_, seen):
        for _ in boards:
            assert next(seen)["kind"] == "port"
        start = time.monotonic()
        writers = [
            threading.Thread(target=board.print_at, args=(text, rate))
            for board, text in zip(boards, texts)
        ]
        for writer in writers:
            writer.start()
        got = list(itertools.islice(seen, lines))
        took = time.monotonic() - start
        for writer in writers:
            writer.join()

    for node, text in enumerate(texts, 1):
        assert [x["ms"] for x in got if x["node"] == node] == list(range(text.count(b"\n")))
    measured = sum(map(len, texts)) / took
    late_ms = max(board.late_ms for board in boards)
    with capsys.disabled():
        print(
            f"\n{BOARDS} boards, {lines} lines, {measured:.0f} bytes/s"
            + (f", writers late by {late_ms:.0f} ms at most" if rate else " (as fast as it can)")
        )
    assert rate or measured > BOARDS * RATE
