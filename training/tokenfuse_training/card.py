"""The model card of a trained bundle: what it is, how it was made, how good it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tokenfuse_training.accuracy import Accuracy
from tokenfuse_training.recipes.recipe import Recipe

__all__ = ["CardFacts", "model_card"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the card tells.

    Args:
        recipe: what was trained.
        seconds: time spent, in this run.
        first_step: where this run began; above 0, it went on from an earlier bundle.
        hardware: where.
        torch_version: with what.
        num_parameters: of the model.
        accuracies: per budget, on the test split.
        texts: of the other tasks (captions and the like), at the full budget.
        blind: name to accuracy of baselines that miss a modality.
    """

    recipe: Recipe
    seconds: float
    first_step: int
    hardware: str
    torch_version: str
    num_parameters: int
    accuracies: Sequence[Accuracy]
    texts: Accuracy
    blind: Sequence[tuple[str, float]] = ()


def _accuracy_table(accuracies: Sequence[Accuracy]) -> str:
    head = "| family | questions | " + " | ".join(f"N = {a.token_budget}" for a in accuracies)
    lines = [head + " |", "|---" * (2 + len(accuracies)) + "|"]
    for family, count in accuracies[0].counts.items():
        cells = " | ".join(f"{100 * a.by_family[family]:.1f}" for a in accuracies)
        lines.append(f"| {family.replace('_', ' ')} | {count} | {cells} |")
    cells = " | ".join(f"**{100 * a.overall:.1f}**" for a in accuracies)
    lines.append(f"| **all** | {accuracies[0].num_questions} | {cells} |")
    return "\n".join(lines)


def _stage_table(recipe: Recipe) -> str:
    lines = [
        "| stage | steps | pictures | questions each | long texts each | stones each |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.name} | {s.steps:,} | {s.images} | {s.questions} | {s.descriptions} | {s.stones} |"
        for s in recipe.stages
    ]
    return "\n".join(lines)


def _budget_text(recipe: Recipe) -> str:
    def said(weights: Sequence[float]) -> str:
        return ", ".join(map(str, weights))

    lines = [f"Each step uses one token budget, drawn with weights {said(recipe.budget_weights)}"]
    lines += [
        f"in `{stage.name}` with {said(stage.budget_weights)}"
        for stage in recipe.stages
        if stage.budget_weights is not None
    ]
    return ";\n".join(lines) + "."


def _earlier_run(recipe: Recipe, first_step: int) -> str:
    if not first_step:
        return ""
    stage = recipe.stage_at(first_step).name
    return f"""
The stages before `{stage}` ({first_step:,} steps) come from an earlier run, whose time is not in
these minutes: this one began with its weights and a fresh optimiser.
"""


def model_card(facts: CardFacts) -> str:
    """Markdown with front matter."""
    recipe, fusion = facts.recipe, facts.recipe.model.fusion
    earlier = _earlier_run(recipe, facts.first_step)
    blind = "\n".join(f"| {name} | {100 * value:.1f} |" for name, value in facts.blind)
    blind_section = (
        f"\n## Blind baselines\n\n| baseline | accuracy, % |\n|---|---|\n{blind}\n"
        if facts.blind
        else ""
    )
    return f"""---
license: apache-2.0
language: en
library_name: tokenfuse
pipeline_tag: visual-question-answering
---

# {recipe.name}

A joint adaptive image-language model of {facts.num_parameters / 1e6:.2f} M parameters (float16)
that answers questions about pictures of coloured shapes and handwritten digits. It is made for
these pictures and these words alone; on photographs its answers mean nothing.

- Picture: {recipe.model.vision.image_size} x {recipe.model.vision.image_size} after resizing,
  {recipe.model.vision.num_tokens} patches.
- Fusion: N = {fusion.num_latents} latents (budgets {", ".join(map(str, fusion.token_budgets))}),
  M = {fusion.num_iterations} iterations, R = {fusion.num_layers} layers, D = {fusion.width}.
- Method: Piergiovanni & Angelova, "Joint Adaptive Representations for Image-Language Learning",
  arXiv 2305.19924.

## Accuracy

Percent of greedy answers that are right in full, on test scenes: other scenes than in training,
with handwritten digits that no training scene shows.

{_accuracy_table(facts.accuracies)}

The other tasks, at the full budget: texts that are right in full.

{_accuracy_table([facts.texts])}
{blind_section}
## Training

Recipe `{recipe.name}`, seed {recipe.seed}, {recipe.num_scenes:,} scenes with
{recipe.num_questions} questions each, {facts.seconds / 60:.0f} minutes
on {facts.hardware} (torch {facts.torch_version}). The weights are a moving average.
{earlier}
{_stage_table(recipe)}

{_budget_text(recipe)}
The digits are those of scikit-learn's `load_digits` (UCI, 1,797 images), split by image.

## Limits

Five colours (red, green, blue, yellow, purple), four shapes (circle, square, triangle, star) and
single digits, one to five objects that do not touch, on a ground of one colour with little noise
or slope. Shapes are 12 to 22 of the picture's 64 pixels across and turned by at most 15 degrees: a
square on its corner or a triangle upside down is none to it. "Left of" and the like are about
centres that differ by an eighth of the picture or more.
A confidence is the model's own belief and was not calibrated.
"""
