"""The text of a large JSON file, of which a part is in memory, taken value by value.

Strict: UTF-8, no key twice in an object, no NaN or infinity.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from tokenfuse_training.errors import DataError

__all__ = ["DECODER", "MAX_ELEMENT_CHARS", "REFUSED", "JsonText", "why"]

# One question, annotation or line; those that are published stay under 100 kB.
MAX_ELEMENT_CHARS = 8 << 20
_CHUNK_BYTES = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _RefusedError(f"has the key {twice!r} twice in one object; keep one")
    return found


def _no_constant(text: str) -> Any:
    raise _RefusedError(f"holds {text}, which JSON does not have")


class _RefusedError(ValueError):
    """Is JSON to Python, but not to us."""


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
# ValueError: also an integer of more than 4,300 digits, and UnicodeDecodeError.
REFUSED = (ValueError, RecursionError)


def why(error: Exception) -> str:
    """What is wrong, of one of `REFUSED`."""
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8: {error.reason}"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg}"
    return "nests too deeply" if isinstance(error, RecursionError) else str(error)


class JsonText:
    """A file's text, of which a part is in memory."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.sha256 = hashlib.sha256()
        self._text = ""
        self._at = 0
        # Characters before those in memory.
        self._passed = 0
        self._ended = False

    def _more(self) -> bool:
        """Read on; False at the end of the file, where nothing moves."""
        if self._ended:
            return False
        # Twice as much each time, so that a long element is not parsed over and over.
        data = self._file.read(max(_CHUNK_BYTES, len(self._text) - self._at))
        self.sha256.update(data)
        self._ended = not data
        try:
            more = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._error(why(error)) from error
        if self._ended:
            return False
        self._passed += self._at
        self._text = self._text[self._at :] + more
        self._at = 0
        return True

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._path} {what} (at character {self._passed + self._at})")

    def _next(self) -> str:
        """The next character that is no space, not taken; empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, sign: str, what: str) -> None:
        found = self._next()
        if found != sign:
            raise self._error(f"is not what it should be: need {what}, found {_named(found)}")
        self._at += 1

    def value(self) -> Any:
        """Take one whole value."""
        if not self._next():
            raise self._error("ends before it is complete; is it cut short?")
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Half a value is not JSON either: more may mend it.
                if len(self._text) - self._at > MAX_ELEMENT_CHARS:
                    raise self._error(
                        f"is not JSON, or has an element of over {MAX_ELEMENT_CHARS} characters"
                    ) from error
                if self._more():
                    continue
                self._at = min(error.pos, len(self._text))
                cut = self._at >= len(self._text) - 1 or error.msg.startswith("Unterminated")
                hint = "; is it cut short?" if cut else ""
                raise self._error(f"is not JSON: {error.msg}{hint}") from error
            except REFUSED as error:
                raise self._error(why(error)) from error
            # A number that ends with what is in memory may go on: 1e of 1e-5 is read as 1.
            number = isinstance(value, int | float)
            if number and len(self._text) - end < len("e-5") and self._more():
                continue
            self._at = end
            return value

    def object_keys(self) -> Iterator[str]:
        """The keys of an object; whoever asks takes each value before the next key."""
        if self._next() == "}":
            self._at += 1
            return
        while True:
            if self._next() != '"':
                self.take('"', "a key")
            key = self.value()
            self.take(":", "a colon")
            yield key
            if self._next() == "}":
                self._at += 1
                return
            self.take(",", "a comma or the end of the object")

    def elements(self, name: str, each: Callable[[int, Any], None]) -> int:
        """Take an array, and call `each` with its elements."""
        self.take("[", f"an array as {name!r}")
        if self._next() == "]":
            self._at += 1
            return 0
        count = 0
        while True:
            each(count, self.value())
            count += 1
            if self._next() == "]":
                self._at += 1
                return count
            self.take(",", f"a comma or the end of {name!r}")

    def end(self) -> None:
        if self._next():
            raise self._error("holds more behind its end")


def _named(found: str) -> str:
    names = {"": "the end: is it cut short?", "{": "an object", "[": "an array"}
    return names.get(found, repr(found))
