"""The three graphs: names, example inputs, free axes, and what PyTorch gives for them.

Shapes: B pictures with a question each, H = W picture side, L text tokens, N latents, A answer
tokens, D fusion width, T text width, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from tokenfuse_export.modules import Decoder, ImageEncoder, TextFusion, with_divided_norms
from tokenfuse_training.model import JointModel

__all__ = ["GRAPHS", "Graph", "graphs_of", "reference_output"]

GRAPHS = ("image_encoder", "text_fusion", "decoder")


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """How one graph is called: names and example values of its inputs, free axes."""

    module: nn.Module
    inputs: dict[str, Tensor]
    output: str
    free: dict[str, dict[int, str]]


def graphs_of(model: JointModel, token_budget: int, batch_size: int) -> dict[str, Graph]:
    """The graphs of a model by name, with example inputs that are the same in every call."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    side, vocab = config.vision.image_size, config.text.vocab_size

    def ids(length: int) -> Tensor:
        return torch.randint(2, vocab, (batch_size, length), generator=generator, dtype=torch.int32)

    image = torch.rand((batch_size, side, side, 3), generator=generator) * 2 - 1
    # Lengths above 1, which the exporter would take for a constant.
    text = ids(min(12, config.text.max_tokens))
    if text.shape[1] > 2:
        # A padded row as well: the mask is part of the graph.
        text[-1, -2:] = config.pad_id
    answer = ids(min(3, config.decoder.max_tokens))
    with torch.no_grad():
        f_BND = model.encode_image(image, token_budget)
        fused_BNT = model.fuse(f_BND, text, token_budget)[0]
    twin = with_divided_norms(model)
    return {
        "image_encoder": Graph(
            ImageEncoder(twin, token_budget), {"image_BHW3": image}, "f_BND", {}
        ),
        "text_fusion": Graph(
            TextFusion(twin, token_budget),
            {"f_BND": f_BND, "text_BL": text},
            "fused_BNT",
            {"text_BL": {1: "num_text_tokens"}},
        ),
        "decoder": Graph(
            Decoder(twin),
            {"answer_BA": answer, "fused_BNT": fused_BNT},
            "logits_BAV",
            {"answer_BA": {1: "num_answer_tokens"}},
        ),
    }


def reference_output(
    model: JointModel, name: str, inputs: dict[str, Tensor], token_budget: int
) -> Tensor:
    """The untouched model's own output, not that of the modules made for export."""
    if name == "image_encoder":
        return model.encode_image(inputs["image_BHW3"], token_budget)
    if name == "text_fusion":
        return model.fuse(inputs["f_BND"], inputs["text_BL"], token_budget)[0]
    return model.decode(inputs["answer_BA"], inputs["fused_BNT"], None)
