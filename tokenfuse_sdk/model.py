"""The front door: load a bundle, encode a picture, answer questions about it."""

from __future__ import annotations

import math
import operator
import os
import pathlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.bundle import Bundle, read_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import (
    BundleMissingFileError,
    ConfigError,
    ModelClosedError,
    NotFiniteError,
    QuestionError,
    TokenBudgetError,
    TokensError,
)
from tokenfuse_sdk.image_tokens import ImageTokens
from tokenfuse_sdk.preprocess import decode_image, preprocess
from tokenfuse_sdk.preprocess.decode import ImageSource
from tokenfuse_sdk.results import Answer, ModelInfo, Score, Timings, TokenMap
from tokenfuse_sdk.runtime import Placement, Runtime, choose_precision, open_runtime, place
from tokenfuse_sdk.shipped import find_bundle, shipped_models

__all__ = ["Model", "load"]


def _ms(seconds: float) -> float:
    return 1e3 * seconds


def load(
    model: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: str | None = None,
    token_budget: int | None = None,
    num_threads: int | None = None,
) -> Model:
    """Load a model, verified, and pack its weights for the device.

    Args:
        model: the name of a shipped model, or the path of a bundle ("./scenes-nano"
            where a folder has a shipped model's name).
        device: "cpu", "cuda", or "auto", which alone may choose; read it back from
            `Model.device`.
        precision: "fp32", "bf16" (weights of linears in bfloat16) or "int8" (linears in
            8 bits). None for the fastest here of those that answer like fp32, by the bundle's
            record, and for fp32 where it has none; read it back from `Model.precision`, and
            why from `Model.info`.
        token_budget: N, how many tokens a picture and a question are merged to when a
            call does not say; one of the model's budgets, None for the largest. Fewer
            are faster and less accurate; the model card says how much.
        num_threads: that one call uses; None for what affinity and cgroup allow.

    Raises:
        BundleError: the bundle is missing, damaged or hostile; its kinds say which.
        DeviceError: the device is not there; says why.
        PrecisionError, TokenBudgetError, ConfigError: a value that is not offered, in the
            environment variable TOKENFUSE_FORCE_ISA too.
        UnsupportedModelError: the device's engine has no such model.
    """
    if not isinstance(model, str | os.PathLike) or not os.fspath(model):
        raise ConfigError(
            f"model={model!r}: need the name of a shipped model or the path of a bundle"
        )
    placement = place(device, precision, num_threads)
    folder = find_bundle(model if isinstance(model, str) else pathlib.Path(model))
    if not folder.exists() and not folder.is_symlink():
        raise BundleMissingFileError(
            f"there is no bundle at {folder}; pass the path of one, or the name of a shipped "
            f"model as text: {', '.join(shipped_models()) or 'none in this installation'}"
        )
    bundle = read_bundle(folder)
    return Model(bundle, choose_precision(placement, bundle), token_budget=token_budget)


