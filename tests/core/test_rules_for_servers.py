"""Figure 2, state and rules for servers: all servers, followers, candidates, leaders."""

from raft.core import CANDIDATE, FOLLOWER, HEARTBEAT_MS, LEADER, NOBODY, PRE_CANDIDATE
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    CONFIG,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    RESCUE,
    VOTE,
    VOTE_REPLY,
)
from tests.core.group import GRANTED, HIGH_MS, LOW_MS, Group, Member, carried, entries

PORTABLE = True

VOTERS = (1, 2, 3)


def follower() -> Member:
    node = Member(1, VOTERS, term=3)
    node.hear(APPEND, 3, 3)
    return node


def pre_candidate() -> Member:
    node = Member(1, VOTERS, term=3)
    node.stand()
    return node


def candidate() -> Member:
    node = Member(1, VOTERS, term=2)
    node.stand()
    node.hear(PRE_VOTE_REPLY, 2, 3, GRANTED)
    return node


def leader(terms: tuple[int, ...] = (), voters: tuple[int, ...] = VOTERS) -> Member:
    node = Member(1, voters, terms=terms, term=2)
    node.lead()
    return node


# State


def test_state_the_commit_index_begins_at_0_and_never_falls() -> None:
    node = Member(1, VOTERS, terms=(1, 1, 1))
    assert node.core.commit == 0

    commits = []
    for leaders in (2, 1, 3, 0, 2):
        node.hear(APPEND, 2, 1, index=3, log_term=1, commit=leaders)
        commits.append(node.core.commit)

    assert commits == [2, 2, 3, 3, 3]


def test_state_a_leader_begins_behind_its_last_entry_and_knows_of_no_match() -> None:
    node = leader(terms=(1, 1))

    for peer in node.core.peers.values():
        assert (peer.match, peer.next) == (0, 3)


def test_state_match_indexes_never_fall() -> None:
    node = leader(terms=(1, 1))
    node.hear(APPEND_REPLY, 2, 3, index=2, ctx=1)

    node.hear(APPEND_REPLY, 2, 3, index=1, ctx=1)
    node.hear(APPEND_REJECT, 2, 3, index=0, ctx=1)

    assert node.core.peers[2].match == 2
    assert node.core.peers[2].next == 3


# All servers


def test_all_servers_apply_what_is_committed_in_order_and_once() -> None:
    node = Member(1, VOTERS)
    log = entries(1, 1, 1, 1)

    node.hear(APPEND, 2, 1, entries=log)
    assert node.applied == []
    node.hear(APPEND, 2, 1, index=3, log_term=1, commit=2)
    assert node.applied == log[:2]
    node.hear(APPEND, 2, 1, index=3, log_term=1, commit=3)
    assert node.applied == log


def test_all_servers_follow_into_a_higher_term_that_a_message_shows() -> None:
    for role in (follower, pre_candidate, candidate, leader):
        for kind in (APPEND, COMMIT, APPEND_REPLY, APPEND_REJECT, VOTE_REPLY, PRE_VOTE_REPLY,
                     RESCUE):  # fmt: skip
            node = role()

            node.hear(kind, 2, 9)

            assert (node.core.role, node.core.term) == (FOLLOWER, 9), (role, kind)
            assert node.hard_state() == (9, NOBODY), (role, kind)


def test_candidates_follow_a_candidate_of_a_higher_term() -> None:
    for role in (pre_candidate, candidate):
        node = role()

        node.hear(VOTE, 2, 9)

        assert (node.core.role, node.core.term) == (FOLLOWER, 9)
        assert node.hard_state() == (9, 2)


def test_a_question_before_an_election_shows_no_higher_term() -> None:
    for role in (follower, pre_candidate, candidate, leader):
        for kind, index in ((PRE_VOTE, 0), (PRE_VOTE_REPLY, GRANTED)):
            node = role()
            before = node.core.role, node.core.term, node.hard_state()

            node.hear(kind, 2, 9, index)

            assert before == (node.core.role, node.core.term, node.hard_state()), (role, kind)


# Followers


def test_nodes_start_as_followers() -> None:
    node = Member(1, VOTERS, terms=(1,), term=3, vote=1)

    assert node.core.role == FOLLOWER
    assert node.core.leader == NOBODY
    assert node.core.term == 3


