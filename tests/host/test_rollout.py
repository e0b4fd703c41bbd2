"""In which order boards are brought up, and which are better left as they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from host_tools import deploying, rollout, running
from host_tools.attached import AT_REPL, Asked
from host_tools.cluster import Cluster, Member, load
from host_tools.deploying import Deployed, DeployError
from host_tools.firmware import messages
from host_tools.flashing import Report
from host_tools.membership import Known, Membership
from host_tools.rollout import Job, Rollout
from host_tools.secret import Secrets, Wifi
from tests.clusters import KEYS
from tests.host.fake import Reply, Request, fake_cluster, members_answer, silent


class Boards:
    """Stands in for boards: `roles` of nodes, and those that don't come up.

    told: what the cluster says of its members by network. new: those that were no nodes yet. term:
    what the others tell. patience_s: of who waits for a node to be heard.
    """

    patience_s = 0.0

    def __init__(
        self,
        roles: dict[int, str],
        broken: tuple[int, ...] = (),
        learners: tuple[int, ...] = (),
        told: Membership | None = None,
        new: tuple[int, ...] = (),
        term: int = 0,
    ) -> None:
        self.roles = roles
        self.broken = broken
        self.learners = learners  # when they have come up
        self.told = told
        self.new = new
        self.term = term
        self.configs: dict[int, dict[str, Any]] = {}
        self.restarted: list[tuple[int, bool]] = []  # node, whether it had to have a leader
        self.handed_over: list[int] = []  # how many were restarted before

    def hand_over(self, path: Path) -> bool:
        self.handed_over.append(len(self.restarted))
        return True

    def deploy(
        self, port: str, config: dict[str, Any], mac: str, mark: str, report: Report, is_led: bool
    ) -> Deployed:
        node = config["id"]
        self.restarted.append((node, is_led))
        self.configs[node] = config
        if node in self.broken:
            raise DeployError("it isn't up")
        return Deployed(("config.json",), (), node not in self.learners, f"10.0.0.{node}")


@pytest.fixture
def roll_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Deploys onto such boards of a cluster of that many nodes."""

    def run(boards: Boards, nodes: int, at_once: bool = False) -> list[Job]:
        monkeypatch.setattr(deploying, "deploy", boards.deploy)
        monkeypatch.setattr(rollout, "HEARD_S", boards.patience_s)
        members = [
            Member(i, "auto", 7100, 7200, mac(i), "esp32_generic") for i in range(1, nodes + 1)
        ]
        monkeypatch.setattr(running, "members", lambda path: boards.told)
        monkeypatch.setattr(running, "hand_over", boards.hand_over)
        described = Cluster(tmp_path / "cluster.toml", "home", {m.id: m for m in members})
        described.path.write_text(described.to_toml())
        found = [
            Asked(
                f"tty{node}", "esp32", mac(node), "1.26.1",
                None if node in boards.new else node, role, term=boards.term,
            )
            for node, role in boards.roles.items()
        ]  # fmt: skip
        made = Rollout(
            described, Secrets(KEYS, Wifi("home", "")), None, False, at_once, lambda *args: None
        )
        return made.run([*described.nodes, *described.nodes], found)

    return run


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
    assert "left as it is: without it 1 of 3 voters run, and 2 are needed" in jobs[2].problem


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


def test_one_board_is_one_job_however_often_it_is_named(roll_out) -> None:  # type: ignore[no-untyped-def]
    assert [job.member.id for job in roll_out(Boards({1: "leader"}), nodes=1)] == [1]


# What the cluster itself says


def told(leader: int, *heard_ms: int, roles: dict[int, str] | None = None) -> Membership:
    """Members 1, 2, ..., heard by their leader so long ago."""
    roles = roles or {}
    known = [
        Known(i, roles.get(i, "voter"), 0, "auto", 7100, 7200, "replicate", 9, ms)
        for i, ms in enumerate(heard_ms, 1)
    ]
    return Membership(7, leader, {member.id: member for member in known})


def test_the_leader_that_the_cluster_names_goes_last_and_hands_over_first(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "leader", 2: "follower", 3: "follower"}, told=told(2, 20, 0, 20))

    assert not problems(roll_out(boards, nodes=3))

    assert [node for node, _ in boards.restarted] == [1, 3, 2]
    assert boards.handed_over == [2]


