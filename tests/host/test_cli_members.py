"""`raftctl members`, `add`, `remove`, `replace`, `promote`, `transfer` and `recover`."""

# mypy: allow-untyped-calls

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools import attached, ports
from host_tools.attached import Asked
from host_tools.cli import main
from host_tools.cluster import LOOPBACK, Member, load
from host_tools.commands import members as members_command
from host_tools.commands import recover as recover_command
from host_tools.firmware import admin, messages
from host_tools.firmware import members as records
from host_tools.membership import Known
from tests.clusters import write
from tests.host.fake import (
    Behaviour,
    Reply,
    Request,
    fake_cluster,
    members_answer,
    silent,
)

OK, NOT_POSSIBLE, NOT_COMMITTED = 0, 2, 3
SHORT = ("--timeout", "0.3")
LONG = ("--timeout", "20")


class Leader:
    """Node 1 leads, and changes the members as it is asked to. `refusal`: what it says to that."""

    def __init__(self, *roles: str, heard_ms: dict[int, int] | None = None) -> None:
        silence = heard_ms or {}
        self.members = {
            i: Known(i, role, 0, "a", 7100 + i, 7200 + i, "replicate", 50, silence.get(i, 20))
            for i, role in enumerate(roles, 1)
        }
        self.members[1] = replace(self.members[1], state="", match=52, heard_ms=0)
        self.leads = True
        self.refusal = ""
        self.changes: list[tuple[int, int]] = []  # operation, node

    def __call__(self, request: Request) -> list[Reply | bytes]:
        if request.kind == messages.MEMBERS:
            known = list(self.members.values())
            if not self.leads:
                known = [replace(m, state=None, match=None, heard_ms=None) for m in known]
            return [Reply(messages.OK, 1, members_answer(7, known))]
        if request.kind != messages.ADMIN:
            return [Reply(messages.OK, 1)]
        if self.refusal:
            return [Reply(messages.REFUSED, 1, self.refusal.encode())]
        self._change(request.payload[0], request.payload[1:])
        return [
            Reply(messages.OK, self.changes[-1][1] if self.changes[-1][0] == admin.TRANSFER else 1)
        ]

    def _change(self, operation: int, payload: bytes) -> None:
        node = payload[0] if payload else 0
        self.changes.append((operation, node))
        if operation == admin.ADD:
            added = records.Members(payload)
            # it catches up at once
            role = "voter" if added.role(node) == records.STANDBY else "learner"
            host, port, client_port = added.place(node)
            self.members[node] = Known(
                node, role, added.priority(node), host, port, client_port, "replicate", 52, 5
            )
        elif operation == admin.REMOVE:
            del self.members[node]
        elif operation == admin.PROMOTE:
            self.members[node] = replace(self.members[node], role="voter")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.toml"


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [arguments[0], "--cluster", str(file), *arguments[1:]])


def three(file: Path, leader: Leader):  # type: ignore[no-untyped-def]
    return fake_cluster(file, leader, silent, silent)


def test_members_are_shown_as_the_leader_knows_them(file: Path) -> None:
    leader = Leader("voter", "standby", "learner", heard_ms={3: 90_000})
    del leader.members[2]
    leader.members[9] = replace(leader.members[3], id=9, role="dead", state="snapshot", match=2)
    with three(file, leader):
        result = run(file, "members", *LONG)
        shown = json.loads(run(file, "members", "--json", *LONG).stdout)

    assert result.exit_code == OK
    _, *rows, no_member, unknown = result.stdout.splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "1 voter 0 leader 0 - a:7101",
        "3 learner 0 replicate 2 1m30s a:7103",
        "9 dead 0 snapshot 50 1m30s a:7103",
    ]
    assert no_member == "node 2 is no member: `raftctl add 2`"
    assert unknown == f"node 9 is a member, and {file} doesn't know it"
    assert (shown["index"], shown["leader"]) == (7, 1)
    assert shown["nodes"]["3"] == {
        "id": 3, "role": "learner", "priority": 0, "host": "a", "port": 7103,
        "client_port": 7203, "state": "replicate", "match": 50, "heard_ms": 90_000, "behind": 2,
    }  # fmt: skip


