"""engine.json: the key of a folder of engines, their profiles and files."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.engine_key import EngineKey
from tokenfuse_sdk.errors import BundleFormatError, BundleHashError, BundleVersionError
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.mapped_file import MappedFile
from tokenfuse_sdk.strict_json import parse_object

__all__ = ["ENGINE_FILE", "PROFILE_KINDS", "REPORT_FILE", "EngineFile", "EngineProfile"]

ENGINE_FILE = "engine.json"
REPORT_FILE = "report.json"
# What a graph is called for. The decoder has two: one new token behind known ones, and many at
# once with none known. TensorRT refuses a profile for both: its shapes would not fit each other.
PROFILE_KINDS = {
    "image_encoder": ("encode",),
    "text_fusion": ("fuse",),
    "decoder": ("step", "score"),
}

_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 1 << 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """One optimisation profile of one engine.

    Attributes:
        graph: one of `GRAPHS`.
        index: the profile's number in its engine.
        kind: one of `PROFILE_KINDS` of the graph.
        batch: pictures or questions of one call.
        budget: image tokens; of the image encoder the full number, whatever is used of them.
    """

    graph: str
    index: int
    kind: str
    batch: int
    budget: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineFile:
    """What engine.json says.

    Attributes:
        key: what the engines were made of and for.
        profiles: of all three engines, by graph and index.
        files: graph to size in bytes and sha256 of its engine.
    """

    key: EngineKey
    profiles: tuple[EngineProfile, ...]
    files: Mapping[str, tuple[int, str]]

    def __post_init__(self) -> None:
        if set(self.files) != set(GRAPHS):
            raise BundleFormatError(f"{ENGINE_FILE}: files needs exactly {', '.join(GRAPHS)}")
        for graph, kinds in PROFILE_KINDS.items():
            mine = [profile for profile in self.profiles if profile.graph == graph]
            # The image encoder gives all tokens, so it has one for each batch alone.
            budgets = {p.budget for p in mine} if graph == "image_encoder" else self.key.budgets
            want = {(kind, b, n) for kind in kinds for b in self.key.batches for n in budgets}
            have = [(profile.kind, profile.batch, profile.budget) for profile in mine]
            if [p.index for p in mine] != list(range(len(mine))) or len(have) != len(want):
                raise BundleFormatError(
                    f"{ENGINE_FILE}: {graph} has the profiles {[p.index for p in mine]}; need "
                    f"0 to {len(want) - 1}"
                )
            if set(have) != want:
                raise BundleFormatError(
                    f"{ENGINE_FILE}: the profiles of {graph} are not those of its key's batches "
                    "and budgets"
                )

    @classmethod
    def of_group(cls, files: Mapping[str, MappedFile]) -> EngineFile:
        """Parse and check the file of a group, and that the engines beside it are its own.

        Args:
            files: the group's, opened: own name to file.

        Raises:
            BundleHashError: an engine is another than it describes, or as `from_json`.
            BundleError: as `from_json`.
        """
        made = cls.from_json(bytes(files[ENGINE_FILE].data))
        for graph, said in made.files.items():
            engine = files[f"{graph}.engine"]
            if (len(engine.data), engine.sha256) != said:
                raise BundleHashError(
                    f"{graph}.engine is not the one that {ENGINE_FILE} beside it describes; build "
                    "the engines anew with `tokenfuse build`"
                )
        return made

    def to_json(self) -> bytes:
        """The file's bytes: the same parts make the same ones."""
        files = {
            graph: {"size": self.files[graph][0], "sha256": self.files[graph][1]}
            for graph in GRAPHS
        }
        value = {
            "format_version": _VERSION,
            "key": self.key.to_dict(),
            "digest": self.key.digest,
            "profiles": [dataclasses.asdict(profile) for profile in self.profiles],
            "files": files,
        }
        return (json.dumps(value, indent=2) + "\n").encode("utf-8")

    @classmethod
    def from_json(cls, data: bytes) -> EngineFile:
        """Parse and check the file's bytes.

        Raises:
            BundleVersionError: another format version.
            BundleHashError: the digest is not the key's.
            BundleFormatError: anything else.
        """
        value = parse_object(data, ENGINE_FILE)
        version = value.get("format_version")
        if isinstance(version, bool) or version != _VERSION:
            raise BundleVersionError(
                f"{ENGINE_FILE} has format_version {version!r}; this SDK reads {_VERSION}. Build "
                "the engines anew with `tokenfuse build`"
            )
        _keys("the file", value, ("format_version", "key", "digest", "profiles", "files"))
        key = EngineKey.from_dict(value["key"])
        if value["digest"] != key.digest:
            raise BundleHashError(f"{ENGINE_FILE}: its digest is not that of its key")
        if not isinstance(value["profiles"], list):
            raise BundleFormatError(f"{ENGINE_FILE}: profiles is no list")
        files = _keys("files", value["files"], GRAPHS)
        return cls(
            key=key,
            profiles=tuple(_profile(entry) for entry in value["profiles"]),
            files={graph: _entry(graph, files[graph]) for graph in GRAPHS},
        )


def _keys(name: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise BundleFormatError(f"{ENGINE_FILE}: {name} needs exactly {', '.join(keys)}")
    return value


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _profile(value: object) -> EngineProfile:
    names = tuple(field.name for field in dataclasses.fields(EngineProfile))
    entry = _keys("a profile", value, names)
    numbers = all(_is_count(entry[name], 1 << 20) for name in ("index", "batch", "budget"))
    if entry["graph"] not in GRAPHS or not isinstance(entry["kind"], str) or not numbers:
        raise BundleFormatError(f"{ENGINE_FILE}: {str(entry)[:120]} is no profile")
    return EngineProfile(**entry)


def _entry(graph: str, value: object) -> tuple[int, str]:
    entry = _keys(f"files.{graph}", value, ("size", "sha256"))
    size, sha256 = entry["size"], entry["sha256"]
    ok = _is_count(size, _MAX_BYTES) and isinstance(sha256, str) and _SHA256.fullmatch(sha256)
    if not ok:
        raise BundleFormatError(f"{ENGINE_FILE}: files.{graph} has no size or no sha256")
    return size, sha256
