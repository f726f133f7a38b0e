"""The parts of a model that are trained already: from folders of Hugging Face, or a bundle.

Each says what shape the model has to have, and then gives the weights that it has of it.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.bundle.files import read_file
from tokenfuse_sdk.bundle.manifest import FILE_CAPS
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.init.hf_pictures import preprocess_of
from tokenfuse_training.init.hf_text import open_text
from tokenfuse_training.init.hf_vision import open_vision
from tokenfuse_training.init.overrides import with_settings
from tokenfuse_training.init.positions import resize_positions

__all__ = ["Stacks", "open_bundle", "open_stacks"]

# What may differ from a checkpoint: positions are resized, lengths are no weights.
_FREE = {
    "vision": {"image_size"},
    "text": {"max_tokens"},
    "decoder": {"max_tokens"},
    "fusion": {"token_budgets"},
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """What a run begins with.

    Args:
        config: of the whole model.
        preprocess: of the checkpoint, or the default.
        weights: those that are there, by the model's names.
        files: what identifies them.
        notes: what was taken from where.
        joined: image and text side come from different checkpoints.
    """

    config: ModelConfig
    preprocess: PreprocessConfig
    weights: dict[str, Tensor]
    files: tuple[str, ...]
    notes: tuple[str, ...]
    joined: bool


def _check_taken(section: str, taken: object, wanted: object, source: str) -> None:
    """Raise ConfigError where a setting differs from what the weights were made with."""
    for field in dataclasses.fields(taken):  # type: ignore[arg-type]
        ours, theirs = getattr(wanted, field.name), getattr(taken, field.name)
        if ours != theirs and field.name not in _FREE[section]:
            raise ConfigError(
                f"model.{section}.{field.name}={ours!r}, but {source} has {theirs!r}; leave it "
                f"out. With these weights you may set {', '.join(sorted(_FREE[section]))}"
            )


def _same_stack(taken: object, wanted: object) -> bool:
    fields = dataclasses.asdict(wanted)  # type: ignore[call-overload]
    theirs = dataclasses.asdict(taken)  # type: ignore[call-overload]
    return all(fields[name] == theirs[name] for name in fields if name != "max_tokens")


def open_stacks(config: TrainConfig, vocab_size: int) -> Stacks:
    """The model of `init.vision` and `init.text`, or of neither.

    Args:
        config: the run's.
        vocab_size: of the tokenizer, where no text side is given.

    Raises:
        ConfigError: settings that do not fit the checkpoint, or are no settings.
        InitError: a folder that cannot be used.
    """
    settings, base = config.model, named_config(config.model.size)
    weights: dict[str, Tensor] = {}
    files: list[str] = []
    notes: list[str] = []
    vision = text = None
    if config.init.vision is not None:
        vision = open_vision(config.init.vision)
        base = dataclasses.replace(base, vision=vision.config(settings.vision.get("image_size")))
    if config.init.text is not None:
        text = open_text(config.init.text)
        base = dataclasses.replace(base, text=text.config(base.text.max_tokens))
        if text.has_decoder:
            decoder = text.decoder_config(base.decoder.max_tokens)
            base = dataclasses.replace(base, decoder=decoder)
    else:
        base = dataclasses.replace(base, text=dataclasses.replace(base.text, vocab_size=vocab_size))
    model = with_settings(base, config.name, settings)
    preprocess = PreprocessConfig(image_size=model.vision.image_size)
    if vision is not None:
        source = vision.folder.where
        _check_taken("vision", base.vision, model.vision, source)
        weights |= vision.weights(model.vision.image_size)
        files += vision.folder.sha256
        preprocess, found = preprocess_of(vision.folder, model.vision.image_size)
        notes += [f"image encoder: the {vision.family} {vision.folder.name}", *found]
    if text is not None:
        source = text.folder.where
        _check_taken("text", base.text, model.text, source)
        fits = text.has_decoder and _same_stack(base.decoder, model.decoder)
        weights |= text.weights(with_decoder=fits)
        files += text.folder.sha256
        name = text.folder.name
        notes.append(f"text encoder and embedding: the T5 {name}")
        reason = "has another shape" if text.has_decoder else "has none"
        notes.append(f"decoder: of {name}" if fits else f"decoder: random, as {name} {reason}")
    return Stacks(
        config=model,
        preprocess=preprocess,
        weights=weights,
        files=tuple(files),
        notes=tuple(notes),
        joined=vision is not None and text is not None,
    )


def open_bundle(config: TrainConfig) -> tuple[Stacks, bytes]:
    """The model of `init.bundle`, and its tokenizer.

    The bundle says the shape: `model.size` is not read.

    Raises:
        ConfigError: settings that do not fit the bundle, or are no settings.
        BundleError: the bundle cannot be read.
    """
    bundle = read_bundle(find_bundle(config.init.bundle or ""))
    source = f"init.bundle={config.init.bundle!r}"
    model = with_settings(bundle.config, config.name, config.model)
    for section in _FREE:
        _check_taken(section, getattr(bundle.config, section), getattr(model, section), source)
    weights = {
        name: torch.from_numpy(array.astype("float32")) for name, array in bundle.weights.items()
    }
    weights["vision.position"] = resize_positions(
        weights["vision.position"],
        num_first=model.vision.num_class_tokens,
        grid_size=model.vision.grid_size,
    )
    stacks = Stacks(
        config=model,
        preprocess=dataclasses.replace(bundle.preprocess, image_size=model.vision.image_size),
        weights=weights,
        files=(bundle.digest,),
        notes=(f"all weights: {bundle.config.name}",),
        joined=False,
    )
    name = "tokenizer.json"
    return stacks, read_file(bundle.path / name, FILE_CAPS[name], bundle.manifest.files[name])
