"""How often a client sends, and asks who leads. Times in s."""

import math

RESEND_S = 0.02  # to a leader that doesn't answer; twice as long each time ...
USUAL_WAITS = 3  # ... or this many times as long as its answers usually take, if that is longer
MAX_RESEND_S = 0.2
MAX_QUICK_REDIRECTS = 3
PROBE_S = 0.02  # between two questions to all nodes who leads ...
PROBE_SHARE = 0.1  # ... or this share of the time without a leader, if that is longer


class Pace:
    """When to send again, and when to ask all nodes who leads. Times in s (monotonic)."""

    def __init__(self, usual_s: float) -> None:
        self.send_at = 0.0
        self.probe_at = math.inf  # while a leader is known and answers
        self._first_wait = min(max(RESEND_S, USUAL_WAITS * usual_s), MAX_RESEND_S)
        self._wait = self._first_wait
        self._redirects = 0
        self._leaderless_since: float | None = None
        self._next_probe = 0.0

    def wake_at(self, leader: int) -> float:
        return min(self.send_at, self.probe_at) if leader else self.probe_at

    def sent(self, now: float) -> None:
        self.send_at = now + self._wait
        self._wait = min(2 * self._wait, MAX_RESEND_S)

    def suspect(self, now: float) -> None:
        """No leader is known, or it doesn't answer."""
        if self.probe_at == math.inf:
            self.probe_at = max(now, self._next_probe)
            if self._leaderless_since is None:
                self._leaderless_since = now

    def probed(self, now: float) -> None:
        since = now if self._leaderless_since is None else self._leaderless_since
        self._next_probe = self.probe_at = now + max(PROBE_S, PROBE_SHARE * (now - since))

    def trust(self) -> None:
        """A leader has become known: send to it at once."""
        self.send_at = 0.0
        self.probe_at = math.inf
        self._wait = self._first_wait

    def redirected(self) -> None:
        """A node says that another one leads, or none."""
        self._redirects += 1
        send_at = self.send_at
        self.trust()
        if self._redirects > MAX_QUICK_REDIRECTS:
            self.send_at = send_at  # they contradict each other: no faster than resending
