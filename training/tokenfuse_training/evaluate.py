"""Accuracy of the PyTorch reference on a split, per family and per token budget.

An answer is right when the greedy text is the expected one in full. Under
teacher forcing every token up to the end is the arg max exactly when greedy
decoding writes the same answer, so one pass decides it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tokenfuse_training.accuracy import Accuracy, ScoredQuestion
from tokenfuse_training.data.batches import normalise
from tokenfuse_training.data.store import SceneStore, TextTable
from tokenfuse_training.model import JointModel

__all__ = ["evaluate_questions"]


@torch.no_grad()
def evaluate_questions(
    model: JointModel,
    store: SceneStore,
    *,
    num_questions: int,
    table: TextTable | None = None,
    token_budget: int | None = None,
    batch_scenes: int = 64,
    report: Callable[[int], None] = lambda done: None,
) -> Accuracy:
    """Answer the first `num_questions` distinct questions of a store.

    Args:
        model: the reference, on any device.
        store: a split of scenes; a scene's repeated questions count once.
        num_questions: asked at most.
        table: the texts of the store to ask; None for its questions.
        token_budget: latents to keep; None for all.
        batch_scenes: pictures at a time.
        report: called with the number of questions done.
    """
    model.eval()
    device = next(model.parameters()).device
    budget = model.check_budget(token_budget)
    asked: list[ScoredQuestion] = []
    done = 0
    table = store.questions if table is None else table
    for start in range(0, store.num_scenes, batch_scenes):
        rows = slice(start, min(start + batch_scenes, store.num_scenes))
        texts, answers, families = table.text[rows], table.answer[rows], table.family[rows]
        scene_Q, question_Q = np.nonzero(_first_of_each(texts))
        keep = min(num_questions - done, len(scene_Q))
        scene_Q, question_Q = scene_Q[:keep], question_Q[:keep]
        text_QL = torch.from_numpy(texts[scene_Q, question_Q].astype(np.int64)).to(device)
        answer_QA = torch.from_numpy(answers[scene_Q, question_Q].astype(np.int64)).to(device)
        f_BND = model.encode_image(normalise(store.images_u8[rows]).to(device), budget)
        fused, mask = model.fuse(f_BND[torch.from_numpy(scene_Q).to(device)], text_QL, budget)
        shifted = torch.cat([torch.zeros_like(answer_QA[:, :1]), answer_QA[:, :-1]], dim=1)
        best_QA = model.decode(shifted, fused, mask).argmax(-1)
        right_Q = ((best_QA == answer_QA) | (answer_QA == 0)).all(dim=1).cpu().numpy()
        asked += [
            ScoredQuestion(picture=start + scene, family=table.families[family], score=float(ok))
            for scene, family, ok in zip(
                scene_Q.tolist(), families[scene_Q, question_Q], right_Q, strict=True
            )
        ]
        done += keep
        report(done)
        if done >= num_questions:
            break
    return Accuracy.from_questions(budget, asked)


def _first_of_each(text_BKL: np.ndarray) -> np.ndarray:
    """True (B, K) where a scene has not had the same text before."""
    same_BKK = (text_BKL[:, :, None] == text_BKL[:, None, :]).all(axis=-1)
    return ~np.tril(same_BKK, k=-1).any(axis=2)