def test_followers_answer_candidates_and_leaders() -> None:
    for kind, answer in ((APPEND, APPEND_REPLY), (VOTE, VOTE_REPLY), (PRE_VOTE, PRE_VOTE_REPLY)):
        node = Member(1, VOTERS)

        assert [(m.kind, m.dst) for m in node.hear(kind, 2, 1)] == [(answer, 2)]


def test_followers_stand_when_the_election_timeout_passes_without_a_leader() -> None:
    node = follower()

    assert node.tick(HIGH_MS - 1) == []
    assert node.core.role == FOLLOWER
    sent = node.tick(1)

    assert node.core.role == PRE_CANDIDATE
    assert [(m.kind, m.dst) for m in sent] == [(PRE_VOTE, 2), (PRE_VOTE, 3)]


def test_followers_stay_followers_as_long_as_they_hear_from_a_leader_or_vote() -> None:
    node = follower()

    for _ in range(20):
        node.tick(HIGH_MS - 1)
        node.hear(APPEND, 3, 3)
    assert (node.core.role, node.core.term) == (FOLLOWER, 3)

    for term in range(4, 24):
        node.tick(HIGH_MS - 1)
        node.hear(VOTE, 2, term)
    assert (node.core.role, node.core.term) == (FOLLOWER, 23)


# Candidates


def test_candidates_raise_the_term_vote_for_themselves_and_ask_all_for_votes() -> None:
    drawn = []

    def draw(low: int, high: int) -> int:
        drawn.append((low, high))
        return LOW_MS + len(drawn)

    node = Member(1, (1, 2, 3, 4, 5), terms=(1, 2), term=4, draw=draw)
    node.stand()
    node.hear(PRE_VOTE_REPLY, 2, 5, GRANTED)
    draws = len(drawn)
    sent = node.hear(PRE_VOTE_REPLY, 3, 5, GRANTED)

    assert node.core.role == CANDIDATE
    assert node.hard_state() == (5, 1)
    assert len(drawn) == draws + 1 and node.core.due_ms() <= HEARTBEAT_MS
    assert [(m.kind, m.dst) for m in sent] == [(VOTE, peer) for peer in (2, 3, 4, 5)]
    assert {(m.term, m.index, m.log_term) for m in sent} == {(5, 2, 2)}


def test_candidates_with_the_votes_of_a_majority_become_leaders() -> None:
    # voters, votes granted and refused by others, role then
    for count, granted, refused, role in (
        (2, (), (), CANDIDATE),
        (2, (2,), (), LEADER),
        (3, (2,), (), LEADER),
        (3, (2, 3), (), LEADER),
        (3, (), (2, 3), CANDIDATE),
        (4, (2,), (3, 4), CANDIDATE),
        (4, (2, 3), (4,), LEADER),
        (5, (2,), (), CANDIDATE),
        (5, (2, 2, 2), (), CANDIDATE),  # one vote, however often it arrives
        (5, (2, 3), (4, 5), LEADER),
        (7, (2, 3), (4, 5, 6, 7), CANDIDATE),
        (7, (2, 3, 4), (5, 6, 7), LEADER),
    ):
        node = Member(1, tuple(range(1, count + 1)))
        node.stand()
        for peer in range(2, count + 1):
            node.hear(PRE_VOTE_REPLY, peer, 1, GRANTED)
        assert node.core.role == CANDIDATE

        for peer in refused:
            node.hear(VOTE_REPLY, peer, 1)
        for peer in granted:
            node.hear(VOTE_REPLY, peer, 1, GRANTED)

        assert node.core.role == role, (count, granted, refused)


def test_a_single_node_elects_itself_and_commits_alone() -> None:
    node = Member(1, (1,))

    assert node.stand() == []

    assert (node.core.role, node.core.term) == (LEADER, 1)
    assert node.hard_state() == (1, 1)
    node.core.propose(COMMAND, b"a")
    node.work()
    assert node.core.commit == 2
    node.tick(10 * HIGH_MS)
    assert node.core.role == LEADER


