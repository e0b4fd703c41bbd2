"""What a flash holds, applied once more: from its first entry on, or behind its snapshot."""

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from host_tools.desktop.flash import BLOCK_BYTES, Flash
from host_tools.firmware import Machines, Store, kv, members, messages, requests, sessions
from host_tools.replay import ReplayError, replay

SECTORS = 8
PIECE = 512
MEMBERS = bytes(4) + members.founders((1, 2, 3)).data  # what a snapshot begins with


class Writer:
    """Writes a node's flash as that node does, in session 1."""

    def __init__(self, flash: Flash) -> None:
        self.store = Store(flash, 1)
        self.machine = sessions.Sessions(Machines(kv.KeyValue(1 << 20)))
        self.commands: list[bytes] = []
        self._log(sessions.OPEN)

    def put(self, key: bytes, value: bytes, number: int = 0) -> bytes:
        """One more command, or a copy of the one with that number."""
        command = bytes(requests.put(key, value))
        self.commands.append(command)
        self._log(sessions.command(1, number or len(self.commands), command))
        return command

    def snapshot(self) -> None:
        """Of all entries there are; it begins a sector, so that those before can go."""
        self.store.end = BLOCK_BYTES
        chunks = [MEMBERS, *self.machine.snapshot()]
        data = b"".join(struct.pack("<H", len(c)) + c for c in chunks)
        self.store.begin_snapshot(self.store.last, self.store.last_term)
        for at in range(0, len(data), PIECE):
            self.store.add_to_snapshot(data[at : at + PIECE])
        self.store.end_snapshot(True)

    def forget_the_past(self) -> None:
        """Take sectors until those before the snapshot are erased."""
        while self.store.reaches(0):
            self.store.end = BLOCK_BYTES
            self.store.append(True, 1, 1, 0, ())
            while self.store.idle():
                pass

    def _log(self, command: bytes) -> None:
        data = sessions.entry(0, command)
        self.store.append(True, 1, 1, self.store.last + 1, [(1, messages.COMMAND, data)])
        self.machine.apply(self.store.last, data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "raft.flash"
    path.write_bytes(b"\xff" * SECTORS * BLOCK_BYTES)
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Flash(str(path))) as flash:
        yield Writer(flash)


def test_commands_are_counted_as_they_are_applied(path: Path, writer: Writer) -> None:
    one = writer.put(b"k", b"1")
    two = writer.put(b"k", b"2")
    writer.put(b"k", b"2", number=2)  # a copy
    assert writer.put(b"k", b"2") == two
    writer.put(b"k", b"3")  # not committed

    found = replay(path, node=1, commit=5)

    assert found.applied == Counter({one: 1, two: 2})
    assert (found.base, found.before, found.after) == (0, {}, {b"k": b"2"})


def test_what_has_left_the_flash_is_in_the_snapshot(path: Path, writer: Writer) -> None:
    writer.put(b"k", b"1")
    writer.put(b"other", b"2")
    writer.snapshot()
    writer.put(b"other", b"2", number=2)  # a copy of one that the snapshot stands for
    three = writer.put(b"k", b"3", number=3)
    writer.forget_the_past()

    found = replay(path, node=1, commit=5)

    assert found.applied == Counter({three: 1})
    assert (found.base, found.before) == (3, {b"k": b"1", b"other": b"2"})
    assert found.after == {b"k": b"3", b"other": b"2"}


def test_a_log_that_is_still_whole_is_replayed_from_its_beginning(
    path: Path, writer: Writer
) -> None:
    commands = [writer.put(b"k", b"1")]
    writer.snapshot()
    commands.append(writer.put(b"k", b"2"))

    found = replay(path, node=1, commit=3)

    assert (found.base, found.before, found.applied) == (0, {}, Counter(commands))


@pytest.mark.parametrize("spoil", ["value", "session"])
def test_a_snapshot_that_the_log_does_not_lead_to_is_told(
    path: Path, writer: Writer, spoil: str
) -> None:
    writer.put(b"k", b"1")
    if spoil == "value":
        writer.machine.machine.apply(requests.put(b"k", b"2"), 0)
    else:
        writer.machine.apply(99, sessions.entry(0, sessions.OPEN))
    writer.snapshot()

    with pytest.raises(ReplayError, match="the snapshot of 2 entries"):
        replay(path, node=1, commit=2)
