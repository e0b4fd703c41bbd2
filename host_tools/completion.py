"""What a shell completes on Tab besides commands and options: nodes, ports, kinds of boards.

A shell shows nothing but what can follow: what can't be read is taken for empty.
"""

from collections.abc import Iterable
from pathlib import Path

from click import Context, Parameter

from host_tools import boards, cluster, ports
from host_tools.settings import FileError


def kinds(ctx: Context, param: Parameter, typed: str) -> list[str]:
    """The folders in boards/."""
    return _fitting(boards.names(), typed)


def found_ports(ctx: Context, param: Parameter, typed: str) -> list[str]:
    """Those on USB."""
    return _fitting(ports.found(), typed)


def nodes(ctx: Context, param: Parameter, typed: str) -> list[str]:
    """The ids in the cluster's file."""
    try:
        known = cluster.load(_cluster_file(ctx)).nodes
    except FileError:
        return []
    return _fitting(map(str, sorted(known)), typed)


def nodes_and_ports(ctx: Context, param: Parameter, typed: str) -> list[str]:
    return nodes(ctx, param, typed) + found_ports(ctx, param, typed)


def _cluster_file(ctx: Context) -> Path:
    return Path(ctx.params.get("cluster_file") or cluster.DEFAULT_FILE)


def _fitting(values: Iterable[str], typed: str) -> list[str]:
    return [value for value in values if value.startswith(typed)]
