"""The reference as three modules in the form that runtimes know best: what the graphs are made of.

Shapes: B pictures with a question each, H = W picture side, S image tokens, L text tokens, N
latents, P answer tokens that are known, A that are new, V vocabulary; widths D of the fusion and
T of the text; of one head h.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokenfuse_training.model import JointModel
from tokenfuse_training.model.attend import attend_heads, attention_weights, key_bias, split_heads
from tokenfuse_training.model.layers import activate
from tokenfuse_training.model.resample import LatentResampler
from tokenfuse_training.model.t5 import DecoderLayer, T5Attention, relative_buckets

__all__ = ["LEAST_TABLE", "Decoder", "ImageEncoder", "TextFusion"]

# Rows of the decoder's biases, also for a model of shorter answers: room for the exporter's
# example, whose lengths are above 1.
LEAST_TABLE = 5


def _bias_table(
    weight: Tensor, length: int, *, bidirectional: bool, num_buckets: int, distance: int
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
    return weight.detach()[buckets].permute(2, 0, 1)[None].contiguous()


class _Resampler(nn.Module):
    """The first n of N learned tokens over any tokens, and how they attended (B, n, S).

    The queries of the latents are a constant of the graph: they depend on no input.
    """

    def __init__(self, resampler: nn.Module) -> None:
        super().__init__()
        self.resampler = resampler
        self.is_latent = isinstance(resampler, LatentResampler)
        if self.is_latent:
            attention = resampler.attention
            with torch.no_grad():
                query_1ND = attention.query(resampler.latents)[None]
            self.register_buffer("query_1ND", query_1ND)

    def forward(
        self, v_BSD: Tensor, mask_BS: Tensor | None, num_latents: int
    ) -> tuple[Tensor, Tensor]:
        if not self.is_latent:
            return self._spatial(v_BSD, mask_BS, num_latents)
        phi, batch = self.resampler.attention, v_BSD.shape[0]
        query_BnD = self.query_1ND[:, :num_latents].expand(batch, -1, -1)
        q, k, v = (
            split_heads(y, phi.num_heads) for y in (query_BnD, phi.key(v_BSD), phi.value(v_BSD))
        )
        bias = None if mask_BS is None else key_bias(mask_BS)
        weights_BHnS = attention_weights(q, k, phi.scale, bias)
        joined_BnD = (weights_BHnS.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        return phi.output(joined_BnD).float(), weights_BHnS.mean(1)

    def _spatial(
        self, v_BSD: Tensor, mask_BS: Tensor | None, num_latents: int
    ) -> tuple[Tensor, Tensor]:
        part = self.resampler
        hidden = activate(part.up(part.norm(v_BSD)), part.activation)
        scores_BnS = part.down(hidden)[..., :num_latents].transpose(1, 2).float()
        if mask_BS is not None:
            scores_BnS = scores_BnS + key_bias(mask_BS)[:, 0]
        weights_BnS = scores_BnS.softmax(-1)
        return (weights_BnS.to(v_BSD.dtype) @ v_BSD).float(), weights_BnS


class ImageEncoder(nn.Module):
    """Pictures to the full number of image tokens, and which of S fed which of N.

    Each token is made for itself: a smaller budget is a prefix.
    """

    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.vision, self.projection = model.vision, model.image_projection
        self.resampler = _Resampler(model.fusion.image_resampler)
        self.num_latents = model.config.fusion.num_latents

    def forward(self, image_BHW3: Tensor) -> tuple[Tensor, Tensor]:
        v_BSD = self.projection(self.vision(image_BHW3))
        f_BND, weights_BNS = self.resampler(v_BSD, None, self.num_latents)
        return f_BND, weights_BNS


class TextFusion(nn.Module):
    """Image tokens and a question to fused tokens, and to the keys and values that the decoder's
    layers have of them. The number of image tokens is the budget.
    """

    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.model = model
        self.resampler = _Resampler(model.fusion.text_resampler)
        text = model.config.text
        table = _bias_table(
            model.text.relative_bias.weight,
            text.max_tokens,
            bidirectional=True,
            num_buckets=text.num_buckets,
            distance=text.max_distance,
        )
        self.register_buffer("bias_1HLL", table)

    def forward(self, f_BND: Tensor, text_BL: Tensor) -> tuple[Tensor, ...]:
        model, length, num_latents = self.model, text_BL.shape[1], f_BND.shape[1]
        mask_BL = text_BL != model.config.pad_id
        bias = self.bias_1HLL[:, :, :length, :length] + key_bias(mask_BL)
        x_BLT = model.embedding(text_BL)
        for layer in model.text.layers:
            x_BLT = layer(x_BLT, bias)
        v_BLD = model.text_projection(model.text.norm(x_BLT))
        original_BND, _ = self.resampler(v_BLD, mask_BL, num_latents)
        t_BND = original_BND
        for iteration in model.fusion.iterations:
            t_BND = iteration(t_BND, f_BND, original_BND)
        fused_BNT = model.fused_projection(model.fusion.norm(t_BND)).float()
        present = []
        for layer in model.decoder.layers:
            part = layer.cross_attention
            for projection in (part.key, part.value):
                present.append(split_heads(projection(fused_BNT), part.num_heads).float())
        return fused_BNT, *present


class Decoder(nn.Module):
    """New answer tokens, behind those that are known, to logits; and the keys and values of all.

    `past` has four tensors for each layer: key and value of the known tokens (B, heads, P, h),
    key and value of the fused tokens (B, heads, N, h).
    """

    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.embedding, self.decoder = model.embedding, model.decoder
        text, length = model.config.text, max(LEAST_TABLE, model.config.decoder.max_tokens)
        table = _bias_table(
            model.decoder.relative_bias.weight,
            length,
            bidirectional=False,
            num_buckets=text.num_buckets,
            distance=text.max_distance,
        )
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.register_buffer("bias_1HAA", table.masked_fill(ahead, torch.finfo(torch.float32).min))

    def forward(self, answer_BA: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        first = past[0].shape[2]
        last = first + answer_BA.shape[1]
        bias = self.bias_1HAA[:, :, first:last, :last]
        x_BAT = self.embedding(answer_BA)
        present = []
        for i, layer in enumerate(self.decoder.layers):
            x_BAT, *known = _decode(layer, x_BAT, past[4 * i : 4 * i + 4], bias)
            present += known
        logits_BAV = self.decoder.lm_head(self.decoder.norm(x_BAT))
        return logits_BAV.float(), *present


def _decode(
    layer: DecoderLayer, x_BAT: Tensor, past: tuple[Tensor, ...], bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer: its output, and key and value of the known and the new tokens."""
    past_key, past_value, fused_key, fused_value = past
    part = layer.self_attention
    y_BAT = layer.norm1(x_BAT)
    k, v = (
        torch.cat([known, split_heads(projection(y_BAT), part.num_heads).float()], dim=2)
        for known, projection in ((past_key, part.key), (past_value, part.value))
    )
    x_BAT = x_BAT + _attend(part, y_BAT, k, v, bias)
    x_BAT = x_BAT + _attend(layer.cross_attention, layer.norm2(x_BAT), fused_key, fused_value, None)
    return x_BAT + layer.mlp(layer.norm3(x_BAT)), k, v


def _attend(
    part: T5Attention, x_BAT: Tensor, k_BHKh: Tensor, v_BHKh: Tensor, bias: Tensor | None
) -> Tensor:
    q_BHAh = split_heads(part.query(x_BAT), part.num_heads)
    k, v = k_BHKh.to(q_BHAh.dtype), v_BHKh.to(q_BHAh.dtype)
    return part.output(attend_heads(q_BHAh, k, v, 1.0, bias))
