"""The messages of an ONNX file in which a tensor or an operator can lie, by `onnx.proto`."""

from __future__ import annotations

from tokenfuse_sdk.protobuf import BYTES, EIGHT_BYTES, FOUR_BYTES, VARINT, Message

__all__ = [
    "ATTRIBUTE",
    "ENTRY",
    "GRAPH",
    "MODEL",
    "NODE",
    "OPSET",
    "SPARSE",
    "TENSOR",
]

MODEL = Message(
    "the model",
    once=dict.fromkeys((1, 5), VARINT) | dict.fromkeys((2, 3, 4, 6, 7), BYTES),
    many=dict.fromkeys((8, 14, 20, 25, 26), BYTES),
)
OPSET = Message("an opset", once={1: BYTES, 2: VARINT}, many={})
ENTRY = Message("an entry", once={1: BYTES, 2: BYTES}, many={})
GRAPH = Message(
    "a graph",
    once={2: BYTES, 10: BYTES},
    many=dict.fromkeys((1, 5, 11, 12, 13, 14, 15, 16), BYTES),
)
NODE = Message(
    "a node",
    once=dict.fromkeys((3, 4, 6, 7, 8), BYTES),
    many=dict.fromkeys((1, 2, 5, 9, 10), BYTES),
)
ATTRIBUTE = Message(
    "an attribute",
    once=dict.fromkeys((1, 4, 5, 6, 13, 14, 21, 22), BYTES)
    | {2: FOUR_BYTES, 3: VARINT, 20: VARINT},
    many=dict.fromkeys((9, 10, 11, 15, 23), BYTES) | {7: FOUR_BYTES, 8: VARINT},
)
TENSOR = Message(
    "a tensor",
    once=dict.fromkeys((3, 8, 9, 12), BYTES) | {2: VARINT, 14: VARINT},
    many=dict.fromkeys((1, 5, 7, 11), VARINT)
    | dict.fromkeys((6, 13, 16), BYTES)
    | {4: FOUR_BYTES, 10: EIGHT_BYTES},
)
SPARSE = Message("a sparse tensor", once={1: BYTES, 2: BYTES}, many={3: VARINT})
