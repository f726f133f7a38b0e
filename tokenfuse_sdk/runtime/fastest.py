"""How fast each precision is on this machine: measured on one layer of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.native import load_native
from tokenfuse_sdk.runtime import native_cpu

__all__ = ["MAX_SHARE", "fastest", "linear_times"]

# A less exact precision must save this much, or the choice would hang on noise. Measured on a Zen 5
# whose cores were busy, in some 600 probes: what is faster (int8 with AVX-512, bf16 with its own
# instruction) takes 0.27 to 0.62 of fp32's time, what is not 0.85 to 1.2, but for 1 in 100.
MAX_SHARE = 0.8
# Of the turns; those of the largest models take longer, as each precision has four.
_BUDGET_SECONDS = 2e-3
# A larger picture has more tokens, and its rows only repeat these.
_MAX_ROWS = 64


def linear_times(config: ModelConfig, precisions: Sequence[str]) -> dict[str, float]:
    """Seconds that a linear of the model takes on this CPU, by precision.

    It is the first layer of the vision MLP, the largest linear of a picture, on one thread: what
    the others compute is the same, and threads that have just begun take their time to part. The
    precisions take turns, and the least time of each counts, since whatever disturbs a turn makes
    it longer.

    Args:
        config: the model.
        precisions: to compare.

    Raises:
        DeviceError: the compiled module does not load, or the system has not the memory.
        ConfigError: TOKENFUSE_FORCE_ISA has a value that this machine does not allow.
    """
    vision = config.vision
    isa = native_cpu.chosen_isa()
    with native_cpu.lack_told(config, num_threads=1):
        times = load_native().linear_times(
            list(precisions),
            rows=min(vision.num_tokens, _MAX_ROWS),
            num_in=vision.width,
            num_out=vision.mlp_dim,
            isa=isa,
            budget_seconds=_BUDGET_SECONDS,
        )
    return dict(zip(precisions, times, strict=True))


def fastest(times: Mapping[str, float]) -> str:
    """The precision to take: a later, less exact one only where it is clearly faster.

    Args:
        times: seconds by precision, from the most exact one on.
    """
    names = iter(times)
    best = next(names)
    for name in names:
        if times[name] <= MAX_SHARE * times[best]:
            best = name
    return best
