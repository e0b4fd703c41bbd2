"""What the programs of all nodes share: dicts and counters, and state machines of their own.

What isn't awaited is read from the node's own copy: at once, and perhaps old, for a node that is
cut off doesn't know what it misses; while a snapshot is read back, keys may be missing there. What
is awaited asks the leader, and may raise what `client.Client` does: NotCommitted, Unknown, OSError.
"""

import json

from raft import requests

JSON_BEGINS = '{["-0123456789tfn'  # none of what MicroPython and CPython disagree about


class Dict:
    """A dict from str to whatever JSON can say, at the keys "NAME/..." of the store.

    `raftctl put settings/blink_ms 100` and `await settings.set("blink_ms", 100)` are the same.
    What was put and is no JSON reads as the str that it is. "NAME/key" has at most 64 bytes, and a
    value 1,024, as JSON: else ValueError.
    """

    def __init__(self, node, prefix):
        self._node = node
        self._prefix = prefix

    # The node's own copy

    def __getitem__(self, key):
        value = self._local(key)
        if value is None:
            raise KeyError(key)
        return decoded(value)

    def __contains__(self, key):
        return self._local(key) is not None

    def __iter__(self):
        prefix = self._prefix.encode()
        after, goes_on = b"", True
        while goes_on:
            answer = self._node.local(requests.keys_query(prefix, after))
            found, goes_on = requests.keys_answer(answer)
            for after in found:
                key = _text(after[len(prefix) :])
                if key is not None:  # else somebody else's: a dict has none that is no text
                    yield key

    def __len__(self):
        return sum([1 for _ in self])

    def keys(self):
        return list(self)

    def values(self):
        return [self[key] for key in self]

    def items(self):
        return [(key, self[key]) for key in self]

    def local(self, key, default=None):
        """The value of `key`, or `default` if there is none."""
        value = self._local(key)
        return default if value is None else decoded(value)

    # The cluster

    async def get(self, key, default=None):
        """The value of `key` at some time during the call, or `default` if there was none."""
        value = await self._node.client().get(self._key(key))
        return default if value is None else decoded(value)

    async def set(self, key, value):
        """Store what JSON can say under `key`."""
        await self._node.client().put(self._key(key), encoded(value))

    async def delete(self, key):
        """Remove `key`; whether it was there."""
        return await self._node.client().delete(self._key(key))

    async def cas(self, key, expected, new):
        """Store `new` if the value of `key` is `expected` (None: there is none); whether it was."""
        value = self._local(key)
        # Of all texts that say the same, the one that is there, as far as this node has heard.
        if (None if value is None else decoded(value)) != expected:
            value = None if expected is None else encoded(expected)
        return await self._node.client().cas(self._key(key), value, encoded(new))

    async def update(self, key, function, default=None):
        """Store `function(value)`, of `default` if there is no value; what was stored.

        When others change the value meanwhile, `function` is called again.
        """
        client, key = self._node.client(), self._key(key)
        while True:
            value = await client.get(key)
            new = function(default if value is None else decoded(value))
            if await client.cas(key, value, encoded(new)):
                return new

    def _key(self, key):
        return (self._prefix + key).encode()

    def _local(self, key):
        return requests.own_value(self._node, self._key(key))


class Counter:
    """A whole number of 64 bits, at the key NAME of the store, as text; 0 if there is none.

    Each `add` counts once, whatever fails. Raises ValueError where the text is no number.
    """

    def __init__(self, node, key):
        self._node = node
        self._key = key

    @property
    def value(self):
        """The number in the node's own copy."""
        return int(requests.own_value(self._node, self._key) or 0)

    async def get(self):
        """The number at some time during the call."""
        return int(await self._node.client().get(self._key) or 0)

    async def add(self, delta=1):
        """Add `delta`; the sum."""
        return await self._node.client().add(self._key, delta)


class Machine:
    """A state machine of the program's own: what it is asked, here and at the leader.

    Commands and queries are bytes of at most 1,100.
    """

    def __init__(self, node, name):
        self._node = node
        self._head = bytes((len(name),)) + name

    async def command(self, payload):
        """Apply a command on all nodes, once; its result (bytes).

        Raises ValueError if the machine takes it for malformed.
        """
        command = self._head + payload
        if not self._node.sessions.machine.is_valid(command):
            raise ValueError("the machine doesn't know such a command: %r" % payload)
        return await self._node.client().command(command)

    async def query(self, payload):
        """The answer (bytes) at some time during the call. Raises NotCommitted if there is none."""
        return await self._node.client().query(self._head + payload)

    def local(self, payload):
        """The answer of the node's own copy, or None if the machine takes it for malformed."""
        return self._node.local(self._head + payload)


def encoded(value):
    return json.dumps(value).encode()


def decoded(value):
    """What the bytes say as JSON; if they are none, as text; or the bytes themselves."""
    text = _text(value)
    if text is None:
        return value
    if not _may_be_json(text.strip()):
        return text
    try:
        return json.loads(text)
    except (ValueError, RuntimeError):  # too deeply nested, too
        return text


def _text(data):
    try:
        return data.decode()
    except UnicodeError:
        return None


def _may_be_json(text):
    # MicroPython's json misses no bracket at the end, and takes 012 for a number.
    if not text or text[0] not in JSON_BEGINS:
        return False
    if text[0] in "{[":
        return text[-1] == ("}" if text[0] == "{" else "]")
    digits = text.lstrip("-")
    return digits[:1] != "0" or not digits[1:2].isdigit()
