"""What every variant of an experiment begins with: the same encoders and the same decoder."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from torch import Tensor

from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.data.source import Source
from tokenfuse_training.loop.ranks import join_ranks
from tokenfuse_training.loop.trainer import Trainer
from tokenfuse_training.start import Beginning, begin

__all__ = ["Trained", "common_beginning", "seen_encoder", "train"]

# What a variant may change; all other weights are the same for all.
_OWN = "fusion."
_ENCODER = "vision."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A run that is done.

    Args:
        weights: the moving average, by the model's names.
        seconds: of training, over all parts of a run that was stopped.
    """

    weights: dict[str, Tensor]
    seconds: float


def train(
    config: TrainConfig,
    beginning: Beginning,
    sources: Mapping[str, Source],
    directory: pathlib.Path,
    *,
    max_minutes: float,
    report: Callable[[Mapping[str, object]], None],
) -> Trained | None:
    """Train to the end, from the folder's newest checkpoint; None where the time was up first."""
    with join_ranks(config.run) as ranks:
        trainer = Trainer(config, beginning, sources, ranks=ranks, directory=directory)
        if not trainer.run(report, max_minutes):
            return None
        return Trained(weights=trainer.averaged_weights(), seconds=trainer.seconds)


def seen_encoder(
    config: TrainConfig,
    sources: Mapping[str, Source],
    work: pathlib.Path,
    *,
    max_minutes: float,
    report: Callable[[Mapping[str, object]], None],
) -> dict[str, Tensor] | None:
    """The image encoder that has learned patches: the first stage alone, the same for all seeds.

    Args:
        config: of the experiment, before any variant or seed is set.
        sources: its data sets.
        work: keeps the run.
        max_minutes: to stop at; None is returned then.
        report: gets the log.
    """
    first = dataclasses.replace(config, stages=config.stages[:1])
    folder = work / "encoder"
    done = train(first, begin(first), sources, folder, max_minutes=max_minutes, report=report)
    if done is None:
        return None
    return {name: value for name, value in done.weights.items() if name.startswith(_ENCODER)}


def common_beginning(
    config: TrainConfig, common: TrainConfig, encoder: Mapping[str, Tensor]
) -> Beginning:
    """What a variant begins with.

    Args:
        config: of the variant.
        common: of the experiment with the same seed: its weights are everybody's, where a
            variant has no part of its own.
        encoder: the image encoder.
    """
    beginning = begin(config)
    drawn = begin(common).model.state_dict()
    shared = {name: value for name, value in drawn.items() if not name.startswith(_OWN)}
    left = beginning.model.load_state_dict({**shared, **encoder}, strict=False)
    assert not left.unexpected_keys, left.unexpected_keys
    assert all(name.startswith(_OWN) for name in left.missing_keys), left.missing_keys
    return beginning
