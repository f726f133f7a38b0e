"""The loss of a step, in parts that ranks and micro-batches add up.

`L = sum_t lambda_t (sum_r w_r CE_r) / D_t` over the loss terms t, where CE_r is the cross-entropy
summed over the tokens of target r, and `D_t = sum_r w_r tokens_r` counts all ranks and
micro-batches of the step. So any split of a step adds up to the same loss.

[D] all of it. Shapes: B pictures, Q texts, R targets, A target tokens, L text tokens, S image
tokens, D / T fusion and text widths, N latents, V vocabulary; J loss terms, K kinds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.data.collate import normalise
from tokenfuse_training.data.scenes.labels import NUM_COLOR_LABELS, NUM_KIND_LABELS
from tokenfuse_training.dense import DenseHeads, patch_weights
from tokenfuse_training.model import JointModel
from tokenfuse_training.model.attend import widen
from tokenfuse_training.word_order import WordOrderHeads, num_asked

__all__ = ["EXTRA_TERMS", "Losses", "Objective", "image_side", "term_divisors"]

# Terms and kinds that every step has behind those of its tasks.
EXTRA_TERMS = ("patches", "word_order")


class Losses(NamedTuple):
    """What a batch gives.

    Args:
        total: its part of the step's loss; its gradients add up over ranks and micro-batches.
        sum_J: weighted cross-entropy, summed, of each of `batch.terms` and `EXTRA_TERMS`.
        right_K, seen_K: texts told right to the last token under teacher forcing, and all of
            them, of each of `batch.kinds` and `EXTRA_TERMS` (patches that hold something, words).
    """

    total: Tensor
    sum_J: Tensor
    right_K: Tensor
    seen_K: Tensor


def term_divisors(batch: Batch, stage: StageSettings) -> Tensor:
    """D_t of one batch, float64 (J,), for `batch.terms` and `EXTRA_TERMS`.

    Known without the model, so that a step's can be summed before anything is computed.
    """
    num_terms = len(batch.terms)
    divisor_J = torch.zeros(num_terms + len(EXTRA_TERMS), dtype=torch.float64)
    tokens_R = (batch.target_RA != 0).sum(dim=1)
    divisor_J.index_add_(0, batch.term_R, batch.weight_R.double() * tokens_R)
    if stage.patch_weight and batch.patch_kind_BS is not None:
        divisor_J[num_terms] = patch_weights(batch.patch_kind_BS).double().sum()
    if stage.word_order_weight:
        divisor_J[num_terms + 1] = num_asked(batch.text_QL)
    return divisor_J


def image_side(model: JointModel) -> list[nn.Module]:
    """All that a picture passes before a question is known."""
    parts = [model.vision, model.image_projection]
    if model.config.fusion.kind == "joint_adaptive":
        parts.append(model.fusion.image_resampler)
    return parts


class Objective(nn.Module):
    """The model with the heads that exist in training only: what ranks share and spread.

    Args:
        model: of any fusion kind.
        preprocess: how pictures become the model's arrays.
    """

    def __init__(self, model: JointModel, preprocess: PreprocessConfig) -> None:
        super().__init__()
        self.model = model
        text = model.config.text
        self.heads = DenseHeads(model.config.vision.width, NUM_COLOR_LABELS, NUM_KIND_LABELS)
        self.word_order = WordOrderHeads(text.width, text.vocab_size)
        self._preprocess = preprocess

    def freeze(self, parts: tuple[str, ...]) -> list[nn.Module]:
        """Let these parts (`image`, `text`) stand still and all others learn; gives the former."""
        frozen: list[nn.Module] = []
        if "image" in parts:
            frozen += image_side(self.model)
        if "text" in parts:
            frozen += [self.model.embedding, self.model.text]
        self.requires_grad_(True)
        for module in frozen:
            module.requires_grad_(False)
        return frozen

    def forward(
        self,
        batch: Batch,
        token_budget: int,
        term_weights: Tensor,
        divisors: Tensor,
        stage: StageSettings,
    ) -> Losses:
        """The batch's part of a step.

        What runs is decided by the whole step's divisors and not by the batch: ranks that wait
        for one another run the same modules, also where one has no text or no picture left.

        Args:
            batch: a rank's pictures, or a micro-batch of them.
            token_budget: latents in use.
            term_weights: lambda_t, float64 (J,) on the CPU.
            divisors: D_t of the whole step, float64 (J,) on the CPU.
            stage: weights of the heads, and what stands still.
        """
        num_terms, num_kinds = len(batch.terms), len(batch.kinds)
        # A term without weight costs nothing.
        used_J = (divisors > 0) & (term_weights > 0)
        has_patches, has_order = bool(used_J[num_terms]), bool(used_J[num_terms + 1])
        has_texts = bool(used_J[:num_terms].any()) or has_order
        batch = _filled(batch, texts=has_texts)
        like = self.model.image_projection.weight
        wide = torch.promote_types(like.dtype, torch.float32)
        sum_J = torch.zeros(len(divisors), dtype=wide, device=like.device)
        right_K = torch.zeros(num_kinds + len(EXTRA_TERMS), dtype=torch.int64, device=like.device)
        seen_K = torch.zeros_like(right_K)

        with torch.no_grad() if "image" in stage.freeze else contextlib.nullcontext():
            image_BHW3 = normalise(batch.image_u8_BHW3.to(like.device), self._preprocess)
            x_BSC = self.model.encode_patches(image_BHW3.to(like.dtype))
            f_BND = self.model.merge_image(x_BSC, token_budget) if has_texts else None
        if has_patches:
            loss, right, seen = self._patches(x_BSC, batch)
            sum_J = _added(sum_J, num_terms, loss)
            right_K[num_kinds], seen_K[num_kinds] = right, seen
        if f_BND is not None:
            text_QL = batch.text_QL.to(like.device)
            with torch.no_grad() if "text" in stage.freeze else contextlib.nullcontext():
                encoded_QLT = self.model.encode_text(text_QL)
            f_QND = f_BND[batch.image_index_Q.to(like.device)]
            fused, mask = self.model.fuse_encoded(f_QND, encoded_QLT, text_QL, token_budget)
            sum_J, right_T = self._targets(fused, mask, batch, sum_J)
            kind_Q = batch.kind_Q.to(like.device)
            right_K.index_add_(0, kind_Q, right_T[0])
            seen_K.index_add_(0, kind_Q, right_T[1])
            if has_order:
                loss, right, seen = self.word_order(encoded_QLT, text_QL)
                sum_J = _added(sum_J, num_terms + 1, loss)
                right_K[num_kinds + 1], seen_K[num_kinds + 1] = right, seen
        factor_J = torch.where(used_J, term_weights / divisors.clamp(min=1e-30), 0.0)
        total = (sum_J * factor_J.to(device=like.device, dtype=wide)).sum()
        return Losses(total, sum_J.detach(), right_K, seen_K)

    def _patches(self, x_BSC: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        # A class token stands before the patches.
        num_patches = self.model.config.vision.grid_size**2
        grid_BSC = x_BSC[:, x_BSC.shape[1] - num_patches :]
        unknown_BS = torch.full(grid_BSC.shape[:2], -1, device=x_BSC.device)
        color_BS, kind_BS = batch.patch_color_BS, batch.patch_kind_BS
        if color_BS is None or kind_BS is None:
            return self.heads(grid_BSC, unknown_BS, unknown_BS)
        return self.heads(
            grid_BSC, color_BS.to(x_BSC.device).long(), kind_BS.to(x_BSC.device).long()
        )

    def _targets(
        self, fused: Tensor, mask: Tensor | None, batch: Batch, sum_J: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Loss sums with those of the targets, and which texts are told right and are real.

        A text is fused once, however many right answers it has.
        """
        device = fused.device
        text_R, target_RA = batch.text_index_R.to(device), batch.target_RA.to(device)
        weight_R = batch.weight_R.to(device)
        start_R1 = torch.zeros_like(target_RA[:, :1])
        input_RA = torch.cat([start_R1, target_RA[:, :-1]], dim=1)
        mask_R = None if mask is None else mask[text_R]
        logits_RAV = widen(self.model.decode(input_RA, fused[text_R], mask_R))
        loss_RA = F.cross_entropy(
            logits_RAV.flatten(0, 1), target_RA.flatten(), ignore_index=0, reduction="none"
        ).view_as(target_RA)
        loss_R = loss_RA.sum(dim=1) * weight_R.to(loss_RA.dtype)
        sum_J = sum_J.index_add(0, batch.term_R.to(device), loss_R)
        # One of several right answers is enough.
        wrong_RA = (logits_RAV.detach().argmax(-1) != target_RA) & (target_RA != 0)
        real_R = weight_R > 0
        right_R = ~wrong_RA.any(dim=1) & real_R
        zero_Q = torch.zeros(batch.text_QL.shape[0], dtype=torch.int64, device=device)
        right_Q = zero_Q.index_add(0, text_R, right_R.long()).clamp(max=1)
        real_Q = zero_Q.index_add(0, text_R, real_R.long()).clamp(max=1)
        return sum_J, (right_Q, real_Q)


def _added(sum_J: Tensor, index: int, loss: Tensor) -> Tensor:
    at = torch.tensor([index], device=sum_J.device)
    return sum_J.index_add(0, at, loss.to(sum_J.dtype)[None])


def _filled(batch: Batch, *, texts: bool) -> Batch:
    """The batch with a black picture and a text of weight 0 where it has none."""
    if batch.image_u8_BHW3.shape[0] and (batch.target_RA.shape[0] or not texts):
        return batch
    changed: dict[str, Tensor | None] = {}
    if not batch.image_u8_BHW3.shape[0]:
        changed["image_u8_BHW3"] = batch.image_u8_BHW3.new_zeros(
            (1, *batch.image_u8_BHW3.shape[1:])
        )
        changed |= {"patch_color_BS": None, "patch_kind_BS": None}
    if texts and not batch.target_RA.shape[0]:
        one = torch.ones((1, 1), dtype=batch.text_QL.dtype)
        zero = torch.zeros(1, dtype=torch.int64)
        changed |= {"text_QL": one, "image_index_Q": zero, "kind_Q": zero}
        changed |= {"target_RA": one, "text_index_R": zero, "term_R": zero}
        changed["weight_R"] = torch.zeros(1)
    return dataclasses.replace(batch, **changed)
