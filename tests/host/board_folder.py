"""The working directory of a board on a desk; portable."""

import os
import sys

STAND_INS = "host_tools/desktop/stand_ins"
TEMPORARY = os.getenv("TMPDIR") or "/tmp"


def new_path() -> str:
    """One that nothing has been made at."""
    return "{}/raft-test-{}".format(TEMPORARY, "".join("%02x" % b for b in os.urandom(8)))


def stand_in(name: str):  # type: ignore[no-untyped-def]
    """The module that stands in for a board's; known by that name from now on."""
    # To be called where the paths of sys.path still lead somewhere.
    sys.path.insert(0, STAND_INS)
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)


class BoardFolder:
    """A context manager: a new folder is the working directory, and removed at the end.

    esp32: the module that stands in for a board's.
    """

    def __init__(self) -> None:
        self.esp32 = stand_in("esp32")
        self._before = os.getcwd()
        self._path = new_path()

    def __enter__(self) -> "BoardFolder":
        os.mkdir(self._path)
        os.chdir(self._path)
        return self

    def __exit__(self, kind, value, traceback) -> None:  # type: ignore[no-untyped-def]
        os.chdir(self._before)
        for name in os.listdir(self._path):
            os.remove(self._path + "/" + name)
        os.rmdir(self._path)


def write(name: str, contents: bytes) -> None:
    with open(name, "wb") as f:
        f.write(contents)


def read(name: str) -> bytes:
    with open(name, "rb") as f:
        return f.read()
