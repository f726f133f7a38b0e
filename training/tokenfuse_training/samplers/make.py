"""From a sampler's settings to the sampler."""

from __future__ import annotations

from collections.abc import Sequence

from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.samplers.difficulty import Difficulty
from tokenfuse_training.samplers.learning_progress import LearningProgress
from tokenfuse_training.samplers.odm import Odm
from tokenfuse_training.samplers.proportional import Proportional
from tokenfuse_training.samplers.sampler import Sampler
from tokenfuse_training.samplers.stratified import Stratified

__all__ = ["make_sampler"]


def make_sampler(
    settings: SamplerSettings, *, sizes: Sequence[int], reference_losses: Sequence[float]
) -> Sampler:
    """The sampler that settings name.

    Args:
        settings: kind and numbers.
        sizes: pictures of each task's data set; 0 for a stream.
        reference_losses: of each task; 0 where none is given.

    Raises:
        ConfigError: a size that `proportional` needs is not known.
    """
    num_tasks = len(sizes)
    assert num_tasks == len(reference_losses) > 0, f"{num_tasks}, {len(reference_losses)}"
    if settings.kind == "proportional":
        return Proportional(sizes, power=settings.power)
    if settings.kind == "difficulty":
        return Difficulty(settings, reference_losses)
    if settings.kind == "odm":
        return Odm(settings, num_tasks)
    if settings.kind == "learning_progress":
        return LearningProgress(settings, num_tasks)
    return Stratified(num_tasks)
