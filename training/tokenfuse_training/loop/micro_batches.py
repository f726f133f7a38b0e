"""A step's batch in parts that are computed one after the other."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from tokenfuse_training.data.batch import Batch

__all__ = ["split_batch"]


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """`parts` batches of near-equal numbers of pictures, with their texts and targets, in order.

    Every rank computes as many: where there are fewer pictures than parts, some are empty.
    """
    if parts == 1:
        return [batch]
    num_pictures = batch.image_u8_BHW3.shape[0]
    edges = [num_pictures * part // parts for part in range(parts + 1)]
    return [_part(batch, edges[i], edges[i + 1], first=i == 0) for i in range(parts)]


def _part(batch: Batch, begin: int, end: int, *, first: bool) -> Batch:
    of_text_Q = (batch.image_index_Q >= begin) & (batch.image_index_Q < end)
    of_target_R = of_text_Q[batch.text_index_R]
    new_index_Q = torch.cumsum(of_text_Q.long(), dim=0) - 1

    def labels(labels_BS: Tensor | None) -> Tensor | None:
        return None if labels_BS is None else labels_BS[begin:end]

    return dataclasses.replace(
        batch,
        image_u8_BHW3=batch.image_u8_BHW3[begin:end],
        image_index_Q=batch.image_index_Q[of_text_Q] - begin,
        text_QL=batch.text_QL[of_text_Q],
        kind_Q=batch.kind_Q[of_text_Q],
        target_RA=batch.target_RA[of_target_R],
        text_index_R=new_index_Q[batch.text_index_R[of_target_R]],
        weight_R=batch.weight_R[of_target_R],
        term_R=batch.term_R[of_target_R],
        keys=batch.keys[begin:end],
        task_B=batch.task_B[begin:end],
        patch_color_BS=labels(batch.patch_color_BS),
        patch_kind_BS=labels(batch.patch_kind_BS),
        # What was left out belongs to the step: told once.
        num_bad=batch.num_bad if first else {},
        bad=batch.bad if first else (),
        num_unused=batch.num_unused if first else {},
        unused=batch.unused if first else (),
    )
