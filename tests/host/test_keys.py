"""The cluster's key and clients' credentials, as raftctl makes them."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from host_tools import cluster, keys, rotation, secret
from host_tools.cli import main
from host_tools.cluster import Cluster, Member
from host_tools.firmware import access, messages, seal
from host_tools.options import NOT_POSSIBLE
from host_tools.secret import Secrets, SecretsError, Wifi
from tests.clusters import KEYS, write
from tests.host.fake import Behaviour, Reply, Request, fake_cluster, silent

OTHER = "ab" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.toml"


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--cluster", str(file)])


def done(file: Path, *arguments: str) -> str:
    result = run(file, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(file: Path, *arguments: str) -> str:
    result = run(file, *arguments)
    assert result.exit_code == NOT_POSSIBLE and result.stderr.count("\n") == 1, result.output
    return result.stderr


def held(file: Path) -> tuple[str, ...]:
    return secret.load(secret.path_beside(file)).keys


# init


def test_init_makes_a_key_for_its_owner_alone_and_does_not_tell_it(file: Path) -> None:
    said = done(file, "init", "--desk")

    (key,) = held(file)
    assert key not in said and f"Wrote {file} and {secret.path_beside(file)}" in said
    assert secret.path_beside(file).stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key)) == 32


def test_init_keeps_a_key_that_is_there_for_nodes_may_have_it(file: Path) -> None:
    done(file, "init", "--desk")
    key = held(file)

    said = done(file, "init", "--desk", "--force", "--name", "another")

    assert held(file) == key and "was there, with its key" in said


def test_two_clusters_have_different_keys(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        done(tmp_path / name / "cluster.toml", "init", "--desk")

    assert held(tmp_path / "a" / "cluster.toml") != held(tmp_path / "b" / "cluster.toml")


def test_no_new_key_has_the_number_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([KEYS[0], KEYS[0], OTHER])
    monkeypatch.setattr("secrets.token_hex", lambda count: next(drawn))

    assert keys.made("home", KEYS[0]) == OTHER


# A cluster from before there were keys


def test_without_a_key_there_is_a_remedy_which_works(file: Path) -> None:
    file.write_text(cluster.on_desk(file, 3).to_toml())
    for command in (["node", "--id", "1"], ["put", "a", "b"], ["status"], ["key", "rotate"]):
        assert "`raftctl key new`" in refusal(file, *command)

    said = done(file, "key", "new")

    (key,) = held(file)
    assert key not in said
    assert said.endswith("  restart nodes 1, 2 and 3, at the same time\n")
    assert "`raftctl key rotate` changes it" in refusal(file, "key", "new")
    assert held(file) == (key,)


def test_to_make_a_key_leaves_the_wifi_as_it_is(file: Path) -> None:
    boards = {1: Member(1, "auto", 7100, 7200, "24:0a:c4:00:00:01", "esp32_generic")}
    file.write_text(Cluster(file, "home", boards).to_toml())
    secret.save(secret.path_beside(file), Secrets(wifi=Wifi("home", "12345678")))

    assert "  raftctl deploy --at-once\n" in done(file, "key", "new")

    found = secret.load(secret.path_beside(file))
    assert found.wifi == Wifi("home", "12345678") and len(found.keys) == 1


# Another key, step by step


def holds(*numbers: int) -> Behaviour:
    """A node of a cluster of three that holds these keys."""
    members = '{"index": 1, "voters": [1, 2, 3], "standby": [], "learners": [], "dead": []}'
    told = b'{"keys": %s, "members": %s}' % (str(list(numbers)).encode(), members.encode())

    def answer(request: Request) -> list[Reply | bytes]:
        if request.kind == messages.STATUS:
            return [Reply(messages.OK, 0, told)]
        return [Reply(messages.BUSY)]

    return answer


def fake(file: Path, *behaviours: Behaviour):  # type: ignore[no-untyped-def]
    """Such nodes; secrets.toml has two keys, of which the newest is OTHER."""
    return fake_cluster(file, *behaviours, keys=(OTHER, *KEYS))


def number(key: str) -> int:
    return keys.number(key, "test")


OLD, NEW = number(KEYS[0]), number(OTHER)
old, new = keys.label(OLD), keys.label(NEW)


def test_rotate_adds_a_key_once_however_often_it_is_called(file: Path) -> None:
    write(cluster.on_desk(file, 3))

    first = done(file, "key", "rotate")
    both = held(file)
    again = done(file, "key", "rotate")

    assert both == held(file) and both[1:] == KEYS and both[0] != KEYS[0]
    assert first == again and not any(key in first for key in both)
    *_, restart, finish = first.splitlines()
    assert restart == "  restart nodes 1, 2 and 3, one after the other"
    assert finish == "  raftctl key finish"


def test_finish_is_refused_as_long_as_a_node_would_be_shut_out(file: Path) -> None:
    with fake(file, holds(OLD), holds(NEW, OLD), holds(NEW, OLD)):
        lacking = refusal(file, "key", "finish", "--timeout", "3")
    assert f"the key {new} is missing at node 1: restart node 1" in lacking
    assert held(file) == (OTHER, *KEYS)

    with fake(file, holds(NEW, OLD), silent, holds(NEW, OLD)):
        gone = refusal(file, "key", "finish", "--timeout", "1")
    assert "no answer from node 2: start what is down, `raftctl remove` what is gone" in gone
    assert held(file) == (OTHER, *KEYS)


def test_finish_leaves_the_new_key_alone_when_all_have_it(file: Path) -> None:
    with fake(file, *[holds(NEW, OLD)] * 3):
        said = done(file, "key", "finish", "--timeout", "3")

    assert held(file) == (OTHER,)
    assert f"has {new} alone" in said and "  restart nodes 1, 2 and 3, one after" in said


def test_finish_can_be_called_again_until_no_node_takes_the_old_key(file: Path) -> None:
    with fake(file, holds(NEW, OLD), holds(NEW), holds(NEW)):
        secret.save(secret.path_beside(file), Secrets((OTHER,)))
        assert "  restart node 1\n" in done(file, "key", "finish", "--timeout", "3")
    with fake(file, *[holds(NEW)] * 3):
        secret.save(secret.path_beside(file), Secrets((OTHER,)))
        assert done(file, "key", "finish", "--timeout", "3").endswith(f" has {new} alone.\n")


def test_finish_can_shut_a_node_out(file: Path) -> None:
    with fake(file, holds(NEW, OLD), silent, holds(NEW, OLD)):
        done(file, "key", "finish", "--force", "--timeout", "1")

    assert held(file) == (OTHER,)


def test_show_tells_what_each_node_holds_and_what_is_to_be_done(file: Path) -> None:
    with fake(file, holds(OLD), holds(NEW, OLD), silent):
        lines = done(file, "key", "show", "--timeout", "1").splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "node keys",
        f"1 {old}",
        f"2 {new} {old}",
        "3 unreachable",
        f"secrets.toml has {new} and {old}.",
        "No answer from node 3: down, or with another key.",
        f"The key {new} is missing at node 1:",
        "restart node 1",
    ]

    with fake(file, *[holds(NEW, OLD)] * 3):
        said = done(file, "key", "show", "--timeout", "3")
        assert said.endswith(f"All nodes have {new}: `raftctl key finish` does without {old}.\n")
        secret.save(secret.path_beside(file), Secrets((OTHER,)))
        said = done(file, "key", "show", "--timeout", "3")
        assert said.endswith(
            "An old key is still taken by nodes 1, 2 and 3:\n"
            "  restart nodes 1, 2 and 3, one after the other\n"
        )


def test_boards_get_their_keys_by_deploy(file: Path) -> None:
    boards = {
        i: Member(i, "auto", 7100, 7200, f"24:0a:c4:00:00:0{i}", "esp32_generic") for i in (1, 2)
    }
    described = Cluster(file, "home", boards)

    assert rotation.restart([1, 2], described) == ["raftctl deploy"]
    assert rotation.restart([1, 2], described, at_once=True) == ["raftctl deploy --at-once"]


# Clients of another machine


def test_a_credential_is_what_nodes_make_of_its_number_and_role(file: Path) -> None:
    write(cluster.on_desk(file, 3))

    said = done(file, "credential", "dashboard", "--role", "write")

    folder = file.parent / "credentials" / "dashboard"
    assert str(folder) in said
    assert (folder / "secrets.toml").stat().st_mode & 0o777 == 0o600
    assert not any(key in (folder / "secrets.toml").read_text() for key in KEYS)
    (own,) = keys.credentials(cluster.load(folder / "cluster.toml"))
    key = seal.keys_of(KEYS, "demo")[0]
    expected = access.credential(key, own.number, access.WRITE)
    assert (own.role, own.key_number, own.secret) == (access.WRITE, key.number, expected.secret)
    assert own.number != access.OWNER
    assert expected.secret.hex() not in said


def test_credentials_differ_by_name_and_role_and_end_with_the_key(file: Path) -> None:
    write(cluster.on_desk(file, 3))
    described = cluster.load(file)
    made = {keys.issued(described, name, role).key for name in "ab" for role in ("read", "admin")}
    assert len(made) == 4
    assert keys.issued(described, "a", "read").key in made

    rotation.begin(described)

    assert keys.issued(described, "a", "read").key not in made


def test_who_makes_a_credential_while_the_key_is_changed_learns_what_hears_it(file: Path) -> None:
    write(cluster.on_desk(file, 3))
    assert "key show" not in done(file, "credential", "phone", "--role", "read")

    done(file, "key", "rotate")

    newest = keys.label(keys.numbers(cluster.load(file))[0])
    said = done(file, "credential", "phone", "--role", "read")
    assert f"made of the key {newest}: nodes that lack that one don't hear it yet" in said


def test_where_only_a_credential_is_the_key_can_not_be_used(file: Path) -> None:
    write(cluster.on_desk(file, 3))
    done(file, "credential", "phone", "--role", "admin")
    there = file.parent / "credentials" / "phone" / "cluster.toml"

    for command in (
        ["node", "--id", "1"], ["credential", "x", "--role", "read"], ["key", "rotate"],
        ["key", "show"], ["recover", "--yes"],
    ):  # fmt: skip
        assert "needs the cluster's key: do it where that is" in refusal(there, *command)
    for command in (["key", "new"], ["init", "--desk", "--force"]):
        assert "has a client's credential" in refusal(there, *command)
    with pytest.raises(SecretsError):
        keys.of(there)


def test_who_asks_in_vain_is_told_what_may_have_become_of_its_key(file: Path) -> None:
    with fake_cluster(file, silent):
        done(file, "credential", "phone", "--role", "read")
        there = file.parent / "credentials" / "phone" / "cluster.toml"
        for command in (["get", "lamp"], ["get", "lamp", "--stale"], ["members"], ["watch"]):
            said = [run(f, *command, "--timeout", "0.2").stderr for f in (file, there)]
            assert "see that nodes run, with the key of secrets.toml" in said[0]
            assert "and have the key that the credential is of" in said[1]


def test_a_name_is_no_path(file: Path) -> None:
    write(cluster.on_desk(file, 3))

    for name in ("../x", "/tmp/x", ".x", "a/b", ""):
        assert run(file, "credential", name, "--role", "read").exit_code == NOT_POSSIBLE
    assert not (file.parent / "credentials").exists()