class Model:
    """A loaded model. Thread-safe: calls take turns. A context manager.

    Made by `load`.
    """

    def __init__(
        self, bundle: Bundle, placement: Placement, *, token_budget: int | None = None
    ) -> None:
        self._config = bundle.config
        self._preprocess = bundle.preprocess
        self._tokenizer = bundle.tokenizer
        self._path, self._digest, self._card = bundle.path, bundle.digest, bundle.card
        self._num_parameters = sum(array.size for array in bundle.weights.values())
        self._placement = placement
        self._token_budget = self._checked_budget(token_budget, self._config.fusion.num_latents)
        self._runtime: Runtime | None = open_runtime(bundle.config, bundle.weights, placement)
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
        state = f"device={self.device!r}, precision={self.precision!r}"
        return f"<Model {self._config.name!r}, {state}, token_budget={self._token_budget}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            f"the model {self._config.name!r} holds packed weights and threads, which do not go "
            "to another process; load it there"
        )

    def close(self) -> None:
        """Give the memory back; calls that come later raise `ModelClosedError`."""
        self._runtime = None

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self._config

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self._card

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
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
        config, facts = self._config, self._open_runtime().capabilities
        return ModelInfo(
            name=config.name,
            path=str(self._path),
            weights_sha256=self._digest,
            num_parameters=self._num_parameters,
            image_size=config.vision.image_size,
            token_budgets=config.fusion.token_budgets,
            token_budget=self._token_budget,
            max_question_tokens=config.text.max_tokens,
            max_answer_tokens=config.decoder.max_tokens,
            vocab_size=config.text.vocab_size,
            device=self.device,
            device_reason=self._placement.device_reason,
            precision=self.precision,
            precision_reason=self._placement.precision_reason,
            isa=facts.isa,
            num_threads=facts.num_threads,
        )

    def memory_report(self) -> dict[str, int]:
        """Bytes by purpose, as the engine holds them: packed weights and workspace."""
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
        budget = self._checked_budget(token_budget, self._token_budget)
        began = time.perf_counter()
        prepared = self._prepared(image)
        ready = time.perf_counter()
        f_ND = self._finite(runtime.encode_image(prepared, budget))
        done = time.perf_counter()
        return self._tokens_of(f_ND), _ms(ready - began), _ms(done - ready)

    def token_map(self, image: ImageSource, *, token_budget: int | None = None) -> TokenMap:
        """Which patch of a picture fed which of its N tokens.

        Args and errors: as `encode_image`.
        """
        runtime = self._open_runtime()
        budget = self._checked_budget(token_budget, self._token_budget)
        _, weights_NS = runtime.encode_image_with_map(self._prepared(image), budget)
        vision = self._config.vision
        patches_NS = weights_NS[:, int(vision.class_token) :]
        weights_NGG = patches_NS.reshape(budget, vision.grid_size, vision.grid_size).copy()
        weights_NGG.setflags(write=False)
        return TokenMap(weights=weights_NGG)

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
        """
        if isinstance(questions, str) or not isinstance(questions, Sequence):
            raise QuestionError("questions: need a list of texts; for one, call answer()")
        if isinstance(images, list | tuple):
            sources: list[ImageSource | ImageTokens] = list(images)
            if len(sources) != len(questions):
                raise QuestionError(
                    f"{len(sources)} images and {len(questions)} questions; pass one image for "
                    "all questions, or one for each"
                )
        else:
            sources = [images] * len(questions)  # type: ignore[list-item]
        answers: list[Answer] = []
        # By identity: `sources` keeps every picture alive meanwhile.
        encoded: dict[int, ImageTokens] = {}
        for source, question in zip(sources, questions, strict=True):
            answer, encoded[id(source)] = self._write_with_tokens(
                encoded.get(id(source), source), "answer: ", question, token_budget, max_tokens
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
        is_list = isinstance(candidates, Sequence) and not isinstance(candidates, str | bytes)
        if not is_list or not candidates:
            raise QuestionError("candidates: need a list of one text or more")
        runtime = self._open_runtime()
        limit = self._config.decoder.max_tokens
        for text in candidates:
            if not isinstance(text, str) or not text.strip():
                raise QuestionError(
                    f"the candidate {text!r} is no text; need a str that says something"
                )
        ids = [self._tokenizer.encode(text, limit) for text in candidates]
        text_ids = self._text_ids("answer: ", question)
        f_ND, _, _ = self._image(image, token_budget)
        log_probs = self._finite(runtime.score(f_ND, text_ids, ids)).astype(np.float64)
        shares = np.exp(log_probs - log_probs.max())
        shares /= shares.sum()
        return [
            Score(
                text=text,
                log_prob=float(log_prob),
                probability=float(share),
                unknown_words=self._tokenizer.unknown_words(text),
            )
            for text, log_prob, share in zip(candidates, log_probs, shares, strict=True)
        ]

    def _open_runtime(self) -> Runtime:
        if self._runtime is None:
            raise ModelClosedError(f"the model {self._config.name!r} is closed; load it again")
        return self._runtime

    def _checked_budget(self, token_budget: int | None, default: int) -> int:
        if token_budget is None:
            return default
        budgets = self._config.fusion.token_budgets
        is_int = hasattr(token_budget, "__index__") and not isinstance(token_budget, bool)
        if not is_int or operator.index(token_budget) not in budgets:
            raise TokenBudgetError(
                f"token_budget={token_budget!r} is not one of {list(budgets)}; pick one of these"
            )
        return operator.index(token_budget)

    def _prepared(self, image: ImageSource) -> NDArray[np.float32]:
        prepared: NDArray[np.float32] = preprocess(decode_image(image), self._preprocess)
        return prepared

    def _finite(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(array).all():
            raise NotFiniteError(
                f"{self._config.name!r} gave NaN or infinity; its weights are damaged or were "
                "trained badly: run `tokenfuse doctor`, or make the bundle again"
            )
        return array

    def _tokens_of(self, f_ND: NDArray[np.float32]) -> ImageTokens:
        f_ND.setflags(write=False)
        return ImageTokens(f_ND=f_ND, model_name=self._config.name, weights_sha256=self._digest)

    def _text_ids(self, prefix: str, text: str) -> NDArray[np.int32]:
        if not isinstance(text, str):
            raise QuestionError(f"the question is a {type(text).__name__}; need a str")
        if not text.strip():
            raise QuestionError("the question is empty; ask something")
        ids: NDArray[np.int32] = self._tokenizer.encode(prefix + text, self._config.text.max_tokens)
        return ids

    def _image(
        self, image: ImageSource | ImageTokens, token_budget: int | None
    ) -> tuple[NDArray[np.float32], float, float]:
        """Image tokens at the budget, and the milliseconds of preprocessing and encoding."""
        if isinstance(image, ImageTokens):
            if image.weights_sha256 != self._digest:
                raise TokensError(
                    f"these image tokens were made by {image.model_name!r} with other weights "
                    f"than those of {self._config.name!r}; encode the picture again"
                )
            fusion = self._config.fusion
            if image.num_tokens not in fusion.token_budgets or image.f_ND.shape[1] != fusion.width:
                raise TokensError(
                    f"these image tokens are {image.num_tokens} of width {image.f_ND.shape[1]}; "
                    f"{self._config.name!r} makes one of {list(fusion.token_budgets)}, of width "
                    f"{fusion.width}; encode the picture again"
                )
            budget = self._checked_budget(token_budget, min(image.num_tokens, self._token_budget))
            if budget > image.num_tokens:
                raise TokenBudgetError(
                    f"token_budget={budget}, but these image tokens hold {image.num_tokens}; "
                    "encode the picture with the larger budget"
                )
            return image.f_ND[:budget], 0.0, 0.0
        tokens, preprocess_ms, encode_ms = self._encode_timed(image, token_budget)
        return tokens.f_ND, preprocess_ms, encode_ms

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
        runtime = self._open_runtime()
        began = time.perf_counter()
        most = self._config.decoder.max_tokens
        limit = most if max_tokens is None else max_tokens
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
            raise ConfigError(f"max_tokens={max_tokens!r}: need an integer from 1 to {most}")
        text_ids = self._text_ids(prefix, text)
        f_ND, preprocess_ms, encode_ms = self._image(image, token_budget)
        ready = time.perf_counter()
        ids, log_probs = runtime.generate(f_ND, text_ids, limit)
        done = time.perf_counter()
        self._finite(log_probs)
        answer = Answer(
            text=self._tokenizer.decode(ids),
            confidence=math.exp(float(log_probs.sum(dtype=np.float64))),
            question=text,
            token_budget=int(f_ND.shape[0]),
            num_tokens=len(ids),
            complete=bool(ids[-1] == self._config.eos_id),
            unknown_words=self._tokenizer.unknown_words(text),
            timings=Timings(
                preprocess_ms=preprocess_ms,
                encode_image_ms=encode_ms,
                generate_ms=_ms(done - ready),
                total_ms=_ms(time.perf_counter() - began),
            ),
        )
        return answer, image if isinstance(image, ImageTokens) else self._tokens_of(f_ND)
