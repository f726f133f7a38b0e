"""The three graphs as a `Runtime`: text padded to few lengths, budgets as prefixes, the cache kept.

Shapes: B pictures with a question each, H, W rows and columns of the prepared picture, S image
tokens of the encoder, N image tokens kept, D fusion width, T text width, L text ids, P answer
ids that are known, A that are new, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ImageFormatError, UnsupportedModelError
from tokenfuse_sdk.graphs import fused_cache, known_cache, text_length_for, text_lengths
from tokenfuse_sdk.runtime.graphs.executor import GraphExecutor, is_device_array
from tokenfuse_sdk.runtime.graphs.greedy import log_probs_of, top_ids
from tokenfuse_sdk.runtime.protocol import Capabilities, FloatArray, IdArray

__all__ = ["GraphRuntime"]


def _alone(image_HW3: Any) -> Any:
    """A batch of one; a picture on the device is one already."""
    return image_HW3 if is_device_array(image_HW3) else image_HW3[np.newaxis]


class GraphRuntime:
    """Runs a model's graphs on any executor, as a `BatchRuntime`.

    Members of a batch are rows of the same products, but only those whose questions are padded to
    the same length. So what a member gets does not depend on what the others are or ask; by how
    many they are, the executor may choose another order of float sums.

    Args:
        config: the model.
        executor: closed with the runtime, when no call uses it any more.
        capabilities: what it says of itself.
        batches: how many members a call of a graph may have, ascending; a batch between two of
            them is filled up with copies of its last member.
    """

    def __init__(
        self,
        config: ModelConfig,
        executor: GraphExecutor,
        capabilities: Capabilities,
        *,
        batches: Sequence[int] = (1,),
    ) -> None:
        self._config, self._executor = config, executor
        self._capabilities, self._batches = capabilities, tuple(batches)
        # "present" of one call is "past_key_values" of the next.
        self._known = dict(zip(known_cache(config), known_cache(config, "present"), strict=True))
        self._fused = dict(zip(fused_cache(config), fused_cache(config, "present"), strict=True))
        # A running call holds the runtime: so this comes after the last of them.
        weakref.finalize(self, executor.close)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def max_batch(self) -> int:
        return self._batches[-1]

    def record(self, batch: int, token_budget: int) -> None:
        side = self._config.vision.image_size
        f_BND = self.encode_images(np.zeros((batch, side, side, 3), np.float32), token_budget)
        most = self._config.decoder.max_tokens
        for length in text_lengths(self._config):
            text_ids = np.full(length, self._config.eos_id, np.int32)
            self.generate_many(f_BND, [text_ids] * batch, min(2, most))

    def encode_image(self, image_HW3: FloatArray, token_budget: int) -> FloatArray:
        f_value = self._encode(_alone(image_HW3), ("f_BND",))["f_BND"]
        f_ND: FloatArray = self._tokens(f_value)[0, :token_budget].copy()
        return f_ND

    def encode_image_with_map(
        self, image_HW3: FloatArray, token_budget: int
    ) -> tuple[FloatArray, FloatArray]:
        outputs = ("f_BND", "weights_BNS")
        values = self._encode(_alone(image_HW3), outputs)
        f_BND = self._tokens(values["f_BND"])
        weights_BNS = self._host(
            values["weights_BNS"], f_BND.shape[1], self._config.vision.num_tokens
        )
        return f_BND[0, :token_budget].copy(), weights_BNS[0, :token_budget].copy()

    def encode_images(self, images_BHW3: FloatArray, token_budget: int) -> FloatArray:
        f_BND = self._tokens(self._encode(images_BHW3, ("f_BND",))["f_BND"])
        return np.ascontiguousarray(f_BND[: len(images_BHW3), :token_budget])

    def generate(
        self, f_ND: FloatArray, text_ids: IdArray, max_tokens: int
    ) -> tuple[IdArray, FloatArray]:
        return self._write(self._one(f_ND), [text_ids], max_tokens)[0]

    def generate_many(
        self, f_BND: FloatArray, texts: Sequence[IdArray], max_tokens: int
    ) -> list[tuple[IdArray, FloatArray]]:
        lengths = [text_length_for(self._config, len(text_ids)) for text_ids in texts]
        written: dict[int, tuple[IdArray, FloatArray]] = {}
        for length in sorted(set(lengths)):
            members = [i for i, its_length in enumerate(lengths) if its_length == length]
            f_value = self._executor.put(self._filled(f_BND[members]))
            answers = self._write(f_value, [texts[i] for i in members], max_tokens)
            written.update(zip(members, answers, strict=True))
        return [written[i] for i in range(len(texts))]

    def answer(
        self, image_HW3: FloatArray, token_budget: int, text_ids: IdArray, max_tokens: int
    ) -> tuple[FloatArray, IdArray, FloatArray]:
        f_value = self._encode(_alone(image_HW3), ("f_BND",))["f_BND"]
        f_ND: FloatArray = self._tokens(f_value)[0, :token_budget].copy()
        if token_budget != self._config.fusion.num_latents:
            f_value = self._one(f_ND)
        ids, log_probs = self._write(f_value, [text_ids], max_tokens)[0]
        return f_ND, ids, log_probs

    def score(
        self, f_ND: FloatArray, text_ids: IdArray, candidates: Sequence[IdArray]
    ) -> FloatArray:
        fused = self._fuse(self._one(f_ND), [text_ids])
        sums = [log_probs_of(self._teacher_forced(fused, ids), ids).sum() for ids in candidates]
        return np.asarray(sums, dtype=np.float32)

    def logits(self, f_ND: FloatArray, text_ids: IdArray, answer_ids: IdArray) -> FloatArray:
        return self._teacher_forced(self._fuse(self._one(f_ND), [text_ids]), answer_ids)

    def fuse(self, f_ND: FloatArray, text_ids: IdArray) -> FloatArray:
        inputs = {"f_BND": self._one(f_ND), "text_BL": self._padded([text_ids])}
        fused_BNT = self._executor.run("text_fusion", inputs, ("fused_BNT",))["fused_BNT"]
        fused_NT: FloatArray = self._host(fused_BNT, len(f_ND), self._config.text.width)[0]
        return fused_NT

    def memory_report(self) -> dict[str, int]:
        return self._executor.memory_report()

    def _host(self, value: Any, rows: int, width: int) -> FloatArray:
        """A value (B, rows, width) on the host: a graph is a file, which may give anything."""
        array: FloatArray = self._executor.get(value)
        if array.dtype != np.float32 or array.ndim != 3 or array.shape[1:] != (rows, width):
            raise UnsupportedModelError(
                f"a graph of {self._config.name!r} gives {array.dtype} {list(array.shape)}; its "
                f"config says float32 [batch, {rows}, {width}]: export the graphs again"
            )
        return array

    def _tokens(self, value: Any) -> FloatArray:
        fusion = self._config.fusion
        return self._host(value, fusion.num_latents, fusion.width)

    def _logits(self, value: Any, num_ids: int) -> FloatArray:
        return self._host(value, num_ids, self._config.text.vocab_size)

    def _filled(self, array_B: Any) -> Any:
        """The rows, and copies of the last one up to the next batch that a graph takes."""
        size = len(array_B)
        batch = next(batch for batch in self._batches if batch >= size)
        if batch > size:
            array_B = np.concatenate([array_B, np.repeat(array_B[-1:], batch - size, axis=0)])
        return np.ascontiguousarray(array_B)

    def _one(self, f_ND: FloatArray) -> Any:
        return self._executor.put(self._filled(f_ND[np.newaxis]))

    def _encode(self, images_BHW3: Any, outputs: Sequence[str]) -> dict[str, Any]:
        if is_device_array(images_BHW3):
            value = self._executor.put(images_BHW3)
            self._check_picture(value)
        else:
            value = self._executor.put(self._filled(images_BHW3))
        return self._executor.run("image_encoder", {"image_BHW3": value}, outputs)

    def _check_picture(self, value: Any) -> None:
        side = self._config.vision.image_size
        if tuple(value.shape) != (1, side, side, 3) or value.dtype != np.float32:
            raise ImageFormatError(
                f"the picture on the device is {value.dtype} {list(value.shape)}; need a prepared "
                f"one, float32 [1, {side}, {side}, 3], or one on the host"
            )
        if self._batches[0] != 1:
            raise UnsupportedModelError(
                f"these engines take {self._batches[0]} pictures at once, and no single one on the "
                "device; build with --batch 1 as well, or pass it on the host"
            )

    def _padded(self, texts: Sequence[IdArray]) -> Any:
        """Questions of one length class."""
        length = text_length_for(self._config, len(texts[0]))
        text_BL = np.full((len(texts), length), self._config.pad_id, np.int32)
        for row_L, text_ids in zip(text_BL, texts, strict=True):
            row_L[: len(text_ids)] = text_ids
        return self._executor.put(self._filled(text_BL))

    def _fuse(self, f_value: Any, texts: Sequence[IdArray]) -> dict[str, Any]:
        """What the decoder is fed of pictures and questions."""
        inputs = {"f_BND": f_value, "text_BL": self._padded(texts)}
        present = self._executor.run("text_fusion", inputs, list(self._fused.values()))
        return {past: present[name] for past, name in self._fused.items()}

    def _nothing_known(self, batch: int) -> dict[str, Any]:
        decoder = self._config.decoder
        empty = np.zeros((batch, decoder.num_heads, 0, decoder.head_dim), np.float32)
        return dict.fromkeys(self._known, self._executor.put(empty))

    def _write(
        self, f_value: Any, texts: Sequence[IdArray], max_tokens: int
    ) -> list[tuple[IdArray, FloatArray]]:
        """Greedy answers to questions that are padded to one length; what follows an end is
        dropped."""
        size, end = len(texts), self._config.eos_id
        fused = self._fuse(f_value, texts)
        ids_B = self._filled(np.full(size, self._config.start_id, np.int32))
        known = self._nothing_known(len(ids_B))
        outputs = ["logits_BAV", *self._known.values()]
        answers: list[list[tuple[int, float]]] = [[] for _ in texts]
        writing = list(range(size))
        for _ in range(min(max_tokens, self._config.decoder.max_tokens)):
            inputs = {"answer_BA": self._executor.put(ids_B[:, np.newaxis]), **known, **fused}
            present = self._executor.run("decoder", inputs, outputs)
            logits_BV = self._logits(present["logits_BAV"], 1)[:, 0]
            ids_B = top_ids(logits_BV)
            log_probs_B = log_probs_of(logits_BV, ids_B)
            for i in writing:
                answers[i].append((ids_B[i], log_probs_B[i]))
            writing = [i for i in writing if ids_B[i] != end]
            if not writing:
                break
            known = {past: present[name] for past, name in self._known.items()}
        return [
            (np.array([i for i, _ in pairs], np.int32), np.array([p for _, p in pairs], np.float32))
            for pairs in answers
        ]

    def _teacher_forced(self, fused: Mapping[str, Any], answer_ids: IdArray) -> FloatArray:
        """(A, V): row a is predicted from the start id and the first a answer ids."""
        fed = np.concatenate([np.array([self._config.start_id], np.int32), answer_ids[:-1]])
        answer_BA = self._filled(fed[np.newaxis])
        inputs = {
            "answer_BA": self._executor.put(answer_BA),
            **self._nothing_known(len(answer_BA)),
            **fused,
        }
        logits_BAV = self._executor.run("decoder", inputs, ("logits_BAV",))["logits_BAV"]
        logits_AV: FloatArray = self._logits(logits_BAV, len(fed))[0]
        return logits_AV
