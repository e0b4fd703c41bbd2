"""Mistakes made on purpose in what keeps outsiders out: the fuzz of test_outsiders finds them."""

import pytest

from raft import access, seal
from tests.messages.fuzz import sweep

COUNT = 12_000


def found() -> bool:
    """Whether it tells of a change, or of an answer that there shouldn't be."""
    with pytest.raises(AssertionError) as error:
        sweep(COUNT, 1)
    return str(error.value).startswith(("changed, after", "answered, after"))


def test_tags_that_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "is_same", lambda digest, frame, tag: True)
    assert found()


def test_datagrams_that_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal.Window, "is_new", lambda self, number: True)
    assert found()


def test_starts_that_are_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "nonce", lambda draw: b"at start")
    assert found()


def test_challenges_that_are_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "nonce", lambda draw: b"at start")
    assert found()
