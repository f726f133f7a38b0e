"""The work that every contestant does, and the files that all of them read.

The whole answer: encode prepared pictures, encode and fuse the questions, two greedy steps of
the decoder. A follow-up is the same without the pictures. Nothing here imports a runtime: the
processes that measure a start load only their own.

Shapes: B pictures with a question each, L text tokens, A = 2 answer tokens, V vocabulary; in a
test P pictures, Q questions.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANSWER_TOKENS",
    "GRAPHS",
    "QUESTIONS",
    "TEXT_TOKENS",
    "Contestant",
    "Inputs",
    "Questions",
    "Task",
    "batch_part",
    "forced",
    "greedy",
    "until_end",
]

# As in `tokenfuse flops`: a question of 12 tokens, and an answer of one word and the end.
TEXT_TOKENS, ANSWER_TOKENS = 12, 2
GRAPHS = ("image_encoder", "text_fusion", "decoder")
# The part of the folder for the test, which has batch 1 and texts of one padded length.
QUESTIONS = "questions"

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


def batch_part(batch_size: int) -> str:
    """The part of the folder for what is timed at this batch size."""
    return f"batch{batch_size}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One contestant's orders, as JSON on its command line.

    Attributes:
        folder: weights, config and parts.
        part: the folder in it with inputs and graphs: `batch_part(B)` or `QUESTIONS`.
        module: the file here that knows the contestant's runtime.
        variant: which of the module's ways, for example "eager".
        precision: "fp32", "bf16" or "int8".
        batch_size: B.
        num_threads: that one call uses.
        cache: a folder for compiled models, "" for none.
    """

    folder: str
    part: str
    module: str
    variant: str
    precision: str
    batch_size: int
    num_threads: int
    cache: str = ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        return cls(**json.loads(text))

    @property
    def part_folder(self) -> pathlib.Path:
        return pathlib.Path(self.folder) / self.part

    def config(self) -> dict[str, Any]:
        text = (pathlib.Path(self.folder) / "config.json").read_text(encoding="utf-8")
        return dict(json.loads(text))

    @property
    def weights_path(self) -> pathlib.Path:
        return pathlib.Path(self.folder) / "weights.safetensors"

    def _arrays(self, name: str) -> dict[str, Any]:
        with np.load(self.part_folder / name) as stored:
            return {key: stored[key] for key in stored.files}

    def inputs(self) -> Inputs:
        return Inputs(**self._arrays("inputs.npz"))

    def questions(self) -> Questions:
        return Questions(**self._arrays("inputs.npz"))

    def calibration(self) -> tuple[list[Floats], list[Ids]]:
        """Batches of pictures and of texts for a quantiser; none of those that are timed."""
        arrays = self._arrays("calibration.npz")
        return list(arrays["image_CBHW3"]), list(arrays["text_CBL"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What goes in, and what the float32 reference gives.

    Attributes:
        image_BHW3: prepared pictures.
        text_BL: questions of `TEXT_TOKENS` ids, unpadded.
        answer_BA: the reference's greedy ids; the first is never the end.
        logits_BAV: the reference's logits before each of them.
        end_id: of a text.
    """

    image_BHW3: Floats
    text_BL: Ids
    answer_BA: Ids
    logits_BAV: Floats
    end_id: Ids

    def error_of(self, logits_BAV: Floats) -> tuple[float, float]:
        """The largest absolute error, and the same over the logits' root mean square."""
        assert logits_BAV.shape == self.logits_BAV.shape, logits_BAV.shape
        worst = float(np.abs(logits_BAV.astype(np.float64) - self.logits_BAV).max())
        return worst, worst / float(np.sqrt(np.mean(np.square(self.logits_BAV, dtype=np.float64))))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The test: questions about pictures that nobody was trained on.

    Attributes:
        image_PHW3: prepared pictures.
        picture_Q: each question's picture.
        text_QL: ids, padded with 0.
        answer_QA: the float32 reference's greedy ids, 0 after the end.
        right_QA: the right answers, padded likewise.
        end_id: of a text.
    """

    image_PHW3: Floats
    picture_Q: Ids
    text_QL: Ids
    answer_QA: Ids
    right_QA: Ids
    end_id: Ids


class Contestant(Protocol):
    """A runtime with the model in it; `f` is in whatever form it likes best."""

    def encode(self, image_BHW3: Floats) -> Any:
        """Prepared pictures to image tokens."""
        ...

    def answer(self, f: Any, text_BL: Ids) -> Ids:
        """Two greedy steps: ids (B, 2). Texts may be padded; what follows the end is ignored."""
        ...

    def logits(self, f: Any, text_BL: Ids, answer_BA: Ids) -> Floats:
        """The logits (B, 2, V) from which the given answer's ids would be chosen."""
        ...


def greedy(step: Any, batch_size: int, start_id: int) -> Ids:
    """Two greedy steps of a decoder whose graph has room for both rows from the beginning.

    Row 0 cannot see row 1, so what stands there in the first step does not matter. `step`
    takes ids (B, 2) and returns logits (B, 2, V).
    """
    ids = np.full((batch_size, ANSWER_TOKENS), start_id, dtype=np.int32)
    first = step(ids)[:, 0].argmax(-1)
    ids[:, 1] = first
    return np.stack([first, step(ids)[:, 1].argmax(-1)], axis=1).astype(np.int32)


def forced(answer_BA: Ids, start_id: int) -> Ids:
    """The decoder's input for given answers: the start id and all but the last."""
    return np.concatenate([np.full_like(answer_BA[:, :1], start_id), answer_BA[:, :-1]], axis=1)


def until_end(answer_BA: Ids, end_id: int) -> Ids:
    """The same with 0 after the end."""
    ended_BA = np.cumsum(answer_BA == end_id, axis=1) - (answer_BA == end_id) > 0
    return np.where(ended_BA, 0, answer_BA).astype(np.int32)
