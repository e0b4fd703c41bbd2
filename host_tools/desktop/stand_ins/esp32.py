"""Stands in for the module `esp32` of a board."""

from host_tools.desktop.flash import BLOCK_BYTES, Flash

FLASH_FILE = "raft.flash"
LABEL = "raft"


class Partition(Flash):
    """The one data partition of a desk, in the file `raft.flash` of the working directory."""

    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, label):
        super().__init__(FLASH_FILE)
        self.label = label

    @classmethod
    def find(cls, type=TYPE_APP, subtype=0xFF, label=None, block_size=BLOCK_BYTES):
        """The partitions of that kind: a list with the one there is, or an empty one."""
        if type != cls.TYPE_DATA or label not in (None, LABEL):
            return []
        return [cls(LABEL)]

    def info(self):
        """(type, subtype, offset, bytes, label, encrypted)"""
        return (self.TYPE_DATA, 0x40, 0, self.size, self.label, False)
