"""What options make of their arguments."""

from argparse import ArgumentTypeError

import pytest

from tests.options import at_least_1, interpreter, range_of_seeds


def test_seeds_are_a_range_or_one() -> None:
    assert (range_of_seeds("3-5"), range_of_seeds("7")) == (range(3, 6), range(7, 8))
    for text in ("", "5-3", "one", "1-2-3"):
        with pytest.raises((ArgumentTypeError, ValueError)):
            range_of_seeds(text)


def test_what_must_be_there_is_at_least_one() -> None:
    assert at_least_1("1") == 1
    for text in ("0", "-1", "two"):
        with pytest.raises((ArgumentTypeError, ValueError)):
            at_least_1(text)


def test_an_interpreter_has_to_be_there() -> None:
    assert interpreter("cpython") == "cpython"
    with pytest.raises(ArgumentTypeError, match="no interpreter is called pypy"):
        interpreter("pypy")
