"""How far the nodes of a cluster have come with a change of its key.

First secrets.toml has the new key and the old one, and nodes get both as they are restarted: they
hear each other by any key that both hold. When all hold the new one, the old one goes. So it can
be broken off and gone on with anywhere.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from host_tools import keys, secret, view
from host_tools.client import Client, NotCommitted
from host_tools.cluster import Cluster
from host_tools.secret import Secrets


@dataclass(frozen=True)
class Rotation:
    """own: numbers of the keys that secrets.toml has, the newest first.

    held: by node, of those that it has told; None: it doesn't answer.
    """

    own: list[int]
    held: Mapping[int, list[int] | None]

    @property
    def silent(self) -> list[int]:
        return [node for node, numbers in self.held.items() if numbers is None]

    @property
    def lacking(self) -> list[int]:
        """Nodes that answer, and lack the newest key."""
        return [n for n, held in self.held.items() if held is not None and self.own[0] not in held]

    @property
    def behind(self) -> list[int]:
        """Nodes that still take a key that secrets.toml has no more."""
        return [n for n, held in self.held.items() if set(held or ()) - set(self.own)]


def look(client: Client) -> Rotation:
    """Ask all members, and who else is in cluster.toml. Raises SecretsError."""
    own = keys.numbers(client.cluster)
    with suppress(NotCommitted):
        client.members()  # so that those are asked, too, that the file doesn't know
    statuses = client.statuses()
    members = view.members_of(statuses).values()
    nodes = {node for ids in members if isinstance(ids, list) for node in ids} | statuses.keys()
    held = {
        node: statuses[node]["keys"] if node in statuses else None
        for node in sorted(nodes or client.cluster.nodes)
    }
    return Rotation(own, held)


def begin(described: Cluster) -> None:
    """Let secrets.toml have a new key in front of the one that it has. Raises SecretsError."""
    (old,) = keys.of(described.path)
    _save(described, (keys.made(described.name, old), old))


def finish(described: Cluster) -> None:
    """Let secrets.toml have the newest key alone. Raises SecretsError."""
    _save(described, keys.of(described.path)[:1])


def replace(described: Cluster) -> None:
    """Let secrets.toml have a new key and no other. Raises SecretsError."""
    _save(described, (keys.made(described.name, *keys.of(described.path)),))


def restart(nodes: Collection[int], described: Cluster, at_once: bool = False) -> list[str]:
    """What makes these nodes take the keys of secrets.toml, line by line."""
    boards = [node for node in nodes if node in described.nodes and described.nodes[node].mac]
    others = [node for node in nodes if node not in boards]
    lines = []
    if boards:
        lines.append(f"raftctl deploy{' --at-once' if at_once else ''}")
    if others:
        how = "at the same time" if at_once else "one after the other"
        how = "" if len(others) == 1 else f", {how}"
        lines.append(f"restart {view.nodes(others)}{how}")
    return lines


def _save(described: Cluster, found: tuple[str, ...]) -> None:
    secret.save(secret.path_beside(described.path), Secrets(found))
