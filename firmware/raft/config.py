"""What `config.json` must say for a node to run."""

import json
from binascii import unhexlify

from raft.core import ELECTION_MS, HEARTBEAT_MS
from raft.members import LEARNER, MAX_MEMBERS, VOTER, Members, record
from raft.seal import KEY_BYTES, keys_of
from raft.sessions import SESSION_S

FILE = "config.json"
MAX_KEYS = 2  # while they are changed
MAX_DEAD_S = 1000000  # a leader counts in ms, up to 2^30


class ConfigError(Exception):
    """The configuration can't work; the message names the key."""


def load():
    """The configuration in the working directory, on a board `/` (dict). Raises ConfigError."""
    try:
        with open(FILE) as f:
            config = json.load(f)
    except (OSError, ValueError) as e:
        raise ConfigError("%s can't be read (%r): deploy this node again" % (FILE, e))
    checked(config)
    return config


def checked(config):
    """(id, cluster name, its keys, {id: its entry in `nodes`}) of a configuration."""
    for key in ("id", "cluster", "keys", "nodes"):
        if key not in config:
            raise ConfigError("config.json has no '%s'" % key)
    peers = {int(node): entry for node, entry in config["nodes"].items()}
    if config["id"] not in peers:
        raise ConfigError("config.json: node %d (id) is not among nodes" % config["id"])
    for node, entry in peers.items():
        if not 1 <= node <= 254:
            raise ConfigError("config.json: node %d: ids are 1 to 254" % node)
        for key in ("host", "port", "client_port"):
            if key not in entry:
                raise ConfigError("config.json: node %d has no '%s'" % (node, key))
        if not 0 <= entry.get("priority", 0) <= 255:
            raise ConfigError("config.json: node %d: priority must be 0 to 255" % node)
    if len(peers) > MAX_MEMBERS:
        raise ConfigError("config.json: nodes: a cluster has at most %d" % MAX_MEMBERS)
    founders = [entry for entry in peers.values() if not entry.get("join", False)]
    if founders and not any(entry.get("voter", True) for entry in founders):
        raise ConfigError("config.json: nodes: all founders have voter = false: nobody could lead")
    dead = config.get("dead", {})
    if not 1 <= dead.get("after_s", 1) <= MAX_DEAD_S or dead.get("least", 1) < 1:
        raise ConfigError(
            "config.json: dead: after_s must be 1 to %d, and least 1 or more" % MAX_DEAD_S
        )
    low, high = config.get("election_ms", ELECTION_MS)
    if not config.get("heartbeat_ms", HEARTBEAT_MS) * 2 < low <= high:
        raise ConfigError(
            "config.json: election_ms must be [low, high], low more than twice heartbeat_ms"
        )
    if config.get("session_s", SESSION_S) < 1:
        raise ConfigError("config.json: session_s must be at least 1")
    return config["id"], config["cluster"], _keys(config["keys"], config["cluster"]), peers


def _keys(secrets, cluster):
    """The keys (list of seal.Key). What is wrong with them is told without them."""
    keys = keys_of(secrets, cluster) if _are_digits(secrets) else []
    if not 1 <= len({key.number for key in keys}) == len(keys) <= MAX_KEYS:
        raise ConfigError(
            "config.json: keys must be 1 or 2 of 64 hexadecimal digits each, with different "
            "numbers: deploy this node again"
        )
    return keys


def _are_digits(secrets):
    try:
        return all([len(unhexlify(secret)) == KEY_BYTES for secret in secrets])
    except (TypeError, ValueError):
        return False


def founders(node, peers):
    """The `Members` that node `node` begins with: none if it waits to be added."""
    founding = []
    if not peers[node].get("join"):
        for peer in sorted(peers):
            entry = peers[peer]
            if not entry.get("join"):
                role = VOTER if entry.get("voter", True) else LEARNER
                place = entry["host"], entry["port"], entry["client_port"]
                founding.append(record(peer, role, entry.get("priority", 0), *place))
    return Members(b"".join(founding))
