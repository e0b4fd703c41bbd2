"""What config.json must say; portable."""

from raft.config import ConfigError, checked
from raft.seal import Key
from tests.keys import SECRET
from tests.sealing import key
from tests.support import raises

PORTABLE = True


def config(**changes):  # type: ignore[no-untyped-def]
    made = {
        "id": 1,
        "cluster": "home",
        "keys": [SECRET],
        "nodes": {str(i): {"host": "a", "port": i, "client_port": i + 9} for i in (1, 2, 3)},
    }
    made.update(changes)
    return made


def with_each_node(**facts):  # type: ignore[no-untyped-def]
    made = config()
    for entry in made["nodes"].values():
        entry.update(facts)
    return made


def problem(made) -> str:  # type: ignore[no-untyped-def]
    return str(raises(ConfigError, checked, made))


def test_what_is_well_is_taken() -> None:
    node, cluster, keys, peers = checked(config())

    assert (node, cluster, sorted(peers)) == (1, "home", [1, 2, 3])
    assert [k.number for k in keys] == [key("home").number]
    _, _, keys, _ = checked(config(keys=["ab" * 32, SECRET]))
    assert [k.number for k in keys] == [Key(b"\xab" * 32, "home").number, key("home").number]
    checked(config(dead={"after_s": 1}))
    checked(with_each_node(priority=255, voter=True))
    checked(with_each_node(join=True, voter=False))  # it waits for a cluster of others


def test_an_error_names_the_key() -> None:
    assert "(id)" in problem(config(id=9))
    assert "host" in problem(config(nodes={"1": {}}))
    assert "priority" in problem(with_each_node(priority=256))
    assert "voter" in problem(with_each_node(voter=False))
    assert "after_s" in problem(config(dead={"after_s": 0}))
    assert "after_s" in problem(config(dead={"after_s": 1000001}))
    assert "least" in problem(config(dead={"least": 0}))
    assert "election_ms" in problem(config(election_ms=[90, 300]))


def test_a_cluster_has_at_most_32_nodes() -> None:
    nodes = {str(i): {"host": "a", "port": i, "client_port": i} for i in range(1, 34)}

    assert "at most 32" in problem(config(nodes=nodes))
    del nodes["33"]
    checked(config(nodes=nodes))


def test_keys_are_one_or_two_that_differ_and_an_error_does_not_tell_them() -> None:
    other = "ab" * 32
    wrong: list[object] = [
        [], [SECRET, SECRET], [SECRET, SECRET.upper()], [SECRET, other, "cd" * 32], [SECRET[:62]],
        [SECRET + "00"], [SECRET[:-1]], [SECRET[:-1] + "g"], ["00" * 80], SECRET, None, 7, [None],
        [SECRET, 7],
    ]  # fmt: skip
    for keys in wrong:
        told = problem(config(keys=keys))
        assert "keys must be 1 or 2 of 64 hexadecimal digits" in told and "deploy" in told
        assert SECRET[:8] not in told and other[:8] not in told
    without = config()
    del without["keys"]
    assert "no 'keys'" in problem(without)
