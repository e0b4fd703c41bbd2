"""Hides what a datagram carries from whoever has no key, if `config.json` says so.

By AES-128 in CBC mode, which is what a stock ESP32 has; the tag goes over what is hidden, and is
checked before anything of it is looked at. In place of the bytes from `start` on lie then

    offset  size  what
    0       16    IV: random, for each datagram
    16      n     these bytes and 1 to 16 more, each telling how many (RFC 5652, section 6.3)

Only entries, pieces of snapshots, commands, queries and results are hidden: terms, indexes, who
speaks and how much are not. Loaded where something is hidden.
"""

import os

from raft.interpreter import aes_cbc

KEY_BYTES = 16
BLOCK_BYTES = 16


class Cipher:
    """key: 32 bytes, of which it takes half."""

    def __init__(self, key):
        self._key = key[:KEY_BYTES]

    def hide(self, buf, view, start, end):
        """Hide what lies from `start` to `end` in `buf` (`view` is its memoryview); its new end."""
        more = BLOCK_BYTES - (end - start) % BLOCK_BYTES
        text = start + BLOCK_BYTES
        new_end = end + BLOCK_BYTES + more
        buf[text : end + BLOCK_BYTES] = view[start:end]  # they may overlap
        buf[end + BLOCK_BYTES : new_end] = bytes((more,)) * more
        iv = os.urandom(BLOCK_BYTES)
        buf[start:text] = iv
        aes_cbc(self._key, iv).encrypt(view[text:new_end], view[text:new_end])
        return new_end

    def reveal(self, view, start, end):
        """Undo that in `view`, but leave the text where it is: (where it begins, its end).

        (0, 0) if that is nothing that was hidden.
        """
        text = start + BLOCK_BYTES
        size = end - text
        if size <= 0 or size % BLOCK_BYTES:
            return 0, 0
        aes_cbc(self._key, bytes(view[start:text])).decrypt(view[text:end], view[text:end])
        more = view[end - 1]
        if not 1 <= more <= BLOCK_BYTES:
            return 0, 0
        return text, end - more
