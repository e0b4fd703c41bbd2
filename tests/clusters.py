"""Clusters for tests that run real processes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from host_tools import desk, micropython, secret
from host_tools.cluster import FLASH_KB, STATE_KB, Cluster, on_free_ports
from host_tools.secret import Secrets, Wifi
from tests.keys import SECRET

# The MicroPythons differ in the size of a word alone: portable tests run under all of them, and of
# processes those whose subject depends on it.
ALL_INTERPRETERS = [desk.CPYTHON, *(found.name for found in micropython.interpreters())]
INTERPRETERS = ALL_INTERPRETERS[:2]
KEYS = (SECRET,)


def write(cluster: Cluster, wifi: Wifi | None = None, keys: Sequence[str] = KEYS) -> None:
    """Describe the cluster in its file, and give it the key of all tests, or others."""
    cluster.path.write_text(cluster.to_toml(), encoding="utf-8")
    give_key(cluster.path.parent, wifi, keys)


def give_key(folder: Path, wifi: Wifi | None = None, keys: Sequence[str] = KEYS) -> None:
    secret.save(folder / secret.FILE, Secrets(tuple(keys), wifi))


def tells(text: str, key: str = SECRET) -> bool:
    """Whether a piece of that key is in a text, as digits or as Python shows bytes."""
    piece = key[:16]
    return piece in text or repr(bytes.fromhex(piece))[2:-1] in text


def free_cluster(
    path: Path,
    nodes: int,
    state_kb: int = STATE_KB,
    flash_kb: int = FLASH_KB,
    habits: tuple[str, ...] = (),
) -> Cluster:
    """A cluster on ports that nobody else uses, described in the file `path`."""
    cluster = replace(
        on_free_ports(path, nodes), state_kb=state_kb, flash_kb=flash_kb, habits=habits
    )
    write(cluster)
    return cluster
