"""The groups of a bundle: graphs and engines that were built from it, each complete or not there.

    onnx/<precision>/<graph>.onnx            and, where its weights lie beside it, <graph>.onnx.data
    engines/<target>-<precision>/<graph>.engine, engine.json, report.json

A file is named by its path in the bundle, with slashes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tokenfuse_sdk.errors import BundleMissingFileError, BundlePathError
from tokenfuse_sdk.graphs import GRAPH_PRECISIONS, GRAPHS

__all__ = [
    "ENGINES",
    "GROUP_FOLDERS",
    "ONNX",
    "check_complete",
    "check_group_name",
    "group_cap",
    "is_group",
    "members_of",
]

ONNX, ENGINES = "onnx", "engines"
GROUP_FOLDERS = (ONNX, ENGINES)

_MEGA = 1 << 20
_PRECISIONS = "|".join(GRAPH_PRECISIONS)
_GROUP = re.compile(rf"{ONNX}/(?:{_PRECISIONS})|{ENGINES}/sm_[0-9]{{2,3}}-(?:{_PRECISIONS})")
# The most bytes of a file, by its group's folder and its own name.
_CAPS = {
    # Protobuf ends there; what is larger keeps its weights beside it.
    ONNX: {f"{graph}.onnx": (1 << 31) - 1 for graph in GRAPHS}
    | {f"{graph}.onnx.data": 8192 * _MEGA for graph in GRAPHS},
    ENGINES: {f"{graph}.engine": 8192 * _MEGA for graph in GRAPHS}
    | {"engine.json": _MEGA, "report.json": 16 * _MEGA},
}
_OPTIONAL = frozenset(f"{graph}.onnx.data" for graph in GRAPHS)


def is_group(name: str) -> bool:
    """Whether the format has such a group."""
    return _GROUP.fullmatch(name) is not None


def check_group_name(name: str) -> None:
    """Raise BundlePathError where the format has no such group."""
    if not is_group(name):
        raise BundlePathError(
            f"a bundle has no group {name!r}; need {ONNX}/PRECISION or "
            f"{ENGINES}/sm_NN-PRECISION, with PRECISION one of {', '.join(GRAPH_PRECISIONS)}"
        )


def group_cap(name: str) -> int | None:
    """The most bytes of a group's file; None for a name that no group has."""
    group, _, file = name.rpartition("/")
    return _CAPS[group.partition("/")[0]].get(file) if is_group(group) else None


def check_complete(group: str, files: Collection[str], where: str) -> None:
    """Check that a group has what it must.

    Args:
        group: its name.
        files: theirs, without the group's.
        where: for the message.

    Raises:
        BundleMissingFileError: it lacks some.
    """
    missing = sorted(_CAPS[group.partition("/")[0]].keys() - _OPTIONAL - set(files))
    if missing:
        raise BundleMissingFileError(
            f"{where} has the group {group} without {', '.join(missing)}; a group is complete or "
            "not there"
        )


def _order(group: str) -> tuple[str, int, int]:
    folder, _, rest = group.partition("/")
    target, _, precision = rest.rpartition("-")
    return folder, int(target.removeprefix("sm_") or 0), GRAPH_PRECISIONS.index(precision)


def members_of(names: Collection[str]) -> dict[str, list[str]]:
    """The groups that files lie in, each with its files' own names.

    By folder, then target, then from the most exact precision on.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        group, _, file = name.rpartition("/")
        if group:
            found.setdefault(group, []).append(file)
    return {group: found[group] for group in sorted(found, key=_order)}
