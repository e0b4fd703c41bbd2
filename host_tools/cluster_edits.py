"""Changes of `cluster.toml` that leave its comments as they are.

All raise ClusterFileError if it can't be written or could not be used then: it stays as it is.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tomlkit

from host_tools import cluster
from host_tools.cluster import ClusterFileError, Member, node_text


def set_founders(path: Path, founders: Iterable[int]) -> None:
    """Any other node of the file joins when it is added."""

    wanted = list(founders)

    def edit(document: Any) -> None:
        if document["cluster"].get("founders") != wanted:
            document["cluster"]["founders"] = wanted

    _edit(path, edit)


def add_node(path: Path, member: Member) -> None:
    """Write a section for one more node, which is no founder, behind all others."""
    document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["cluster"].setdefault("founders", [entry["id"] for entry in document["node"]])
    _write(path, tomlkit.dumps(document).rstrip("\n") + "\n\n" + node_text(member))


def make_voter(path: Path, node: int) -> None:
    """The node is no learner for good any more."""

    def edit(document: Any) -> None:
        next(entry for entry in document["node"] if entry["id"] == node).pop("voter", None)

    _edit(path, edit)


def remove_node(path: Path, node: int) -> None:
    """Take the node's section out of the file."""

    def edit(document: Any) -> None:
        entries = document["node"]
        entries.remove(next(entry for entry in entries if entry["id"] == node))
        founders = document["cluster"].get("founders", [])
        if node in founders:
            founders.remove(node)

    _edit(path, edit)


def _edit(path: Path, change: Callable[[Any], object]) -> None:
    text = path.read_text(encoding="utf-8")
    document = tomlkit.parse(text)
    change(document)
    if tomlkit.dumps(document) != text:
        _write(path, tomlkit.dumps(document))


def _write(path: Path, text: str) -> None:
    """The whole file or nothing."""
    cluster.parse(path, text)
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as e:
        raise ClusterFileError(f"{path} can't be written: {e.strerror}") from e
