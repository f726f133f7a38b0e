"""The model card's table of exported files: what was built from the model, and how it agrees."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable

from tokenfuse_sdk.errors import BundleFormatError

__all__ = ["FileRow", "files_table", "rows_without", "with_files_table"]

_BEGIN, _END = "<!-- exported files -->", "<!-- end of exported files -->"
_HEAD = (
    "## Exported files",
    "",
    "| file | precision | bytes | parity | answers |",
    "|---|---|---|---|---|",
)
_ROW = re.compile(r"\| `([^|`]+)` \| ([^|]+) \| ([0-9,]+) \| ([^|]+) \| ([^|]+) \|")
# What neither ends a cell nor begins another kind of Markdown.
_CELL = re.compile(r"[A-Za-z0-9.,:;%+=()/_ -]{1,200}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One file of the table.

    Attributes:
        file: its name in the bundle.
        precision: of its arithmetic.
        num_bytes: its size.
        parity: the worst of what was compared with the reference, as "max abs 3.1e-05" or
            "cosine 0.99998".
        answers: how many were the reference's, as "16/16".
    """

    file: str
    precision: str
    num_bytes: int
    parity: str
    answers: str

    def __post_init__(self) -> None:
        for name in ("file", "precision", "parity", "answers"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _CELL.fullmatch(value) or value != value.strip():
                raise BundleFormatError(
                    f"{name}={value!r} cannot stand in the card's table; need 1 to 200 letters, "
                    "digits, blanks and marks"
                )


def files_table(card: str) -> tuple[FileRow, ...]:
    """The rows of a card's table; none where it has none.

    Raises:
        BundleFormatError: its table is none that `with_files_table` wrote.
    """
    table = _parts(card)[1]
    return tuple(_parsed(line) for line in table if line.startswith("| `"))


def rows_without(card: str, groups: Collection[str]) -> list[FileRow]:
    """The rows of a card's table but for the files of these groups; errors as `files_table`."""
    return [row for row in files_table(card) if row.file.rpartition("/")[0] not in groups]


def with_files_table(card: str, rows: Iterable[FileRow]) -> str:
    """The card with this table in place of the one it has, or at its end; without, for no rows.

    Raises:
        BundleFormatError: the table that it has is damaged.
    """
    before, _, after = _parts(card)
    cells = [
        f"| `{row.file}` | {row.precision} | {row.num_bytes:,} | {row.parity} | {row.answers} |"
        for row in rows
    ]
    table = [_BEGIN, *_HEAD, *cells, _END] if cells else []
    # One empty line around what is there.
    parts = ("\n".join(lines).strip("\n") for lines in (before, table, after))
    return "\n\n".join(part for part in parts if part) + "\n"


def _parts(card: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before the table, its own, and those behind it."""
    lines = card.split("\n")
    counts = lines.count(_BEGIN), lines.count(_END)
    if counts == (0, 0) and _BEGIN not in card and _END not in card:
        return lines, [], []
    begin = lines.index(_BEGIN) if counts[0] else 0
    end = lines.index(_END) if counts[1] else 0
    if counts != (1, 1) or end < begin:
        raise BundleFormatError(
            f"the card's table of exported files is damaged; need one {_BEGIN} and one {_END} "
            "behind it, each on a line of its own, or neither"
        )
    return lines[:begin], lines[begin : end + 1], lines[end + 1 :]


def _parsed(line: str) -> FileRow:
    found = _ROW.fullmatch(line)
    if found is None:
        raise BundleFormatError(f"the card's table of exported files has the row {line[:200]!r}")
    file, precision, size, parity, answers = found.groups()
    return FileRow(
        file=file,
        precision=precision,
        num_bytes=int(size.replace(",", "")),
        parity=parity,
        answers=answers,
    )
