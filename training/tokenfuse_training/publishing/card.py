"""The model card of a trained bundle: what it is, how it was made, how good it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_training.config.data_settings import ScenesData, format_of
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.evaluation.accuracy import Accuracy
from tokenfuse_training.evaluation.evaluate import Evaluation
from tokenfuse_training.publishing.card_scenes import DIGITS, LIMITS, WHAT

__all__ = ["CardFacts", "model_card"]

_DATA = {
    "vqa2": "VQA v2.0 (Goyal et al. 2017; pictures of COCO)",
    "gqa": "GQA (Hudson & Manning 2019)",
    "snli_ve": "SNLI-VE (Xie et al. 2019; pictures of Flickr30k)",
    "coco_captions": "COCO captions (Chen et al. 2015)",
    "webdataset": "image-text pairs in WebDataset shards",
    "scenes": "scenes, drawn by a seeded generator",
}
_SCORE = {
    "vqa": "the official VQA accuracy",
    "gqa": "answers that are right in full",
    "entail": "yes, maybe or no as labelled",
    "scenes": "answers that are right in full",
    "describe": "texts that are right in full",
}

_LIMITS = """It knows what its data show, with their errors and their bias: measure it on pictures
and questions of the kind that it will be asked."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the card tells.

    Args:
        config: what was trained.
        model: the model's shape.
        notes: what it began with, a sentence each.
        sizes: pictures of each data set, by name; a stream has none.
        seconds: of training, over all runs of the work folder.
        hardware: where.
        torch_version: with what.
        num_parameters: of the model.
        dtype: of the stored weights.
        evaluations: by name.
        not_evaluated: entries of `evaluate` that could not be asked.
        guesses: name to rows of a baseline and its accuracy, for those that have any.
        left_out: of each stage that left pictures or texts out: how many.
    """

    config: TrainConfig
    model: ModelConfig
    notes: Sequence[str]
    sizes: Mapping[str, int]
    seconds: float
    hardware: str
    torch_version: str
    num_parameters: int
    dtype: str
    evaluations: Mapping[str, Evaluation]
    not_evaluated: Sequence[str] = ()
    guesses: Mapping[str, Sequence[tuple[str, float]]] = dataclasses.field(default_factory=dict)
    left_out: Sequence[str] = ()


def _cell(text: str) -> str:
    """Text of a data set, as a cell of a table."""
    return re.sub(r"[|\s_]+", " ", text).strip()[:80] or "none"


def _accuracy_table(accuracies: Sequence[Accuracy]) -> str:
    head = "| family | questions | " + " | ".join(f"N = {a.token_budget}" for a in accuracies)
    lines = [head + " |", "|---" * (2 + len(accuracies)) + "|"]
    for family, count in accuracies[0].counts.items():
        cells = " | ".join(f"{100 * a.by_family[family]:.1f}" for a in accuracies)
        lines.append(f"| {_cell(family)} | {count} | {cells} |")
    cells = " | ".join(
        f"**{100 * a.overall:.1f}** ({100 * a.low:.1f} to {100 * a.high:.1f})" for a in accuracies
    )
    lines.append(f"| **all** | {accuracies[0].num_questions} | {cells} |")
    return "\n".join(lines)


def _evaluation(facts: CardFacts, name: str, done: Evaluation) -> str:
    entry = facts.config.evaluate[name]
    data = _DATA[format_of(facts.config.data[entry.data])]
    text = [f"### {name}", "", f"{data}, data set `{entry.data}`: percent of"]
    text[-1] += f" {_SCORE[entry.task]}."
    if not done.accuracies:
        return "\n".join([*text, "", "It tells no answers, so there is no accuracy."])
    text += ["", _accuracy_table(done.accuracies)]
    if done.num_bad or done.num_refused:
        text += [
            "",
            f"{done.num_bad:,} pictures could not be read and were not asked; "
            f"{done.num_refused:,} questions that the model does not take count as wrong.",
        ]
    rows = facts.guesses.get(name, ())
    if rows:
        text += ["", "| without looking or reading | accuracy, % |", "|---|---|"]
        text += [f"| {label} | {100 * value:.1f} |" for label, value in rows]
    return "\n".join(text)


def _stage_table(config: TrainConfig) -> str:
    lines = [
        "| stage | steps | pictures of a step | learning rate | sampler | tasks (data, texts) |",
        "|---|---|---|---|---|---|",
    ]
    for s in config.stages:
        tasks = ", ".join(
            f"{name} ({t.data}, {_texts(t.options, t.texts)})" for name, t in s.tasks.items()
        )
        lines.append(
            f"| {s.name} | {s.steps:,} | {s.batch_size} | {s.learning_rate:g}, {s.schedule} | "
            f"{s.sampler.kind if len(s.tasks) > 1 else '-'} | {tasks}{_extra(s)} |"
        )
    return "\n".join(lines)


def _texts(options: Mapping[str, object], texts: int) -> str:
    counts = [f"{options[n]} {n}" for n in ("questions", "descriptions", "stones") if n in options]
    return " + ".join(counts) or str(texts)


def _extra(stage: StageSettings) -> str:
    said = [f"{part} frozen" for part in stage.freeze]
    said += [f"patch labels {stage.patch_weight:g}"] if stage.patch_weight else []
    said += [f"word order {stage.word_order_weight:g}"] if stage.word_order_weight else []
    if stage.budget_weights:
        said.append(f"budgets {', '.join(f'{weight:g}' for weight in stage.budget_weights)}")
    return "".join(f"; {one}" for one in said)


def _data_list(facts: CardFacts) -> str:
    lines = []
    for name, settings in facts.config.data.items():
        size = f", {facts.sizes[name]:,} pictures" if name in facts.sizes else ""
        lines.append(f"- `{name}`: {_DATA[format_of(settings)]}{size}.")
    if facts.left_out:
        lines += ["", "Could not be used and were left out, counted anew in each epoch:", ""]
        lines += [f"- {one}." for one in facts.left_out]
    return "\n".join(lines)


def model_card(facts: CardFacts) -> str:
    """Markdown with front matter."""
    config, model, fusion = facts.config, facts.model, facts.model.fusion
    scenes = all(isinstance(settings, ScenesData) for settings in config.data.values())
    what = WHAT if scenes else "answers questions about pictures."
    began = "\n".join(f"- {note}" for note in facts.notes)
    minutes = f"{facts.seconds / 60:.0f}" if facts.seconds >= 60 else "less than 2"
    parts = [_evaluation(facts, name, done) for name, done in facts.evaluations.items()]
    parts += [f"### {name}\n\nNot measured: it could not be asked." for name in facts.not_evaluated]
    measured = "\n\n".join(parts) or "Not measured: the config evaluates nothing."
    return f"""---
