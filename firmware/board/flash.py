"""The flash partition that holds the raft log."""

from esp32 import Partition

LABEL = "raft"


class NoPartition(Exception):
    """The board's partition table has no place for the log."""


def raft_partition():
    """The data partition named `raft`, a block device for `raft.store`."""
    found = Partition.find(Partition.TYPE_DATA, label=LABEL)
    if not found:
        raise NoPartition(
            "no data partition named '%s' on this board: flash the partition table of its "
            "folder in boards/" % LABEL
        )
    return found[0]
