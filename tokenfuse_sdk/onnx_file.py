"""What an ONNX file says of itself and of the files it needs, found without trusting it.

The reader walks all messages in which a tensor or an operator can lie, by the wire format: no
package is needed, nothing is copied, and weights are skipped by their lengths. The messages and
their numbers are those of `onnx.proto`. Strict: what ONNX does not have is refused, as are
functions and training, which a graph that runs needs not.
"""

from __future__ import annotations

import dataclasses
import mmap
import re
from collections.abc import Mapping

from tokenfuse_sdk.errors import BundleFormatError, BundleMissingFileError, BundlePathError
from tokenfuse_sdk.onnx_messages import (
    ATTRIBUTE,
    ENTRY,
    GRAPH,
    MODEL,
    NODE,
    OPSET,
    SPARSE,
    TENSOR,
)
from tokenfuse_sdk.protobuf import WireReader

__all__ = ["OnnxFacts", "check_onnx", "check_onnx_files"]

# Some 20 for each node: the graphs of the base model have about 200,000.
_MAX_FIELDS = 1 << 20
# Of graphs in each other; ours have no control flow, and protobuf itself ends at 100 messages.
_MAX_DEPTH = 8
_MAX_METADATA, _MAX_TEXT_BYTES, _MAX_WORD_BYTES = 64, 1 << 20, 256
_INDEX = re.compile(r"[0-9]{1,18}")
_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFacts:
    """What an ONNX file says.

    Attributes:
        opset: version of the standard operators.
        metadata: key to value: `tokenfuse_sdk.graphs.METADATA` has the keys of our exports.
        external: names of the files beside it that hold its weights: none, or one.
    """

    opset: int
    metadata: Mapping[str, str]
    external: tuple[str, ...]


def check_onnx(
    data: memoryview | mmap.mmap | bytes, name: str, *, num_data_bytes: int | None = None
) -> OnnxFacts:
    """Check an ONNX file before a runtime is given it.

    Args:
        data: its bytes; nothing of them is copied.
        name: its own name, as "decoder.onnx".
        num_data_bytes: size of the file `name` + ".data" beside it; None where there is none.

    Raises:
        BundlePathError: it needs another file than that one, or bytes outside of it.
        BundleMissingFileError: it needs that one, which is not there.
        BundleFormatError: no ONNX model, or none of ours: operators of another domain than the
            standard one, functions, training, more messages than any model has.
    """
    view = memoryview(data)
    walk = _Walk(WireReader(view, name, _MAX_FIELDS, _refusal), name, num_data_bytes)
    return walk.model(len(view))


def check_onnx_files(files: Mapping[str, memoryview]) -> dict[str, OnnxFacts]:
    """Check the files of a group `onnx/PRECISION`, as `Bundle.open_group` gives them.

    Args:
        files: own name to bytes.

    Returns:
        Own name of each ONNX file to what it says.

    Raises:
        BundlePathError, BundleMissingFileError, BundleFormatError: as `check_onnx`; or weights
            that no graph refers to.
    """
    facts = {}
    for name, data in files.items():
        if name.endswith(".onnx"):
            beside = files.get(f"{name}.data")
            size = None if beside is None else len(beside)
            facts[name] = check_onnx(data, name, num_data_bytes=size)
    used = {*facts, *(name for fact in facts.values() for name in fact.external)}
    unused = sorted(set(files) - used)
    if unused:
        raise BundleFormatError(
            f"{unused[0]} is there, but {unused[0].removesuffix('.data')} does not refer to it; "
            "export the graphs again"
        )
    return facts


def _refusal(what: str) -> BundleFormatError:
    return BundleFormatError(f"{what}; it is no ONNX file of ours or was damaged: export it again")