license: {"apache-2.0" if scenes else "other"}
language: en
library_name: tokenfuse
pipeline_tag: visual-question-answering
---

# {config.name}

A joint adaptive image-language model of {facts.num_parameters / 1e6:.2f} M parameters
({facts.dtype}) that {what}

- Picture: {model.vision.image_size} x {model.vision.image_size} after resizing,
  {model.vision.num_tokens} image tokens.
- Fusion: {fusion.kind}, N = {fusion.num_latents} latents (budgets
  {", ".join(map(str, fusion.token_budgets))}), M = {fusion.num_iterations} iterations,
  R = {fusion.num_layers} layers, D = {fusion.width}.
- Method: Piergiovanni & Angelova, "Joint Adaptive Representations for Image-Language Learning",
  arXiv 2305.19924.

## Accuracy

Of greedy answers at each token budget; in brackets the 95% interval over pictures.

{measured}

## Training

Config `{config.name}`, seed {config.seed}, {minutes} minutes on {facts.hardware}
(torch {facts.torch_version}). The weights are a moving average.
{began}

{_stage_table(config)}

Each step uses one token budget, drawn by the weights in the table or else alike.

{_data_list(facts)}
{DIGITS if scenes else ""}
## Limits

{LIMITS if scenes else _LIMITS}
A confidence is the model's own belief and was not calibrated.
"""
