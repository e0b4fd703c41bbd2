"""Lab 3C: persistence; portable.

Where the course kills a process, the power of a node fails here, and only its flash is left.
"""

from tests.lab.lab import ELECTION_MS, Lab, of_many

PORTABLE = True
TIMEOUT_S = 240

QUORUM = 3  # of five
RESTARTS = 5  # of Persist2
ROUNDS = 1000  # of figure 8
REORDERED_FROM = 200  # of these; from then on, answers come late and out of order
AGREEMENTS = 49  # of UnreliableAgree
AT_ONCE = 5
CHANGES = 20  # of the churn


def test_persist_1_3c() -> None:
    lab = Lab("TestPersist13C", 3)
    lab.one(3, retry=True)

    # when all restart, then they agree again
    lab.restart(*lab.nodes())
    lab.one(3, retry=True)

    # when the leader restarts, too
    leader = lab.check_one_leader()
    lab.disconnect(leader)
    lab.restart(leader)
    lab.connect(leader)
    lab.one(3, retry=True)

    # when it does so after the others have agreed without it, then it learns what it lacks
    leader = lab.check_one_leader()
    lab.disconnect(leader)
    index = lab.one(2, retry=True)
    lab.restart(leader)
    lab.connect(leader)
    lab.wait_until(lambda: lab.applied(index) == 3)

    # and so does a follower
    follower = lab.after(lab.check_one_leader())
    lab.disconnect(follower)
    lab.one(2, retry=True)
    lab.restart(follower)
    lab.connect(follower)
    lab.one(3, retry=True)
    lab.end("restarts of all, leader, follower")


def test_persist_2_3c() -> None:
    lab = Lab("TestPersist23C", 5)
    for _ in range(RESTARTS):
        # given two followers that lack a command
        lab.one(5, retry=True)
        leader = lab.check_one_leader()
        first, second, third, fourth = [lab.after(leader, i) for i in (1, 2, 3, 4)]
        lab.disconnect(first, second)
        lab.one(3, retry=True)

        # when those who have it are cut off, and these two restart, then one of the former, too
        lab.disconnect(leader, third, fourth)
        lab.restart(first, second)
        lab.connect(first, second)
        lab.sleep(ELECTION_MS)
        lab.check_no_leader()
        lab.restart(third)
        lab.connect(third)

        # then the three agree, and only he can lead
        lab.one(3, retry=True)
        assert lab.check_one_leader() == third
        lab.connect(leader, fourth)
    lab.one(5, retry=True)
    lab.end("%d times the one with all entries leads" % RESTARTS)


def test_persist_3_3c() -> None:
    lab = Lab("TestPersist33C", 3)
    lab.one(3, retry=True)

    # given a follower that lacks a command
    leader = lab.check_one_leader()
    first, second = lab.after(leader, 1), lab.after(leader, 2)
    lab.disconnect(second)
    lab.one(2, retry=True)

    # when the others lose their power, and only the leader comes back, then both agree
    lab.crash(leader)
    lab.crash(first)
    lab.connect(second)
    lab.restart(leader)
    lab.connect(leader)
    lab.one(2, retry=True)

    # and with the other one, all do
    lab.restart(first)
    lab.connect(first)
    lab.one(3, retry=True)
    lab.end("a restarted leader has kept all")


