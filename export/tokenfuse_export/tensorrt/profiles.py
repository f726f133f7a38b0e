"""Optimisation profiles: one for each batch and budget, and for what the decoder is called for.

Shapes are those of `tokenfuse_sdk.graphs`: B pictures or questions, N image tokens, L text ids,
P answer ids that are known, A that are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenfuse_export.errors import EngineBuildError
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.engine_file import PROFILE_KINDS, EngineProfile
from tokenfuse_sdk.graphs import fused_cache, known_cache, text_lengths

__all__ = ["add_profiles", "free_sizes", "profiles_of"]

# Least, most common and most of an axis.
Range = tuple[int, int, int]
# An answer is a few words: what TensorRT tunes for.
_COMMON_ANSWER = 8


def profiles_of(
    config: ModelConfig, graph: str, *, batches: Sequence[int], budgets: Sequence[int]
) -> tuple[EngineProfile, ...]:
    """The profiles of one graph's engine."""
    # The encoder gives all tokens whatever the budget, which is a prefix of them.
    if graph == "image_encoder":
        budgets = (config.fusion.num_latents,)
    calls = [(b, n, kind) for b in batches for n in budgets for kind in PROFILE_KINDS[graph]]
    return tuple(
        EngineProfile(graph=graph, index=index, kind=kind, batch=batch, budget=budget)
        for index, (batch, budget, kind) in enumerate(calls)
    )


def free_sizes(config: ModelConfig, profile: EngineProfile) -> dict[str, dict[int, Range]]:
    """Input to free axis to its sizes in a profile."""
    batch, budget = ((size,) * 3 for size in (profile.batch, profile.budget))
    most = config.decoder.max_tokens
    if profile.graph == "image_encoder":
        return {"image_BHW3": {0: batch}}
    if profile.graph == "text_fusion":
        lengths = text_lengths(config)
        # Most questions are short.
        length = (lengths[0], lengths[0], lengths[-1])
        return {"f_BND": {0: batch, 1: budget}, "text_BL": {0: batch, 1: length}}
    common = min(_COMMON_ANSWER, most - 1)
    if profile.kind == "step":
        new, past = (1, 1, 1), (0, common, most - 1)
    else:
        new, past = (1, max(common, 1), most), (0, 0, 0)
    return (
        {"answer_BA": {0: batch, 1: new}}
        | {name: {0: batch, 2: past} for name in known_cache(config)}
        | {name: {0: batch, 2: budget} for name in fused_cache(config)}
    )


def add_profiles(
    builder: Any,
    network: Any,
    builder_config: Any,
    config: ModelConfig,
    profiles: Sequence[EngineProfile],
) -> None:
    """Add the profiles of one graph, in order, so that TensorRT numbers them as we do.

    Raises:
        EngineBuildError: the network has other inputs or free axes than the model's graphs.
    """
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    for profile in profiles:
        sizes = free_sizes(config, profile)
        if sorted(sizes) != sorted(tensor.name for tensor in inputs):
            raise EngineBuildError(
                f"{profile.graph}.onnx has the inputs "
                f"{', '.join(tensor.name for tensor in inputs)}; need {', '.join(sizes)}: export "
                "the bundle anew"
            )
        made = builder.create_optimization_profile()
        for tensor in inputs:
            shape, free = tuple(tensor.shape), sizes[tensor.name]
            if {axis for axis, size in enumerate(shape) if size == -1} != set(free):
                raise EngineBuildError(
                    f"{profile.graph}.onnx: {tensor.name} has the shape {shape}; need the free "
                    f"axes {sorted(free)}: export the bundle anew"
                )
            shapes = [
                tuple(free[axis][i] if axis in free else size for axis, size in enumerate(shape))
                for i in range(3)
            ]
            made.set_shape(tensor.name, *shapes)
        index = builder_config.add_optimization_profile(made)
        assert index == profile.index, (index, profile)
