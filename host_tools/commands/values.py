"""`raftctl put`, `get`, `delete`, `cas`, `keys` and `watch`: the key-value store."""

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from host_tools import completion
from host_tools.client import Client, Gone
from host_tools.cluster import MAX_NODE
from host_tools.options import (
    NEGATIVE,
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    json_option,
    timeout_option,
)
from host_tools.watching import Change

STDIN = "-"


@contextmanager
def connected(cluster_file: Path, timeout: float) -> Iterator[Client]:
    """A client; what it says of a wrong key or value becomes the command's failure."""
    try:
        with Client(cluster_file, timeout) as client:
            yield client
    except (ValueError, OSError) as e:
        raise Failure(str(e), NOT_POSSIBLE) from e


@click.command()
@click.argument("key")
@click.argument("value")
@cluster_option
@timeout_option
def put(key: str, value: str, cluster_file: Path, timeout: float) -> None:
    """Store VALUE under KEY; `-` reads the value from stdin."""
    with connected(cluster_file, timeout) as client:
        client.put(key, value_bytes(value))


@click.command()
@click.argument("key")
@cluster_option
@timeout_option
@json_option
@click.option("--stale", is_flag=True, help="Ask one node for its own copy, which may be old.")
@click.option(
    "--node",
    type=click.IntRange(1, MAX_NODE),
    metavar="N",
    shell_complete=completion.nodes,
    help="Which one.  [default: the first that answers]",
)
def get(
    key: str, cluster_file: Path, timeout: float, as_json: bool, stale: bool, node: int | None
) -> None:
    """Print the value of KEY, and a newline.

    With --stale, stderr tells how old it may be: no majority is needed for that. The exit status
    is 1 if there is no such key.
    """
    if node is not None and not stale:
        raise click.UsageError("--node is for --stale: every other answer is the latest one")
    age = {}
    with connected(cluster_file, timeout) as client:
        if stale:
            copy = client.local(key, node or 0)
            value = copy.value
            age = {"node": copy.node, "age_s": copy.age_s}
            if not as_json:
                click.echo(f"node {copy.node}'s own copy, {age_as_text(copy.age_s)}", err=True)
        else:
            value = client.get(key)
    if as_json:
        click.echo(json.dumps({"key": key, **value_as_json(value), **age}))
    elif value is not None:
        click.echo(value)
    if value is None:
        answer_no(None if as_json else f"no such key: {key}")


def age_as_text(age_s: float | None) -> str:
    if age_s is None:
        return "which may be old: it doesn't know how far the others are"
    return f"at most {age_s:.3f} s old"


@click.command()
@click.argument("prefix", default="")
@click.option(
    "--after", type=click.IntRange(0), metavar="INDEX", help="Tell also what came behind that."
)
@cluster_option
@timeout_option
@json_option
def watch(
    prefix: str, after: int | None, cluster_file: Path, timeout: float, as_json: bool
) -> None:
    """Print each change of keys that begin with PREFIX.

    Its index, the key and the value, in order and each once, until Ctrl-C. A removed key has `-`
    in place of a value.
    """
    with (
        suppress(KeyboardInterrupt),
        connected(cluster_file, timeout) as client,
        client.watch(prefix, after) as changes,
    ):
        while True:
            try:
                tell_change(next(changes), as_json)
            except Gone as e:
                tell_gone(e.index, as_json)


def tell_change(change: Change, as_json: bool) -> None:
    if as_json:
        told = {"index": change.index, "key": change.key, **value_as_json(change.value)}
        click.echo(json.dumps(told))
    else:
        value = b"-" if change.value is None else change.value
        click.echo(b"%8d %s %s" % (change.index, os.fsencode(change.key), value))


def tell_gone(index: int, as_json: bool) -> None:
    """That changes were missed."""
    if as_json:
        click.echo(json.dumps({"gone": index}))
    else:
        click.echo(f"changes up to {index} are forgotten: read the keys anew", err=True)


@click.command()
@click.argument("key")
@cluster_option
@timeout_option
def delete(key: str, cluster_file: Path, timeout: float) -> None:
    """Remove KEY.

    The exit status is 1 if there is no such key.
    """
    with connected(cluster_file, timeout) as client:
        existed = client.delete(key)
    if not existed:
        answer_no(f"no such key: {key}")


@click.command()
@click.argument("key")
@click.argument("values", nargs=-1, metavar="[EXPECTED] NEW")
@click.option("--absent", is_flag=True, help="Expect that there is no such key; no EXPECTED.")
@cluster_option
@timeout_option
def cas(
    key: str, values: tuple[str, ...], absent: bool, cluster_file: Path, timeout: float
) -> None:
    """Store NEW under KEY if its value is EXPECTED (compare and set).

    Otherwise nothing changes, and the exit status is 1.
    """
    if len(values) != (1 if absent else 2):
        raise click.UsageError("give KEY EXPECTED NEW, or KEY NEW and --absent")
    expected = None if absent else value_bytes(values[0])
    with connected(cluster_file, timeout) as client:
        stored = client.cas(key, expected, value_bytes(values[-1]))
    if not stored:
        answer_no(f"{key} exists" if absent else f"{key} has another value")


@click.command()
@click.argument("prefix", default="")
@cluster_option
@timeout_option
@json_option
def keys(prefix: str, cluster_file: Path, timeout: float, as_json: bool) -> None:
    """Print all keys, or those that begin with PREFIX, in order."""
    with connected(cluster_file, timeout) as client:
        found = client.keys(prefix)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for key in found:
            click.echo(os.fsencode(key))


def value_bytes(text: str) -> bytes:
    if text == STDIN:
        return sys.stdin.buffer.read()
    return os.fsencode(text)


def value_as_json(value: bytes | None) -> dict[str, Any]:
    """`value`: text, or null if there is none or it isn't UTF-8; `base64`: the bytes."""
    if value is None:
        return {"value": None, "base64": None}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    return {"value": text, "base64": base64.b64encode(value).decode()}


def answer_no(message: str | None) -> None:
    if message:
        click.echo(message, err=True)
    click.get_current_context().exit(NEGATIVE)