def test_candidates_follow_a_leader_of_their_term() -> None:
    for kind in (APPEND, COMMIT):
        for role in (pre_candidate, candidate):
            node = role()
            vote = node.core.vote

            node.hear(kind, 2, 3)

            assert (node.core.role, node.core.term, node.core.leader) == (FOLLOWER, 3, 2)
            assert node.core.vote == vote


def test_candidates_start_a_new_election_when_theirs_takes_too_long() -> None:
    node = candidate()

    node.tick(HIGH_MS)
    assert (node.core.role, node.core.term) == (PRE_CANDIDATE, 3)
    node.hear(PRE_VOTE_REPLY, 3, 4, GRANTED)

    assert (node.core.role, node.core.term) == (CANDIDATE, 4)
    assert node.hard_state() == (4, 1)


# Leaders


def test_leaders_send_at_once_upon_election_and_again_in_idle_times() -> None:
    node = Member(1, VOTERS)
    sent = node.lead()
    assert [(m.kind, m.dst) for m in sent] == [(APPEND, 2), (APPEND, 3)]

    for _ in range(5):
        assert node.tick(HEARTBEAT_MS - 1) == []
        sent = node.tick(1)
        assert [(m.kind, m.dst, len(m.entries)) for m in sent] == [(APPEND, 2, 0), (APPEND, 3, 0)]


def test_leaders_begin_their_term_with_an_entry_of_its_own() -> None:
    node = leader(terms=(1, 2))

    assert node.log.entry(3) == (3, CONFIG, node.core.members.data)


def test_leaders_append_a_command_and_apply_it_once_it_is_committed() -> None:
    node = leader()

    index = node.core.propose(COMMAND, b"a")
    node.work()

    assert node.log.entry(index) == (3, COMMAND, b"a")
    assert node.applied == []
    node.hear(APPEND_REPLY, 2, 3, index=index, ctx=1)
    assert node.applied[-1] == (3, COMMAND, b"a")


def test_leaders_send_entries_from_the_next_index_on_until_the_follower_has_them() -> None:
    node = leader(terms=(1, 1))

    (append,) = node.hear(APPEND_REJECT, 2, 3, index=1, log_term=1, ctx=1)
    assert (append.dst, append.index, append.log_term) == (2, 1, 1)
    assert carried(append)[:1] == entries(2, 1)
    sent = node.hear(APPEND_REPLY, 2, 3, index=2, ctx=append.ctx)
    (append,) = [m for m in sent if m.dst == 2]
    assert (append.dst, append.index, append.log_term) == (2, 2, 1)
    assert carried(append) == [(3, CONFIG, node.core.members.data)]

    node.hear(APPEND_REPLY, 2, 3, index=3, ctx=append.ctx)
    assert (node.core.peers[2].match, node.core.peers[2].next) == (3, 4)


def test_leaders_step_back_until_the_logs_agree() -> None:
    for terms in ((), (1,), (1, 1, 2), (3,), (1, 3, 3), (1, 1, 1, 3), (1, 1, 2, 3, 3, 3)):
        behind = Member(2, VOTERS, terms=terms, term=4)
        node = Member(1, VOTERS, terms=(1, 1, 2, 4), term=4)
        group = Group.of(node, behind)
        group.down.add(3)
        node.lead()

        group.beat(1)
        group.beat(1)

        assert behind.terms() == [1, 1, 2, 4, 5], terms
        assert node.core.peers[2].match == 5


def test_leaders_commit_what_a_majority_has_of_their_own_term() -> None:
    # match indexes of the others; entries 1 and 2 are of older terms, 3 and 4 the leader's own
    for match, commit in (
        ((0, 0), 0),
        ((2, 2), 0),
        ((3, 0), 3),
        ((3, 3), 3),
        ((4, 0), 4),
        ((0, 0, 0, 4), 0),
        ((2, 2, 2, 4), 0),
        ((2, 2, 3, 4), 3),
        ((0, 4, 0, 4), 4),
    ):
        node = leader((1, 2), tuple(range(1, len(match) + 2)))
        node.core.propose(COMMAND, b"a")
        node.work()

        for i, index in enumerate(match):
            node.hear(APPEND_REPLY, i + 2, 3, index=index, ctx=1)

        assert node.core.commit == commit, match
