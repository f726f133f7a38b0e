"""Accuracy of a trained run on the questions of the held-out split, by greedy answers."""

from __future__ import annotations

import json
from typing import Any

from run_list import Run

from tokenfuse_sdk.flops import count_flops
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.evaluation.answerers import TorchAnswerer
from tokenfuse_training.evaluation.asked_set import config_set
from tokenfuse_training.evaluation.evaluate import evaluate_set
from tokenfuse_training.loop.log import LOG_NAME

__all__ = ["measure_questions"]

# Of a question of scenes, prefix and end included.
_TEXT_TOKENS = 10


def measure_questions(run: Run) -> dict[str, Any]:
    """Accuracy with its interval and by family, FLOPs, and the course of the loss."""
    beginning = run.beginning
    shape = beginning.model_config
    beginning.model.load_state_dict(run.trained.weights)
    coder = TextCoder.of_model(beginning.tokenizer_json, shape)
    done = evaluate_set(
        TorchAnswerer(beginning.model, coder, beginning.preprocess),
        config_set(run.config, "test", source=run.sources["test"]),
        vision=shape.vision,
        token_budgets=(shape.fusion.num_latents,),
    )
    (accuracy,) = done.accuracies
    cost = count_flops(shape, num_text_tokens=_TEXT_TOKENS)
    lines = [json.loads(line) for line in (run.directory / LOG_NAME).read_text().splitlines()]
    return {
        "accuracy": accuracy.overall,
        "low": accuracy.low,
        "high": accuracy.high,
        "by_family": accuracy.by_family,
        "num_questions": accuracy.num_questions,
        "gflops": cost.total_flops / 1e9,
        "gmacs": cost.total_macs / 1e9,
        "fusion_gflops": cost.fusion_flops / 1e9,
        "losses": [[line["step"], line["loss"]] for line in lines],
    }
