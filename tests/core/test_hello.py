"""Nodes learn by hellos who is there, and where; portable."""

from raft import hello, interpreter
from raft.core import LEADER
from raft.hello import (
    ALONE_MS,
    FIRST_PAUSE_MS,
    HELLO_BYTES,
    LAST_PAUSE_MS,
    NOTHING,
    Greeter,
    write,
)
from raft.members import LEARNER, record
from raft.messages import Codec
from raft.node import Node
from raft.seal import MAX_SENT, Seal
from raft.udp import BROADCAST, host_of, resolve, with_port
from tests import sealing
from tests.flash import RamFlash
from tests.keys import SECRET

PORTABLE = True

STEP_MS = 20  # what a datagram takes
PORT, CLIENT_PORT = 7100, 7200
QUIET_MS = 10 * 60 * 1000
SOON_MS = 8 * FIRST_PAUSE_MS  # for questions, answers and what is asked back
STRANGER = ("10.0.0.99", CLIENT_PORT)
QUESTION = bytes(range(1, 9))


class Board:
    """Stands in for a node and the endpoint of its clients."""

    def __init__(self, net, id, ip, hosts, name="demo"):  # type: ignore[no-untyped-def]
        self.net = net
        self.id = id
        self.ip = ip
        self.name = name
        self.draw = interpreter.draw
        self.core = self  # whose leader is asked for
        self.dropped = 0
        self.leader = 1
        self.leading = None
        self.told = []
        self.places = {peer: (hosts[peer], PORT, CLIENT_PORT) for peer in hosts}
        self.addresses = {
            peer: None if hosts[peer] == "auto" else (hosts[peer], PORT)
            for peer in hosts
            if peer != id
        }
        self.start()

    def start(self) -> None:
        """Power on."""
        self.seal = Seal(self.id, [sealing.key(self.name)], self.draw)
        self.codec = Codec(self.id, self.seal.sessions)
        self.greeter = Greeter(self, self.seal, self, self.places, self.addresses)

    def events(self, what, **facts) -> None:  # type: ignore[no-untyped-def]
        self.told.append((what, facts["peer"], facts["ip"]))

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        self.net.send(bytes(data), (self.ip, CLIENT_PORT), address)

    def knows(self, board: "Board") -> bool:
        """Whether it would understand it, and be understood."""
        return self.seal.knows(board.id, board.seal.incarnation)

    def known(self) -> dict[int, str | None]:
        """The hosts of all others, as far as it knows."""
        return {peer: place and place[0] for peer, place in self.addresses.items()}


