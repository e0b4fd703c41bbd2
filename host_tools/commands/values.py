"""`raftctl put`, `get`, `delete`, `cas` and `keys`: the key-value store."""

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from host_tools.client import Client
from host_tools.options import (
    NEGATIVE,
    NOT_POSSIBLE,
    Failure,
    cluster_option,
    json_option,
    timeout_option,
)

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
def get(key: str, cluster_file: Path, timeout: float, as_json: bool) -> None:
    """Print the value of KEY, and a newline.

    The exit status is 1 if there is no such key.
    """
    with connected(cluster_file, timeout) as client:
        value = client.get(key)
    if as_json:
        click.echo(json.dumps({"key": key, **value_as_json(value)}))
    elif value is not None:
        click.echo(value)
    if value is None:
        answer_no(None if as_json else f"no such key: {key}")


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
