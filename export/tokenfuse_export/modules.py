"""The reference as three modules in the form that runtimes know best: what the graphs are made of.

Shapes: B pictures with a question each, H = W picture side, L text tokens, N latents, A answer
tokens, D fusion width, T text width, V vocabulary.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tokenfuse_training.model import JointModel
from tokenfuse_training.model.attend import key_bias
from tokenfuse_training.model.t5 import RMSNorm, relative_buckets

__all__ = ["Decoder", "ImageEncoder", "TextFusion", "with_divided_norms"]


class _DividedRMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * w` as the nodes that runtimes fuse to one.

    ONNX Runtime and OpenVINO look for a power, a square root and a division; the reference's
    product with `rsqrt` leaves five nodes in their graphs.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2.0).mean(-1, keepdim=True) + self.eps) * self.weight


def with_divided_norms(model: JointModel) -> JointModel:
    """A copy that shares every parameter."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, RMSNorm):
                setattr(module, name, _DividedRMSNorm(child))
    return twin.eval()


def _bias_table(
    embedding: nn.Embedding, length: int, *, bidirectional: bool, num_buckets: int, distance: int
) -> Tensor:
    """Relative position biases (1, heads, length, length).

    A bias depends on the distance alone, so every shorter text is a corner of this table: the
    graph holds a slice, not the logarithms of the buckets.
    """
    buckets = relative_buckets(
        length,
        length,
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=distance,
    )
    return embedding.weight.detach()[buckets].permute(2, 0, 1)[None].contiguous()


class ImageEncoder(nn.Module):
    def __init__(self, model: JointModel, token_budget: int) -> None:
        super().__init__()
        self.model, self.token_budget = model, token_budget

    def forward(self, image_BHW3: Tensor) -> Tensor:
        return self.model.encode_image(image_BHW3, self.token_budget)


class TextFusion(nn.Module):
    def __init__(self, model: JointModel, token_budget: int) -> None:
        super().__init__()
        self.model, self.token_budget = model, token_budget
        text = model.config.text
        table = _bias_table(
            model.text.relative_bias,
            text.max_tokens,
            bidirectional=True,
            num_buckets=text.num_buckets,
            distance=text.max_distance,
        )
        self.register_buffer("bias_1HLL", table)

    def forward(self, f_BND: Tensor, text_BL: Tensor) -> Tensor:
        model, length = self.model, text_BL.shape[1]
        mask_BL = text_BL != model.config.pad_id
        bias = self.bias_1HLL[:, :, :length, :length] + key_bias(mask_BL)
        x_BLT = model.embedding(text_BL)
        for layer in model.text.layers:
            x_BLT = layer(x_BLT, bias)
        encoded_BLT = model.text.norm(x_BLT)
        return model.fuse_encoded(f_BND, encoded_BLT, text_BL, self.token_budget)[0]


class Decoder(nn.Module):
    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.model = model
        text, length = model.config.text, model.config.decoder.max_tokens
        table = _bias_table(
            model.decoder.relative_bias,
            length,
            bidirectional=False,
            num_buckets=text.num_buckets,
            distance=text.max_distance,
        )
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.register_buffer("bias_1HAA", table.masked_fill(ahead, torch.finfo(torch.float32).min))

    def forward(self, answer_BA: Tensor, fused_BNT: Tensor) -> Tensor:
        decoder, length = self.model.decoder, answer_BA.shape[1]
        bias = self.bias_1HAA[:, :, :length, :length]
        x_BAT = self.model.embedding(answer_BA)
        for layer in decoder.layers:
            x_BAT = layer(x_BAT, fused_BNT, bias, None)
        return decoder.lm_head(decoder.norm(x_BAT))
