"""In which order boards are brought up, and which are better left as they are."""

from pathlib import Path

import pytest

from host_tools import deploying
from host_tools.attached import AT_REPL, Asked
from host_tools.cluster import Cluster, Member
from host_tools.deploying import Deployed, DeployError
from host_tools.flashing import Report
from host_tools.rollout import Job, Rollout
from host_tools.secret import Wifi


class Boards:
    """Stands in for boards: `roles` of nodes, and those that don't come up."""

    def __init__(
        self, roles: dict[int, str], broken: tuple[int, ...] = (), learners: tuple[int, ...] = ()
    ) -> None:
        self.roles = roles
        self.broken = broken
        self.learners = learners  # when they have come up
        self.restarted: list[tuple[int, bool]] = []  # node, whether it had to have a leader

    def deploy(
        self, port: str, config: dict[str, int], mac: str, mark: str, report: Report, is_led: bool
    ) -> Deployed:
        node = config["id"]
        self.restarted.append((node, is_led))
        if node in self.broken:
            raise DeployError("it isn't up")
        return Deployed(("config.json",), (), node not in self.learners)


@pytest.fixture
def roll_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Deploys onto such boards of a cluster of that many nodes."""

    def run(boards: Boards, nodes: int, at_once: bool = False, unknown: int = 0) -> list[Job]:
        monkeypatch.setattr(deploying, "deploy", boards.deploy)
        members = [
            Member(i, host(i, unknown), 7100 + i, 7200 + i, mac(i), "esp32_generic")
            for i in range(1, nodes + 1)
        ]
        described = Cluster(tmp_path / "cluster.toml", "home", {m.id: m for m in members})
        found = [
            Asked(f"tty{node}", "esp32", mac(node), "1.26.1", node, role)
            for node, role in boards.roles.items()
        ]
        rollout = Rollout(described, Wifi("home", ""), None, False, at_once, lambda *args: None)
        return rollout.run([*described.nodes, *described.nodes], found)

    return run


def host(node: int, unknown: int) -> str:
    return "" if node == unknown else f"10.0.0.{node}"


def mac(node: int) -> str:
    return f"24:0a:c4:00:00:{node:02x}"


def problems(jobs: list[Job]) -> list[int]:
    return [job.member.id for job in jobs if job.problem]


def test_nodes_that_run_are_restarted_one_by_one_and_the_leader_last(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "leader", 2: "follower", 3: "follower"})

    assert not problems(roll_out(boards, nodes=3))

    assert boards.restarted == [(2, True), (3, True), (1, True)]


def test_a_board_without_a_node_comes_first_for_then_it_may_be_spared_later(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "follower", 2: "leader", 3: AT_REPL})

    assert not problems(roll_out(boards, nodes=3))

    assert boards.restarted == [(3, True), (1, True), (2, True)]


def test_when_one_does_not_come_up_the_majority_is_kept(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "follower", 2: "leader", 3: "follower"}, broken=(1,))

    jobs = roll_out(boards, nodes=3)

    assert boards.restarted == [(1, True)]
    assert problems(jobs) == [1, 2, 3]
    assert (
        "left as it is: without it 1 of 3 nodes run and have a vote, and 2 are needed"
        in jobs[2].problem
    )


def test_a_learner_is_no_voter_that_the_others_could_do_without(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "follower", 2: "leader", 3: "learner"}, learners=(3,))

    jobs = roll_out(boards, nodes=3)

    assert problems(jobs) == [1, 2] and boards.restarted == [(3, True)]

    # nor is one that has become one
    boards = Boards({1: "follower", 2: "leader", 3: AT_REPL}, learners=(3,))
    assert problems(roll_out(boards, nodes=3)) == [1, 2]


def test_of_five_one_may_fail(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards(dict.fromkeys((1, 3, 4, 5), "follower") | {2: "leader"}, broken=(1,))

    jobs = roll_out(boards, nodes=5)

    assert problems(jobs) == [1]
    assert boards.restarted[-1] == (2, True)


def test_where_no_majority_can_be_kept_nothing_is_held_back(roll_out) -> None:  # type: ignore[no-untyped-def]
    assert not problems(roll_out(Boards({1: "leader"}), nodes=1))
    assert not problems(roll_out(Boards({1: "leader", 2: "follower"}), nodes=2))
    # the others are elsewhere, and nothing is known of them
    assert problems(roll_out(Boards({1: "leader"}), nodes=3)) == [2, 3]


def test_at_once_nobody_waits_for_a_leader(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "leader", 2: "follower", 3: "follower"}, broken=(1,))

    assert problems(roll_out(boards, nodes=3, at_once=True)) == [1]

    assert sorted(boards.restarted) == [(1, False), (2, False), (3, False)]


def test_nobody_is_stopped_for_a_node_whose_address_can_not_become_known(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "leader", 2: "follower", 3: "follower"})

    jobs = roll_out(boards, nodes=4, unknown=4)

    assert problems(jobs) == [1, 2, 3, 4] and not boards.restarted
    assert "waits for the address of node 4" in jobs[0].problem
    assert "was not found: plug it in" in jobs[3].problem


def test_one_board_is_one_job_however_often_it_is_named(roll_out) -> None:  # type: ignore[no-untyped-def]
    assert [job.member.id for job in roll_out(Boards({1: "leader"}), nodes=1)] == [1]