def let_a_while_pass(lab: Lab) -> None:
    """Mostly some ms: the leader has sent its entry, perhaps. In one of ten rounds longer."""
    lab.sleep(lab.dice.below(ELECTION_MS // 2) if lab.dice.one_in(10) else lab.dice.below(13))


def propose_everywhere(lab: Lab) -> list[int]:
    """Give a new command to each node. Returns who has taken it."""
    return [node for node in lab.nodes() if lab.propose(node, lab.command())]


def what_happened(lab: Lab) -> str:
    watch = lab.watch
    late = sum(entry[0] < term for entry, term in zip(watch.committed, watch.committed_in))
    return "%d conflicts, %d late commits" % (conflicts(lab), late)


def conflicts(lab: Lab) -> int:
    """How often a follower has dropped entries that its leader doesn't have."""
    return int(lab.watch.happened.get("conflicts", 0))


def test_figure_8_3c() -> None:
    lab = Lab("TestFigure83C", 5)
    lab.one(1, retry=True)
    rounds = of_many(ROUNDS)
    crashes = 0
    for _ in range(rounds):
        # when each leader is robbed of its power soon after it has got a command
        leading = propose_everywhere(lab)
        let_a_while_pass(lab)
        for leader in leading[-1:]:
            crashes += 1
            if lab.dice.one_in(2):
                lab.crash_amid(leader)
            else:
                lab.crash(leader)

        # and whenever less than a majority is left, one that is down comes back, perhaps
        if sum(lab.is_up(node) for node in lab.nodes()) < QUORUM:
            lab.switch_on(lab.dice.pick(lab.nodes()))

    # then in the end all agree
    lab.switch_on(*lab.nodes())
    lab.one(5, retry=True)
    assert crashes > rounds // 20, crashes
    assert conflicts(lab) > 0
    lab.end("%d crashes, %s" % (crashes, what_happened(lab)))


def test_unreliable_agree_3c() -> None:
    lab = Lab("TestUnreliableAgree3C", 5, unreliable=True)
    lab.open_session()
    for _ in range(AGREEMENTS):
        # when five commands at a time are to be agreed on, and the next ones wait for the last
        for _ in range(AT_ONCE - 1):
            lab.begin(lab.command(), 1, retry=True)
        lab.one(1, retry=True)

    # then all of them are, and in the end by all nodes
    lab.set_unreliable(False)
    lab.wait_for_all()
    lab.one(5, retry=True)
    assert lab.commands() > AT_ONCE * AGREEMENTS
    lab.end("%d at a time" % AT_ONCE)


def test_figure_8_unreliable_3c() -> None:
    lab = Lab("TestFigure8Unreliable3C", 5, unreliable=True)
    lab.one(1, retry=True)
    rounds = of_many(ROUNDS)
    cuts = 0
    for i in range(rounds):
        if i == of_many(REORDERED_FROM):
            lab.is_reordering = True

        # when about each second leader is cut off soon after it has got a command
        leading = [node for node in propose_everywhere(lab) if node in lab.connected]
        let_a_while_pass(lab)
        if leading and lab.dice.one_in(2):
            cuts += 1
            lab.disconnect(leading[-1])

        # and whenever less than a majority is left, one that is cut off comes back, perhaps
        if len(lab.connected) < QUORUM:
            lab.connect(lab.dice.pick(lab.nodes()))

    # then in the end all agree, though datagrams get lost and are late
    lab.connect(*lab.nodes())
    lab.one(5, retry=True)
    assert cuts > rounds // 50, cuts
    assert conflicts(lab) > 0
    lab.end("%d cut off, %s" % (cuts, what_happened(lab)))


def churn(name: str, unreliable: bool) -> None:
    """Nodes are cut off, robbed of their power, and come back, while three clients write."""
    lab = Lab(name, 5, unreliable=unreliable, clients=3)
    one_in = lab.dice.one_in
    for _ in range(CHANGES):
        if one_in(5):
            lab.disconnect(lab.dice.pick(lab.nodes()))
        if one_in(2):
            lab.switch_on(lab.dice.pick(lab.nodes()))
        if one_in(5):
            lab.crash(lab.dice.pick(lab.nodes()))
        lab.sleep(ELECTION_MS * 7 // 10)
    lab.sleep(ELECTION_MS)

    # when all is well again
    lab.set_unreliable(False)
    lab.switch_on(*lab.nodes())
    lab.sleep(ELECTION_MS)
    lab.one(5, retry=True)

    # then what clients were told is so, which the invariants see to, and it was something
    writes = lab.watch.happened["writes"]
    assert writes > 0
    lab.end("%d writes acknowledged, none lost" % writes)


def test_reliable_churn_3c() -> None:
    churn("TestReliableChurn3C", unreliable=False)


def test_unreliable_churn_3c() -> None:
    churn("TestUnreliableChurn3C", unreliable=True)
