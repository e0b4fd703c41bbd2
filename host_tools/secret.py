"""What only its owner may read, in `secrets.toml` beside `cluster.toml`.

The cluster's keys and its Wi-Fi; or, where clients of it run, the credential of these (keys.py).
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from host_tools import settings
from host_tools.firmware import access
from host_tools.settings import FileError, Table

FILE = "secrets.toml"
CLUSTER, WIFI, CREDENTIAL = "cluster", "wifi", "credential"  # the sections
OTHERS = stat.S_IRWXG | stat.S_IRWXO
MAX_SSID = 32  # bytes, as IEEE 802.11 has it
PASSWORD = range(8, 64)  # characters of a WPA2 password; none at all is an open network
KEY = re.compile(r"[0-9a-f]{64}")
MAX_KEYS = 2
MAX_U16 = 0xFFFF

HEAD = "# Never give this file away, nor add it to git.\n\n"
ABSENT = (
    "copy it from where `raftctl init` has written it; where there was none yet, `raftctl key new`"
)


class SecretsError(FileError):
    """`secrets.toml` can't be used; the message names the file, the key and the remedy."""


@dataclass(frozen=True)
class Wifi:
    """The network that all boards join. The password stays out of what is printed of this."""

    ssid: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Issued:
    """A client's credential (firmware/raft/access.py), as its machine has it.

    key_number: of the cluster's key that it was made of. role: of access.ROLES. key: hexadecimal.
    """

    key_number: int
    number: int
    role: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Secrets:
    """keys: of the cluster, hexadecimal, the newest first."""

    keys: tuple[str, ...] = field(default=(), repr=False)
    wifi: Wifi | None = None
    credential: Issued | None = None


def path_beside(cluster_file: Path) -> Path:
    return cluster_file.parent / FILE


def load(file: Path, *needed: str) -> Secrets:
    """What is in that file; needed: sections that have to be there. Raises SecretsError."""
    root = settings.read(file, ABSENT, SecretsError)
    if os.name == "posix" and file.stat().st_mode & OTHERS:
        raise SecretsError(f"{file} can be read by others: `chmod 600 {file}`")
    root.known(CLUSTER, WIFI, CREDENTIAL)
    for section in needed:
        _check_needed(root, section)
    found = {name: root.table(name) for name in (CLUSTER, WIFI, CREDENTIAL) if name in root.values}
    return Secrets(
        _keys(found[CLUSTER]) if CLUSTER in found else (),
        _wifi(found[WIFI]) if WIFI in found else None,
        _credential(found[CREDENTIAL]) if CREDENTIAL in found else None,
    )


def save(file: Path, secrets: Secrets) -> None:
    """Write it; what else stands in the file is kept. Raises SecretsError."""
    text = HEAD
    if file.exists():
        settings.read(file, ABSENT, SecretsError)
        text = file.read_text(encoding="utf-8")
    document: Any = tomlkit.parse(text)
    if secrets.keys:
        document[CLUSTER] = {"keys": list(secrets.keys)}
    if secrets.wifi:
        document[WIFI] = {"ssid": secrets.wifi.ssid, "password": secrets.wifi.password}
    if secrets.credential:
        document[CREDENTIAL] = dict(vars(secrets.credential))
    try:
        write(file, tomlkit.dumps(document).encode())
    except OSError as e:
        raise SecretsError(f"{file} can't be written: {e.strerror}") from e


def write(file: Path, content: bytes) -> None:
    """The whole file or nothing, for nobody else to read from the first moment on. Raises OSError.

    It outlives a power cut: a key that was lost would lock out all that have it.
    """
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    new.replace(file)


def _check_needed(root: Table, section: str) -> None:
    if section == CLUSTER and CREDENTIAL in root.values and CLUSTER not in root.values:
        raise SecretsError(
            f"{root.path} has a client's credential, and this needs the cluster's key: do it where "
            "that is"
        )
    if section == CLUSTER and CLUSTER not in root.values:
        raise SecretsError(f"{root.path} has no key of the cluster: make one by `raftctl key new`")
    root.table(section)


def _keys(table: Table) -> tuple[str, ...]:
    table.known("keys")
    keys = table.values.get("keys")
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
        table.fail("keys", f"must be a list of 1 to {MAX_KEYS} keys")
    if not all(_is_key(key) for key in keys) or len(set(keys)) < len(keys):
        table.fail("keys", "must be 64 digits of 0 to 9 and a to f each, and differ")
    return tuple(keys)


def _is_key(key: object) -> bool:
    return isinstance(key, str) and KEY.fullmatch(key) is not None


def _wifi(table: Table) -> Wifi:
    table.known("ssid", "password")
    ssid = table.text("ssid")
    password = table.values.get("password", "")
    problem = wrong_ssid(ssid)
    if problem:
        table.fail("ssid", problem)
    if not isinstance(password, str) or wrong_password(password):
        table.fail("password", wrong_password(str(password)) or "must be a text")
    return Wifi(ssid, password)


def _credential(table: Table) -> Issued:
    table.known("key_number", "number", "role", "key")
    role = table.text("role")
    if role not in access.ROLES[1:]:
        table.fail("role", f"is {role}, and must be one of {', '.join(access.ROLES[1:])}")
    key = table.values.get("key")
    if not isinstance(key, str) or not _is_key(key):
        table.fail("key", "must be 64 digits of 0 to 9 and a to f")
    numbers = table.number("key_number", 0, MAX_U16), table.number("number", 0, MAX_U16)
    return Issued(*numbers, role, key)


def wrong_ssid(ssid: str) -> str:
    """What is wrong with the name of a network; empty if nothing is."""
    if 1 <= len(ssid.encode()) <= MAX_SSID:
        return ""
    return f"must have 1 to {MAX_SSID} bytes"


def wrong_password(password: str) -> str:
    """What is wrong with a password, which isn't told; empty if nothing is."""
    if not password or len(password.encode()) in PASSWORD:
        return ""
    return f"must have {PASSWORD[0]} to {PASSWORD[-1]} characters, or none for an open network"
