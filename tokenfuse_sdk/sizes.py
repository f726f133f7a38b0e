"""The named sizes: nano (shipped, trained), tiny, small and base (the paper's)."""

from __future__ import annotations

from tokenfuse_sdk.config import (
    DecoderConfig,
    FusionConfig,
    ModelConfig,
    TextConfig,
    VisionConfig,
)
from tokenfuse_sdk.errors import ConfigError

__all__ = ["SIZES", "named_config"]


def _vit(
    image_size: int, patch_size: int, width: int, num_layers: int, num_heads: int
) -> VisionConfig:
    return VisionConfig(
        image_size=image_size,
        patch_size=patch_size,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_dim=4 * width,
    )


def _sized(
    name: str,
    vision: VisionConfig,
    *,
    vocab_size: int,
    text_layers: int,
    num_latents: int,
    num_iterations: int,
    num_layers: int,
    budgets: tuple[int, ...],
    decoder_layers: int,
) -> ModelConfig:
    width, heads = vision.width, vision.num_heads
    head_dim = width // heads
    # T5 v1.1 keeps mlp_dim / width at 2.5 to 2.8; 8/3 rounded to 64.
    gated_dim = max(64, round(width * 8 / 3 / 64) * 64)
    return ModelConfig(
        name=name,
        vision=vision,
        text=TextConfig(
            vocab_size=vocab_size,
            width=width,
            num_layers=text_layers,
            num_heads=heads,
            head_dim=head_dim,
            mlp_dim=gated_dim,
        ),
        fusion=FusionConfig(
            width=width,
            num_heads=heads,
            mlp_dim=4 * width,
            num_latents=num_latents,
            num_iterations=num_iterations,
            num_layers=num_layers,
            token_budgets=budgets,
        ),
        decoder=DecoderConfig(
            num_layers=decoder_layers,
            num_heads=heads,
            head_dim=head_dim,
            mlp_dim=gated_dim,
        ),
    )


def _nano() -> ModelConfig:
    vision = VisionConfig(
        image_size=64,
        patch_size=8,
        width=128,
        num_layers=4,
        num_heads=4,
        mlp_dim=512,
        stem_widths=(32, 64),
    )
    return _sized(
        "nano",
        vision,
        vocab_size=128,
        text_layers=2,
        num_latents=16,
        num_iterations=2,
        num_layers=4,
        budgets=(4, 8, 16),
        decoder_layers=2,
    )


def _tiny() -> ModelConfig:
    return _sized(
        "tiny",
        _vit(224, 16, 192, 12, 3),
        vocab_size=32128,
        text_layers=4,
        num_latents=32,
        num_iterations=4,
        num_layers=8,
        budgets=(4, 8, 16, 32),
        decoder_layers=2,
    )


def _small() -> ModelConfig:
    return _sized(
        "small",
        _vit(224, 16, 384, 12, 6),
        vocab_size=32128,
        text_layers=6,
        num_latents=32,
        num_iterations=4,
        num_layers=8,
        budgets=(4, 8, 16, 32),
        decoder_layers=4,
    )


def _base() -> ModelConfig:
    # [P] N = 64, M = 4, R = 32, D = 768; [D] everything else.
    return _sized(
        "base",
        _vit(224, 16, 768, 12, 12),
        vocab_size=32128,
        text_layers=12,
        num_latents=64,
        num_iterations=4,
        num_layers=32,
        budgets=(4, 8, 16, 32, 64),
        decoder_layers=12,
    )


_BUILDERS = {"nano": _nano, "tiny": _tiny, "small": _small, "base": _base}
SIZES = tuple(_BUILDERS)


def named_config(name: str) -> ModelConfig:
    """The config of a named size: nano, tiny, small or base.

    Raises:
        ConfigError: the name is none of these.
    """
    if name not in SIZES:
        raise ConfigError(f"size={name!r}: choose one of {', '.join(SIZES)}")
    return _BUILDERS[name]()
