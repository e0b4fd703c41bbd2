"""Who votes, and what a majority of them is."""


class Members:
    """The voters of a cluster (tuple of node ids).

    A majority is a strict majority of *all* voters: a dead one counts in the total and never
    as a vote, or else two halves of a cluster could each elect a leader.
    """

    def __init__(self, voters):
        if not voters or len(set(voters)) != len(voters):
            raise ValueError("voters must be distinct and at least one: %r" % (voters,))
        self.voters = tuple(sorted(voters))
        self.quorum = len(voters) // 2 + 1
        self._sorted = [0] * len(voters)  # reused

    def agreed(self, value):
        """The highest number that a majority has reached; `value(node id)` is one voter's.

        Match indexes give the commit index, rounds heard give the confirmed round
        (Raft paper, figure 2: "a majority of matchIndex[i] >= N").
        """
        ranked = self._sorted
        for i in range(len(ranked)):
            ranked[i] = value(self.voters[i])
        ranked.sort()
        return ranked[-self.quorum]
