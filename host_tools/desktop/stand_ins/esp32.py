"""Stands in for the module `esp32` of a board."""

import json
import os

from host_tools.desktop import habits
from host_tools.desktop.flash import BLOCK_BYTES, Flash
from host_tools.desktop.system import sync

FLASH_FILE = "raft.flash"
NVS_FILE = "nvs.json"
LABEL = "raft"
MAX_NAME = 15  # characters of a namespace or a key

_NOT_FOUND = -0x1102

table = None  # the partitions (list) of a chip that has a table of them, as a virtual board's


class Partition(Flash):
    """A partition of flash; on a desk there is one, the file `raft.flash`.

    It is slow if the board has the habit `flash`. kind: (type, subtype). The rest is as in `Flash`.
    """

    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, label, kind=(TYPE_DATA, 0x40), path=FLASH_FILE, start=0, size=None):
        super().__init__(path, "flash" in habits.wanted(), start, size)
        self.label = label
        self.kind = kind

    @classmethod
    def find(cls, type=TYPE_APP, subtype=0xFF, label=None, block_size=BLOCK_BYTES):
        """The partitions of that kind (list), of any subtype if it is 0xFF."""
        if table is None:
            return [cls(LABEL)] if type == cls.TYPE_DATA and label in (None, LABEL) else []
        return [
            found
            for found in table
            if found.kind[0] == type
            and subtype in (0xFF, found.kind[1])
            and label in (None, found.label)
        ]

    def info(self):
        """(type, subtype, offset, bytes, label, encrypted)"""
        return self.kind + (self.start, self.size, self.label, False)


class NVS:
    """Numbers under names, in `namespace` of what `storage` holds.

    Changes are kept once `commit` has returned, all or none, and until then only this object
    knows of them. A name of more than 15 characters raises ValueError.
    """

    def __init__(self, namespace):
        self._namespace = _checked(namespace)
        self._changes = {}  # key: its value, or None if it was erased

    def set_i32(self, key, value):
        """Raises OverflowError for a value of more than 32 bits."""
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("%d has more than 32 bits" % value)
        self._changes[_checked(key)] = value

    def get_i32(self, key):
        """The value (int). Raises OSError if there is none."""
        value = self._values(_stored()).get(_checked(key))
        if value is None:
            raise OSError(_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")
        return value

    def erase_key(self, key):
        """Raises OSError if there is no such key."""
        self.get_i32(key)
        self._changes[key] = None

    def commit(self):
        """Raises OSError if the file can't be written."""
        stored = _stored()
        values = self._values(stored)
        stored[self._namespace] = {key: values[key] for key in values if values[key] is not None}
        storage.save(json.dumps(stored) + "\n")
        self._changes = {}

    def _values(self, stored):
        values = dict(stored.get(self._namespace, {}))
        values.update(self._changes)
        return values


class _File:
    """Where the NVS of a desk is: in the file `nvs.json` of the working directory."""

    def load(self):
        """The text that was saved. Raises OSError if there is none."""
        with open(NVS_FILE) as f:
            return f.read()

    def save(self, text):
        """Keep it instead of what was there; durable on return. Raises OSError."""
        with open(NVS_FILE + ".new", "w") as f:
            f.write(text)
            sync(f)
        os.rename(NVS_FILE + ".new", NVS_FILE)

    def wipe(self):
        """There is none any more."""
        if NVS_FILE in os.listdir():
            os.remove(NVS_FILE)


storage = _File()


def _checked(name):
    if len(name) > MAX_NAME:
        raise ValueError("%s has more than %d characters" % (name, MAX_NAME))
    return name


def _stored():
    """{namespace: {key: value}} of what was saved; as on a board, what is broken is empty."""
    try:
        text = storage.load()
        stored = json.loads(text)
    except (OSError, ValueError):
        return {}
    # The end of the line: MicroPython's json doesn't miss the last bracket.
    if not text.endswith("\n") or not isinstance(stored, dict):
        return {}
    return stored if all(isinstance(v, dict) for v in stored.values()) else {}
