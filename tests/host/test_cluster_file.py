"""cluster.toml: what is wrong in it is told by file, key and remedy."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from host_tools.cluster import (
    Cluster,
    ClusterFileError,
    Dead,
    Member,
    flash_kb_needed,
    load,
    on_desk,
    on_free_ports,
)
from host_tools.cluster_edits import add_node, remove_node, set_founders
from tests.clusters import KEYS

GOOD = """
[cluster]
name = "home"
[[node]]
id = 1
host = "a"
port = 7101
client_port = 7201
[[node]]
id = 7
host = "b"
port = 7101
client_port = 7201
"""


MAC = "24:0a:c4:00:00:01"
BOARDS = {
    1: Member(1, "auto", 7101, 7201, MAC, "esp32_generic"),
    2: Member(2, "10.0.0.2", 7102, 7202, "24:0a:c4:00:00:02", "esp32c3_generic"),
}


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD)

    cluster = load(file)

    assert (cluster.name, cluster.voters, cluster.heartbeat_ms) == ("home", [1, 7], 50)
    assert cluster.election_ms == (150, 300)
    assert cluster.habits == ()
    assert {m.id: m.host for m in cluster.nodes.values()} == {1: "a", 7: "b"}
    assert cluster.founders == [1, 7]
    assert (cluster.lease, cluster.session_s, cluster.dead) == (False, 3600, Dead(600, False, 3))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    slow = replace(on_desk(tmp_path / "c.toml", 3), habits=("flash",))
    desk, free = on_desk(tmp_path / "a.toml", 5), on_free_ports(tmp_path / "b.toml", 9)
    boards = Cluster(tmp_path / "d.toml", 'our "home" \\', BOARDS, 100, (300, 600))
    members = [
        Member(1, "a", 7101, 7201, priority=9),
        Member(2, "a", 7102, 7202, voter=False),
        Member(3, "a", 7103, 7203, join=True),
    ]
    changing = Cluster(
        tmp_path / "e.toml", "x", {m.id: m for m in members}, lease=True, session_s=60,
        dead=Dead(30, True, 2), secrecy=True,
    )  # fmt: skip
    for cluster in (desk, free, slow, boards, changing):
        cluster.path.write_text(cluster.to_toml())

        assert load(cluster.path) == cluster


def test_a_nodes_configuration_names_all_nodes_and_is_json(tmp_path: Path) -> None:
    cluster = on_desk(tmp_path / "cluster.toml", 3)

    config = json.loads(json.dumps(cluster.desk_config(2, KEYS)))

    assert config["id"] == 2
    assert set(config["nodes"]) == {"1", "2", "3"}
    assert config["nodes"]["3"] == {"host": "127.0.0.1", "port": 7103, "client_port": 7203}
    assert config["election_ms"] == [150, 300]
    assert config["keys"] == list(KEYS)
    assert "desk" not in config and "secrecy" not in config
    assert replace(cluster, habits=("flash",)).desk_config(2, KEYS) == {
        **config,
        "desk": {"habits": ["flash"]},
    }


def test_a_nodes_configuration_tells_of_members_what_is_not_as_usual(tmp_path: Path) -> None:
    cluster = on_desk(tmp_path / "cluster.toml", 3)
    nodes = {
        1: replace(cluster.nodes[1], priority=9),
        2: replace(cluster.nodes[2], voter=False),
        3: replace(cluster.nodes[3], join=True),
    }
    dead = Dead(30, True, 1)
    usual = cluster.config(1, KEYS)

    other = replace(cluster, nodes=nodes, lease=True, session_s=60, dead=dead, secrecy=True)
    config = other.config(1, KEYS)

    assert (config["lease"], config["session_s"], config["secrecy"]) == (True, 60, True)
    assert config["dead"] == {"after_s": 30, "remove": True, "least": 1}
    for node, told in (("1", {"priority": 9}), ("2", {"voter": False}), ("3", {"join": True})):
        assert config["nodes"][node] == usual["nodes"][node] | told


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "home"', "", r"\[cluster\]: name is missing"),
        ('name = "home"', "name = 5", r"\[cluster\]: name is 5: give a text"),
        ("[cluster]", "[clustre]", "the file: clustre is not known here"),
        ('name = "home"', 'name = "h"\nelection = 5', r"\[cluster\]: election is not known"),
        ('name = "home"', 'name = "h"\nelection_ms = [90, 300]', "more than twice heartbeat_ms"),
        ('name = "home"', 'name = "h"\nelection_ms = 150', "must be two numbers"),
        ('name = "home"', 'name = "h"\nheartbeat_ms = true', "heartbeat_ms is True"),
        ('name = "home"', 'name = "h"\n[desk]\nflash_kb = 257', "multiple of 4"),
        (
            'name = "home"',
            'name = "h"\n[desk]\nflash_kb = 8',
            f"flash_kb is 8, .* from {flash_kb_needed(1)} ",
        ),
        (
            'name = "home"',
            'name = "h"\n[desk]\nflash_kb = 256\nstate_kb = 64',
            rf"\[desk\]: flash_kb is 256, and state_kb = 64 needs {flash_kb_needed(64)}, for ",
        ),
        ('name = "home"', 'name = "h"\n[desk]\nflash_kb = 256', "state_kb = 256 needs "),
        ('name = "home"', 'name = "h"\n[desk]\nstate_kb = 1024', "flash_kb is 4096, .* = 1024"),
        (
            'name = "home"',
            'name = "h"\n[desk]\nhabits = "flash"',
            "habits is 'flash', and must be a list",
        ),
        ('name = "home"', 'name = "h"\n[desk]\nhabits = ["a"]', "names a: choose of empty, .* all"),
        ('name = "home"', 'name = "h"\n[desk]\nslow = true', "slow is not known .* habits"),
        ("id = 7", "id = 1", "number 2: id is 1 like another"),
        ("id = 7", "id = 255", "number 2: id is 255, .* from 1 to 254"),
        ("id = 7", "", "number 2: id is missing"),
        ('host = "b"', 'host = "a"', "number 2: port is 7101, which is the port of node 1 too"),
        ('host = "b"\nport = 7101', 'host = "b"\nport = 7201', "which is the port of node 7 too"),
        ("port = 7101", "port = 70000", "port is 70000, .* to 65535"),
        ("id = 7", f'id = 7\nmac = "{MAC}"', "number 2: board is missing"),
        ("id = 7", 'id = 7\nmac = "24-0a"', "mac is 24-0a: give it as `raftctl boards` does"),
        ('host = "b"', 'host = ""', "number 2: host is '': give a text"),
        ("[cluster]", '[app]\nname = "tetris"\n[cluster]', "tetris: choose one of .*leader_led"),
        ("[cluster]", "[app]\npin = 4\n[cluster]", r"\[app\]: name is missing"),
        ("[[node]]", "[[nodes]]", "nodes is not known here: .* node"),
        ("id = 7", "id = 7\npriority = 256", "priority is 256, .* from 0 to 255"),
        ("id = 7", "id = 7\nvoter = 0", "voter is 0, .* true or false"),
        ('name = "home"', 'name = "h"\nfounders = 1', "founders is 1, .* such as"),
        ('name = "home"', 'name = "h"\nfounders = [1, true]', "must be a list of ids"),
        ('name = "home"', 'name = "h"\nfounders = [1, 9]', "names 9, .* remove it there"),
        (
            'name = "home"\n[[node]]\nid = 1',
            'name = "h"\nfounders = [1]\n[[node]]\nid = 1\nvoter = false',
            r"\[cluster\]: founders has no voter, .* remove `voter = false`",
        ),
        ('name = "home"', 'name = "h"\n[dead]\nafter_s = 0', r"\[dead\]: after_s is 0, .* from 1"),
        ('name = "home"', 'name = "h"\n[dead]\nleast = 33', "least is 33, .* from 1 to 32"),
        ('name = "home"', 'name = "h"\nsession_s = 0', "session_s is 0, .* from 1"),
        ("[[node]]", "[[node", "not valid TOML"),
    ],
)
def test_errors_name_the_file_the_key_and_the_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "mine.toml"
    text = GOOD.replace(old, new)
    assert text != GOOD
    file.write_text(text)

    with pytest.raises(ClusterFileError, match=message) as error:
        load(file)

    assert "mine.toml" in str(error.value)


def test_the_sizes_that_an_error_names_are_the_limits(tmp_path: Path) -> None:
    def problem(flash_kb: int, state_kb: int) -> str:
        cluster = replace(on_desk(tmp_path / "c.toml", 1), flash_kb=flash_kb, state_kb=state_kb)
        cluster.path.write_text(cluster.to_toml())
        try:
            load(cluster.path)
        except ClusterFileError as e:
            return str(e)
        return ""

    for flash_kb, state_kb in ((256, 256), (256, 64), (128, 20), (72, 24)):
        named = re.search(
            rf"is {flash_kb}, and state_kb = {state_kb} needs (\d+), .* state_kb to (\d+)$",
            problem(flash_kb, state_kb),
        )
        assert named
        needed, fits = int(named[1]), int(named[2])

        assert not problem(needed, state_kb)
        assert problem(needed - 4, state_kb)
        assert not problem(flash_kb, fits)
        assert problem(flash_kb, fits + 1)


def test_without_nodes_the_section_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('[cluster]\nname = "x"\n')

    with pytest.raises(ClusterFileError, match=r"add a section \[\[node\]\]"):
        load(file)


def test_a_missing_file_leads_to_init(tmp_path: Path) -> None:
    with pytest.raises(ClusterFileError, match="raftctl init"):
        load(tmp_path / "cluster.toml")


def test_two_nodes_are_not_the_same_board(tmp_path: Path) -> None:
    twice = {1: BOARDS[1], 2: replace(BOARDS[2], mac=MAC.upper())}
    cluster = Cluster(tmp_path / "cluster.toml", "home", twice)
    cluster.path.write_text(cluster.to_toml())

    with pytest.raises(ClusterFileError, match=f"mac is {MAC}, which is node 1's too"):
        load(cluster.path)


def test_a_board_without_a_host_is_found(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster.toml", "home", BOARDS)
    for text in ("", 'host = ""\n'):
        cluster.path.write_text(cluster.to_toml().replace('host = "auto"\n', text))

        assert load(cluster.path) == cluster


def test_nodes_that_are_found_may_have_the_same_ports_and_one_must_not_have_one_twice(
    tmp_path: Path,
) -> None:
    file = tmp_path / "cluster.toml"
    text = GOOD.replace('host = "b"', 'host = "auto"').replace('host = "a"', 'host = "auto"')
    file.write_text(text)
    assert [m.host for m in load(file).nodes.values()] == ["auto", "auto"]

    file.write_text(text.replace("client_port = 7201", "client_port = 7101"))
    with pytest.raises(ClusterFileError, match="which is the port of node 1 too"):
        load(file)


def test_a_node_that_is_added_is_no_founder_whether_founders_were_named_or_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "cluster.toml"
    new = Member(8, "c", 7101, 7201, priority=3, join=True)
    for text in (GOOD, GOOD.replace('"home"', '"home"\nfounders = [7] # the first')):
        file.write_text(text)
        founders = load(file).founders

        add_node(file, new)

        assert load(file).nodes[8] == new
        assert load(file).founders == founders
        assert "# the first" in file.read_text() or "# the first" not in text


def test_a_change_that_does_not_fit_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD)

    with pytest.raises(ClusterFileError, match="number 3: port is 7101, which is the port of"):
        add_node(file, Member(8, "a", 7101, 7202))

    assert file.read_text() == GOOD


def test_a_node_that_is_removed_leaves_all_else_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    described = replace(on_desk(file, 3), dead=Dead(9, True, 2))
    file.write_text(described.to_toml())

    remove_node(file, 2)

    nodes = {i: member for i, member in described.nodes.items() if i != 2}
    assert load(file) == replace(described, nodes=nodes)
    assert load(file).founders == [1, 3]


def test_founders_are_written_where_none_were_named(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD)

    set_founders(file, [7])

    assert load(file).founders == [7]


def test_a_cluster_has_at_most_32_nodes(tmp_path: Path) -> None:
    cluster = on_desk(tmp_path / "cluster.toml", 33)
    cluster.path.write_text(cluster.to_toml())

    with pytest.raises(ClusterFileError, match=r"node is there 33 times, .* at most 32"):
        load(cluster.path)


def test_an_app_and_its_settings_are_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD + '[app]\nname = "leader_led"\npin = 4\n')

    assert load(file).app == {"name": "leader_led", "pin": 4}
