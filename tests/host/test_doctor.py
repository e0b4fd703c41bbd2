"""What `raftctl doctor` finds wrong, given what was measured."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from host_tools import attached, deploying
from host_tools.attached import AT_REPL, JOINING, NOTHING, OTHER, Asked, Silent
from host_tools.cli import main
from host_tools.cluster import Cluster, Member, on_desk
from host_tools.commands import doctor as command
from host_tools.doctor import ERROR, WARNING, Finding, Pair, findings, pairs, timing
from host_tools.examining import Board, Clock, Link
from host_tools.options import NEGATIVE, NOT_POSSIBLE
from host_tools.secret import Wifi
from tests.clusters import give_key

VERSION, MARK = "1.26.1", "0123abcd"
NODES = (1, 2, 3)
ALL_CAME = {"sent": 20, "lost": 0, "median": 6, "max": 31}
ALL_LOST = {"sent": 20, "lost": 20}


def mac(node: int) -> str:
    return f"24:0a:c4:00:00:{node:02x}"


def host(node: int) -> str:
    return f"192.168.1.{node}"


def link(node: int, peer: int, **facts: Any) -> Link:
    return Link(node, peer, **{**ALL_CAME, **facts})


def links(node: int, **facts: Any) -> tuple[Link, ...]:
    """To all others."""
    return tuple(link(node, peer, **facts) for peer in NODES if peer != node)


def healthy(node: int) -> Board:
    asked = Asked(f"/dev/ttyUSB{node}", "esp32", mac(node), VERSION, node, "follower", f"{MARK}.ff")
    return Board(
        asked, "leader" if node == 1 else "follower", host(node), pm=0, rssi=-60, heap=40_000,
        term=4, leader=1, has_raft=True, clock=Clock(4000, 4001, 3900, 4200), links=links(node),
    )  # fmt: skip


def changed(board: Board, **changes: Any) -> Board:
    """The same with other facts, be they the board's or those it was found with."""
    names = {field.name for field in dataclasses.fields(Asked)} - {"runs", "term"}
    asked = dataclasses.replace(
        board.asked, **{name: changes.pop(name) for name in names & changes.keys()}
    )
    return dataclasses.replace(board, asked=asked, **changes)


def stopped(node: int, runs: str, **changes: Any) -> Board:
    """A board with no node that runs."""
    asked = dataclasses.replace(healthy(node).asked, runs=runs)
    return Board(asked, runs, **changes)


def described(**changes: Any) -> Cluster:
    members = {i: Member(i, host(i), 7100 + i, 7200 + i, mac(i), "esp32_generic") for i in NODES}
    made = Cluster(Path("cluster.toml"), "demo", members, 100, (300, 600))
    return dataclasses.replace(made, **changes)


MARKS = dict.fromkeys(NODES, MARK)


def found(boards: Sequence[Board], cluster: Cluster | None = None) -> list[Finding]:
    return findings(boards, [], cluster or described(), MARKS)


def with_second(**changes: Any) -> list[Board]:
    """Three boards, of which the second isn't as it should be."""
    return [healthy(1), changed(healthy(2), **changes), healthy(3)]


