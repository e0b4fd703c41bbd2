"""What only its owner may read, in `secrets.toml` beside `cluster.toml`: the Wi-Fi password."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from host_tools import settings
from host_tools.settings import FileError

FILE = "secrets.toml"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
MAX_SSID = 32  # bytes, as IEEE 802.11 has it
PASSWORD = range(8, 64)  # characters of a WPA2 password; none at all is an open network

HEAD = "# Never give this file away, nor add it to git.\n\n"


class SecretsError(FileError):
    """`secrets.toml` can't be used; the message names the file, the key and the remedy."""


@dataclass(frozen=True)
class Wifi:
    """The network that all boards join. The password stays out of what is printed of this."""

    ssid: str
    password: str = field(repr=False)


def path_beside(cluster_file: Path) -> Path:
    return cluster_file.parent / FILE


def load(file: Path) -> Wifi:
    """The network of that file. Raises SecretsError."""
    root = settings.read(file, "write one with `raftctl init`", SecretsError)
    if os.name == "posix" and file.stat().st_mode & OTHERS:
        raise SecretsError(f"{file} can be read by others: `chmod 600 {file}`")
    root.known("wifi")
    wifi = root.table("wifi")
    wifi.known("ssid", "password")
    ssid = wifi.text("ssid")
    password = wifi.values.get("password", "")
    problem = wrong_ssid(ssid)
    if problem:
        wifi.fail("ssid", problem)
    if not isinstance(password, str) or wrong_password(password):
        wifi.fail("password", wrong_password(str(password)) or "must be a text")
    return Wifi(ssid, password)


def save(file: Path, wifi: Wifi) -> None:
    """Write it, for nobody else to read from the first moment on. Raises OSError."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as f:
        f.write(HEAD + tomlkit.dumps({"wifi": {"ssid": wifi.ssid, "password": wifi.password}}))
    new.replace(file)


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
