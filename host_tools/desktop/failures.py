"""Failures of the firmware's functions, each where and when one wants it, on a desk.

What a process is to fail with is told by its environment:

    RAFT_DESK_FAIL  "7/16": a 16th of the firmware's functions, as a hash of their names has it,
                    raise something when they are called; the next life goes on with the others
    RAFT_DESK_SET   "board.safe_mode:RESTART_S=0 ...": numbers of the firmware that are others here

A function fails once: the working directory's `failed.txt` has the names of those that have. Each
prints a line when it does:

    [fault] raft.node:Node._send MemoryError

A program says `arm("raft.node:Node._send", OSError)`: its next call fails.
"""

import asyncio
import builtins
import os
import sys
from binascii import crc32

FAIL = "RAFT_DESK_FAIL"
SET = "RAFT_DESK_SET"
FAILED_FILE = "failed.txt"
PACKAGES = ("raft", "board", "apps")
# All that a board's life hangs on when everything else has failed.
SPARED = ("board.safe_mode:restart", "board.watchdog:loosen")
# Of a program, for want of memory, by what lies outside; and in a coroutine, of a task that it
# waits for.
KINDS = (ValueError, MemoryError, OSError)
KINDS_OF_COROUTINES = KINDS + (asyncio.CancelledError,)


async def _coroutine():
    pass


# What `def` and `async def` make: two types in MicroPython, one in CPython
CO_COROUTINE = 0x80  # CPython's inspect.CO_COROUTINE
_FUNCTIONS = (type(lambda: None), type(_coroutine))
_wrappers = set()  # id of each


def apply():
    """To be called before anything of the node is imported."""
    settings = _parsed(os.getenv(SET) or "")
    share = os.getenv(FAIL)
    if settings or share:
        _change_imports(settings, _Failing(share) if share else None)


def functions():
    """The names (list, sorted) of all functions of the firmware that are loaded."""
    found = []
    for module in list(sys.modules):
        if _is_firmware(module):
            found += [name for name, _, _, _ in _functions_of(module)]
    return sorted(found)


def arm(name, kind):
    """Let the next call of a function raise kind()."""
    module, path = name.split(":")
    owner = sys.modules.get(module) or __import__(module, None, None, ("*",))
    parts = path.split(".")
    for part in parts[:-1]:
        owner = getattr(owner, part)
    function = getattr(owner, parts[-1])

    def fail(*args, **named):
        setattr(owner, parts[-1], function)
        _raise(name, kind)

    setattr(owner, parts[-1], fail)


def _raise(name, kind):
    print("[fault] %s %s" % (name, kind.__name__))
    raise kind("on purpose")


class _Failing:
    """Lets functions fail that are called for the first time. share: see above."""

    def __init__(self, share):
        self._which, self._of = [int(number) for number in share.split("/")]
        try:
            with open(FAILED_FILE) as f:
                self._failed = set(f.read().split())
        except OSError:
            self._failed = set()

    def wrap(self, module):
        """All functions of that module of which it is the turn."""
        for name, owner, attribute, function in _functions_of(module):
            number = crc32(name.encode())
            if name not in self._failed and number % self._of == self._which:
                kinds = KINDS_OF_COROUTINES if _is_coroutine(function) else KINDS
                kind = kinds[number // self._of % len(kinds)]
                wrapper = self._wrapped(name, kind, function)
                _wrappers.add(id(wrapper))
                setattr(owner, attribute, wrapper)

    def _wrapped(self, name, kind, function):
        failed = self._failed

        def wrapper(*args, **named):
            if name not in failed:
                failed.add(name)
                with open(FAILED_FILE, "a") as f:
                    f.write(name + "\n")
                _raise(name, kind)
            return function(*args, **named)

        return wrapper


def _change_imports(settings, failing):
    """Change modules of the firmware when they are imported, before anybody uses them."""
    # Loaded now: as relative imports, which MicroPython takes from where the one below stands.
    for name in ("Event", "Lock", "gather"):
        getattr(asyncio, name)
    load = builtins.__import__
    done = set()

    def load_changed(*args, **named):
        module = load(*args, **named)
        for name in _names(*args, **named):
            if _is_firmware(name) and name in sys.modules and name not in done:
                done.add(name)
                for attribute, value in settings.get(name, ()):
                    setattr(sys.modules[name], attribute, value)
                if failing:
                    failing.wrap(name)
        return module

    builtins.__import__ = load_changed


def _names(name, globals=None, locals=None, fromlist=None, level=0):
    """What may have been imported: `name`, and modules in it."""
    names = [name]
    # In MicroPython True stands for what is imported, and is imported by its whole name then.
    for part in fromlist if isinstance(fromlist, (tuple, list)) else ():
        names.append(name + "." + part)
    return names


def _functions_of(module):
    """(name, owner, attribute, function) of each, those of classes too."""
    found = []
    for owner, prefix in _owners(sys.modules[module], module):
        for attribute in list(owner.__dict__):
            function = owner.__dict__[attribute]
            name = prefix + attribute
            is_named = attribute[:2] != "__" or attribute in ("__init__", "__call__")
            if is_named and _is_own(function, module) and name not in SPARED:
                found.append((name, owner, attribute, function))
    return found


def _owners(module, name):
    owners = [(module, name + ":")]
    for attribute in list(module.__dict__):
        value = module.__dict__[attribute]
        if isinstance(value, type) and getattr(value, "__module__", name) == name:
            owners.append((value, "%s:%s." % (name, attribute)))
    return owners


def _is_own(function, module):
    # MicroPython's functions don't tell where they come from.
    is_function = type(function) in _FUNCTIONS and id(function) not in _wrappers
    return is_function and getattr(function, "__module__", module) == module


def _is_coroutine(function):
    code = getattr(function, "__code__", None)
    flags = getattr(code, "co_flags", None)
    return type(function) is _FUNCTIONS[1] if flags is None else flags & CO_COROUTINE != 0


def _is_firmware(module):
    return module.split(".")[0] in PACKAGES


def _parsed(text):
    """{module: [(attribute, number)]}"""
    settings = {}
    for word in text.split():
        path, value = word.split("=")
        module, attribute = path.split(":")
        settings.setdefault(module, []).append((attribute, int(value)))
    return settings