class _Walk:
    """From the model down to its tensors; places are offsets in the file."""

    def __init__(self, reader: WireReader, name: str, num_data_bytes: int | None) -> None:
        self._reader = reader
        self._beside = f"{name}.data"
        self._num_data_bytes = num_data_bytes
        self._external: set[str] = set()

    def model(self, end: int) -> OnnxFacts:
        reader = self._reader
        opsets: list[int] = []
        metadata: dict[str, str] = {}
        graph: tuple[int, int] | None = None
        for number, a, b in reader.fields(0, end, MODEL):
            if number == 7:
                graph = a, b
            elif number == 8:
                opsets.append(self._opset(a, b))
            elif number == 14:
                key, value = self._entry(a, b, "metadata", _MAX_TEXT_BYTES)
                if key in metadata or len(metadata) == _MAX_METADATA:
                    raise reader.error(
                        f"has the metadata {key!r} twice, or more than {_MAX_METADATA}"
                    )
                metadata[key] = value
            elif number in (20, 25):
                what = "training" if number == 20 else "functions"
                raise reader.error(f"holds {what}, which no graph of ours has")
        if graph is None or len(opsets) != 1 or not 0 < opsets[0] < 1 << 31:
            raise reader.error(
                f"has {'no' if graph is None else 'a'} graph and the opsets {opsets}; need a "
                "graph and one opset"
            )
        self._graph(*graph, 1)
        return OnnxFacts(opset=opsets[0], metadata=metadata, external=tuple(sorted(self._external)))

    def _opset(self, begin: int, end: int) -> int:
        version = 0
        for number, a, b in self._reader.fields(begin, end, OPSET):
            if number == 1:
                self._check_domain(a, b)
            else:
                version = a
        return version

    def _check_domain(self, begin: int, end: int) -> None:
        domain = self._reader.text(begin, end, "a domain", _MAX_WORD_BYTES)
        if domain not in _DEFAULT_DOMAINS:
            raise self._reader.error(
                f"uses operators of the domain {domain!r}; graphs have the standard ones alone"
            )

    def _entry(self, begin: int, end: int, what: str, max_bytes: int) -> tuple[str, str]:
        texts = {1: "", 2: ""}
        for number, a, b in self._reader.fields(begin, end, ENTRY):
            most = _MAX_WORD_BYTES if number == 1 else max_bytes
            texts[number] = self._reader.text(a, b, what, most)
        return texts[1], texts[2]

    def _graph(self, begin: int, end: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise self._reader.error(f"has graphs in graphs deeper than {_MAX_DEPTH} levels")
        for number, a, b in self._reader.fields(begin, end, GRAPH):
            if number == 1:
                self._node(a, b, depth)
            elif number == 5:
                self._tensor(a, b)
            elif number == 15:
                self._sparse(a, b)

    def _node(self, begin: int, end: int, depth: int) -> None:
        for number, a, b in self._reader.fields(begin, end, NODE):
            if number == 5:
                self._attribute(a, b, depth)
            elif number == 7:
                self._check_domain(a, b)

    def _attribute(self, begin: int, end: int, depth: int) -> None:
        for number, a, b in self._reader.fields(begin, end, ATTRIBUTE):
            if number in (5, 10):
                self._tensor(a, b)
            elif number in (6, 11):
                self._graph(a, b, depth + 1)
            elif number in (22, 23):
                self._sparse(a, b)

    def _sparse(self, begin: int, end: int) -> None:
        for number, a, b in self._reader.fields(begin, end, SPARSE):
            if number in (1, 2):
                self._tensor(a, b)

    def _tensor(self, begin: int, end: int) -> None:
        location, entries = 0, {}
        has_data = False
        for number, a, b in self._reader.fields(begin, end, TENSOR):
            if number == 14:
                location = a
            elif number == 13:
                key, value = self._entry(a, b, "external data", 4096)
                if key in entries:
                    raise self._reader.error(f"has the external data's {key!r} twice")
                entries[key] = value
            elif number in (4, 5, 6, 7, 9, 10, 11):
                has_data = True
        if location not in (0, 1) or bool(location) != bool(entries) or (location and has_data):
            raise self._reader.error(
                "has a tensor whose data is neither in the file nor outside of it alone"
            )
        if entries:
            self._check_external(entries)

    def _check_external(self, entries: Mapping[str, str]) -> None:
        """Bytes of the file beside this one, by a name that is compared as a whole."""
        location = entries.get("location", "")
        if location != self._beside:
            raise BundlePathError(
                f"{self._reader.name} refers to the file {location[:256]!r}; its weights may lie "
                f"in {self._beside} beside it alone"
            )
        if entries.keys() - {"location", "offset", "length", "checksum"}:
            raise self._reader.error(f"has external data with the keys {sorted(entries)}")
        offset, length = entries.get("offset", ""), entries.get("length", "")
        if not _INDEX.fullmatch(offset) or not _INDEX.fullmatch(length):
            raise self._reader.error(
                f"has external data of offset {offset[:64]!r} and length {length[:64]!r}; need "
                "two numbers"
            )
        if self._num_data_bytes is None:
            raise BundleMissingFileError(
                f"{self._reader.name} refers to {self._beside}, which is not there; export it again"
            )
        if int(offset) + int(length) > self._num_data_bytes:
            raise BundlePathError(
                f"{self._reader.name} refers to {length} bytes at {offset} of {self._beside}, "
                f"which has {self._num_data_bytes}; export it again"
            )
        self._external.add(location)
