"""The official accuracy of VQA: agreement with ten annotators."""

from __future__ import annotations

from collections.abc import Sequence

from tokenfuse_training.evaluation.vqa_answer import normalise_answer

__all__ = ["vqa_accuracy"]


def vqa_accuracy(text: str, said: Sequence[str]) -> float:
    """How right an answer is.

    [P of VQA] accuracy = mean over i of min(#{j != i : said_j = text} / 3, 1): over all subsets
    that leave one annotator out, so that a machine is measured as a human is. Of n annotators of
    whom m said it, m subsets have m - 1 who did, and n - m have m.

    Args:
        text: the answer, which is normalised.
        said: what each annotator said, which is normalised; ten in VQA v2.0.

    Returns:
        0 to 1.
    """
    answer = normalise_answer(text)
    n, m = len(said), sum(normalise_answer(other) == answer for other in said)
    # One division: thirds would not add up to 1.
    return (m * min(m - 1, 3) + (n - m) * min(m, 3)) / (3 * n)
