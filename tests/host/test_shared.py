"""raft/shared.py: dicts and counters in the key-value store, as a program has them; portable."""

# mypy: allow-untyped-defs

import asyncio

from raft import requests
from raft.kv import KeyValue
from raft.machines import Machines
from raft.shared import Counter, Dict, decoded
from tests.support import raises

PORTABLE = True

ROOM = 100_000


class Cluster:
    """A node and its client in one: its own copy has all at once."""

    def __init__(self):
        self.store = Machines(KeyValue(ROOM))
        self.writes = []  # the keys and values that were to be written

    # A node

    def client(self):
        return self

    def local(self, query):
        return self.store.query(query)

    # A client

    async def get(self, key):
        return requests.own_value(self, key)

    async def put(self, key, value):
        self.writes.append((key, value))
        self.store.apply(requests.put(key, value), 0)

    async def delete(self, key):
        return self.store.apply(requests.delete(key), 0) == b"\1"

    async def cas(self, key, expected, new):
        self.writes.append((key, new))
        return self.store.apply(requests.cas(key, expected, new), 0) == b"\1"

    async def add(self, key, delta):
        return requests.add_result(self.store.apply(requests.add(key, delta), 0))


def done(coroutine):
    return asyncio.run(coroutine)


def dict_of(**texts):
    """A dict with what was put as these texts."""
    cluster = Cluster()
    for key in texts:
        done(cluster.put(b"settings/" + key.encode(), texts[key].encode()))
    return Dict(cluster, "settings/"), cluster


def test_a_value_lies_as_json_under_the_name_of_its_dict() -> None:
    settings, cluster = dict_of()

    for value, stored in (
        (100, b"100"),
        (-1.5, b"-1.5"),
        ("lamp", b'"lamp"'),
        (None, b"null"),
        (True, b"true"),
        ([1, [], "a"], b'[1, [], "a"]'),
        ({"a": 1}, b'{"a": 1}'),
    ):
        done(settings.set("k", value))

        assert cluster.writes[-1] == (b"settings/k", stored)
        assert settings["k"] == value
        assert done(settings.get("k")) == value


def test_what_was_put_reads_as_json_and_else_as_the_text_it_is() -> None:
    for text, value in (
        ("100", 100),
        (" 7\n", 7),
        ("-0.5", -0.5),
        ("0", 0),
        ('"100"', "100"),
        ('{"a": [1]}', {"a": [1]}),
        ("on", "on"),
        ("true", True),
        ("truely", "truely"),
        ("", ""),
        ("  ", "  "),
        ("-", "-"),
        ("00123", "00123"),  # as in a number that one dials
        ("-01", "-01"),
        ("[1, 2", "[1, 2"),
        ('{"a": 1', '{"a": 1'),
        ('"a', '"a'),
        ("NaN", "NaN"),
        ("10:30", "10:30"),
        ("192.168.1.1", "192.168.1.1"),
    ):
        settings, _ = dict_of(k=text)
        read = settings["k"]
        assert read == value and type(read) is type(value), (text, read)
    assert decoded(b"\xff\xfe") == b"\xff\xfe"


def test_a_dict_reads_like_one() -> None:
    settings, cluster = dict_of(b="2", a="1", c="x")
    done(cluster.put(b"settings", b"0"))
    done(cluster.put(b"settings2/a", b"0"))

    assert list(settings) == settings.keys() == ["a", "b", "c"]
    assert settings.values() == [1, 2, "x"]
    assert settings.items() == [("a", 1), ("b", 2), ("c", "x")]
    assert dict(settings.items()) == {"a": 1, "b": 2, "c": "x"}
    assert len(settings) == 3
    assert "a" in settings and "d" not in settings
    assert raises(KeyError, lambda: settings["d"]).args[0] == "d"
    assert settings.local("d") is None and settings.local("d", 5) == 5
    assert settings.local("a", 5) == 1
    assert done(settings.get("d")) is None and done(settings.get("d", 5)) == 5


def test_a_long_dict_has_all_its_keys() -> None:
    names = ["k%03d" % i for i in range(200)]
    settings, _ = dict_of()
    for name in names:
        done(settings.set(name, name))

    assert settings.keys() == names


def test_delete_says_whether_the_key_was_there() -> None:
    settings, _ = dict_of(a="1")

    assert done(settings.delete("a"))
    assert not done(settings.delete("a"))
    assert "a" not in settings


def test_cas_stores_only_over_what_was_expected() -> None:
    for text, expected, changes in (
        ("1", 1, True),
        ("1", 2, False),
        ("1", None, False),
        ('{ "a":1}', {"a": 1}, True),  # spelled otherwise than the dict would
        ("null", None, True),
        ("lamp", "lamp", True),
    ):
        settings, _ = dict_of(k=text)

        assert done(settings.cas("k", expected, "new")) is changes, (text, expected)

        assert settings["k"] == ("new" if changes else decoded(text.encode()))
    settings, _ = dict_of()
    assert not done(settings.cas("k", 1, 2))
    assert done(settings.cas("k", None, 2))
    assert settings["k"] == 2


def test_update_calls_again_when_others_were_faster() -> None:
    settings, cluster = dict_of(k="1")
    seen = []

    def double(value):
        seen.append(value)
        if len(seen) == 1:
            cluster.store.apply(requests.put(b"settings/k", b"10"), 0)
        return value * 2

    assert done(settings.update("k", double)) == 20

    assert seen == [1, 10]
    assert settings["k"] == 20
    assert done(settings.update("new", lambda value: value + 1, default=0)) == 1


def test_a_key_that_is_no_text_or_too_long_is_refused() -> None:
    settings, _ = dict_of()

    raises(TypeError, lambda: settings[1])
    raises(ValueError, done, settings.set("k" * 56, 1))
    done(settings.set("k" * 55, 1))
    raises(ValueError, done, settings.set("k", "v" * 1023))
    done(settings.set("k", "v" * 1022))


def test_a_counter_counts_and_is_text_in_the_store() -> None:
    cluster = Cluster()
    hits = Counter(cluster, b"hits")
    assert hits.value == done(hits.get()) == 0

    assert done(hits.add()) == 1
    assert done(hits.add(41)) == 42
    assert done(hits.add(-50)) == -8

    assert hits.value == done(hits.get()) == -8
    assert requests.own_value(cluster, b"hits") == b"-8"


def test_a_value_that_is_no_number_is_no_counter() -> None:
    cluster = Cluster()
    done(cluster.put(b"hits", b"many"))
    hits = Counter(cluster, b"hits")

    raises(ValueError, lambda: hits.value)
    raises(ValueError, done, hits.add())
    assert requests.own_value(cluster, b"hits") == b"many"


def test_what_others_put_under_its_name_stops_no_program() -> None:
    settings, cluster = dict_of(a="1")
    done(cluster.put(b"settings/\xff", b"2"))
    done(cluster.put(b"settings/b", b"[" * 1023 + b"]"))
    done(cluster.put(b"settings/c", b"\xff"))

    assert settings.keys() == ["a", "b", "c"] and len(settings) == 3
    assert settings["b"] == "[" * 1023 + "]"
    assert settings["c"] == b"\xff"
