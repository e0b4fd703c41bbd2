"""The library of the firmware, for the host: the one place that knows where it lies."""

import sys
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"

if not (FIRMWARE / "raft").is_dir():
    raise ImportError(f"{FIRMWARE} is missing: install this package with `pip install -e`")
sys.path.insert(0, str(FIRMWARE))

from raft import (  # noqa: E402
    access,
    admin,
    calling,
    hello,
    kv,
    members,
    messages,
    requests,
    seal,
    sessions,
    udp,
    watching,
)
from raft.compaction import Compaction, sectors_needed  # noqa: E402
from raft.core import ROLES  # noqa: E402
from raft.interpreter import draw  # noqa: E402
from raft.log import Log  # noqa: E402
from raft.machines import Machines  # noqa: E402
from raft.store import Store  # noqa: E402

__all__ = [
    "FIRMWARE",
    "ROLES",
    "Compaction",
    "Log",
    "Machines",
    "Store",
    "access",
    "admin",
    "calling",
    "draw",
    "hello",
    "kv",
    "members",
    "messages",
    "requests",
    "seal",
    "sectors_needed",
    "sessions",
    "udp",
    "watching",
]