def test_voters_that_are_not_plugged_in_here_count_if_the_leader_hears_them(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards({1: "follower"}, told=told(2, 20, 0, 20))
    assert problems(roll_out(boards, nodes=3)) == [2, 3] and boards.restarted == [(1, True)]

    boards = Boards({1: "follower"}, told=told(2, 20, 0, 60_000))
    jobs = roll_out(boards, nodes=3)
    assert problems(jobs) == [1, 2, 3] and boards.restarted == []
    assert "without it 1 of 3 voters run, and 2 are needed" in jobs[0].problem


def test_one_that_has_just_come_up_is_given_the_time_to_be_heard(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Late({1: "follower", 2: "leader", 3: "follower"}, told=told(2, 20, 0, 20))

    assert not problems(roll_out(boards, nodes=3))

    assert [node for node, _ in boards.restarted] == [1, 3, 2]


class Late(Boards):
    """After each restart the leader hears node 1 only when it was asked twice."""

    patience_s = 60.0

    def deploy(self, *args: Any) -> Deployed:
        self.asked = 0
        return super().deploy(*args)

    @property
    def told(self) -> Membership | None:
        self.asked += 1
        return told(2, 60_000 if self.asked < 3 else 20, 0, 20)

    @told.setter
    def told(self, told: Membership | None) -> None:
        self.asked = 3


def test_who_is_a_voter_the_cluster_knows_and_not_the_file(roll_out) -> None:  # type: ignore[no-untyped-def]
    roles = {3: "learner", 4: "standby", 5: "dead"}
    boards = Boards(dict.fromkeys(range(1, 6), "follower"), told=told(1, *[20] * 5, roles=roles))

    # two voters: none can be spared, and both have to be restarted
    assert not problems(roll_out(boards, nodes=5))


def test_one_that_has_not_come_up_is_not_counted_as_soon_as_that(roll_out) -> None:  # type: ignore[no-untyped-def]
    boards = Boards(
        {1: "follower", 2: "leader", 3: "follower"}, broken=(1,), told=told(2, 20, 0, 20)
    )

    assert problems(roll_out(boards, nodes=3)) == [1, 2, 3]
    assert boards.restarted == [(1, True)]


def test_new_nodes_of_the_file_found_no_second_cluster(roll_out, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    # given a cluster of three that runs, and a file that was made larger by hand
    roles = {1: "leader", 2: "follower", 3: "follower"} | dict.fromkeys((4, 5, 6, 7), AT_REPL)
    boards = Boards(roles, told=told(1, 0, 20, 20))

    # when
    jobs = roll_out(boards, nodes=7)

    # then the four, which would be a majority of seven, wait to be added
    assert not problems(jobs)
    assert load(tmp_path / "cluster.toml").founders == [1, 2, 3]
    for node, config in boards.configs.items():
        assert config["nodes"][str(node)].get("join", False) == (node > 3)
    assert [job.is_stranger for job in jobs] == [False] * 3 + [True] * 4
    assert [is_led for node, is_led in boards.restarted if node > 3] == [False] * 4


@pytest.mark.parametrize(("term", "founders"), [(3, [1, 2, 3, 4]), (0, [1, 2, 3, 4, 5, 6, 7])])
def test_where_nobody_answers_by_network_new_boards_join_those_that_were_led(  # type: ignore[no-untyped-def]
    roll_out, tmp_path: Path, term: int, founders: list[int]
) -> None:
    # given three that run, and a fourth that isn't plugged in
    roles = {1: "leader", 2: "follower", 3: "follower"} | dict.fromkeys((5, 6, 7), AT_REPL)
    boards = Boards(roles, new=(5, 6, 7), term=term)

    roll_out(boards, nodes=7)

    assert load(tmp_path / "cluster.toml").founders == founders


def test_a_removed_founder_is_none_any_more(roll_out, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    without = told(1, 0, 20, 20)
    del without.nodes[2]
    boards = Boards({1: "leader", 2: AT_REPL, 3: "follower"}, told=without)

    roll_out(boards, nodes=3)

    assert load(tmp_path / "cluster.toml").founders == [1, 3]


def test_a_cluster_is_asked_by_network(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    known = told(2, 20, 0, 9999).nodes.values()
    members = [replace(member, state="") if member.id == 2 else member for member in known]

    def leader(request: Request) -> list[Reply | bytes]:
        return [Reply(messages.OK, 3, members_answer(7, members))]

    with fake_cluster(file, silent, leader, silent):
        answer = running.members(file)
        assert answer and answer.leader == 2
        assert running.voters(answer) == running.Voters({1, 2}, 3)
        assert running.hand_over(file)
    assert running.members(tmp_path / "other.toml") is None


def test_a_cluster_that_nobody_has_led_yet_has_no_members(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"

    def founder(request: Request) -> list[Reply | bytes]:
        return [Reply(messages.OK, 0, members_answer(0, []))]

    with fake_cluster(file, founder):
        assert running.members(file) is None