def test_nothing_is_wrong_with_a_healthy_cluster() -> None:
    boards = [healthy(node) for node in NODES]

    assert found(boards) == []
    assert findings(boards, [], None, {}) == []
    assert [pair.nodes for pair in pairs(boards)] == [(1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("changes", "severity", "what", "remedy"),
    [
        ({"pm": 1}, ERROR, "power save is on (pm=1)", "reset the board"),
        ({"rssi": -76}, WARNING, "-76 dBm", "elsewhere"),
        ({"heap": 8191}, WARNING, "8191 bytes of heap", "app"),
        ({"is_lost": True}, WARNING, "hasn't answered", "cable"),
        ({"clock": Clock(2000, 4001, 3900, 4200)}, ERROR, "counted 2000 ms", "MicroPython for"),
        ({"clock": Clock(4500, 4001, 3900, 4200)}, ERROR, "counted 4500 ms", "MicroPython for"),
        ({"clock": Clock(-500, 4001, 3900, 4200)}, ERROR, "restarted", "raftctl monitor"),
        ({"ip": "192.168.1.9"}, ERROR, "192.168.1.9, and its host", "correct host"),
        ({"deployed": "4567cdef.ff"}, WARNING, "isn't what cluster.toml", "raftctl deploy"),
        ({"runs": "learner"}, WARNING, "no vote", "let it run"),
        ({"restarts": 1}, WARNING, "failed and started anew once since its", "raftctl monitor"),
        ({"failures": 2}, WARNING, "tasks beside it have failed 2 times", "raftctl monitor"),
        ({"runs": "out"}, WARNING, "no member any more", "raftctl add 2"),
    ],
)
def test_what_is_wrong_with_a_board_is_found(
    changes: dict[str, Any], severity: str, what: str, remedy: str
) -> None:
    (finding,) = found(with_second(**changes))

    assert (finding.severity, finding.where) == (severity, "node 2")
    assert what in finding.what and remedy in finding.remedy
    assert "\n" not in finding.line


@pytest.mark.parametrize(
    "changes",
    [
        {"rssi": -75}, {"rssi": None}, {"heap": 8192}, {"heap": None}, {"pm": None}, {"ip": ""},
        {"clock": Clock(3800, 4001, 3900, 4200)}, {"clock": Clock(4300, 4001, 3900, 4200)},
        {"clock": None},
    ],
)  # fmt: skip
def test_what_is_good_enough_or_not_known_is_no_finding(changes: dict[str, Any]) -> None:
    assert found(with_second(**changes)) == []


def test_a_host_that_is_a_name_is_not_compared_with_an_address() -> None:
    members = {**described().nodes}
    members[2] = dataclasses.replace(members[2], host="kitchen.local")

    assert found([healthy(node) for node in NODES], described(nodes=members)) == []


@pytest.mark.parametrize(
    ("board", "what", "remedy"),
    [
        (stopped(2, NOTHING, has_raft=None), "no MicroPython", "raftctl up"),
        (stopped(2, OTHER), "another program", "raftctl up"),
        (stopped(2, AT_REPL, has_raft=True), "REPL waits", "press RESET"),
        (stopped(2, AT_REPL, has_raft=True, crashes=3), "3 crashes in a row", "press RESET"),
        (stopped(2, AT_REPL, has_raft=True, reason="ImportError: raft"), "ImportError", "deploy"),
        (stopped(2, AT_REPL, has_raft=False), "no partition for the raft log", "raftctl up"),
        (
            stopped(2, JOINING, ip="0.0.0.0", reason="wrong_password"),
            "wrong_password",
            "secrets.toml",
        ),
        (stopped(2, JOINING, reason="beacon_timeout"), "beacon_timeout", "nearer"),
        (stopped(2, JOINING, ip="0.0.0.0"), "nothing is known", "nearer"),
    ],
)
def test_a_node_that_does_not_run_is_found_once_with_the_reason(
    board: Board, what: str, remedy: str
) -> None:
    dead = {"lost": 20, "median": None, "max": None}
    others = [
        changed(healthy(node), links=(link(node, 4 - node), link(node, 2, **dead)))
        for node in (1, 3)
    ]

    (finding,) = found([*others, board])

    assert (finding.severity, finding.where) == (ERROR, "node 2")
    assert what in finding.what and remedy in finding.remedy


def test_a_board_that_is_not_here_is_found_unless_its_node_answers_the_others() -> None:
    first, second = healthy(1), healthy(2)
    assert found([first, second]) == []

    dead = {"lost": 20, "median": None, "max": None}
    first = changed(first, links=(link(1, 2), link(1, 3, **dead)))
    second = changed(second, links=(link(2, 1), link(2, 3, **dead)))
    (finding,) = found([first, second])

    assert (finding.severity, finding.where) == (ERROR, "node 3")
    assert mac(3) in finding.what and "power" in finding.remedy


def test_versions_of_micropython_that_differ_or_are_too_old_are_found() -> None:
    old, differing = found(with_second(micropython="1.21.0"))

    assert (old.severity, old.where) == (ERROR, "node 2")
    assert "1.21.0 is older than 1.22" in old.what
    assert (differing.severity, differing.where) == (WARNING, "boards")
    assert "1.21.0 on node 2; 1.26.1 on node 1, node 3" in differing.what
    (differing,) = found(with_second(micropython="1.22.0"))
    assert differing.where == "boards"


def test_two_boards_that_are_the_same_node_are_found() -> None:
    boards = [healthy(1), healthy(2), changed(healthy(3), node=2, links=())]

    (finding,) = [f for f in found(boards) if "more than one" in f.what]

    assert (finding.severity, finding.where) == (ERROR, "node 2")
    assert "/dev/ttyUSB2 and /dev/ttyUSB3" in finding.what


@pytest.mark.parametrize(
    ("changes", "severity", "what"),
    [
        ({"runs": "leader"}, ERROR, "node 1 and node 2 lead in the same term, 4"),
        ({"runs": "leader", "term": 5, "leader": 2}, WARNING, "in different terms"),
        ({"term": 5, "leader": 0, "runs": "candidate"}, ERROR, "no node leads"),
    ],
)
def test_no_leader_or_more_than_one_is_found(
    changes: dict[str, Any], severity: str, what: str
) -> None:
    (finding,) = found(with_second(**changes))

    assert (finding.severity, finding.where) == (severity, "cluster")
    assert what in finding.what


def test_a_leader_that_is_not_plugged_in_here_is_one() -> None:
    assert found([changed(healthy(2), leader=1), changed(healthy(3), leader=1)]) == []


def test_without_a_majority_that_is_the_reason_and_not_the_missing_leader() -> None:
    alone = changed(
        healthy(1), runs="precandidate", leader=0,
        links=tuple(Link(1, peer, 20, 20) for peer in (2, 3)),
    )  # fmt: skip

    whats = [f.what for f in found([alone, stopped(2, AT_REPL, has_raft=True)])]

    assert any("1 of 3 voters run, 2 are needed" in what for what in whats)
    assert not any("no node leads" in what for what in whats)


def test_learners_are_no_majority() -> None:
    boards = [healthy(1), *(changed(healthy(node), runs="learner") for node in (2, 3))]

    whats = [f.what for f in found(boards)]

    assert any("1 of 3 voters run" in what for what in whats)


def test_a_learner_that_is_to_be_one_is_well_and_no_part_of_a_majority() -> None:
    nodes = described().nodes
    nodes[3] = dataclasses.replace(nodes[3], voter=False)
    learner = changed(healthy(3), runs="learner")

    assert found([healthy(1), healthy(2), learner], described(nodes=nodes)) == []

    alone = changed(healthy(1), links=(Link(1, 2, **ALL_LOST), link(1, 3)))
    learner = changed(learner, links=(link(3, 1), Link(3, 2, **ALL_LOST)))
    whats = [finding.what for finding in found([alone, learner], described(nodes=nodes))]
    assert "1 of 2 voters run, 2 are needed" in whats


@pytest.mark.parametrize(
    ("lost", "severity", "what"),
    [
        (20, ERROR, "don't hear each other, 40 of 40 probes"),
        (2, WARNING, "4 of 40 probes were lost"),
    ],
)
def test_links_that_lose_are_found(lost: int, severity: str, what: str) -> None:
    # given boards of which 1 and 2 lose what they send each other
    times = {"median": None, "max": None} if lost == 20 else {}
    boards = [
        changed(healthy(1), links=(link(1, 2, lost=lost, **times), link(1, 3))),
        changed(healthy(2), links=(link(2, 1, lost=lost, **times), link(2, 3))),
        healthy(3),
    ]

    (finding,) = found(boards)

    assert (finding.severity, finding.where) == (severity, "nodes 1 and 2")
    assert what in finding.what and "access point" in finding.remedy


def test_few_losses_are_none() -> None:
    assert found([changed(healthy(node), links=links(node, lost=1)) for node in NODES]) == []


@pytest.mark.parametrize(
    ("election_ms", "worst", "median", "advice"),
    [
        ((300, 600), 55, 6, None),  # 2 * 100 + 55 + 45
        ((300, 600), 56, 6, [350, 700]),
        ((300, 600), 400, 6, [650, 1300]),
        ((300, 600), 31, 31, None),
        ((300, 360), 31, 30, None),
        ((300, 360), 31, 31, [300, 600]),
    ],
)
def test_election_timeouts_have_to_fit_to_what_was_measured(
    election_ms: tuple[int, int], worst: int, median: int, advice: list[int] | None
) -> None:
    measured = [Pair((1, 2), 40, 0, 1, 1), Pair((1, 3), 40, 0, median, worst)]

    told = list(timing(100, election_ms, measured))

    assert len(told) == (advice is not None)
    if advice:
        # who takes the advice is told nothing more
        assert f"set election_ms = {advice} in cluster.toml" in told[0].remedy
        assert not list(timing(100, (advice[0], advice[1]), measured))


def test_without_measurements_timeouts_are_not_judged() -> None:
    assert not list(timing(100, (201, 202), [Pair((1, 2), 40, 40, None, None)]))


def test_a_port_that_does_not_answer_is_told_with_its_remedy() -> None:
    silent = Silent("/dev/ttyUSB9", "/dev/ttyUSB9 doesn't answer: press RESET and try again")
    boards = [healthy(node) for node in NODES]

    (finding,) = findings(boards, [silent], described(), MARKS)

    assert finding.severity == WARNING
    assert finding.line == "/dev/ttyUSB9: doesn't answer: press RESET and try again"


def test_without_a_cluster_file_boards_are_looked_at_and_nothing_is_missed() -> None:
    boards = [changed(healthy(1), pm=2), healthy(2)]

    (finding,) = findings(boards, [], None, {})

    assert finding.where == "node 1"
    (finding,) = findings([stopped(1, AT_REPL, has_raft=False)], [], None, {})
    assert finding.where == "node 1"
    unknown = changed(stopped(1, AT_REPL, has_raft=True), node=None, deployed="")
    assert findings([unknown], [], None, {}) == []


def test_a_board_that_is_none_of_the_clusters_is_left_alone() -> None:
    stranger = changed(stopped(1, AT_REPL, has_raft=False), mac=mac(9), node=None, port="/dev/x")
    boards = [*map(healthy, NODES), changed(stranger, micropython="1.20.0")]

    assert found(boards) == []
    assert {f.where for f in findings(boards, [], None, {})} == {"/dev/x", "boards"}


def test_the_worst_comes_first() -> None:
    boards = [changed(healthy(1), rssi=-90), changed(healthy(2), pm=1), healthy(3)]

    assert [f.where for f in found(boards)] == ["node 2", "node 1"]


# The command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, on a desk with three boards whose nodes run."""
    monkeypatch.chdir(tmp_path)
    boards = [healthy(node) for node in NODES]
    monkeypatch.setattr(attached, "ask_all", lambda names: [board.asked for board in boards])
    monkeypatch.setattr(command, "examine", lambda found, report: boards)
    monkeypatch.setattr(deploying, "mark", lambda config, version: MARK)
    return tmp_path


def write_cluster(folder: Path) -> None:
    (folder / "cluster.toml").write_text(described().to_toml())


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--port", "any", *options])


def test_what_was_measured_stands_above_what_was_found(folder: Path) -> None:
    write_cluster(folder)
    give_key(folder, Wifi("home", "correct horse"))

    done = run()

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert lines == [
        "asking the boards",
        "comparing what was deployed",
        "node port runs MicroPython address RSSI heap clock",
        "1 ttyUSB1 leader 1.26.1 192.168.1.1 -60 dBm 39.1 KB 100%",
        "2 ttyUSB2 follower 1.26.1 192.168.1.2 -60 dBm 39.1 KB 100%",
        "3 ttyUSB3 follower 1.26.1 192.168.1.3 -60 dBm 39.1 KB 100%",
        "",
        "nodes lost of median slowest",
        "1 - 2 0 40 6 ms 31 ms",
        "1 - 3 0 40 6 ms 31 ms",
        "2 - 3 0 40 6 ms 31 ms",
        "",
        "Nothing is wrong.",
    ]


def test_what_would_be_deployed_is_not_known_without_its_wifi(folder: Path) -> None:
    write_cluster(folder)

    done = run()

    assert done.exit_code == NEGATIVE
    last = done.stdout.splitlines()[-1]
    assert last.startswith("warning cluster: ") and last.endswith("`raftctl key new`")


def test_without_a_cluster_file_it_does_what_it_can(folder: Path) -> None:
    done = run()

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith("Nothing is wrong.\n")


def test_a_cluster_file_that_was_named_has_to_be_there(folder: Path) -> None:
    done = run("--cluster", "mine.toml")

    assert done.exit_code == NOT_POSSIBLE
    assert "mine.toml does not exist" in done.stderr


def test_a_cluster_of_this_machine_says_nothing_of_boards(folder: Path) -> None:
    file = folder / "cluster.toml"
    file.write_text(on_desk(file, 3).to_toml())

    done = run()

    assert done.exit_code == 0
    assert "cluster of this machine" in done.stderr
