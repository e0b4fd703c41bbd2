"""Files of settings, in TOML: what is wrong in one is told by file, key and remedy."""

import tomllib
from pathlib import Path
from typing import Any, NoReturn


class FileError(Exception):
    """A file can't be used; the message names the file, the key and the remedy."""


class Table:
    """A section of the file `path`, whose `title` is for error messages, of the type `error`."""

    def __init__(
        self, path: Path, title: str, values: dict[str, Any], error: type[FileError]
    ) -> None:
        self.path = path
        self.title = title
        self.values = values
        self._error = error

    def fail(self, key: str, problem: str) -> NoReturn:
        raise self._error(f"{self.path}: {self.title}: {key} {problem}")

    def known(self, *keys: str) -> None:
        for key in self.values:
            if key not in keys:
                self.fail(key, f"is not known here: remove it, or is it one of {', '.join(keys)}?")

    def table(self, key: str, default: dict[str, Any] | None = None) -> "Table":
        value = self.values.get(key, default)
        if not isinstance(value, dict):
            self.fail(key, f"is missing: add a section [{key}]")
        return Table(self.path, f"[{key}]", value, self._error)

    def entries(self, key: str) -> list["Table"]:
        """The sections [[key]], of which there is at least one."""
        entries = self.values.get(key)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            self.fail(key, f"is missing: add a section [[{key}]] for each {key}")
        return [
            Table(self.path, f"[[{key}]] number {position}", values, self._error)
            for position, values in enumerate(entries, 1)
        ]

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            self.fail(key, f"is {'missing' if value is None else repr(value)}: give a text")
        return value

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if value is None:
            self.fail(key, f"is missing: set it to a number from {low} to {high}")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"is {value!r}, and must be a number from {low} to {high}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"is {value!r}, and must be true or false")
        return value

    def election_ms(
        self, heartbeat_ms: int, default: tuple[int, int] | None = None
    ) -> tuple[int, int]:
        match self.values.get("election_ms", default and list(default)):
            case [int(low), int(high)] if 2 * heartbeat_ms < low <= high <= 60_000:
                return low, high
        self.fail(
            "election_ms",
            "must be two numbers such as [150, 300], the first more than twice heartbeat_ms "
            f"({heartbeat_ms}) and not above the second",
        )


def read(path: Path, absent: str, error: type[FileError]) -> Table:
    """The whole file as a table. absent: what to do if there is none. Raises `error`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{path} does not exist: {absent}") from None
    except OSError as e:
        raise error(f"{path} can't be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise error(f"{path} is not valid TOML: {e}") from e
    return parse(path, text, error)


def parse(path: Path, text: str, error: type[FileError]) -> Table:
    """The same for a text that is to be that file's. Raises `error`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise error(f"{path} is not valid TOML: {e}") from e
    return Table(path, "the file", values, error)
