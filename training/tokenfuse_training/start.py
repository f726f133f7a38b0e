"""What a run begins with: the model's shape, its weights, how it sees pictures and reads text."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import torch

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import BundleError, ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.errors import InitError
from tokenfuse_training.init.hf_text import open_text
from tokenfuse_training.init.overrides import preprocess_with
from tokenfuse_training.init.stacks import Stacks, open_bundle, open_stacks
from tokenfuse_training.init.tokenizers import check_tokenizer, num_ids, read_tokenizer
from tokenfuse_training.model import JointModel
from tokenfuse_training.model.fusion import FusionIteration

__all__ = ["Beginning", "begin"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What training starts from.

    Args:
        model_config: the model's shape.
        model: with its first weights, float32, on the CPU.
        preprocess: how pictures become arrays.
        tokenizer_json: the `tokenizer.json` of the bundle to come.
        source: a digest of all that weights and preprocessing were made from; a checkpoint goes
            on only where it and the tokenizer are the same.
        notes: what was taken from where, a sentence each, for people.
    """

    model_config: ModelConfig
    model: JointModel
    preprocess: PreprocessConfig
    tokenizer_json: bytes
    source: str
    notes: tuple[str, ...] = ()


def _make_model(stacks: Stacks, seed: int) -> JointModel:
    """Random weights by the seed alone, then those that are there.

    [D] The gates start at 1 from scratch and at 0 where two trained stacks are joined: the text
    then passes the fusion as if there were no picture, which comes in as the gates open.
    """
    # The process's own random state stays as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = JointModel(stacks.config)
    unknown = model.load_state_dict(stacks.weights, strict=False).unexpected_keys
    assert not unknown, unknown
    if stacks.joined:
        for module in model.modules():
            if isinstance(module, FusionIteration):
                torch.nn.init.zeros_(module.alpha)
                torch.nn.init.zeros_(module.beta)
    return model


def _digest(stacks: Stacks, preprocess: PreprocessConfig) -> str:
    facts = {
        "model": stacks.config.to_dict(),
        "preprocess": preprocess.to_dict(),
        "files": stacks.files,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _tokenizer(source: str, config: TrainConfig) -> bytes:
    try:
        return read_tokenizer(source)
    except (InitError, BundleError):
        # A folder that is no text side at all says so, and not that a tokenizer lacks.
        if config.init.text is not None and source == config.init.text:
            open_text(config.init.text)
        raise


def begin(config: TrainConfig) -> Beginning:
    """Make the model of a run.

    [D] From scratch the vocabulary is as large as the tokenizer needs, unless
    `model.text.vocab_size` says otherwise.

    Raises:
        ConfigError: a field of `model` or `preprocess` that is not there, or a bad value.
        InitError: what `init` or `tokenizer` names cannot be used.
        BundleError: the bundle cannot, or the tokenizer is not one for this model.
    """
    if config.init.bundle is not None:
        stacks, tokenizer_json = open_bundle(config)
        if config.tokenizer is not None:
            tokenizer_json = read_tokenizer(config.tokenizer)
    else:
        source = config.init.text if config.tokenizer is None else config.tokenizer
        if source is None:
            raise ConfigError(
                "tokenizer is not set: name `scenes`, a tokenizer.json, a spiece.model or a folder "
                "that holds one; init.text and init.bundle bring their own"
            )
        tokenizer_json = _tokenizer(source, config)
        stacks = open_stacks(config, num_ids(tokenizer_json))
    check_tokenizer(tokenizer_json, stacks.config.text.vocab_size)
    preprocess = preprocess_with(stacks.preprocess, config.preprocess)
    return Beginning(
        model_config=stacks.config,
        model=_make_model(stacks, config.seed),
        preprocess=preprocess,
        tokenizer_json=tokenizer_json,
        source=_digest(stacks, preprocess),
        notes=stacks.notes,
    )
