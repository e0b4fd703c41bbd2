"""Clients that watch keys, by long polls. Loaded when somebody does.

    asked     u32 after: the index up to which the client knows all changes; 2^30 - 1: from now on
              u8 length, prefix of the keys
    answered  u32 upto: so far the client knows all changes now, and may ask for what is behind it
              per change, in order: u32 index, u8 1 put or 2 removed, u8 length of the key,
              u16 length of the value, key, value

A node answers at once if it has changes, or if the client begins now; else when there are some,
or after WATCH_MS. A client that is slow costs a node no more than its one question. Instead of an
answer it may be told

    GONE        u32: only changes behind that index are known. Read the keys, and go on from there
    NOT_LEADER  ask another node: this one hears no leader, and would have nothing to tell
    BUSY        ask another node, or later: others came after
"""

import struct

from raft import messages
from raft.access import OWNER
from raft.interpreter import ticks_diff

WATCH_MS = 1000
MAX_WATCHERS = 16  # then the one that has waited longest makes room
MAX_OWN_WATCHERS = 8  # of a credential but the owner's, whose own makes room then
DEAF_MS = 2000  # without a word of a leader's: then others know more
MAX_ANSWER = 1200  # bytes; a change has up to 1,096

PUT = 1
REMOVED = 2


class Watching:
    """Answers who watches at `node`, by `reply(client, status, result)`."""

    def __init__(self, node, reply):
        self._node = node
        self._reply = reply
        self._polls = []  # [client, after, prefix, since when], the oldest first
        self._looked = 0  # the index of the last entry that was looked at

    def ask(self, client, question):
        """A client asks."""
        if len(question) < 5 or len(question) != 5 + question[4]:
            return self._reply(client, messages.BAD)
        after = struct.unpack_from("<I", question)[0]
        if after == messages.MAX_NUMBER:
            return self._reply(client, messages.OK, struct.pack("<I", self._node.applied))
        for poll in self._polls:
            if poll[0] == client:
                return  # a copy
            if poll[0][0] == client[0]:
                self._polls.remove(poll)  # it has given that one up
                break
        poll = [client, after, question[5:], self._node.now]
        if not self._answer(poll):
            self._make_room(_credential(poll))
            self._polls.append(poll)

    def _make_room(self, credential):
        """One more of that credential is to wait."""
        polls = [poll for poll in self._polls if _credential(poll) == credential]
        most = MAX_OWN_WATCHERS
        if credential == OWNER or len(polls) < most:
            polls, most = self._polls, MAX_WATCHERS
        if len(polls) >= most:
            longest = polls[0]
            self._polls.remove(longest)
            self._reply(longest[0], messages.BUSY)

    def look(self):
        """Entries may have been applied: answer whom that concerns."""
        applied = self._node.applied
        if applied != self._looked:
            self._looked = applied
            self._polls = [poll for poll in self._polls if not self._answer(poll)]

    def tick(self):
        """Time has gone by: answer who has waited long enough."""
        now = self._node.now
        while self._polls and ticks_diff(now, self._polls[0][3]) >= WATCH_MS:
            client, after, _, _ = self._polls.pop(0)
            if self._node.age_ms() >= DEAF_MS:
                self._reply(client, messages.NOT_LEADER)
            else:
                self._reply(client, messages.OK, struct.pack("<I", after))

    def _answer(self, poll):
        """Whether there is something to tell, and it was told."""
        node = self._node
        client, after, prefix, _ = poll
        if not node.compaction.restored:
            return False
        if after < node.changes.floor:
            self._reply(client, messages.GONE, struct.pack("<I", node.changes.floor))
            return True
        changes = node.changes.since(after, prefix)
        if not changes:
            poll[1] = max(after, node.applied)
            return False
        self._reply(client, messages.OK, _packed(changes, node.applied))
        return True


def _credential(poll):
    """The number of the credential by which it was asked."""
    return poll[0][2][0].number


def _packed(changes, upto):
    answer = bytearray(4)
    for index, key, value in changes:
        kind = REMOVED if value is None else PUT
        value = value or b""
        if len(answer) + 8 + len(key) + len(value) > MAX_ANSWER:
            break
        answer.extend(struct.pack("<IBBH", index, kind, len(key), len(value)))
        answer.extend(key)
        answer.extend(value)
        last = index
    else:
        last = upto
    struct.pack_into("<I", answer, 0, last)
    return answer
