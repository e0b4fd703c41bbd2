"""A mistake by its name, for options and scripts."""

from typing import Any

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant


def mistake(name: str) -> Mutant:
    """The one of that name; ValueError if there is none."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return mutant
    raise ValueError(f"there is no mistake {name}")


def parts_of(name: str | None) -> Any:
    """What a node that makes this mistake is made of; None: what ships."""
    return mistake(name).parts if name else None
