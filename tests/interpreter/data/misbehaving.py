"""Portable tests that go wrong, each in its own way: `test_portable.py` looks at how it shows."""

import sys

PORTABLE = True


def check(value: int) -> None:
    assert value == 2, "two expected"


def test_that_passes() -> None:
    print("seen on the way")
    check(2)


def test_that_fails() -> None:
    check(1)


def test_that_ends_the_interpreter() -> None:
    print("last words")
    sys.exit(3)


def test_that_hangs() -> None:
    while True:
        pass
