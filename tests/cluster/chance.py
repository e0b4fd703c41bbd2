"""Who decides in a simulated cluster: its dice, unless somebody writes down what they decide, or a
script decides in their place (see `script.py`); portable."""


class Chance:
    """Takes what the dice have drawn. is_free: whether they decide on faults and requests, too."""

    is_free = True

    def begin(self, world) -> None:  # type: ignore[no-untyped-def]
        """It is this world's."""

    def decides(self, who: str, what: str, typical: int, drawn: int) -> int:
        """What is decided now of what there is to decide about a node or client.

        typical: what it is where nothing else is said. drawn: by the dice.
        """
        return drawn

    def fate(
        self,
        sender: tuple[int, int],
        to: tuple[int, int],
        data: bytes,
        drawn: list[tuple[int, tuple[int, int] | None]],
    ) -> list[tuple[int, tuple[int, int] | None]]:
        """What becomes of a datagram: the delay in us of each copy that arrives, and where and how
        it is spoilt (see `datagrams.garbled`), or None."""
        return drawn

    def happens(self, what: str, facts: tuple[object, ...]) -> None:
        """`World.does` that."""
