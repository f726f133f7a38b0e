"""The wire format of protobuf, read strictly: fields are found by their lengths, nothing is copied.

A message is a row of fields. Each begins with a tag, a varint of 8 * number + kind, and its kind
says what follows: 0 a varint, 1 eight bytes, 2 a varint and that many bytes, 5 four bytes. (3 and
4, groups, are long out of use.) A varint has 7 bits a byte, the lowest first; the highest bit of
a byte says that another one follows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from tokenfuse_sdk.errors import TokenfuseError

__all__ = ["BYTES", "EIGHT_BYTES", "FOUR_BYTES", "VARINT", "Message", "WireReader"]

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
_FIXED = {EIGHT_BYTES: 8, FOUR_BYTES: 4}


class Message:
    """Which fields a message has.

    A field that may be there once is refused where it comes twice: readers differ in what they
    make of two, the last one or both in one.
    """

    def __init__(
        self,
        name: str,
        *,
        once: Mapping[int, int],
        many: Mapping[int, int],
        has_others: bool = False,
    ) -> None:
        """Take a name for messages and the fields, number to kind.

        Numbers come either by themselves or packed in bytes where they may come many times. With
        `has_others` fields of other numbers are passed over; without, they are refused.
        """
        self.name = name
        self.has_others = has_others
        self.numbers = frozenset((*once, *many))
        self.once = frozenset(number << 3 | kind for number, kind in once.items())
        packed = frozenset(number << 3 | BYTES for number in many)
        self.tags = self.once | packed | {number << 3 | kind for number, kind in many.items()}


@dataclasses.dataclass(slots=True)
class WireReader:
    """Reads the messages of one file.

    Attributes:
        data: the file.
        name: for messages.
        num_left: fields that may still be read.
        refusal: from what is wrong with the file to the error: says what to do.
    """

    data: memoryview
    name: str
    num_left: int
    refusal: Callable[[str], TokenfuseError]

    def fields(self, begin: int, end: int, message: Message) -> Iterator[tuple[int, int, int]]:
        """The known fields of a message that lies in the file from `begin` to `end`.

        Yields:
            The number, then the value of a varint and 0, or where its bytes begin and end.

        Raises:
            TokenfuseError: what `refusal` makes of a varint or a field that does not end inside
                the message, a field that the message does not have or has twice, or more fields
                than allowed.
        """
        data, seen, at = self.data, set(), begin
        while at < end:
            self.num_left -= 1
            if self.num_left < 0:
                raise self.error("has more fields than any model that is read; refused")
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = self._varint(at - 1, end)
            kind = tag & 7
            is_known = tag in message.tags
            if not is_known and not (
                message.has_others
                and tag >> 3 not in message.numbers
                and kind in (VARINT, BYTES, *_FIXED)
            ):
                raise self.error(
                    f"has the field {tag >> 3} of kind {kind} in {message.name}, which has none"
                )
            if tag in message.once:
                if tag in seen:
                    raise self.error(f"has the field {tag >> 3} twice in {message.name}")
                seen.add(tag)
            if kind == VARINT:
                value, at = self._varint(at, end)
                if is_known:
                    yield tag >> 3, value, 0
                continue
            if kind == BYTES:
                length, at = self._varint(at, end)
            else:
                length = _FIXED[kind]
            if length > end - at:
                raise self.error(
                    f"says that field {tag >> 3} of {message.name} has {length} bytes; "
                    f"{end - at} are left"
                )
            if is_known:
                yield tag >> 3, at, at + length
            at += length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A varint and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise self.error("is truncated in a number")
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise self.error("has a number of more than 10 bytes")
        if value >> 64:
            raise self.error("has a number of more than 64 bits")
        return value, at

    def text(self, begin: int, end: int, what: str, max_bytes: int) -> str:
        """A text of at most so many bytes."""
        if end - begin > max_bytes:
            raise self.error(f"has {end - begin} bytes of {what}; at most {max_bytes}")
        try:
            return str(self.data[begin:end], "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"has {what} that is not UTF-8: {error.reason}") from error

    def error(self, what: str) -> TokenfuseError:
        """What is wrong with the file, and what to do."""
        return self.refusal(f"{self.name} {what}")
