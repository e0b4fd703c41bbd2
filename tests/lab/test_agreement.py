"""Lab 3B: agreement; portable."""

from tests.cluster.simulator import Plan
from tests.lab.lab import ELECTION_MS, Lab

PORTABLE = True

# RPCs that the course allows three nodes: for an election; for so many entries; in idle seconds
MOST_TO_ELECT = 30
MOST_IN_A_SECOND = 60

# The course sends 10 commands of 5,000 bytes. An entry here has at most 1,200, so it is as many
# bytes in more commands.
LONG_BYTES = 1000
LONG_COMMANDS = 50
AT_ONCE = 5  # then in such groups; in the course, one by one
OVERHEAD_BYTES = 50_000  # that the course allows beside the commands themselves

COUNTED = 10  # times that so many entries are agreed on
ENTRIES = 10

DIVERGENCE = 50  # entries
# Answers that a log doesn't match, until those that come back have the leader's: a step goes over
# a whole term of a divergence, of which there are two
MOST_REJECTS = 2  # of each


def in_order(plan: Plan) -> None:
    """Datagrams don't overtake each other: one that does is rejected, and sent anew."""
    plan.delay_us = (1000, 1000)


def test_basic_agree_3b() -> None:
    lab = Lab("TestBasicAgree3B", 3)
    lab.open_session()
    index = len(lab.watch.committed)
    for _ in range(3):
        # given that nothing is committed at the next index
        index += 1
        assert lab.applied(index) == 0

        # when a command is given to the cluster, then it is committed just there
        assert lab.one(3) == index
    lab.end("3 commands, 3 indexes")


