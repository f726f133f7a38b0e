"""What is measured: shapes of merge_attention, models, batches; all, the quick part, or a try."""

from __future__ import annotations

from gpu_work import MergeShape

__all__ = ["BATCHES", "MODELS", "PRECISIONS", "merge_shapes"]

PRECISIONS = ("fp16", "bf16")
MODELS = ("scenes-nano", "tiny", "small", "base")
BATCHES = (1, 8, 64)

# N, S, D, H of the sizes' image resamplers.
_NANO, _TINY, _SMALL, _BASE = (
    (16, 64, 128, 4),
    (32, 196, 192, 3),
    (32, 196, 384, 6),
    (64, 196, 768, 12),
)
# Beyond the sizes: few and many latents, long inputs, wide tokens.
_LATENTS = ((8, 196, 384, 6), (128, 196, 384, 6))
_TOKENS = ((32, 784, 384, 6), (32, 4096, 384, 6), (64, 4096, 192, 3))
_WIDE = ((64, 196, 1024, 16), (64, 4096, 1024, 16))


def _shape(batch: int, extents: tuple[int, int, int, int]) -> MergeShape:
    num_latents, num_tokens, width, num_heads = extents
    return MergeShape(
        batch=batch,
        num_latents=num_latents,
        num_tokens=num_tokens,
        width=width,
        num_heads=num_heads,
    )


def merge_shapes(pace: str) -> list[MergeShape]:
    """Of "full", "quick" or "dry", which is for the emulator."""
    if pace == "dry":
        return [_shape(2, (8, 20, 32, 2))]
    if pace == "quick":
        return [_shape(batch, extents) for extents in (_TINY, _SMALL) for batch in (1, 64)]
    assert pace == "full", pace
    sizes = [(b, e) for e in (_NANO, _TINY, _SMALL, _BASE) for b in (1, 8, 64, 256)]
    beyond = [(b, e) for e in (*_LATENTS, *_TOKENS) for b in (1, 64)]
    wide = [(b, e) for e in _WIDE for b in (1, 8)]
    return [_shape(batch, extents) for batch, extents in sizes + beyond + wide]
