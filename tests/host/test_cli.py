"""`raftctl` and its exit codes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from host_tools.cli import COMMANDS, main
from host_tools.cluster import Cluster, Member, load
from host_tools.firmware import Store, messages
from tests.host.fake import Behaviour, Reply, Request, fake_cluster, follows, leads, silent

OK, NEGATIVE, NOT_POSSIBLE, NOT_COMMITTED, UNKNOWN = range(5)
SHORT = ("--timeout", "0.3")
LONG = ("--timeout", "20")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.toml"


def run(file: Path | None, *arguments: str, stdin: bytes = b"") -> Result:
    options = ["--cluster", str(file)] if file else []
    return CliRunner().invoke(main, [*arguments[:1], *options, *arguments[1:]], input=stdin)


def is_one_line(text: str) -> bool:
    return text.startswith("Error: ") and text.count("\n") == 1


def answers_status(
    role: str, term: int, leader: int, doubt: int = 0, silent: dict[int, int] | None = None,
    members: dict[str, object] | None = None, facts: dict[str, Any] | None = None,
) -> Behaviour:  # fmt: skip
    usual = {"index": 1, "voters": [1, 2, 3], "standby": [], "learners": [], "dead": []}

    def answer(request: Request) -> list[Reply | bytes]:
        status = {
            "node": request.node, "role": role, "term": term, "leader": leader, "commit": 5,
            "applied": 5, "last": 6, "uptime_ms": 65_000, "interpreter": "CPython 3.11.7",
            "doubt": doubt, "members": members or usual, "silent": silent or {}, "out": False,
            "keys": [1],
            "flash": {
                "sectors": 40, "used": 10, "left_out": 2, "snapshot": 4, "snapshot_bytes": 3072,
                "written": 400, "entries": 500, "erases": 20, "bytes": 65536,
            },
            **(facts or {}),
        }  # fmt: skip
        return [Reply(messages.OK, leader, json.dumps(status).encode())]

    return answer


@pytest.mark.parametrize(
    ("first", "second", "is_told"), [([1], [1], False), ([2, 1], [2, 1], True), ([2, 1], [1], True)]
)
def test_status_tells_that_keys_are_being_changed(
    file: Path, first: list[int], second: list[int], is_told: bool
) -> None:
    nodes = [
        answers_status("leader", 3, 1, facts={"keys": keys}) for keys in (first, second, second)
    ]
    with fake_cluster(file, *nodes):
        assert ("`raftctl key show`" in run(file, "status", *LONG).stdout) == is_told


def test_values_are_stored_shown_compared_and_removed(file: Path) -> None:
    with fake_cluster(file, leads(1)):
        assert run(file, "put", "color", "blue", *LONG).exit_code == OK
        assert run(file, "get", "color", *LONG).stdout == "blue\n"
        assert run(file, "cas", "color", "blue", "red", *LONG).exit_code == OK
        assert run(file, "cas", "color", "blue", "green", *LONG).exit_code == NEGATIVE
        assert run(file, "cas", "--absent", "color", "x", *LONG).exit_code == NEGATIVE
        assert run(file, "cas", "--absent", "size", "5", *LONG).exit_code == OK
        assert run(file, "keys", *LONG).stdout == "color\nsize\n"
        assert run(file, "keys", "s", "--json", *LONG).stdout == '["size"]\n'
        assert run(file, "delete", "color", *LONG).exit_code == OK


def test_what_is_not_there_is_an_answer_in_the_negative(file: Path) -> None:
    with fake_cluster(file, leads(1)):
        for command in ("get", "delete"):
            result = run(file, command, "nothing", *LONG)

            assert (result.exit_code, result.stdout) == (NEGATIVE, "")
            assert result.stderr == "no such key: nothing\n"
        result = run(file, "get", "nothing", "--json", *LONG)
        assert result.exit_code == NEGATIVE
        assert json.loads(result.stdout) == {"key": "nothing", "value": None, "base64": None}


def test_any_bytes_go_in_by_stdin_and_out_by_json(file: Path) -> None:
    with fake_cluster(file, leads(1)):
        assert run(file, "put", "raw", "-", *LONG, stdin=b"\xff\x00\n").exit_code == OK

        shown = json.loads(run(file, "get", "raw", "--json", *LONG).stdout)

        assert shown == {"key": "raw", "value": None, "base64": "/wAK"}


@pytest.mark.parametrize(
    "arguments",
    [("put", "k", "v"), ("get", "k"), ("delete", "k"), ("cas", "k", "a", "b"), ("keys",)],
)
def test_no_answer_is_no_success(file: Path, arguments: tuple[str, ...]) -> None:
    with fake_cluster(file, follows(0), silent, silent):
        result = run(file, *arguments, *SHORT)

    assert (result.exit_code, result.stdout) == (NOT_COMMITTED, "")
    assert is_one_line(result.stderr)


def test_a_command_without_an_answer_is_neither_success_nor_failure(file: Path) -> None:
    leader = leads(1, lambda request, reply: [] if request.is_command else [reply])
    with fake_cluster(file, leader):
        result = run(file, "put", "k", "v", *SHORT)

    assert (result.exit_code, result.stdout) == (UNKNOWN, "")
    assert is_one_line(result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("put", "k" * 65, "v"),
        ("put", "k", "v" * 1025),
        ("cas", "k", "too few"),
        ("cas", "k", "--absent", "too", "many"),
        ("get", "k", "--timeout", "0"),
        ("node", "--id", "9"),
        ("node", "--id", "1", "--interpreter", "perl"),
        ("unheard-of",),
    ],
)
def test_what_can_not_be_done_is_told_apart(file: Path, arguments: tuple[str, ...]) -> None:
    with fake_cluster(file, leads(1)):
        result = run(file, *arguments)

    assert (result.exit_code, result.stdout) == (NOT_POSSIBLE, "")
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("arguments", [("status",), ("get", "k"), ("node", "--id", "1")])
def test_without_a_file_there_is_no_cluster(file: Path, arguments: tuple[str, ...]) -> None:
    result = run(file, *arguments)

    assert result.exit_code == NOT_POSSIBLE
    assert is_one_line(result.stderr) and "raftctl init" in result.stderr


def test_a_node_that_is_a_board_does_not_run_here(file: Path) -> None:
    nodes = {1: Member(1, "auto", 7100, 7200, "24:0a:c4:00:00:01", "esp32_generic")}
    file.write_text(Cluster(file, "demo", nodes).to_toml(), encoding="utf-8")

    result = run(file, "node", "--id", "1")

    assert result.exit_code == NOT_POSSIBLE
    assert result.stderr == (
        "Error: node 1 is the board 24:0a:c4:00:00:01, and not on this machine: `raftctl up 1` "
        "starts it\n"
    )


def test_status_shows_each_node_and_those_that_are_missing(file: Path) -> None:
    leader, follower = answers_status("leader", 3, 1), answers_status("follower", 3, 1)
    with fake_cluster(file, leader, follower, silent):
        result = run(file, "status", *SHORT)
        shown = json.loads(run(file, "status", "--json", *SHORT).stdout)

    assert result.exit_code == OK
    _, first, second, third = result.stdout.splitlines()
    assert " ".join(first.split()) == "1 leader 3 1 5 5 6 25% 1m05s CPython 3.11.7"
    assert second.split()[1] == "follower"
    assert third.split() == ["3", "unreachable"]
    assert "\x1b" not in result.stdout
    assert shown["leader"] == 1
    assert shown["nodes"]["1"]["term"] == 3
    assert shown["nodes"]["3"] is None


def test_status_flash_shows_how_full_and_how_worn_each_flash_is(file: Path) -> None:
    with fake_cluster(file, answers_status("leader", 3, 1), silent, answers_status("x", 3, 1)):
        result = run(file, "status", "--flash", *SHORT)
        shown = json.loads(run(file, "status", "--flash", "--json", *SHORT).stdout)

    assert result.exit_code == OK
    head, first, second, _ = result.stdout.splitlines()
    assert " ".join(head.split()) == (
        "node sectors left out snapshot size erases written entries/erase years"
    )
    assert " ".join(first.split()) == "1 10/40 2 4 3.0 KB 20 64.0 KB 25.0 0.4"
    assert second.split() == ["2", "unreachable"]
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert shown["leader"] == 1
    assert shown["nodes"]["2"] is None
    years = shown["nodes"]["1"].pop("years_left")
    # 20 erases of 40 sectors in 65 s; each has had ten already
    assert years == pytest.approx((100_000 - 10) * 2 * 65 / (365.25 * 86_400))
    assert shown["nodes"]["1"] == {
        "sectors": 40, "used": 10, "left_out": 2, "snapshot_index": 4, "snapshot_bytes": 3072,
        "erases": 20, "bytes_programmed": 65536, "entries_per_erase": 25.0,
    }  # fmt: skip


@pytest.mark.parametrize("flash", [(), ("--flash",)])
def test_status_tells_why_a_learner_has_no_vote(file: Path, flash: tuple[str, ...]) -> None:
    five = {"index": 1, "voters": [1, 2, 3, 4, 5], "standby": [], "learners": [], "dead": []}
    leader = answers_status("leader", 3, 1, members=five)
    learner = answers_status("learner", 3, 1, Store.ALL)
    with fake_cluster(file, leader, answers_status("learner", 3, 1, 77), learner, leader, leader):
        result = run(file, "status", *flash, *SHORT)

    assert result.exit_code == OK
    *_, two, three = result.stdout.splitlines()
    assert two.startswith("node 2 has no vote: its flash may have lost entries up to 77; ")
    assert three.startswith("node 3 has no vote: its flash was replaced, or has lost what it had ")
    assert flash or [line.split()[1] for line in result.stdout.splitlines()[1:4]] == (
        ["leader", "learner", "learner"]
    )


@pytest.mark.parametrize(
    ("behaviours", "message"),
    [
        (
            (answers_status("leader", 3, 1), answers_status("learner", 3, 1, 7), silent),
            "1 of 3 voters answer and can vote, 2 are needed: start the others, or",
        ),
        (
            (silent, silent, silent),
            "no node answers: see that nodes run, with the key of secrets.toml",
        ),
        ((answers_status("leader", 3, 1), silent, silent), "1 of 3 voters answer"),
        ((answers_status("follower", 3, 0),) * 3, "no leader"),
        # the leader of an older term is one no more
        ((answers_status("leader", 3, 1), answers_status("candidate", 4, 0)), "no leader"),
    ],
)
def test_status_fails_without_a_leader_and_a_majority(
    file: Path, behaviours: tuple[Behaviour, ...], message: str
) -> None:
    with fake_cluster(file, *behaviours):
        result = run(file, "status", *SHORT)

    assert result.exit_code == NOT_COMMITTED
    assert is_one_line(result.stderr) and message in result.stderr
    assert "node" in result.stdout


def test_status_tells_how_often_nodes_have_failed(file: Path) -> None:
    leader = answers_status("leader", 3, 1, facts={"restarts": 0, "failures": 0})
    follower = answers_status("follower", 3, 1, facts={"restarts": 2, "failures": 1})
    with fake_cluster(file, leader, follower, answers_status("follower", 3, 1)):
        result = run(file, "status", *SHORT)

    assert result.stdout.splitlines()[4:] == [
        "node 2: it has failed and started anew 2 times and tasks beside it have failed once "
        "since its power came"
    ]
    assert result.exit_code == 0


def test_status_tells_why_nodes_have_refused_datagrams(file: Path) -> None:
    some = {"forged": 60, "repeated": 30, "strangers": 9, "limited": 0}
    leader = answers_status("leader", 3, 1, facts={"udp": some})
    follower = answers_status("follower", 3, 1, facts={"udp": {**some, "limited": 1}})
    with fake_cluster(file, leader, follower, answers_status("follower", 3, 1)):
        result = run(file, "status", *SHORT)

    assert result.stdout.splitlines()[4:] == [
        "node 2 has refused datagrams since its start: 60 forged, or by another key, 30 that had "
        "been there before, 9 from nodes and clients that it has not met, 1 requests too many of a "
        "credential"
    ]
    assert result.exit_code == 0


def test_status_tells_members_apart_and_names_those_that_are_unheard_of(file: Path) -> None:
    members = {"index": 9, "voters": [1, 2], "standby": [3], "learners": [4], "dead": [5]}
    leader = answers_status("leader", 3, 1, silent={2: 720_000}, members=members)
    others = [answers_status("learner", 3, 1) for _ in (3, 4, 5)]
    with fake_cluster(file, leader, silent, *others, answers_status("out", 3, 0)):
        result = run(file, "status", *SHORT)

    table = [line.split()[:2] for line in result.stdout.splitlines()[1:7]]
    assert table == [
        ["1", "leader"], ["2", "unreachable"], ["3", "standby"], ["4", "learner"], ["5", "dead"],
        ["6", "out"],
    ]  # fmt: skip
    unheard, stranger = result.stdout.splitlines()[7:]
    assert unheard.startswith("node 2, a voter, is unheard of for 12m00s: start it, or `raftctl ")
    assert stranger == "node 6 is no member: `raftctl add 6`"
    assert "1 of 2 voters answer" in result.stderr


def test_init_writes_a_file_that_works_and_overwrites_none(file: Path) -> None:
    assert run(file, "init", "--desk", "--nodes", "5").exit_code == OK
    assert len(load(file).nodes) == 5

    refused = run(file, "init", "--desk")

    assert refused.exit_code == NOT_POSSIBLE
    assert "--force" in refused.stderr
    assert len(load(file).nodes) == 5
    assert run(file, "init", "--desk", "--force").exit_code == OK
    assert len(load(file).nodes) == 3


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_a_terminal_of_80_columns(command: str | None) -> None:
    result = run(None, *([command] if command else []), "--help")

    assert result.exit_code == OK
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert not result.stdout.replace("[ARGS]...", "").count("...")  # no sentence is cut short


def test_help_lists_each_command_once() -> None:
    listed = re.findall(r"^  ([a-z]+) +\S.*\.$", run(None, "--help").stdout, re.MULTILINE)

    assert listed == list(COMMANDS)


def test_help_tells_the_exit_codes() -> None:
    text = run(None, "--help").stdout

    for code in (OK, NEGATIVE, NOT_POSSIBLE, NOT_COMMITTED, UNKNOWN):
        assert f"\n    {code}  " in text
