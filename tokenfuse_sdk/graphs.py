"""The three graphs that a model is exported as: their names, tensors, precisions and lengths.

`image_encoder`: a picture to image tokens. `text_fusion`: those and a question to fused tokens.
`decoder`: new answer tokens, behind those that are known, to logits. Exporters write them,
runtimes run them: docs/export.md.

Shapes: B pictures with a question each, H = W picture side, S image tokens of the encoder, N
image tokens that are kept, L text ids, P answer ids that are known, A that are new, V
vocabulary; widths D of the fusion, T of the text, h of one of the decoder's heads.
"""

from __future__ import annotations

from tokenfuse_sdk.config import ModelConfig

__all__ = [
    "GRAPHS",
    "GRAPH_PRECISIONS",
    "METADATA",
    "fused_cache",
    "known_cache",
    "text_length_for",
    "text_lengths",
]

GRAPHS = ("image_encoder", "text_fusion", "decoder")
# From the most exact one on. "int8": linears in 8 bits, the rest in float32, for CPUs;
# "int8_fp16": the rest in 16 bits, for GPUs. What enters and leaves a graph is float32 or int32
# in all of them.
GRAPH_PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8_fp16")
# Keys of what an ONNX file says of its model.
METADATA = {
    "config": "tokenfuse.config",
    "precision": "tokenfuse.precision",
    "weights": "tokenfuse.weights_sha256",
    "lengths": "tokenfuse.text_lengths",
}

_LEAST_TEXT = 16


def known_cache(config: ModelConfig, prefix: str = "past_key_values") -> tuple[str, ...]:
    """Names of keys and values (B, heads, P, h) of the known answer ids, layer by layer.

    The names are those of Hugging Face Optimum; `prefix` is "present" for what a graph gives.
    """
    return _cache(config, prefix, "decoder")


def fused_cache(config: ModelConfig, prefix: str = "past_key_values") -> tuple[str, ...]:
    """Names of keys and values (B, heads, N, h) of the fused tokens, layer by layer."""
    return _cache(config, prefix, "encoder")


def _cache(config: ModelConfig, prefix: str, source: str) -> tuple[str, ...]:
    layers = range(config.decoder.num_layers)
    return tuple(f"{prefix}.{i}.{source}.{part}" for i in layers for part in ("key", "value"))


def text_lengths(config: ModelConfig) -> tuple[int, ...]:
    """The lengths L that questions are padded to: few shapes, so that runtimes plan each once."""
    most = config.text.max_tokens
    lengths = [_LEAST_TEXT << i for i in range(most.bit_length()) if _LEAST_TEXT << i < most]
    return (*lengths, most)


def text_length_for(config: ModelConfig, num_ids: int) -> int:
    """The least of the lengths that holds so many ids."""
    return next(length for length in text_lengths(config) if length >= num_ids)
