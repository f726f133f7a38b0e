"""The three graphs: names, example inputs, free axes, and what PyTorch gives for them.

Shapes: B pictures with a question each, H = W picture side, L text tokens, N latents, P answer
tokens that are known, A that are new, D fusion width, T text width, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from tokenfuse_export.modules import LEAST_TABLE, Decoder, ImageEncoder, TextFusion
from tokenfuse_export.twins import twin_of
from tokenfuse_sdk.graphs import fused_cache, known_cache
from tokenfuse_training.model import JointModel

__all__ = ["Graph", "graphs_of"]

_BATCH = {0: "batch"}
_LATENTS = {1: "num_latents"}
_KNOWN = {2: "num_past_tokens"}
# Lengths above 1, which the exporter would take for constants.
_NUM_BATCH, _NUM_PAST, _NUM_ANSWER = 2, 2, LEAST_TABLE - 2


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """How one graph is called: example values of its inputs, names of its outputs, free axes.

    `is_variadic`: all inputs but the first are one argument of the module.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]]
    is_variadic: bool = False


def graphs_of(model: JointModel, dtype: torch.dtype = torch.float32) -> dict[str, Graph]:
    """The graphs of a model by name, with example inputs that are the same in every call."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    side, vocab = config.vision.image_size, config.text.vocab_size
    heads, head_dim = config.decoder.num_heads, config.decoder.head_dim

    def ids(length: int) -> Tensor:
        shape = (_NUM_BATCH, length)
        return torch.randint(2, vocab, shape, generator=generator, dtype=torch.int32)

    image = torch.rand((_NUM_BATCH, side, side, 3), generator=generator) * 2 - 1
    text = ids(min(12, config.text.max_tokens))
    if text.shape[1] > 2:
        # A padded row as well: the mask is part of the graph.
        text[-1, -2:] = config.pad_id
    answer = ids(_NUM_ANSWER)
    twin = twin_of(model, dtype)
    encoder, fusion = ImageEncoder(twin), TextFusion(twin)
    with torch.no_grad():
        f_BND, _ = encoder(image)
        _, *fused = fusion(f_BND, text)
    known = (_NUM_BATCH, heads, _NUM_PAST, head_dim)
    names = known_cache(config), fused_cache(config)
    past: dict[str, Tensor] = {}
    for i in range(0, 2 * config.decoder.num_layers, 2):
        # One tensor each: the exporter takes a tensor that comes twice for one input.
        past |= {name: torch.randn(known, generator=generator) for name in names[0][i : i + 2]}
        past |= dict(zip(names[1][i : i + 2], fused[i : i + 2], strict=True))
    return {
        "image_encoder": Graph(
            encoder, {"image_BHW3": image}, ("f_BND", "weights_BNS"), {"image_BHW3": _BATCH}
        ),
        "text_fusion": Graph(
            fusion,
            {"f_BND": f_BND, "text_BL": text},
            ("fused_BNT", *fused_cache(config, "present")),
            {"f_BND": _BATCH | _LATENTS, "text_BL": _BATCH | {1: "num_text_tokens"}},
        ),
        "decoder": Graph(
            Decoder(twin),
            {"answer_BA": answer} | past,
            ("logits_BAV", *known_cache(config, "present")),
            {"answer_BA": _BATCH | {1: "num_answer_tokens"}}
            | {name: _BATCH | _KNOWN for name in names[0]}
            | {name: _BATCH | {2: "num_latents"} for name in names[1]},
            is_variadic=True,
        ),
    }
