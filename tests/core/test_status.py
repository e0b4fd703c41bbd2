"""What a node tells of itself and of the members has to fit into a datagram."""

import json

from raft import members, status
from raft.core import CANDIDATE
from raft.events import Events
from raft.members import MAX_MEMBERS
from raft.messages import MAX_NUMBER, MAX_REPLY
from raft.node import Node
from tests.flash import RamFlash
from tests.keys import SECRET
from tests.solo import SECTORS, offline

PORTABLE = True

IDS = range(255 - MAX_MEMBERS, 255)
NAME = "a-name-as-long-as-one-may-be-for"
OTHER = "ab" * 32


def largest() -> Node:
    """The leader of as many voters as there may be, of whom nearly half are silent."""
    place = {"host": "192.168.100.100", "port": 65535, "client_port": 65535}
    nodes = {str(node): place for node in IDS}
    nodes[str(IDS[0])] = dict(place, host="127.0.0.1", port=0, client_port=0)
    dead = {"after_s": 1}
    config = {"id": IDS[0], "cluster": NAME, "keys": [SECRET, OTHER], "nodes": nodes, "dead": dead}
    node = Node(config, events=Events(IDS[0], write=lambda line: None))
    node.open(RamFlash(SECTORS))
    offline(node)
    core = node.core
    core.term = MAX_NUMBER - 1
    core.role = CANDIDATE
    core._lead()
    for silent in list(IDS)[MAX_MEMBERS // 2 + 1 :]:
        core.peers[silent].silent = MAX_NUMBER
    return node


def widened(found: object) -> object:
    """The same with numbers as long as they may be."""
    if isinstance(found, dict):
        return {name: widened(value) for name, value in found.items()}
    return MAX_NUMBER if isinstance(found, int) and found > 255 or found == 0 else found


def test_the_status_of_the_largest_cluster_fits_into_a_datagram() -> None:
    told = status.status(largest())

    assert len(told["silent"]) == MAX_MEMBERS // 2 - 1
    assert len(status.packed(widened(told))) <= MAX_REPLY


def test_so_do_its_members() -> None:
    core = largest().core

    told = status.members(core)

    assert len(core.members.data) > members.MAX_BYTES // 2
    longest = members.MAX_BYTES - len(core.members.data)
    assert len(told) + longest <= MAX_REPLY


def test_the_status_is_json() -> None:
    told = status.status(largest())

    assert json.loads(status.packed(told))["term"] == MAX_NUMBER - 1
