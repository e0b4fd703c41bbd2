"""What there is to say of one mistake."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import raft.node
from raft.core import Core
from raft.leading import Leading
from tests.cluster.simulator import World

STEPS = 3000  # of one seed


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the simulated worlds in which it shows.

    made: derived from the part of a node that it stands in for. is_of_ten: it breaks a safety
    property of the paper, and is one of the ten that must be found. kind, adapt, steps: as
    `simulator.run` takes them. first: of a mistake that one in a hundred seeds shows, a seed that
    did: there the tests begin.
    """

    made: type
    is_of_ten: bool = False
    first: int = 1
    kind: type[World] = World
    adapt: Callable[[Any], None] | None = None
    steps: int = STEPS

    @property
    def name(self) -> str:
        return self.made.__name__

    @property
    def breaks(self) -> str:
        """What is wrong, in one line: the first of its class's text."""
        assert self.made.__doc__, self.name
        return self.made.__doc__.splitlines()[0]

    @property
    def core(self) -> type[Core] | None:
        """The core that makes the mistake; None if another part of the node does."""
        if issubclass(self.made, Leading):
            return type(self.name, (Core,), {"Leading": self.made})
        return self.made if issubclass(self.made, Core) else None

    @property
    def parts(self) -> dict[str, type]:
        """What of a node is to be exchanged, by its name in `raft.node`."""
        if self.core:
            return {"Core": self.core}
        real = [
            base.__name__
            for base in self.made.__mro__
            if vars(raft.node).get(base.__name__) is base
        ]
        return {real[0]: self.made}
