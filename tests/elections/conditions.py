"""What a cluster runs on, network, flash and clocks, and with which election timeouts."""

from dataclasses import dataclass

from tests.cluster.simulator import PROGRAM_US, TICK_US
from tests.elections.cores import Observed

SLOW = 16  # as `tests/benchmarks/elections.py` has it


@dataclass(frozen=True)
class Conditions:
    """What is drawn is drawn uniformly from (least, most).

    timeout_ms: of elections. delay_us: of a message, one way. write_us: until a write is durable;
    the server does nothing else meanwhile. late_us: by how much a timer may be late, at most. loss:
    percent of all messages. drift: by so many percent a clock may be fast or slow. stall_ms: about
    as often each server stands still while its flash erases a sector; 0: never. slow: one erase in
    so many takes longer than typically, up to the worst of the datasheet. core: what they run.
    """

    timeout_ms: tuple[int, int]
    delay_us: tuple[int, int]
    write_us: tuple[int, int]
    late_us: int = 0
    loss: int = 0
    drift: int = 0
    stall_ms: int = 0
    slow: int = SLOW
    core: type[Observed] = Observed

    @property
    def heartbeat_ms(self) -> int:
        """Half of the least election timeout, as in the paper."""
        return self.timeout_ms[0] // 2


def lab(timeout_ms: tuple[int, int], loss: int = 0, drift: int = 0,
        core: type[Observed] = Observed) -> Conditions:  # fmt: skip
    """The paper's cluster: gigabit Ethernet, one SSD per server.

    Its delays aren't published. With these, Raft as in the paper's figure 2 (`cores.Plain`) gives
    the curves of the paper's figure 16.
    """
    return Conditions(timeout_ms, (50, 1000), (0, 6000), loss=loss, drift=drift, core=core)


def slow_disks(timeout_ms: tuple[int, int]) -> Conditions:
    """As `lab`, but each round trip with a write takes the 15 ms that the paper tells."""
    return Conditions(timeout_ms, (50, 1000), (12_000, 16_000))


def boards(timeout_ms: tuple[int, int], stall_ms: int = 0, slow: int = SLOW) -> Conditions:
    """Boards on a Wi-Fi: round trips of 6 to 31 ms; a vote is one page of flash."""
    return Conditions(
        timeout_ms, (3000, 15_500), PROGRAM_US, late_us=TICK_US, stall_ms=stall_ms, slow=slow
    )
