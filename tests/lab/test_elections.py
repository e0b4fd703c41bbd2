"""Lab 3A: elections; portable."""

from tests.lab.lab import ELECTION_MS, Lab

PORTABLE = True

ROUNDS = 9  # of ManyElections


def test_initial_election_3a() -> None:
    lab = Lab("TestInitialElection3A", 3)

    # given a leader, and time for the others to learn of it
    leader = lab.check_one_leader()
    lab.sleep(50)
    term = lab.check_terms()
    assert term >= 1

    # when nothing fails
    lab.sleep(2 * ELECTION_MS)

    # then term and leader stay
    assert lab.check_terms() == term
    assert lab.check_one_leader() == leader
    lab.end("term %d and its leader stay" % term)


def test_re_election_3a() -> None:
    lab = Lab("TestReElection3A", 3)
    first = lab.check_one_leader()

    # when the leader is cut off, another one is elected
    lab.disconnect(first)
    second = lab.check_one_leader()
    assert second != first

    # when the old one is back, it disturbs nobody, and follows
    term = lab.term(second)
    lab.connect(first)
    assert lab.check_one_leader() == second
    assert lab.check_terms() == term and not lab.leads(first)

    # without a quorum nobody leads: neither of the two that are cut off, nor the third
    lab.disconnect(second, lab.after(second))
    lab.sleep(2 * ELECTION_MS)
    lab.check_no_leader()
    assert not any(lab.leads(node) for node in lab.nodes())

    # when there is a quorum again, there is a leader; the last one changes nothing, though it has
    # been without a leader for long
    lab.connect(lab.after(second))
    third = lab.check_one_leader()
    term = lab.term(third)
    lab.sleep(2 * ELECTION_MS)
    lab.connect(second)
    assert lab.check_one_leader() == third
    assert lab.check_terms() == term
    lab.end("who comes back deposes nobody")


def test_many_elections_3a() -> None:
    lab = Lab("TestManyElections3A", 7)
    lab.check_one_leader()
    for _ in range(ROUNDS):
        # when three are cut off, or fewer: it may be one of them twice
        victims = {lab.dice.pick(lab.nodes()) for _ in range(3)}
        lab.disconnect(*victims)

        # then one of the others leads
        assert lab.check_one_leader() not in victims
        lab.connect(*victims)
    lab.check_one_leader()
    lab.end("%d times one of those left leads" % ROUNDS)
