"""What a cluster that may be running says of itself, for whoever is about to restart its nodes."""

from dataclasses import dataclass
from pathlib import Path

from host_tools.client import Client, ClusterError
from host_tools.cluster import ClusterFileError
from host_tools.membership import Membership

ASK_S = 2.0
ALIVE_MS = 3000  # heard by the leader since then


@dataclass(frozen=True)
class Voters:
    """standing: those that are known to run, of a total."""

    standing: set[int]
    total: int

    @property
    def needed(self) -> int:
        return self.total // 2 + 1

    @property
    def can_lead(self) -> bool:
        """Whether they are a majority."""
        return len(self.standing) >= self.needed

    def can_spare(self, node: int) -> bool:
        """Whether its absence costs no majority that is there, or can't be helped: of two."""
        others = len(self.standing - {node})
        return others >= self.needed or not self.can_lead or self.total <= 2


def members(path: Path) -> Membership | None:
    """The members of that file's cluster; None if nobody answers, or there is no cluster yet."""
    try:
        with Client(path, ASK_S) as client:
            told = client.members()
    except (ClusterError, ClusterFileError, OSError):
        return None
    return told if told.index else None


def voters(told: Membership) -> Voters:
    """Those of members that their leader has told, and which of them it hears."""
    standing = {
        node
        for node in told.voters
        if node == told.leader or (told.nodes[node].heard_ms or 0) <= ALIVE_MS
    }
    return Voters(standing, len(told.voters))


def hand_over(path: Path) -> bool:
    """Let another node lead; whether one does."""
    try:
        with Client(path, ASK_S) as client:
            client.transfer()
    except (ClusterError, ClusterFileError, OSError):
        return False
    return True
