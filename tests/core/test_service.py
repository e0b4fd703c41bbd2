"""What a node answers to clients when the members change around it."""

from raft import requests
from raft.messages import ANY, APPEND, NOT_LEADER, OUT, READ
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
