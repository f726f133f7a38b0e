"""The layers of an engine, from the builder's log or from TensorRT's inspector: the same fields.

The inspector needs a GPU's driver. The log holds the same words, as text.
"""

from __future__ import annotations

import dataclasses
import json
import re

__all__ = ["Layer", "UnknownWordsError", "layers_of_inspector", "layers_of_log"]

# Kernels that are a whole attention: "_gemm_mha_v2", "_gemv_mha_v1", "fmha_v2".
_ATTENTION = "mha"
_LINE = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>.*?), Inputs: .*?"
    # None, or each in braces. What follows is of each version and type of layer its own.
    r"Outputs: \[(?P<outputs>\s*|\s*\{.*?\}\s*)\]"
)
# TensorRT 10 joins it with the format: "Format/Datatype: Row major linear FP32 format".
_DATATYPE = re.compile(r"Datatype: ([^,}]+)")
# As a datatype, and within the name of a format.
_PRECISIONS = {
    "float": "fp32",
    "half": "fp16",
    "bfloat16": "bf16",
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}


class UnknownWordsError(Exception):
    """TensorRT describes its layers in words that are not known; no fault of the engine's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One kernel of an engine.

    Attributes:
        name, type: as TensorRT calls them.
        precisions: of what it writes, each once, in order; empty where nothing is said.
    """

    name: str
    type: str
    precisions: tuple[str, ...]

    @property
    def is_attention(self) -> bool:
        """Whether it is a whole attention: scores, softmax and the sum of values in one."""
        return _ATTENTION in self.name.lower()


def layers_of_log(text: str) -> tuple[Layer, ...]:
    """The layers in a builder's message of detailed verbosity.

    Raises:
        UnknownWordsError: a line that begins as a layer does not go on as one.
    """
    found = []
    for line in text.splitlines():
        if not line.startswith("Name: "):
            continue
        match = _LINE.match(line)
        if match is None:
            raise UnknownWordsError(f"its log has the line {line[:120]!r}")
        words = _DATATYPE.findall(match["outputs"])
        found.append(Layer(match["name"], match["type"], _precisions(words)))
    return tuple(found)


def layers_of_inspector(text: str) -> tuple[Layer, ...]:
    """The layers in the JSON of TensorRT's `EngineInspector` of an engine of detailed verbosity.

    Raises:
        UnknownWordsError: it is not that.
    """
    try:
        layers = json.loads(text)["Layers"]
        return tuple(
            Layer(
                layer["Name"],
                layer.get("LayerType", ""),
                _precisions([_datatype(output) for output in layer.get("Outputs", [])]),
            )
            for layer in layers
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownWordsError(f"its inspector says {text[:120]!r}: {error!r}") from error


def _datatype(output: dict[str, str]) -> str:
    # TensorRT 10 joins the two.
    return output.get("Datatype") or output.get("Format/Datatype") or output.get("Format", "")


def _precisions(words: list[str]) -> tuple[str, ...]:
    named = []
    for word in words:
        if word.startswith("N/A"):
            continue
        parts = re.findall(r"\w+", word.lower())
        named += [_PRECISIONS[part] for part in parts if part in _PRECISIONS][:1] or parts[:1]
    return tuple(dict.fromkeys(named))
