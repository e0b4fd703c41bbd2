"""What the servers run: the shipped core, and for comparison Raft as in the paper's figure 2."""

from raft.core import CANDIDATE, Core


class Observed(Core):
    """The shipped core. campaigns: how often its election timeout has passed."""

    campaigns = 0

    def _campaign(self) -> None:
        self.campaigns += 1
        super()._campaign()


class Plain(Observed):
    """Whose timeout passes begins a term and asks for votes: it asks no pre-votes first."""

    def _stand(self, role: int, is_sent: bool = False) -> None:
        super()._stand(CANDIDATE, is_sent)
