"""A loaded model: its facts, and every question that can be put to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ModelClosedError
from tokenfuse_sdk.image_tokens import ImageTokens
from tokenfuse_sdk.integers import checked_int
from tokenfuse_sdk.model.answers import checked_length, score, write, write_at_once
from tokenfuse_sdk.model.batches import answer_batches
from tokenfuse_sdk.model.facts import Facts, first_budget, info_of
from tokenfuse_sdk.model.pictures import encode, image_tokens, map_tokens, tokens_of
from tokenfuse_sdk.model.texts import candidate_ids, paired, question_ids
from tokenfuse_sdk.preprocess.decode import ImageSource
from tokenfuse_sdk.results import Answer, ModelInfo, Score, TokenMap
from tokenfuse_sdk.runtime import BatchRuntime, Placement, Runtime, open_bundle

__all__ = ["Model"]

_MAX_BATCH = 1 << 20


class Model:
    """A loaded model. Thread-safe: calls take turns, or run side by side. A context manager.

    Made by `load`.
    """

    def __init__(
        self, bundle: Bundle, placement: Placement, *, token_budget: int | None = None
    ) -> None:
        self._facts = Facts.of(bundle)
        self._placement = placement
        # Before long work.
        bundle.config.fusion.check_budget(token_budget)
        runtime = open_bundle(bundle, placement)
        self._token_budget = first_budget(bundle.config, runtime.capabilities, token_budget)
        self._runtime: Runtime | None = runtime
        # Asked once: that takes longer than looking.
        self._batched = runtime if isinstance(runtime, BatchRuntime) else None
        # The weights were verified first and packed then.
        bundle.check_unchanged()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"backend={self.backend!r}, device={self.device!r}, precision={self.precision!r}"
        return f"<Model {self.config.name!r}, {state}, token_budget={self._token_budget}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            f"the model {self.config.name!r} holds packed weights and threads, which do not go "
            "to another process; load it there"
        )

    def close(self) -> None:
        """Give the memory back; calls that come later raise `ModelClosedError`."""
        self._runtime = self._batched = None

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self._facts.config

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self._facts.card

    @property
    def backend(self) -> str:
        """Whose code computes: "native", "onnxruntime" or "tensorrt"."""
        return self._placement.backend

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda", or a provider of ONNX Runtime that is neither."""
        return self._placement.device

    @property
    def precision(self) -> str:
        """Of the arithmetic."""
        assert self._placement.precision is not None
        return self._placement.precision

    @property
    def token_budget(self) -> int:
        """N of calls that do not say."""
        return self._token_budget

    @property
    def info(self) -> ModelInfo:
        """What was loaded, and where it runs."""
        engine = self._open_runtime().capabilities
        return info_of(self._facts, self._placement, engine, self._token_budget)

    def warm_up(self, *, batch: int = 1, token_budget: int | None = None) -> None:
        """Make ready at once what the first calls of a kind would: a GPU's graphs.

        Without it, a GPU records a graph at the first question of each length and batch, which
        takes some milliseconds then; ONNX Runtime plans its memory. The native engine of a CPU
        needs none: there, nothing is done.

        Args:
            batch: questions at once, as `answer_many` asks them; 1 for `answer`.
            token_budget: N; None for the model's own.

        Raises:
            ConfigError: `batch` is below 1, or more than is taken at once.
            TokenBudgetError: not one of the model's budgets.
        """
        self._open_runtime()
        budget = self.config.fusion.check_budget(token_budget, self._token_budget)
        batched = self._batched
        # A CPU takes any number, one after the other.
        most = _MAX_BATCH if batched is None else batched.max_batch
        size = checked_int("batch", batch, 1, most)
        if batched is not None:
            batched.record(size, budget)

    def memory_report(self) -> dict[str, int]:
        """Bytes by purpose, as the backend knows them: see docs/api.md."""
        return self._open_runtime().memory_report()

    def encode_image(self, image: ImageSource, *, token_budget: int | None = None) -> ImageTokens:
        """Merge a picture to N tokens, of which many questions can be asked.

        Args:
            image: a path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).
            token_budget: N; None for the model's own.

        Raises:
            ImageError: not a picture, of a kind that is refused, or too large.
            TokenBudgetError: not one of the model's budgets.
        """
        return self._encode_timed(image, token_budget)[0]

    def _encode_timed(
        self, image: ImageSource, token_budget: int | None
    ) -> tuple[ImageTokens, float, float]:
        """Image tokens, and the milliseconds of preprocessing and of encoding."""
        runtime = self._open_runtime()
        budget = self.config.fusion.check_budget(token_budget, self._token_budget)
        picture = encode(self._facts, runtime, image, budget)
        tokens = tokens_of(self._facts, picture.f_ND)
        return tokens, picture.preprocess_ms, picture.encode_ms

    def token_map(self, image: ImageSource, *, token_budget: int | None = None) -> TokenMap:
        """Which patch of a picture fed which of its N tokens.

        Args and errors: as `encode_image`.
        """
        runtime = self._open_runtime()
        budget = self.config.fusion.check_budget(token_budget, self._token_budget)
        return map_tokens(self._facts, runtime, image, budget)

    def answer(
        self,
        image: ImageSource | ImageTokens,
        question: str,
        *,
        token_budget: int | None = None,
        max_tokens: int | None = None,
    ) -> Answer:
        """Answer a question about a picture, greedily.

        Args:
            image: as for `encode_image`, or its result, which then is not encoded again.
            question: in the words that the model knows; `Answer.unknown_words` tells.
            token_budget: N of this call; None for the model's own, or for what the
                tokens hold. Tokens serve every budget up to their own.
            max_tokens: of the answer; None for the most that the model can write.

        Raises:
            QuestionError: not text, empty, or too long.
            ImageError, TokensError, TokenBudgetError, ConfigError: as they say.
        """
        return self._write(image, "answer: ", question, token_budget, max_tokens)

    def caption(
        self,
        image: ImageSource | ImageTokens,
        *,
        token_budget: int | None = None,
        max_tokens: int | None = None,
    ) -> Answer:
        """Describe a picture. Args and errors: as `answer`."""
        return self._write(image, "", "caption:", token_budget, max_tokens)

    def generate(
        self,
        image: ImageSource | ImageTokens,
        prompt: str,
        *,
        token_budget: int | None = None,
        max_tokens: int | None = None,
    ) -> Answer:
        """Run any task that the model was trained on, its prefix included.

        The prefixes are "answer:", "caption:", "complete:", "match:" and "entail:".
        Args and errors: as `answer`.
        """
        return self._write(image, "", prompt, token_budget, max_tokens)

    def answer_many(
        self,
        images: ImageSource | ImageTokens | Sequence[ImageSource | ImageTokens],
        questions: Sequence[str],
        *,
        token_budget: int | None = None,
        max_tokens: int | None = None,
    ) -> list[Answer]:
        """Answer question after question; a picture that repeats is encoded once.

        Args:
            images: one for all questions, or one for each.
            questions: a list of texts; none give an empty list.
            token_budget, max_tokens: as for `answer`.

        Raises:
            QuestionError: no list of questions, or not one for each picture.
            Others: as of `answer`, for any of them; then none is answered.
        """
        pairs = paired(images, questions)
        self._open_runtime()
        length = checked_length(self._facts, max_tokens)
        batched = self._batched
        if batched is not None:
            return answer_batches(
                self._facts,
                batched,
                pairs,
                token_budget=token_budget,
                default=self._token_budget,
                max_tokens=length,
            )
        answers: list[Answer] = []
        # By identity: `pairs` keeps every picture alive meanwhile.
        encoded: dict[int, ImageTokens] = {}
        for source, question in pairs:
            answer, encoded[id(source)] = self._write_with_tokens(
                encoded.get(id(source), source), "answer: ", question, token_budget, length
            )
            answers.append(answer)
        return answers

    def score(
        self,
        image: ImageSource | ImageTokens,
        question: str,
        candidates: Sequence[str],
        *,
        token_budget: int | None = None,
    ) -> list[Score]:
        """How likely each candidate is as the answer, in the order given.

        Args:
            image, question, token_budget: as for `answer`.
            candidates: 1 or more texts.

        Raises:
            QuestionError: no candidates, or one that is empty or too long.
        """
        runtime = self._open_runtime()
        ids = candidate_ids(self._facts, candidates)
        text_ids = question_ids(self._facts, "answer: ", question)
        picture = image_tokens(self._facts, runtime, image, token_budget, self._token_budget)
        return score(self._facts, runtime, picture, text_ids, candidates, ids)

    def _open_runtime(self) -> Runtime:
        if self._runtime is None:
            raise ModelClosedError(f"the model {self.config.name!r} is closed; load it again")
        return self._runtime

    def _write(
        self,
        image: ImageSource | ImageTokens,
        prefix: str,
        text: str,
        token_budget: int | None,
        max_tokens: int | None,
    ) -> Answer:
        return self._write_with_tokens(image, prefix, text, token_budget, max_tokens)[0]

    def _write_with_tokens(
        self,
        image: ImageSource | ImageTokens,
        prefix: str,
        text: str,
        token_budget: int | None,
        max_tokens: int | None,
    ) -> tuple[Answer, ImageTokens]:
        began = time.perf_counter()
        facts, runtime = self._facts, self._open_runtime()
        length = checked_length(facts, max_tokens)
        text_ids = question_ids(facts, prefix, text)
        batched = self._batched
        if batched is not None and not isinstance(image, ImageTokens):
            budget = facts.config.fusion.check_budget(token_budget, self._token_budget)
            answer, picture = write_at_once(
                facts,
                batched,
                image,
                budget,
                text_ids,
                question=text,
                max_tokens=length,
                began=began,
            )
            return answer, tokens_of(facts, picture.f_ND)
        picture = image_tokens(facts, runtime, image, token_budget, self._token_budget)
        answer = write(
            facts, runtime, picture, text_ids, question=text, max_tokens=length, began=began
        )
        kept = image if isinstance(image, ImageTokens) else tokens_of(facts, picture.f_ND)
        return answer, kept
