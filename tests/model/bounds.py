"""How large an instance is, and what there is to remember of the past of a state."""

from dataclasses import dataclass, fields

from tests.model.disk import Entry


@dataclass(frozen=True)
class Bounds:
    """How large an instance is: the highest term, and how often what may happen at all.

    elections: how often an election timeout passes. beats: heartbeats, and leaders that miss their
    quorum. transfers: of leadership, by order. letters: how many that will arrive are under way at
    one time. copies: letters that arrive a second time. pre_votes: whether these are asked for, or
    each is granted.
    """

    nodes: int = 3
    terms: int = 2
    elections: int = 2
    commands: int = 1
    crashes: int = 0
    beats: int = 0
    transfers: int = 0
    letters: int = 2
    copies: int = 1
    pre_votes: int = 0

    def __str__(self) -> str:
        counts = {field.name.replace("_", "-"): getattr(self, field.name) for field in fields(self)}
        return ", ".join(f"{what} {count}" for what, count in counts.items() if count)


@dataclass(frozen=True)
class Past:
    """What has been. leaders: by term, 0 if it had none; committed: each entry, and the term in
    which a node knew first that it is."""

    leaders: tuple[int, ...]
    committed: tuple[tuple[Entry, int], ...] = ()
    elections: int = 0
    commands: int = 0
    crashes: int = 0
    beats: int = 0
    transfers: int = 0
    copies: int = 0
