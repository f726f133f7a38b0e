"""The two kinds of models that `ask` asks: what the SDK loads, and the PyTorch reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tokenfuse_sdk.errors import QuestionError
from tokenfuse_training.evaluation.ask import PREFIXES

if TYPE_CHECKING:
    from tokenfuse_sdk import ImageTokens, Model
    from tokenfuse_sdk.preprocess import PreprocessConfig
    from tokenfuse_training.data.coder import TextCoder
    from tokenfuse_training.model import JointModel

__all__ = ["ModelAnswerer", "TorchAnswerer"]

# What `Model.answer` writes by itself.
_ANSWER = PREFIXES["vqa"]


class ModelAnswerer:
    """A loaded `Model`, through any backend: what an application would be told."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def answers(
        self,
        images_u8: Sequence[np.ndarray],
        image_index: Sequence[int],
        prefix: str,
        texts: Sequence[str],
        token_budgets: Sequence[int],
    ) -> dict[int, list[str | None]]:
        """As `Answerer.answers`."""
        most = max(token_budgets)
        tokens = [self._model.encode_image(image, token_budget=most) for image in images_u8]
        return {
            budget: self._at(budget, [tokens[i] for i in image_index], prefix, texts)
            for budget in token_budgets
        }

    def _at(
        self, budget: int, tokens: Sequence[ImageTokens], prefix: str, texts: Sequence[str]
    ) -> list[str | None]:
        if prefix == _ANSWER:
            try:
                answers = self._model.answer_many(tokens, texts, token_budget=budget)
                return [answer.text for answer in answers]
            except QuestionError:
                # One of them is too long or empty: it is found one by one.
                pass
        return [
            self._one(budget, own, prefix, text) for own, text in zip(tokens, texts, strict=True)
        ]

    def _one(self, budget: int, tokens: ImageTokens, prefix: str, text: str) -> str | None:
        # Of a prefix alone, `generate` would write something.
        if not text.strip():
            return None
        try:
            if prefix == _ANSWER:
                return self._model.answer(tokens, text, token_budget=budget).text
            return self._model.generate(tokens, prefix + text, token_budget=budget).text
        except QuestionError:
            return None


class TorchAnswerer:
    """The PyTorch reference on any device; greedy, as every runtime."""

    def __init__(
        self, model: JointModel, coder: TextCoder, preprocess: PreprocessConfig, *, batch: int = 256
    ) -> None:
        self._model = model.eval()
        self._coder = coder
        self._preprocess = preprocess
        self._batch = batch

    def answers(
        self,
        images_u8: Sequence[np.ndarray],
        image_index: Sequence[int],
        prefix: str,
        texts: Sequence[str],
        token_budgets: Sequence[int],
    ) -> dict[int, list[str | None]]:
        """As `Answerer.answers`."""
        import torch

        from tokenfuse_sdk.preprocess import preprocess
        from tokenfuse_training.data.coder import padded
        from tokenfuse_training.errors import BadRecordError

        model = self._model
        device = next(model.parameters()).device
        prompts: dict[int, list[int]] = {}
        for row, text in enumerate(texts):
            if not text.strip():
                continue
            try:
                prompts[row] = self._coder.prompt_ids(prefix + text)
            except BadRecordError:
                continue
        prepared = np.stack([preprocess(image, self._preprocess) for image in images_u8])
        answers: dict[int, list[str | None]] = {b: [None] * len(texts) for b in token_budgets}
        with torch.no_grad():
            x_BSC = model.encode_patches(torch.from_numpy(prepared).to(device))
            for budget in token_budgets:
                f_BND = model.merge_image(x_BSC, budget)
                rows = list(prompts)
                for first in range(0, len(rows), self._batch):
                    some = rows[first : first + self._batch]
                    text_QL = torch.from_numpy(padded([prompts[row] for row in some])).to(device)
                    f_QND = f_BND[[image_index[row] for row in some]]
                    ids_QA = model.generate(f_QND, text_QL, budget).cpu().numpy()
                    for row, ids in zip(some, ids_QA, strict=True):
                        answers[budget][row] = self._coder.decode(ids)
        return answers
