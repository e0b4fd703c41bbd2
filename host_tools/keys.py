"""The keys of a cluster, and the credentials that clients of it have (firmware/raft/access.py)."""

# mypy: allow-untyped-calls

import hashlib
import secrets
from binascii import hexlify, unhexlify
from pathlib import Path

from host_tools import secret
from host_tools.cluster import Cluster
from host_tools.firmware import access, seal
from host_tools.secret import CLUSTER, Issued, Secrets, SecretsError


def made(cluster: str, *others: str) -> str:
    """A new key (hexadecimal) for the cluster of that name; its number is none of the others'."""
    taken = {number(key, cluster) for key in others}
    while True:
        key = secrets.token_hex(seal.KEY_BYTES)
        if number(key, cluster) not in taken:
            return key


def number(key: str, cluster: str) -> int:
    """By which datagrams tell the key (16 bits). It tells nothing of what the key is."""
    found: int = seal.keys_of([key], cluster)[0].number
    return found


def label(number: int) -> str:
    """How people see the number of a key."""
    return f"{number:04x}"


def numbers(described: Cluster) -> list[int]:
    """Those of the keys that secrets.toml has, the newest first. Raises SecretsError."""
    return [number(key, described.name) for key in of(described.path)]


def of(cluster_file: Path) -> tuple[str, ...]:
    """The keys of the cluster, hexadecimal, the newest first. Raises SecretsError."""
    return secret.load(secret.path_beside(cluster_file), CLUSTER).keys


def ensure(cluster_file: Path, cluster: str) -> bool:
    """Let secrets.toml have a key of that cluster; whether it is a new one.

    One that is there stays: nodes may have it. Raises SecretsError.
    """
    file = secret.path_beside(cluster_file)
    held = secret.load(file) if file.exists() else Secrets()
    if held.keys:
        return False
    if held.credential:
        raise SecretsError(
            f"{file} has a client's credential, and no cluster of this machine: use another folder"
        )
    secret.save(file, Secrets((made(cluster),)))
    return True


def credentials(described: Cluster) -> list[access.Credential]:
    """What this machine may ask the nodes by, the best first. Raises SecretsError."""
    own = secret.load(secret.path_beside(described.path))
    if own.credential and not own.keys:
        made = own.credential
        role = access.ROLES.index(made.role)
        return [access.Credential(made.key_number, made.number, role, unhexlify(made.key))]
    keys = seal.keys_of(of(described.path), described.name)
    return [access.credential(key, access.OWNER, access.ADMIN) for key in keys]


def issued(described: Cluster, name: str, role: str) -> Issued:
    """The credential of the client of that name, made of the newest key. Raises SecretsError.

    Always the same one, so that none has to be remembered.
    """
    key = seal.keys_of(of(described.path), described.name)[0]
    digest = hashlib.sha256(name.encode()).digest()
    number = int.from_bytes(digest[:4], "big") % secret.MAX_U16 + 1  # 0 is the owner
    one = access.credential(key, number, access.ROLES.index(role))
    return Issued(key.number, number, role, hexlify(one.secret).decode())
