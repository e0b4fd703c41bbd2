"""Random numbers that are the same under every interpreter; portable."""


class Dice:
    """Marsaglia's xorshift32 ("Xorshift RNGs", 2003), begun at the int `seed`.

    state: all that decides what comes, 1 or more.
    """

    def __init__(self, seed: int) -> None:
        # Spread by Knuth's multiplier: neighbouring seeds shall not begin alike.
        self.state = (seed * 2654435761 + 1013904223) & 0xFFFFFFFF or 1
        for _ in range(4):
            self.below(1)

    def below(self, n: int) -> int:
        """0 to n - 1."""
        x = self.state
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self.state = x
        return (x >> 3) % n

    def draw(self, low: int, high: int) -> int:
        """low to high, both included."""
        return low + self.below(high - low + 1)

    def one_in(self, n: int) -> bool:
        return self.below(n) == 0

    def pick(self, choices):  # type: ignore[no-untyped-def]
        return choices[self.below(len(choices))]

    def bytes(self, n: int) -> bytes:
        return bytes([self.below(256) for _ in range(n)])