def test_without_a_leader_members_are_told_as_others_know_them(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    leader.leads = False
    with three(file, leader):
        result = run(file, "members", *SHORT)

    assert result.exit_code == NOT_COMMITTED
    assert result.stdout.splitlines()[2].split() == ["2", "voter", "0", "-", "-", "-", "a:7102"]
    assert "no leader" in result.stderr


def test_a_new_node_is_written_into_the_file_and_added(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    with three(file, leader):
        result = run(file, "add", "4", "--priority", "3", *LONG)
        waited = run(file, "add", "5", "--learner", "--host", "10.0.0.5", "--wait", *LONG)
        again = run(file, "add", "4", *LONG)

    assert (result.exit_code, waited.exit_code) == (OK, OK)
    assert "raftctl node --id 4" in result.stdout
    assert waited.stdout == "Node 5 has caught up.\n"
    assert "if it doesn't run:\n  raftctl node --id 5\n" in waited.stderr
    assert again.stdout.startswith("Node 4 was a member, and is where cluster.toml says")
    assert load(file).nodes[4] == Member(4, LOOPBACK, 7104, 7204, priority=3, join=True)
    assert load(file).nodes[5] == Member(5, "10.0.0.5", 7105, 7205, voter=False, join=True)
    assert load(file).founders == [1, 2, 3]
    assert (leader.members[4].role, leader.members[4].priority) == ("voter", 3)
    assert (leader.members[5].role, leader.members[5].host) == ("learner", "10.0.0.5")


def test_a_node_of_the_file_is_added_as_the_file_says(file: Path) -> None:
    leader = Leader("voter", "voter")
    with three(file, leader):
        contradicted = run(file, "add", "3", "--priority", "3", *LONG)
        result = run(file, "add", "3", *LONG)

        assert (contradicted.exit_code, result.exit_code) == (NOT_POSSIBLE, OK)
        assert "describes node 3 already" in contradicted.stderr
        assert leader.members[3].client_port == load(file).nodes[3].client_port


def test_a_new_node_on_ports_of_another_is_not_added(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    with three(file, leader):
        text = file.read_text()

        result = run(file, "add", "4", "--port", "2", *LONG)  # node 2's own (tests/host/fake.py)

        assert (result.exit_code, leader.changes) == (NOT_POSSIBLE, [])
        assert "port is 2, which is the port of node 2 too" in result.stderr
        assert file.read_text() == text


def test_a_board_is_added_wherever_it_is(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    mac, kind = "24:0A:c4:00:00:04", "esp32_generic"
    with three(file, leader):
        result = run(file, "add", "4", "--mac", mac, "--board", kind, *LONG)
        unknown = run(file, "add", "5", "--mac", mac, *LONG)

    assert (result.exit_code, unknown.exit_code) == (OK, NOT_POSSIBLE)
    assert "raftctl up 4" in result.stdout
    assert "--board" in unknown.stderr
    assert load(file).nodes[4] == Member(4, "auto", 7100, 7200, mac.lower(), kind, join=True)
    assert (leader.members[4].host, leader.members[4].client_port) == ("auto", 7200)


def test_the_one_new_board_that_is_plugged_in_is_meant(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Asked(f"tty{i}", "esp32", f"24:0a:c4:00:00:0{i}", "1.26.1", None, "REPL") for i in (1, 2, 3)
    ]
    monkeypatch.setattr(ports, "candidates", lambda: [b.port for b in found])
    monkeypatch.setattr(attached, "ask_all", lambda names: found)
    with fake_cluster(file, Leader("voter")):
        cluster = load(file)
        board = replace(cluster.nodes[1], mac=found[0].mac, board="esp32_generic")
        write(replace(cluster, nodes={1: board}))

        many = run(file, "add", "2", *LONG)
        del found[2]
        one = run(file, "add", "2", *LONG)

    assert "say --mac, of 24:0a:c4:00:00:02, 24:0a:c4:00:00:03" in many.stderr
    assert one.exit_code == OK, one.stderr
    assert load(file).nodes[2].mac == found[1].mac


@pytest.mark.parametrize("host", ["no such host!", "x" * 70])
def test_a_node_whose_host_nobody_knows_is_not_added(file: Path, host: str) -> None:
    leader = Leader("voter", "voter", "voter")
    with three(file, leader):
        nodes = load(file).nodes

        result = run(file, "add", "4", "--host", host, *LONG)

        assert result.exit_code == NOT_POSSIBLE
        assert f"node 4's host '{host}' can't be found" in result.stderr
        assert (load(file).nodes, leader.changes) == (nodes, [])


def test_a_node_is_told_by_its_address_and_not_by_its_name(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    with three(file, leader):
        assert run(file, "add", "4", "--host", "localhost", *LONG).exit_code == OK

    assert load(file).nodes[4].host == "localhost"
    assert leader.members[4].host == LOOPBACK


def test_a_node_that_was_not_added_is_not_in_the_file(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    leader.refusal = "another change is under way"
    with three(file, leader):
        for arguments in (("add", "4"), ("replace", "3", "4")):
            assert run(file, *arguments, *LONG).exit_code == NOT_POSSIBLE
            assert list(load(file).nodes) == [1, 2, 3]


def test_what_the_cluster_refuses_can_not_be_done(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    leader.refusal = "node 4 is being added: wait for it"
    with three(file, leader):
        for arguments in (("add", "4"), ("remove", "3"), ("promote", "2"), ("transfer",)):
            result = run(file, *arguments, *LONG)

            assert result.exit_code == NOT_POSSIBLE
            assert result.stderr == f"Error: {leader.refusal}\n"
        assert 3 in load(file).nodes


def test_a_node_is_removed_from_the_cluster_and_from_the_file(file: Path) -> None:
    leader = Leader("voter", "voter", "voter", "voter")
    with fake_cluster(file, leader, silent, silent, silent):
        result = run(file, "remove", "3", *LONG)
        kept = run(file, "remove", "4", "--keep", *LONG)
        again = run(file, "remove", "4", *LONG)
        unknown = run(file, "remove", "4", *LONG)

    assert [r.exit_code for r in (result, kept, again)] == [OK, OK, OK]
    assert "no member any more" in result.stdout and "`out`" in result.stdout
    assert again.stdout.startswith("Node 4 is no member.\n")
    assert leader.changes == [(admin.REMOVE, 3), (admin.REMOVE, 4)]
    assert list(load(file).nodes) == [1, 2]
    assert unknown.exit_code == NOT_POSSIBLE and "the members are 1, 2" in unknown.stderr


def test_whom_the_majority_can_not_do_without_is_not_removed(file: Path) -> None:
    leader = Leader("voter", "voter", "voter", "learner", heard_ms={3: 60_000})
    with fake_cluster(file, leader, silent, silent, silent):
        refused = run(file, "remove", "2", *LONG)
        learner = run(file, "remove", "4", *LONG)
        dead = run(file, "remove", "3", *LONG)
        second = run(file, "remove", "2", *LONG)
        last = run(file, "remove", "1", *LONG)

    assert refused.exit_code == NOT_POSSIBLE
    assert "1 of 2 voters answer, and 2 are needed: remove node 3 first" in refused.stderr
    assert [r.exit_code for r in (learner, dead, second)] == [OK, OK, OK]
    assert last.exit_code == NOT_POSSIBLE and "last voter" in last.stderr


def test_a_node_takes_the_place_of_another_once_it_has_caught_up(file: Path) -> None:
    leader = Leader("voter", "voter", "voter", heard_ms={3: 60_000})
    with three(file, leader):
        file.write_text(file.read_text() + "priority = 8\n")  # of the last one

        result = run(file, "replace", "3", "4", *LONG)
        again = run(file, "replace", "3", "5", *LONG)

    assert result.exit_code == OK, result.stderr
    assert leader.changes == [(admin.ADD, 4), (admin.REMOVE, 3)]
    assert load(file).nodes[4] == Member(4, LOOPBACK, 7104, 7204, priority=8, join=True)
    assert list(load(file).nodes) == [1, 2, 4]
    assert again.exit_code == NOT_POSSIBLE and "node 3 is no member" in again.stderr


def test_a_node_does_not_take_its_own_place(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    with three(file, leader):
        result = run(file, "replace", "3", "3", *LONG)

    assert (result.exit_code, leader.changes) == (NOT_POSSIBLE, [])
    assert "another id" in result.stderr


def test_one_that_does_not_catch_up_does_not_take_a_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_command, "WAIT_S", 0.5)
    leader = Leader("voter", "voter", "voter", "standby")
    with fake_cluster(file, leader, silent, silent, silent) as cluster:
        cluster.behaviours[1] = without_changes(leader)
        result = run(file, "replace", "3", "4", *LONG)

    assert result.exit_code == NOT_COMMITTED
    assert "node 4 is a member, and has not caught up" in result.stderr
    assert 3 in load(file).nodes


def without_changes(leader: Leader) -> Behaviour:
    """What is asked for is acknowledged, and that is all."""
    return lambda request: (
        [Reply(messages.OK, 1)] if request.kind == messages.ADMIN else leader(request)
    )


def test_a_learner_for_good_is_promoted_in_the_file_too(file: Path) -> None:
    leader = Leader("voter", "voter", "learner")
    with three(file, leader):
        file.write_text(file.read_text() + "voter = false\n")
        assert not load(file).nodes[3].voter

        result = run(file, "promote", "3", *LONG)
        again = run(file, "promote", "3", *LONG)

    assert result.stdout == "Node 3 becomes a voter once it has caught up.\n"
    assert again.stdout == "Node 3 is a voter already.\n"

    assert leader.changes == [(admin.PROMOTE, 3)] * 2
    assert load(file).nodes[3].voter


def test_transfer_tells_who_leads_then(file: Path) -> None:
    leader = Leader("voter", "voter", "voter")
    with three(file, leader):
        named = run(file, "transfer", "2", *LONG)
        fitting = run(file, "transfer", *LONG)

    assert (named.exit_code, named.stdout) == (OK, "Node 2 leads.\n")
    assert (fitting.exit_code, fitting.stdout) == (OK, "Node 1 leads.\n")
    assert leader.changes == [(admin.TRANSFER, 2), (admin.TRANSFER, 0)]


# Recover


def survivor(leader: Leader, last_term: int, last: int, doubt: int = 0) -> Behaviour:
    """A follower without a leader, until the members were changed by one of them."""

    def answer(request: Request) -> list[Reply | bytes]:
        if request.kind == messages.STATUS:
            status = {
                "role": "follower", "term": 9, "last": last, "last_term": last_term,
                "commit": 40, "doubt": doubt,
            }  # fmt: skip
            return [Reply(messages.OK, 0, json.dumps(status).encode())]
        if request.kind == messages.ADMIN:
            assert request.payload[0] == admin.RECOVER
            leader.changes += [(admin.RECOVER, node) for node in request.payload[1:]]
            leader.changes.append((0, request.node))
            leader.leads = True
            return [Reply(messages.OK, request.node)]
        return leader(request)

    return answer


def majority_lost(file: Path, leader: Leader):  # type: ignore[no-untyped-def]
    """Nodes 1 and 4 are left of five."""
    leader.leads = False
    return fake_cluster(
        file, survivor(leader, 3, 99), silent, silent, survivor(leader, 4, 50), silent
    )


def recovered_by(leader: Leader) -> list[int]:
    return [node for operation, node in leader.changes if operation == admin.RECOVER]


def test_recover_goes_on_with_the_longest_log(file: Path) -> None:
    leader = Leader(*["voter"] * 5)
    with majority_lost(file, leader):
        result = run(file, "recover", "--yes", *SHORT)

    assert result.exit_code == OK, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:3]]
    assert rows == [["1", "99", "3", "40"], ["4", "50", "4", "40"]]
    assert "Node 4 has the longest log" in result.stdout and "LOST" in result.stdout
    assert "Left out for ever: 2, 3 and 5. Erase each" in result.stdout
    assert recovered_by(leader) == [1, 4] and leader.changes[-1] == (0, 4)  # it was asked
    assert list(load(file).nodes) == [1, 4]


def test_recover_asks_before_it_acts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader(*["voter"] * 5)
    with majority_lost(file, leader):
        nobody = run(file, "recover", *SHORT)
        monkeypatch.setattr(recover_command, "is_somebody_there", lambda: True)
        no = CliRunner().invoke(main, ["recover", "--cluster", str(file), *SHORT], input="n\n")
        assert leader.changes == []
        yes = CliRunner().invoke(main, ["recover", "--cluster", str(file), *SHORT], input="y\n")

    assert nobody.exit_code == NOT_POSSIBLE and "--yes" in nobody.stderr
    assert no.exit_code == 1 and "Aborted" in no.stderr
    assert yes.exit_code == OK
    assert recovered_by(leader) == [1, 4]


def test_a_node_in_doubt_is_not_gone_on_with(file: Path) -> None:
    leader = Leader(*["voter"] * 5)
    with majority_lost(file, leader) as cluster:
        cluster.behaviours[4] = survivor(leader, 4, 50, doubt=77)
        result = run(file, "recover", "--yes", *SHORT)

    assert "Node 1 has the longest log" in result.stdout


def test_where_a_majority_is_left_nothing_is_recovered(file: Path) -> None:
    leader = Leader(*["voter"] * 3)
    with three(file, leader) as cluster:
        led = run(file, "recover", "--yes", *SHORT)
        leader.leads = False
        for node in (1, 2):
            cluster.behaviours[node] = survivor(leader, 3, 9)
        waits = run(file, "recover", "--yes", *SHORT)

    assert led.exit_code == NOT_POSSIBLE and "node 1 leads" in led.stderr
    assert waits.exit_code == NOT_POSSIBLE and "2 of 3 voters answer, a majority" in waits.stderr
    assert leader.changes == []


def test_where_no_voter_is_left_there_is_nothing_to_recover_from(file: Path) -> None:
    leader = Leader("learner", "voter", "voter")
    leader.leads = False
    with three(file, leader) as cluster:
        cluster.behaviours[1] = survivor(leader, 3, 9)
        result = run(file, "recover", "--yes", *SHORT)

    assert result.exit_code == NOT_POSSIBLE and "no voter answers" in result.stderr
