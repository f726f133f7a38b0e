"""A short table of what a folder's JSON files of `bench_cuda.py` say: `summary.py FOLDER`."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["lines"]


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    return min(rows, key=lambda row: row["median_ms"]) if rows else None


def _cases(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows that were timed together: an op has one precision, an answer all of them."""
    cases: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        precision = row["precision"] if row["op"] != "answer" else None
        cases.setdefault((row["op"], row["shape"], precision), []).append(row)
    yield from cases.values()


def _told(row: dict[str, Any] | None) -> str:
    if row is None:
        return f"{'-':<38}"
    name = f"{row['name']} {row['precision']}"
    return f"{name:<26}{row['median_ms']:>9.4f} ms"


def lines(stored: dict[str, Any]) -> Iterator[str]:
    """Of one file: for each piece of work the best of ours, and the best peer."""
    hardware = stored["hardware"]
    yield f"{stored['model']} on {hardware['gpu']}, commit {stored['commit']}"
    for case in _cases(stored["rows"]):
        ours = _best([row for row in case if row["name"].startswith("tokenfuse")])
        peer = _best([row for row in case if not row["name"].startswith("tokenfuse")])
        line = f"  {case[0]['shape']:<36}{_told(ours)}   {_told(peer)}"
        if ours is not None and "times_faster_than_best_peer" in ours:
            low, high = ours["ratio_quartiles"]
            line += f"   {ours['times_faster_than_best_peer']:.2f} x [{low:.2f}, {high:.2f}]"
        if ours is not None:
            line += f"   {ours['share_of_limit']:.0%} of the limit ({ours['limited_by']})"
        yield line


def main() -> None:
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        print(f"{path.name}: ", end="")
        print("\n".join(lines(stored)))


if __name__ == "__main__":
    main()
