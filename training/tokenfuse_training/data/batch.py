"""A step's pictures and texts as tensors.

Shapes: B pictures, Q texts (each of one picture), A target tokens, L text tokens, R targets
(each of one text: an open question may have several right answers), S patches.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

__all__ = ["Batch"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One rank's part of a step, or a micro-batch of it.

    Args:
        image_u8_BHW3: pictures of the model's size, not yet normalised.
        image_index_Q: which picture a text is of.
        text_QL: ids behind `</s>` padded with 0, task prefix included.
        target_RA: ids behind `</s>` padded with 0, without the start id.
        text_index_R: which text a target belongs to.
        weight_R: float32, the weights of one text's targets sum to 1; 0 in a batch that stands
            for none at all (`collate.Collate`).
        term_R: which loss term a target counts for: an index into `terms`.
        terms: names of the stage's terms, `<task>` or `<task>/<term>`.
        kind_Q: an index into `kinds`, for the log's accuracies.
        kinds: `<task>/<kind>`.
        keys: of the records, for messages and for a batch that is saved.
        task_B: which task each picture was drawn for: an index into the stage's tasks.
        num_bad: every task to the number of its records that were left out.
        bad: what the first of each said, `<task>: ...`.
        num_unused: every task to the number of texts and targets that were left out of records
            which are used: of words, say, that the vocabulary does not have.
        unused: what the first of each said, `<task>: ...`.
        patch_color_BS, patch_kind_BS: labels of a generator, -1 for a picture that has none; or
            None where no picture has any.
    """

    image_u8_BHW3: Tensor
    image_index_Q: Tensor
    text_QL: Tensor
    target_RA: Tensor
    text_index_R: Tensor
    weight_R: Tensor
    term_R: Tensor
    terms: tuple[str, ...]
    kind_Q: Tensor
    kinds: tuple[str, ...]
    keys: tuple[str, ...]
    task_B: Tensor
    num_bad: dict[str, int]
    bad: tuple[str, ...] = ()
    num_unused: dict[str, int] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()
    patch_color_BS: Tensor | None = None
    patch_kind_BS: Tensor | None = None
