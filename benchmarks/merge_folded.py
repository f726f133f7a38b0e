"""A resampler's projections folded into constants: what the engine makes at load, in PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from tokenfuse_training.model.layers import CrossAttention

__all__ = ["folded"]


def folded(phi: CrossAttention, latents: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Queries (N H, D), and the matrix (D, H D) with its bias that is applied afterwards.

    Rows of queries are (latent, head); in the module's dtype.
    """
    heads, width = phi.num_heads, latents.shape[1]
    head = width // heads
    with torch.no_grad():
        q = phi.query(latents).unflatten(-1, (heads, head)) * head**-0.5
        queries = torch.einsum("nhd,hdc->nhc", q, phi.key.weight.unflatten(0, (heads, head)))
        wv = phi.value.weight.unflatten(0, (heads, head))
        wo = phi.output.weight.unflatten(1, (heads, head))
        matrix = torch.einsum("ohd,hdc->ohc", wo, wv).reshape(width, -1)
        bias = phi.output(phi.value.bias)
    return queries.reshape(-1, width).numpy(), matrix.contiguous().numpy(), bias.numpy()
