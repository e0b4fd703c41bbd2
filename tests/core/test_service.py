"""What a node answers to clients when the members change around it, and when others come."""

from raft import access, requests, sessions
from raft.calling import Caller
from raft.messages import ANY, APPEND, NOT_LEADER, OK, OUT, READ, REFUSED, WRITE
from raft.node import Node
from tests.core.group import CLUSTER, letter
from tests.flash import RamFlash
from tests.keys import SECRET
from tests.sealing import caller_of
from tests.solo import SECTORS, offline

PORTABLE = True

CLIENT = ("127.0.0.1", 9)


class Clients:
    """Stands in for the socket of a node's clients: requests to come, and what was answered."""

    received = sent = errors = 0

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []

    def receive_from(self, most: int) -> "tuple[bytes, tuple[str, int]] | None":
        return (self.requests.pop(0), CLIENT) if self.requests else None

    def send(self, data: memoryview, address: object) -> None:
        self.answers.append(bytes(data))


def test_who_waits_for_a_read_at_a_node_that_is_out_is_sent_elsewhere() -> None:
    place = {"host": "127.0.0.1", "port": 0, "client_port": 0}
    nodes = {node: place for node in "123"}
    config = {"id": 2, "cluster": CLUSTER, "keys": [SECRET], "nodes": nodes}
    node = Node(config, events=lambda what, **facts: None)
    node.open(RamFlash(SECTORS))
    offline(node)
    clients = node.service.endpoint = Clients()
    client = caller_of(node)
    node.core.step(letter(APPEND, 1, 2, 1))
    node._drive()

    query = bytes((ANY,)) + requests.get_query(b"k")
    clients.requests.append(bytes(client.frame(client.request(2, READ, 7, query))))
    node._hear_clients()
    assert clients.answers == []  # the leader is asked
    node.core.step(letter(OUT, 3, 2, 1, index=9))
    node._drive()

    (answer,) = [client.read(data) for data in clients.answers]
    assert answer is not None and answer[1:3] == (7, NOT_LEADER)
    # and whoever asks now is told so at once
    clients.requests.append(bytes(client.frame(client.request(2, READ, 8, query))))
    node._hear_clients()
    last = client.read(clients.answers[-1])
    assert last is not None and last[1:3] == (8, NOT_LEADER)


def test_nobody_writes_in_the_session_of_another_credential() -> None:
    node = alone()
    owner, thief = caller_of(node, access.WRITE, 5), caller_of(node, access.WRITE, 6)
    clients = node.service.endpoint = Clients()

    def ask(client: Caller, number: int, payload: bytes) -> tuple[int, bytes]:
        clients.requests.append(bytes(client.frame(client.request(1, WRITE, number, payload))))
        node._hear_clients()
        reply = client.read(clients.answers[-1])
        assert reply is not None and reply[1] == number
        return reply[2], reply[4]

    status, result = ask(owner, 1, sessions.OPEN)
    assert status == OK
    session = int.from_bytes(result[1:5], "little")
    put = sessions.command(session, 1, requests.put(b"k", b"v"))

    assert ask(thief, 2, put)[0] == REFUSED
    assert ask(owner, 2, put)[0] == OK
    assert ask(thief, 3, put)[0] == REFUSED  # the result, too, is the owner's alone
    assert ask(owner, 3, put)[0] == OK


def alone() -> Node:
    """A node that is its own cluster, and leads it."""
    place = {"host": "127.0.0.1", "port": 0, "client_port": 0}
    config = {"id": 1, "cluster": CLUSTER, "nodes": {"1": place}, "keys": [SECRET]}
    node = Node(config, events=lambda what, **facts: None)
    node.open(RamFlash(SECTORS))
    offline(node)
    node.core.tick(1000)
    node._drive()
    return node
