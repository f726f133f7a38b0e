"""What a run begins with: the model's shape, its weights, how it sees pictures and reads text."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import torch

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.init.overrides import preprocess_with, with_settings
from tokenfuse_training.init.tokenizers import check_tokenizer, num_ids, read_tokenizer
from tokenfuse_training.model import JointModel
from tokenfuse_training.train_config import TrainConfig

__all__ = ["Beginning", "begin"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What training starts from.

    Args:
        model_config: the model's shape.
        model: with its first weights, float32, on the CPU.
        preprocess: how pictures become arrays.
        tokenizer_json: the `tokenizer.json` of the bundle to come.
        source: a digest of all that the weights, the tokenizer and the preprocessing were made
            from; a checkpoint goes on only where it is the same.
        notes: what was taken from where, a sentence each, for people.
    """

    model_config: ModelConfig
    model: JointModel
    preprocess: PreprocessConfig
    tokenizer_json: bytes
    source: str
    notes: tuple[str, ...] = ()


def _seeded_model(config: ModelConfig, seed: int) -> JointModel:
    """Random weights by the seed alone; the process's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return JointModel(config)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:32]


def begin(config: TrainConfig) -> Beginning:
    """Make the model of a run.

    [D] The vocabulary is as large as the tokenizer needs, unless `model.text.vocab_size` says
    otherwise.

    Raises:
        ConfigError: a field of `model` or `preprocess` that is not there, or a bad value.
        InitError: what `init` names cannot be used.
        BundleError: the tokenizer or the bundle cannot.
    """
    if config.tokenizer is None:
        raise ConfigError(
            "tokenizer is not set: name `scenes`, a tokenizer.json, a spiece.model or a folder "
            "that holds one; init.text and init.bundle bring their own"
        )
    tokenizer_json = read_tokenizer(config.tokenizer)
    base = named_config(config.model.size)
    text = dataclasses.replace(base.text, vocab_size=num_ids(tokenizer_json))
    model_config = with_settings(dataclasses.replace(base, text=text), config.name, config.model)
    check_tokenizer(tokenizer_json, model_config.text.vocab_size)
    preprocess = preprocess_with(
        PreprocessConfig(image_size=model_config.vision.image_size), config.preprocess
    )
    facts = {"model": model_config.to_dict(), "preprocess": preprocess.to_dict()}
    return Beginning(
        model_config=model_config,
        model=_seeded_model(model_config, config.seed),
        preprocess=preprocess,
        tokenizer_json=tokenizer_json,
        source=_digest(json.dumps(facts, sort_keys=True).encode(), tokenizer_json),
    )
