"""Keeps the flash log short: when a snapshot is due, how it is written, and how it is read back.

The state machine writes itself out in slices, one in each quiet moment, or one per so many bytes
of entries when there is none; a slice is one program of the flash. The first chunk of a snapshot is
the configuration: u32 index of its entry, and its bytes (`members.py`). What the others are is the
state machine's business (`sessions.py`). Each has its length in front, u16 little endian, and they
lie one behind the other.
"""

import struct

from raft.members import MAX_BYTES
from raft.messages import MAX_PIECE
from raft.sector import HEADER_BYTES, RECORD_BYTES, SECTOR_BYTES
from raft.store import MIN_PIECE_BYTES, RESERVE

SLICE_BYTES = MAX_PIECE  # of a snapshot, written at one time
PACE_BYTES = 256  # of entries for which one slice is written, if there is no quiet moment
FULL_SHARE = 5, 8  # of the ring: so much in use, and it is time for a snapshot

# So much of a snapshot fits into a sector at least: less each record's own bytes, and what a
# piece that is too small for a record leaves at the end.
_SECTOR_DATA_BYTES = SECTOR_BYTES - HEADER_BYTES - 10 * RECORD_BYTES - MIN_PIECE_BYTES

_MEMBERS_BYTES = 2 + 4 + MAX_BYTES  # of the first chunk


def snapshot_sectors(max_bytes):
    """How many sectors a snapshot takes at most: it begins and ends anywhere.

    max_bytes: of the state machine's part.
    """
    return (_MEMBERS_BYTES + max_bytes - 1) // _SECTOR_DATA_BYTES + 2


def sectors_needed(max_bytes):
    """The smallest ring in which a state machine of `max_bytes` can go on for ever.

    For the snapshot that counts, the next one, one from a leader that was broken off, what comes
    meanwhile, and the reserve.
    """
    return RESERVE + 4 * snapshot_sectors(max_bytes) + 2


class Compaction:
    """Compacts the log of `core` in `store`, whose state machine is `machine` (Sessions).

    restored: whether the machine has the state of the store's snapshot, or a later one.
    """

    def __init__(self, store, core, machine):
        self._store = store
        self._core = core
        self._machine = machine
        self._chunks = None  # of the snapshot that is being written
        self._coming = None  # that snapshot, as the store has it
        self._rest = b""  # of the last chunk
        self._written = store.bytes  # when the last slice was
        self._restoring = None  # the snapshot that is being read back
        self._offset = 0
        self._read = b""
        self._has_members = False  # read: they come before what is the machine's
        self._sectors = store.snapshot_sectors = snapshot_sectors(machine.max_bytes)
        self.restored = store.snapshot.index == 0

    def is_due(self):
        """Whether the log in the flash is so long that a snapshot should be begun.

        Late, for each one has to be programmed, and followers that are behind get by without
        one as long as what they lack is still in the ring. But what comes while it is written
        must have its place: a byte for two of the snapshot, see PACE_BYTES.
        """
        store = self._store
        used = store.used_sectors()
        if used >= store.sectors - RESERVE - self._sectors - self._sectors // 2 - 1:
            return True
        share, of = FULL_SHARE
        return used >= store.sectors * share // of and not self._is_moving()

    def _is_moving(self):
        """Whether a snapshot is under way to or from this node: a new one would be in its way."""
        core = self._core
        sending = any([peer.snapshot and peer.held for peer in core.peers.values()])
        return sending or core.log.coming is not None

    def _may_free(self, applied):
        """Whether a snapshot now would stand for more than the last one does."""
        store = self._store
        # What isn't committed may keep more of the ring in use than the snapshot itself does.
        return applied > store.snapshot.index or store.floor == store.snapshot.first

    # Writing

    def step(self, applied):
        """Write one slice if there is something to write. Returns whether it has.

        applied: the index up to which the machine's state goes.
        """
        store = self._store
        if not store.can_end_snapshot():
            return False
        if self._chunks is None:
            if not self.restored or not self.is_due() or not self._may_free(applied):
                return False
            members = self._core.members_at(applied)
            if members is None:
                return False  # later ones are committed: soon they will be applied
            self._chunks = self._machine.snapshot()
            index, configuration = members
            data = configuration.data
            self._rest = struct.pack("<HI", 4 + len(data), index) + data
            self._core.log.coming = None
            store.begin_snapshot(applied, self._core.log.term(applied))
            self._coming = store.coming
        elif store.coming is not self._coming:
            self._chunks = None  # another one, from the leader, has taken its place
            store.snapshot_sectors = self._sectors
            return False
        data = self._rest
        while len(data) < SLICE_BYTES:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            data += struct.pack("<H", len(chunk)) + chunk
        store.add_to_snapshot(data[:SLICE_BYTES])
        self._rest = data[SLICE_BYTES:]
        store.snapshot_sectors = max(1, self._sectors - store.coming.next // _SECTOR_DATA_BYTES)
        if len(data) < SLICE_BYTES:
            store.end_snapshot(True)
            self._chunks = None
            store.snapshot_sectors = self._sectors
        self._written = store.bytes
        return True

    def keep_pace(self, applied):
        """After entries were written: as much of the snapshot as goes with them."""
        if self._store.bytes - self._written >= PACE_BYTES:
            self._written = self._store.bytes
            self.step(applied)

    # Reading back

    def restore(self):
        """Give the machine one piece of the store's snapshot.

        Returns the index of the last entry that it stands for when that was the last piece, else
        None. Raises StoreError.
        """
        snapshot = self._store.snapshot
        if self._restoring is not snapshot:
            self._restoring = snapshot
            self._offset = 0
            self._read = b""
            self._has_members = False
            self._machine.reset()
        data = self._store.read_snapshot(self._offset)
        self._offset += len(data)
        data = self._read + data
        at = 0
        while at + 2 <= len(data):
            end = at + 2 + (data[at] | data[at + 1] << 8)
            if end > len(data):
                break
            if self._has_members:
                self._machine.restore(data[at + 2 : end])
            self._has_members = True
            at = end
        self._read = data[at:]
        if self._offset < snapshot.size:
            return None
        self._restoring = None
        self.restored = True
        return snapshot.index
