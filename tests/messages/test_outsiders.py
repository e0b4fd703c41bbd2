"""Who has no key moves no node, and who has a client's key does what its role may, and no more."""

from raft import access, messages, requests, sessions
from raft import members as configurations
from raft.access import READ, WRITE, credential
from raft.calling import Caller
from raft.core import FOLLOWER, LEADER
from raft.interpreter import draw
from tests import sealing
from tests.dice import Dice
from tests.messages import fuzz
from tests.messages.fuzz import IS_MICROPYTHON, MAX_GROWN, Victim, sweep

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from typing import Any

PORTABLE = True

COUNT = 4_500 if IS_MICROPYTHON else 50_000
ASKED = 500  # requests of each role


def test_nothing_that_an_outsider_sends_changes_a_node() -> None:
    counts, grown = sweep(COUNT, 1)

    assert sum(counts.values()) >= COUNT
    assert min(counts.values()) > COUNT // 50, counts
    assert grown <= MAX_GROWN, grown


class Guest:
    """A client of a victim that leads, or follows; it has a credential of that role."""

    def __init__(self, victim: Victim, role: int) -> None:
        self.victim = victim
        self.caller = Caller([credential(sealing.key(fuzz.CLUSTER), 7, role)], draw)
        sealing.introduce(self.caller, 1, victim.node.gate)

    def ask(self, kind: int, payload: bytes, port: int = 1) -> "list[Any]":
        """The answers to that request."""
        caller, victim = self.caller, self.victim
        frame = bytes(caller.frame(caller.request(1, kind, 7, payload)))
        victim.said.clear()
        victim.ports[port].inbox.append((frame, victim.peers[2].address))
        victim.node.gate._credentials.clear()  # so that it may ask as often as it likes
        victim.let_hear()
        return [caller.read(data) for data in victim.said if data[1] == messages.REPLY]


def payload_of(dice: Dice) -> bytes:
    """Of a request that makes sense, mostly."""
    record = configurations.record(4, configurations.LEARNER, 0, "10.0.0.1", 1, 2)
    return dice.pick((
        sessions.OPEN,
        sessions.command(dice.below(9), 1 + dice.below(9), requests.put(b"key", b"value")),
        requests.read(requests.get_query(b"key"), dice.below(3)),
        bytes((1,)) + record,
        bytes((dice.draw(2, 5), dice.below(5))),
        dice.bytes(dice.below(30)),
        b"",
    ))  # fmt: skip


def changed_by(role: int, leads: bool) -> "set[str]":
    """What requests of all kinds by a client with that role change at a node."""
    victim = Victim(LEADER if leads else FOLLOWER)
    guest = Guest(victim, role)
    dice = Dice(role)
    before = victim.state()
    for _ in range(ASKED):
        kind = dice.pick((dice.draw(1, 127), dice.draw(messages.WRITE, messages.HELLO)))
        guest.ask(kind, payload_of(dice), dice.below(2))
        for kind in (messages.WRITE, messages.ADMIN):
            if access.role_for(kind) > role:
                (answer,) = guest.ask(kind, payload_of(dice))
                assert answer[2] == messages.REFUSED and b"role is" in answer[4]
    after = victim.state()
    # what any request that is let in changes: the window of its channel, and what waits; and for
    # a read the leader is asked, or asks the others
    changed = {name for name in before if before[name] != after[name]}
    return changed - {"channels", "waiting", "sessions"}


def test_a_client_that_may_read_changes_nothing() -> None:
    assert changed_by(READ, True) == set()
    assert changed_by(READ, False) == set()


def test_a_client_that_may_write_changes_the_log_and_nothing_else() -> None:
    changed = changed_by(WRITE, True)
    assert "log" in changed and changed <= {"log", "flash", "peers"}
    assert changed_by(WRITE, False) == set()
