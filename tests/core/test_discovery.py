"""Nodes find each other by hello datagrams; portable."""

from raft import discovery, seal
from raft.core import LEADER
from raft.discovery import ALONE_MS, FIRST_PAUSE_MS, LAST_PAUSE_MS, STEP_MS, Discovery, read, write
from raft.members import LEARNER, record
from raft.messages import Codec
from raft.node import Node
from raft.udp import BROADCAST, host_of, resolve, with_port
from tests.flash import RamFlash

PORTABLE = True

PORT, CLIENT_PORT = 7100, 7200
QUIET_MS = 10 * 60 * 1000
SOON_MS = 2 * FIRST_PAUSE_MS  # for questions, answers and what is asked back
STRANGER = ("10.0.0.99", CLIENT_PORT)
CLIENT = ("10.0.0.50", 40000)


class Board:
    """Stands in for a node and the endpoint of its clients."""

    def __init__(self, net, id, ip, hosts, name="demo"):  # type: ignore[no-untyped-def]
        self.net = net
        self.id = id
        self.ip = ip
        self.codec = Codec(id, name)
        self.core = self  # whose leader is asked for
        self.leader = 1
        self.told = []
        self.places = {peer: (hosts[peer], PORT, CLIENT_PORT) for peer in hosts}
        self.addresses = {
            peer: None if hosts[peer] == "auto" else (hosts[peer], PORT)
            for peer in hosts
            if peer != id
        }
        self.discovery = Discovery(self, self, self.places, self.addresses)

    def events(self, what, **facts) -> None:  # type: ignore[no-untyped-def]
        self.told.append((what, facts["peer"], facts["ip"]))

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        self.net.send(bytes(data), (self.ip, CLIENT_PORT), address)

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
        discovery.resolve = lambda host, port: (host, port)
        try:
            for _ in range(ms // STEP_MS):
                now, self._waiting = self._waiting, []
                for datagram in now:
                    if not self.loses(*datagram):
                        self._deliver(*datagram)
                for board in self.boards:
                    board.discovery.step(STEP_MS)
        finally:
            discovery.resolve = resolve

    def _deliver(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        ip, port = target
        for board in self.boards:
            if (ip == board.ip or ip in BROADCAST) and port == CLIENT_PORT:
                board.discovery.hear(data, source)

    def all_know(self) -> bool:
        where = {board.id: board.ip for board in self.boards}
        return all(
            board.known() == {id: where[id] for id in where if id != board.id}
            for board in self.boards
        )


def hello(id: int, to: int, question: int, answer: int, port: int, name: str = "demo") -> bytes:
    codec = Codec(id, name)
    return bytes(codec.frame(write(codec, to, question, answer, port)))


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
        board.discovery.meet()
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

    assert 20 <= len(net.sent) <= 27  # the first few come faster


def test_a_board_that_has_moved_is_known_at_once_where_it_is_now() -> None:
    net = found(3)

    net.boards[1].ip = "10.0.0.77"
    net.boards[1].discovery.look()
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
    board.ip, board.leader = "10.0.0.77", 1
    board.discovery.look()
    net.run(STEP_MS)
    question = net.sent[-1][0]
    good = hello(2, 1, 5, read(Codec(9, "demo"), question)[1], PORT)
    before = dict(board.addresses), dict(board.discovery.asked)
    net.sent.clear()

    bad = [good[:at] + bytes((good[at] ^ 1 << bit,)) + good[at + 1 :]
           for at in range(len(good)) for bit in range(8)]  # fmt: skip
    bad += [good[:n] for n in range(len(good))] + [good + b"\0"]
    bad.append(hello(2, 1, 5, 5, PORT, "another cluster"))
    bad.append(hello(2, 3, 5, 5, PORT))  # for another node
    for data in bad:
        assert not board.discovery.hear(data, STRANGER)

    assert (board.addresses, board.discovery.asked) == before
    assert net.sent == [] and board.told == []
    assert board.discovery.hear(good, STRANGER)  # had it been whole
    assert board.addresses[2] == ("10.0.0.99", PORT)


def test_a_question_sent_again_from_elsewhere_moves_nobody() -> None:
    net = found(2)
    net.boards[1].discovery.look()
    net.run(STEP_MS)
    (question, *_), *_ = net.sent
    net.run(QUIET_MS)
    net.sent.clear()

    for _ in range(100):
        net.boards[0].discovery.hear(question, STRANGER)
    net.run(QUIET_MS)

    assert net.all_know() and net.boards[0].told == []
    # as many answers as were asked for, to where that came from, and a question to be sure
    assert sum(target == STRANGER for _, _, target in net.sent) == 100
    assert len(net.sent) <= 100 + 3


def test_an_answer_sent_again_from_elsewhere_moves_nobody() -> None:
    net = Net(2)
    net.run(SOON_MS)
    first, second = net.boards
    heard = [data for data, _, target in net.sent if target == (first.ip, CLIENT_PORT)]
    assert heard

    for _ in range(3):
        for data in heard:
            first.discovery.hear(data, STRANGER)
        first.discovery.look()
        for data in heard:
            first.discovery.hear(data, STRANGER)
        net.run(SOON_MS)

    assert first.known() == {2: second.ip}


def test_of_two_boards_with_one_id_the_last_to_come_is_known_and_people_are_told() -> None:
    net = found(2)
    twin = net.add(2)
    twin.ip = "10.0.0.22"

    net.run(SOON_MS)

    assert net.boards[0].known() == {2: "10.0.0.22"}
    assert net.boards[0].told == [("moved", 2, "10.0.0.22")]


def test_a_client_is_answered_and_leaves_no_trace() -> None:
    net = found(2)
    board = net.boards[0]

    assert board.discovery.hear(hello(0, 0, 12345, 0, 0), CLIENT)

    (answer,) = net.sent
    assert answer[2] == CLIENT
    assert read(Codec(0, "demo"), answer[0]) == (1, 0, 12345, PORT)
    assert board.discovery.asked == {} and list(board.addresses) == [2]


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
    net.boards[1].discovery.look()
    net.run(SOON_MS)
    assert net.boards[0].known()[2] == "10.0.0.2"


def test_who_is_no_member_is_answered_and_not_looked_for() -> None:
    net = found(2)
    net.hosts[7] = "auto"
    seventh = net.add(7)

    net.run(SOON_MS)
    net.boards.remove(seventh)
    net.boards[0].discovery.hear(hello(9, 0, 5, 0, PORT), STRANGER)
    net.run(SOON_MS)

    assert seventh.known() == {1: "10.0.0.1", 2: "10.0.0.2"}
    # it may lead, and this board not know yet that it was added
    assert net.boards[0].known() == {2: "10.0.0.2", 7: "10.0.0.7"}
    net.sent.clear()
    net.run(QUIET_MS)
    assert len(net.sent) <= 1


def test_a_hello_is_22_bytes() -> None:
    data = hello(3, 0, 0x11223344, 0x01020304, 0x1BBC, "demo")

    assert len(data) == 22
    assert data[:4] == b"\xa1\x27\x03\x00"
    assert data[8:18] == b"\x44\x33\x22\x11\x04\x03\x02\x01\xbc\x1b"
    assert seal.open(data)


def test_addresses_of_this_interpreter_are_read_and_given_another_port() -> None:
    address = resolve("127.0.0.1", 7100)

    assert host_of(address) == "127.0.0.1"
    assert with_port(address, 7101) == resolve("127.0.0.1", 7101)


def test_a_node_looks_for_a_member_from_when_it_is_added_until_it_is_removed() -> None:
    # given a node that is alone, and looks for nobody
    place = {"host": "127.0.0.1", "port": 0, "client_port": 0}
    config = {"id": 1, "cluster": "demo", "nodes": {"1": place}, "state_kb": 1}
    node = Node(config, events=lambda what, **facts: None)
    node.open(RamFlash(32))
    tasks = []
    node._start = lambda name, task: tasks.append(name)  # type: ignore[method-assign]
    node.core.tick(1000)
    node._drive()
    assert node.core.role == LEADER and node.discovery is None

    # when one is added that may be anywhere
    added = record(2, LEARNER, 0, "auto", PORT, CLIENT_PORT)
    node.core.change(node.core.members.with_member(added))
    node._drive()

    # then it looks for it
    finder = discovery_of(node)
    assert tasks == ["hello"] and node.others() == [2]
    assert node.addresses == {2: None} and list(finder.asked) == [2]
    assert node.client_address(2) is None
    finder.asked[2] = 5
    finder.hear(hello(2, 1, 0, 5, PORT), resolve("127.0.0.9", CLIENT_PORT))
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
    place = {"host": "127.0.0.1", "port": 0, "client_port": 0}
    config = {"id": 1, "cluster": "demo", "nodes": {"1": place}, "state_kb": 1}
    node = Node(config, events=lambda what, **facts: None)
    node.open(RamFlash(32))
    node._start = lambda name, task: None  # type: ignore[method-assign]
    node.core.tick(1000)
    node._drive()

    named = record(2, LEARNER, 0, "no such name", PORT, CLIENT_PORT)
    node.core.change(node.core.members.with_member(named))
    node._drive()

    assert node.core.role == LEADER
    assert node.addresses == {2: None} and list(discovery_of(node).asked) == [2]
    node.endpoint.close()
    node._clients.close()


def discovery_of(node):  # type: ignore[no-untyped-def]
    return node.discovery