def test_rpc_bytes_3b() -> None:
    lab = Lab("TestRPCBytes3B", 3, adapt=in_order)
    lab.sent = {}
    index = lab.one(3)
    before = lab.bytes
    first = index + 1

    # when long commands are agreed on, one after the other
    for _ in range(LONG_COMMANDS):
        index += 1
        assert lab.one(3, size=LONG_BYTES) == index

    # and when some of them are given to the leader at once
    leader = lab.check_one_leader()
    for _ in range(LONG_COMMANDS // AT_ONCE):
        index = max(lab.give(leader, AT_ONCE, LONG_BYTES))
        lab.wait_until(lambda: lab.applied(index) == 3)  # noqa: B023

    # then each has crossed the wire once for each follower, and little else has
    times = [lab.sent[what] for what in lab.sent if what[1] >= first]
    assert len(times) == 2 * 2 * LONG_COMMANDS and max(times) == 1
    took = lab.bytes - before
    length = 2 * LONG_COMMANDS * LONG_BYTES
    assert took < 2 * length + OVERHEAD_BYTES, took
    lab.end("%d bytes, once to each follower" % length)


def test_follower_failure_3b() -> None:
    lab = Lab("TestFollowerFailure3B", 3)
    assert lab.applied(lab.one(3)) == 3

    # when a follower is cut off, then the others agree
    lab.disconnect(lab.after(lab.check_one_leader()))
    lab.one(2)
    lab.sleep(ELECTION_MS)
    before = lab.one(2)

    # when the other one is, too, then a command isn't committed
    leader = lab.check_one_leader()
    lab.disconnect(lab.after(leader, 1), lab.after(leader, 2))
    index = lab.propose(leader, lab.command())
    assert index == before + 1
    lab.sleep(2 * ELECTION_MS)
    assert lab.applied(index) == 0
    lab.end("none without both followers")


def test_leader_failure_3b() -> None:
    lab = Lab("TestLeaderFailure3B", 3)
    lab.one(3)

    # when the leader is cut off, then the others elect another one and agree
    lab.disconnect(lab.check_one_leader())
    lab.one(2)
    lab.sleep(ELECTION_MS)
    lab.one(2)

    # when that one is, too, then nothing is committed, whoever is asked
    lab.disconnect(lab.check_one_leader())
    committed = len(lab.watch.committed)
    command = lab.command()
    taken = sum(lab.propose(node, command) > 0 for node in lab.nodes())
    assert taken > 0
    lab.sleep(2 * ELECTION_MS)
    assert len(lab.watch.committed) == committed
    lab.end("none without the second leader")


def test_fail_agree_3b() -> None:
    lab = Lab("TestFailAgree3B", 3)
    lab.one(3)

    # given a follower that is cut off, and commands that the others have agreed on
    follower = lab.after(lab.check_one_leader())
    lab.disconnect(follower)
    lab.one(2)
    lab.one(2)
    lab.sleep(ELECTION_MS)
    lab.one(2)
    lab.one(2)

    # when it is back, then all three agree
    lab.connect(follower)
    lab.one(3, retry=True)
    lab.sleep(ELECTION_MS)
    lab.one(3, retry=True)
    lab.end("a follower lacked 4, and agrees again")


def test_fail_no_agree_3b() -> None:
    lab = Lab("TestFailNoAgree3B", 5)
    before = lab.one(5)

    # when three of four followers are cut off, then a command isn't committed
    leader = lab.check_one_leader()
    lost = [lab.after(leader, i) for i in (1, 2, 3)]
    lab.disconnect(*lost)
    index = lab.propose(leader, lab.command())
    assert index == before + 1
    lab.sleep(2 * ELECTION_MS)
    assert lab.applied(index) == 0

    # when they are back, then the next command lies at that index, if they have elected one of
    # themselves; else behind it. Beside the commands, their leader's first entry is there.
    lab.connect(*lost)
    following = lab.propose(lab.check_one_leader(), lab.command())
    assert index < following <= index + 2
    lab.one(5, retry=True)
    lab.end("none of 2 of 5, then of all")


def test_concurrent_starts_3b() -> None:
    lab = Lab("TestConcurrentStarts3B", 3)
    lab.open_session()

    # when commands are given to a leader all at one time
    leader = lab.check_one_leader()
    term = lab.term(leader)
    commands = [lab.command() for _ in range(6)]
    indexes = lab.propose_all(leader, commands)

    # then each is committed, at an index of its own, in that very term
    assert len(set(indexes)) == len(commands)
    lab.wait_until(lambda: lab.applied(max(indexes)) == 3)
    for command, index in zip(commands, indexes):
        assert lab.committed(index, command) == 3
        assert lab.watch.committed[index - 1][0] == term
    assert lab.check_terms() == term
    lab.end("%d in one moment" % len(commands))


def test_rejoin_3b() -> None:
    lab = Lab("TestRejoin3B", 3)
    lab.one(3, retry=True)

    # given a leader that is cut off, and has entries that nobody else has
    first = lab.check_one_leader()
    lab.disconnect(first)
    stale = lab.give(first, 3)

    # and others that have agreed on something else at these indexes
    assert lab.one(2, retry=True) in stale

    # when it is back while their leader is cut off, then it agrees with the third
    second = lab.check_one_leader()
    lab.disconnect(second)
    lab.connect(first)
    lab.one(2, retry=True)
    assert lab.watch.happened.get("conflicts", 0) > 0

    # and in the end all do
    lab.connect(second)
    lab.one(3, retry=True)
    lab.end("a former leader drops what only it had")


def agree_with_two_that_come_back(lab: Lab, expected: int) -> int:
    """How many rejections it takes until they agree."""
    before = lab.rejects
    lab.one(expected, retry=True)
    took = lab.rejects - before
    assert took <= 2 * MOST_REJECTS, took
    return took


def test_backup_3b() -> None:
    lab = Lab("TestBackup3B", 5, adapt=in_order)
    lab.one(5, retry=True)

    # given a leader and a follower with entries that can't be committed
    first = lab.check_one_leader()
    pair = [first, lab.after(first)]
    three = [lab.after(first, i) for i in (2, 3, 4)]
    lab.disconnect(*three)
    lab.give(first, DIVERGENCE)
    lab.sleep(ELECTION_MS // 2)
    lab.disconnect(*pair)

    # and the others, who agree on as many
    lab.connect(*three)
    for _ in range(DIVERGENCE):
        lab.one(3, retry=True)

    # and then their leader, with one of them, has entries that can't be committed
    second = lab.check_one_leader()
    other = three[0] if second != three[0] else three[1]
    lab.disconnect(other)
    lab.give(second, DIVERGENCE)
    lab.sleep(ELECTION_MS // 2)

    # when the first two come back, with the one who was left, then these agree, and soon
    lab.disconnect(*lab.nodes())
    lab.connect(other, *pair)
    took = agree_with_two_that_come_back(lab, 3)
    assert took > 0
    for _ in range(DIVERGENCE - 1):
        lab.one(3, retry=True)

    # and when all are there, all do
    lab.connect(*lab.nodes())
    took_then = agree_with_two_that_come_back(lab, 5)
    lab.end("2 logs, %d stale entries: %d rejections; 2 more: %d" % (DIVERGENCE, took, took_then))


def test_count_3b() -> None:
    lab = Lab("TestCount3B", 3)

    # when a leader is elected, then that takes few messages
    lab.check_one_leader()
    to_elect = lab.requests
    assert 0 < to_elect <= MOST_TO_ELECT, to_elect

    # when it is given commands, then these do, as long as nothing else happens
    lab.open_session()
    allowed = (ENTRIES + 1 + 3) * 3
    most = 0
    for _ in range(COUNTED):
        leader, before = lab.check_one_leader(), lab.requests
        indexes = lab.give(leader, ENTRIES + 2)
        lab.wait_until(lambda: lab.applied(indexes[ENTRIES]) == 3)  # noqa: B023
        most = max(most, lab.requests - before)
    assert most <= allowed, most

    # when there is nothing to do, then it takes few to show that it is there
    lab.sleep(ELECTION_MS)
    before = lab.requests
    lab.sleep(ELECTION_MS)
    idle = lab.requests - before
    assert idle <= MOST_IN_A_SECOND, idle
    lab.end(
        "elect: %d of %d RPCs; %d entries: %d of %d; idle: %d of %d"
        % (to_elect, MOST_TO_ELECT, ENTRIES, most, allowed, idle, MOST_IN_A_SECOND)
    )
