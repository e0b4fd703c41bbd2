"""Options of commands."""

from argparse import ArgumentTypeError


def at_least_1(text: str) -> int:
    """How many, of something that there must be: argparse's `type`."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{number} is too few")
    return number


def range_of_seeds(text: str) -> range:
    """Such as 1-40: argparse's `type`."""
    first, _, last = text.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if not seeds:
        raise ArgumentTypeError(f"there are no seeds {text}")
    return seeds