class Net:
    """A network where a datagram takes one step. sent: (data, from, to), of all there were."""

    def __init__(self, count=0, host="auto"):  # type: ignore[no-untyped-def]
        self.sent = []
        self.loses = lambda data, source, target: False
        self._waiting = []
        self.boards = []
        self.hosts = {id: host for id in range(1, count + 1)}
        for id in sorted(self.hosts):
            self.add(id)

    def add(self, id: int, name: str = "demo") -> Board:
        board = Board(self, id, f"10.0.0.{id}", self.hosts, name)
        self.boards.append(board)
        return board

    def send(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        self.sent.append((data, source, target))
        self._waiting.append((data, source, target))

    def run(self, ms: int) -> None:
        hello.resolve = lambda host, port: (host, port)
        try:
            for _ in range(ms // STEP_MS):
                now, self._waiting = self._waiting, []
                for datagram in now:
                    if not self.loses(*datagram):
                        self._deliver(*datagram)
                for board in self.boards:
                    board.greeter.step(STEP_MS)
        finally:
            hello.resolve = resolve

    def _deliver(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        ip, port = target
        for board in self.boards:
            if (ip == board.ip or ip in BROADCAST) and port == CLIENT_PORT:
                board.greeter.hear(data, source)

    def all_know(self) -> bool:
        where = {board.id: board.ip for board in self.boards}
        return all(
            board.known() == {id: where[id] for id in where if id != board.id}
            and all(board.knows(other) for other in self.boards if other is not board)
            for board in self.boards
        )


def said(id: int, to: int, question: bytes, answer: bytes, name: str = "demo") -> bytes:
    """A hello of a node that is in nobody's list of places."""
    codec = sealing.codec(id, name)
    nonce, key = sealing.incarnation(id), sealing.key(name)
    return bytes(codec.frame(write(codec, key, to, nonce, question, answer, PORT)))


def found(count: int) -> Net:
    """Boards that know each other; what that has taken is forgotten."""
    net = Net(count)
    net.run(SOON_MS)
    assert net.all_know()
    for board in net.boards:
        board.told.clear()
    net.sent.clear()
    return net


def test_boards_that_start_together_find_each_other_and_are_quiet_then() -> None:
    net = Net(5)

    net.run(SOON_MS)

    assert net.all_know()
    assert sorted(net.boards[0].told) == [("found", id, f"10.0.0.{id}") for id in (2, 3, 4, 5)]
    net.run(SOON_MS)
    net.sent.clear()
    net.run(QUIET_MS)
    assert net.sent == []


def test_what_gets_lost_is_sent_again() -> None:
    for lost in range(20):
        net = Net(3)
        passed = []  # type: ignore[var-annotated]

        def loses(*datagram, passed=passed, lost=lost) -> bool:  # type: ignore[no-untyped-def]
            passed.append(datagram)
            return len(passed) <= lost

        net.loses = loses
        net.run(QUIET_MS // 10)
        assert net.all_know(), lost


def test_a_board_that_comes_later_finds_all_and_is_found() -> None:
    net = Net(2)
    net.hosts[3] = "auto"
    for board in net.boards:
        board.places[3] = "auto", PORT, CLIENT_PORT
        board.greeter.meet(3)
    net.run(QUIET_MS)

    net.add(3)
    net.run(SOON_MS)

    assert net.all_know()


def test_a_board_that_is_away_costs_a_datagram_now_and_then() -> None:
    net = Net(2)
    net.hosts[3] = "auto"
    net.boards.clear()
    net.add(1)

    net.run(20 * LAST_PAUSE_MS)

    assert 20 <= len(net.sent) <= 28  # the first few come faster


def test_a_board_that_has_moved_is_known_at_once_where_it_is_now() -> None:
    net = found(3)

    net.boards[1].ip = "10.0.0.77"
    net.boards[1].greeter.look()
    net.run(SOON_MS)

    assert net.all_know()
    assert net.boards[0].told == net.boards[2].told == [("moved", 2, "10.0.0.77")]
    assert net.boards[1].told == []
    # one question, and from each other an answer that asks back, and the answer to that
    assert len(net.sent) == 5


def test_without_a_leader_a_board_looks_for_all_others() -> None:
    net = found(3)
    for board in net.boards:  # as after another router has taken the place of theirs
        board.ip = f"192.168.0.{board.id}"
        board.leader = 0

    net.run(ALONE_MS + SOON_MS)

    assert net.all_know()
    # and again, for they may not know how they have moved meanwhile
    net.boards[0].ip = "192.168.0.77"
    net.run(LAST_PAUSE_MS)
    assert net.all_know()
    for board in net.boards:
        board.leader = 1
    net.run(SOON_MS)
    net.sent.clear()
    net.run(QUIET_MS)
    assert net.sent == []


def test_what_is_damaged_or_no_hello_changes_nothing() -> None:
    net = found(2)
    board = net.boards[0]
    board.greeter.look()
    net.run(STEP_MS)
    question = net.sent[-1][0][16:24]
    good = said(2, 1, NOTHING, question)
    before = dict(board.addresses), dict(board.greeter.asked), dict(board.seal.sessions)
    net.sent.clear()

    bad = [good[:at] + bytes((good[at] ^ 1 << bit,)) + good[at + 1 :]
           for at in range(len(good)) for bit in range(8)]  # fmt: skip
    bad += [good[:n] for n in range(len(good))] + [good + b"\0"]
    bad.append(said(2, 1, QUESTION, question, "another cluster"))
    bad.append(said(2, 3, QUESTION, question))  # for another node
    bad.append(said(1, 1, QUESTION, question))  # from itself
    for data in bad:
        board.greeter.hear(data, STRANGER)

    assert (board.addresses, board.greeter.asked, board.seal.sessions) == before
    assert net.sent == [] and board.told == []
    assert board.greeter.hear(good, STRANGER)  # had it been whole
    assert board.addresses[2] == ("10.0.0.99", PORT)
    assert board.seal.knows(2, sealing.incarnation(2))


def test_a_question_sent_again_from_elsewhere_moves_nobody() -> None:
    net = found(2)
    net.boards[1].greeter.look()
    net.run(STEP_MS)
    (question, *_), *_ = net.sent
    net.run(QUIET_MS)
    net.sent.clear()

    for _ in range(100):
        net.boards[0].greeter.hear(question, STRANGER)
    net.run(QUIET_MS)

    assert net.all_know() and net.boards[0].told == []
    # as many answers as were asked for, to where that came from, and a question to be sure
    assert sum(target == STRANGER for _, _, target in net.sent) == 100
    assert len(net.sent) <= 100 + 3


def test_a_question_sent_again_and_again_does_not_set_boards_asking_each_other() -> None:
    net = found(3)
    net.boards[2].greeter.look()
    net.run(STEP_MS)
    (question, *_), *_ = net.sent
    net.run(QUIET_MS)
    net.sent.clear()

    for _ in range(4 * LAST_PAUSE_MS // FIRST_PAUSE_MS):
        for board in net.boards:
            board.greeter.hear(question, STRANGER)
        net.run(FIRST_PAUSE_MS)

    for board in net.boards:
        asked = [data for data, source, target in net.sent
                 if source[0] == board.ip and target[0] in BROADCAST]  # fmt: skip
        assert len(asked) <= 12
    net.run(LAST_PAUSE_MS)
    assert net.all_know()


def test_an_answer_sent_again_from_elsewhere_moves_nobody() -> None:
    net = Net(2)
    net.run(SOON_MS)
    first, second = net.boards
    heard = [data for data, _, target in net.sent if target == (first.ip, CLIENT_PORT)]
    assert heard

    for _ in range(3):
        for data in heard:
            first.greeter.hear(data, STRANGER)
        first.greeter.look()
        for data in heard:
            first.greeter.hear(data, STRANGER)
        net.run(SOON_MS)

    assert first.known() == {2: second.ip}


def test_of_two_boards_with_one_id_the_last_to_come_is_known_and_people_are_told() -> None:
    net = found(2)
    twin = net.add(2)
    twin.ip = "10.0.0.22"

    net.run(SOON_MS)

    assert net.boards[0].known() == {2: "10.0.0.22"}
    assert net.boards[0].told == [("moved", 2, "10.0.0.22")]


def test_a_board_whose_host_is_told_stays_there_and_is_asked_there() -> None:
    net = Net()
    net.hosts = {1: "auto", 2: "10.0.0.2", 3: "auto"}
    for id in sorted(net.hosts):
        net.add(id)
    net.boards[1].ip = "10.0.0.2"

    net.run(SOON_MS)

    assert net.all_know()
    assert ("10.0.0.2", CLIENT_PORT) in [target for _, _, target in net.sent]
    net.boards[1].ip = "10.0.0.77"
    net.boards[1].greeter.look()
    net.run(SOON_MS)
    assert net.boards[0].known()[2] == "10.0.0.2"


def test_who_is_no_member_is_answered_and_not_looked_for() -> None:
    net = found(2)
    net.hosts[7] = "auto"
    seventh = net.add(7)

    net.run(SOON_MS)
    net.boards.remove(seventh)
    net.boards[0].greeter.hear(said(9, 0, QUESTION, NOTHING), STRANGER)
    net.run(SOON_MS)

    assert seventh.known() == {1: "10.0.0.1", 2: "10.0.0.2"}
    # it may lead, and this board not know yet that it was added
    assert net.boards[0].known() == {2: "10.0.0.2", 7: "10.0.0.7"}
    net.sent.clear()
    net.run(QUIET_MS)
    assert len(net.sent) <= 1


def test_a_hello_is_50_bytes() -> None:
    data = said(3, 0, QUESTION, bytes(range(11, 19)), "demo")

    assert len(data) == HELLO_BYTES == 50
    assert data[:4] == b"\xa2\x27\x03\x00"
    assert data[8:16] == sealing.incarnation(3)
    assert data[16:34] == bytes(range(1, 9)) + bytes(range(11, 19)) + b"\xbc\x1b"
    assert sealing.key("demo").is_hello(data)


# Incarnations


def test_a_board_that_was_started_anew_is_known_after_four_datagrams() -> None:
    net = found(2)
    first, second = net.boards
    old = second.seal.incarnation

    second.start()
    assert not first.knows(second) and not second.knows(first)
    net.run(SOON_MS)

    assert first.knows(second) and second.knows(first)
    assert not first.seal.knows(2, old)
    # a question; its answer, which asks back; the answer to that
    assert len(net.sent) <= 4
    assert first.told == second.told == []  # nobody has moved


class Silence:
    """What a leader knows of a follower that doesn't answer."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.silent = 300
        self.peers = {node: self}


def test_a_leader_makes_itself_known_to_whom_it_is_in_no_list_of() -> None:
    """Seed 1001135 of tests/cluster/endless.py: a removed board was added again."""
    net = found(2)
    leader, behind = net.boards
    del behind.places[1]  # its log is from before that one was added

    leader.start()
    net.loses = lambda data, source, target: source[0] == leader.ip and data[24:32] != NOTHING
    net.run(SOON_MS)
    assert leader.knows(behind) and not behind.knows(leader)
    net.loses = lambda data, source, target: False
    net.run(LAST_PAUSE_MS)
    assert not behind.knows(leader)

    leader.leading = Silence(behind.id)
    net.run(LAST_PAUSE_MS + SOON_MS)
    assert behind.knows(leader)

    leader.leading.silent = 0
    net.sent.clear()
    net.run(QUIET_MS)
    assert not net.sent


def test_no_hello_from_before_brings_an_old_incarnation_back() -> None:
    net = found(2)
    first, second = net.boards
    second.start()
    net.run(SOON_MS)
    heard = [(data, source) for data, source, target in net.sent if target[0] == first.ip]
    second.start()
    net.run(SOON_MS)
    present = second.seal.incarnation

    for _ in range(3):
        for data, source in heard:
            first.greeter.hear(data, source)
            net.run(STEP_MS)
        first.greeter.look()
        for data, source in heard:
            first.greeter.hear(data, source)
        assert first.seal.knows(2, present)
    net.run(QUIET_MS)

    assert first.seal.knows(2, present) and net.all_know()


def test_while_old_questions_pour_in_others_are_asked_in_time() -> None:
    net = found(2)
    net.boards[1].start()
    net.run(SOON_MS)
    old = [data for data, _, target in net.sent if target[0] == net.boards[0].ip]
    net.boards[1].start()
    net.run(SOON_MS)
    net.hosts[3] = "auto"
    net.boards[0].places[3] = "auto", PORT, CLIENT_PORT
    net.boards[0].greeter.meet(3)
    third = net.add(3)
    third.greeter.asked.clear()  # it must be found

    for _ in range(SOON_MS // STEP_MS):
        for data in old:
            net.boards[0].greeter.hear(data, STRANGER)
        net.run(STEP_MS)

    assert net.boards[0].knows(third)


def test_numbers_that_are_used_up_make_a_new_incarnation() -> None:
    net = found(2)
    first, second = net.boards
    before = first.seal.incarnation
    assert not first.seal.renew()

    first.seal.sessions[2].sent = MAX_SENT
    assert first.seal.renew()
    first.greeter.look()
    net.run(SOON_MS)

    assert first.seal.incarnation != before
    assert first.knows(second) and second.knows(first)


def test_of_two_keys_the_one_that_both_have_is_used() -> None:
    old, new = sealing.key("old"), sealing.key("new")
    for keys, others in (([new, old], [old]), ([new, old], [new]), ([new, old], [new, old])):
        for lost in range(6):
            net = Net(2)
            for board, held in zip(net.boards, (keys, others)):
                board.seal.keys[:] = held
            net.loses = lambda *datagram, net=net, lost=lost: len(net.sent) <= lost
            net.run(QUIET_MS // 10)
            assert net.all_know(), (lost, len(others))
            first, second = (board.seal.sessions[3 - board.id] for board in net.boards)
            buf = bytearray(100)
            for a, b in ((first, second), (second, first)):
                head = bytes((0, 0, 0, 0)) + a.key_number.to_bytes(2, "little") + bytes(22)
                buf[: len(head)] = head
                n = a.close(buf, memoryview(buf), len(head))
                assert b.open(memoryview(buf)[:n], n)


def test_addresses_of_this_interpreter_are_read_and_given_another_port() -> None:
    address = resolve("127.0.0.1", 7100)

    assert host_of(address) == "127.0.0.1"
    assert with_port(address, 7101) == resolve("127.0.0.1", 7101)


def alone() -> Node:
    """A node that is its own cluster, and leads it."""
    place = {"host": "127.0.0.1", "port": 0, "client_port": 0}
    config = {
        "id": 1, "cluster": "demo", "keys": [SECRET], "nodes": {"1": place}, "state_kb": 1,
    }  # fmt: skip
    node = Node(config, events=lambda what, **facts: None)
    node.open(RamFlash(32))
    node.core.tick(1000)
    node._drive()
    assert node.core.role == LEADER
    return node


def test_a_node_looks_for_a_member_from_when_it_is_added_until_it_is_removed() -> None:
    # given a node that is alone, and looks for nobody
    node = alone()
    assert node.greeter.asked == {}

    # when one is added that may be anywhere
    added = record(2, LEARNER, 0, "auto", PORT, CLIENT_PORT)
    node.core.change(node.core.members.with_member(added))
    node._drive()

    # then it looks for it
    assert node.others() == [2]
    assert node.addresses == {2: None} and list(node.greeter.asked) == [2]
    assert node.client_address(2) is None
    node.greeter.asked[2] = QUESTION
    node.greeter.hear(said(2, 1, NOTHING, QUESTION), resolve("127.0.0.9", CLIENT_PORT))
    assert node.addresses == {2: resolve("127.0.0.9", PORT)}
    assert node.client_address(2) == resolve("127.0.0.9", CLIENT_PORT)

    # and when it is removed, no more; but it can still be told
    node.core.change(node.core.members.without(2))
    node._drive()
    assert node.others() == [] and node.client_address(2) is None
    assert node.addresses[2]
    node.endpoint.close()
    node._clients.close()


def test_a_member_whose_name_nobody_knows_is_looked_for() -> None:
    node = alone()

    named = record(2, LEARNER, 0, "no such name", PORT, CLIENT_PORT)
    node.core.change(node.core.members.with_member(named))
    node._drive()

    assert node.core.role == LEADER
    assert node.addresses == {2: None} and list(node.greeter.asked) == [2]
    node.endpoint.close()
    node._clients.close()
