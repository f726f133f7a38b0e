"""Position embeddings for pictures of another size."""

from __future__ import annotations

from torch import Tensor, cat
from torch.nn import functional as F

__all__ = ["resize_positions"]


def resize_positions(position_SC: Tensor, *, num_first: int, grid_size: int) -> Tensor:
    """Positions of a square grid of another side, by bicubic interpolation.

    As `interpolate_pos_encoding=True` of Hugging Face: corners not aligned, no smoothing; rows of
    class tokens are kept.

    Args:
        position_SC: (num_first + g * g, C), of any square grid.
        num_first: rows that stand before the grid.
        grid_size: G, the side of the grid to be.

    Returns:
        (num_first + G * G, C).
    """
    first, grid = position_SC[:num_first], position_SC[num_first:]
    old_size = round(grid.shape[0] ** 0.5)
    if old_size == grid_size:
        return position_SC
    grid_1Cgg = grid.reshape(1, old_size, old_size, -1).permute(0, 3, 1, 2)
    grid_1CGG = F.interpolate(
        grid_1Cgg, size=(grid_size, grid_size), mode="bicubic", align_corners=False
    )
    return cat([first, grid_1CGG[0].permute(1, 2, 0).flatten(0, 1)])
