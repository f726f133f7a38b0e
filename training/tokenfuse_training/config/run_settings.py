"""How a run goes on this machine: nothing of what is learned."""

from __future__ import annotations

import dataclasses

from tokenfuse_training.config.settings_checks import need, need_counts, need_within

__all__ = ["RunSettings"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How the run goes here; none of it changes what is learned, up to rounding.

    Args:
        device: a torch device, or `auto`.
        precision: `fp32`, or `bf16` for matrix products in bfloat16 (weights and sums stay
            float32); `auto` is bf16 on a GPU alone.
        strategy: `auto` (ddp where there are several ranks), `ddp` or `fsdp`.
        num_workers: processes that prepare data; 0 is this one.
        compile: compile the layers.
        activation_checkpointing: compute activations twice, keep none of a layer's.
        checkpoint_minutes, checkpoint_steps: time and steps between checkpoints; 0 steps for
            time alone.
        keep_checkpoints: the last k are kept.
        log_steps: steps between two lines of the log.
        tensorboard: write event files as well.
        peak_tflops: of this device, for the share that is used; 0 for what is known or measured.
        record_questions: of the bundle's record of precisions, which are asked by the CPU engine
            in each of them; 0 for no record.
    """

    device: str = "auto"
    precision: str = "auto"
    strategy: str = "auto"
    num_workers: int = 0
    compile: bool = False
    activation_checkpointing: bool = False
    checkpoint_minutes: float = 3.0
    checkpoint_steps: int = 0
    keep_checkpoints: int = 2
    log_steps: int = 50
    tensorboard: bool = True
    peak_tflops: float = 0.0
    record_questions: int = 2_000

    def __post_init__(self) -> None:
        own = "run"
        for name, allowed in (
            ("precision", ("auto", "fp32", "bf16")),
            ("strategy", ("auto", "ddp", "fsdp")),
        ):
            value = getattr(self, name)
            need(value in allowed, own, name, value, ", ".join(allowed))
        need_counts(self, own, "num_workers", "checkpoint_steps", "record_questions", low=0)
        need_counts(self, own, "keep_checkpoints", "log_steps")
        need_within(self, own, "checkpoint_minutes", 0.0, 1e6)
        need_within(self, own, "peak_tflops", 0.0, 1e6)
