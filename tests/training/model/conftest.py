"""Parity of two modules that hold the same weights."""

from __future__ import annotations

import pytest
import torch


def _relative(y, truth):
    return ((y.double() - truth).abs().max() / truth.abs().max()).item()


def _check_parity(ours, theirs, *, run_ours, run_theirs):
    """Equal maths in float64; in float32, no further from it than the other side.

    1e-12: sums of under 1,000 terms and under 10 layers, each good to 2.2e-16, with room
    for what softmax and norms amplify. In float32 both round differently, so the bound is
    twice the other's own error, and 16 eps where that happens to be next to nothing.
    """
    with torch.no_grad():
        ours, theirs = ours.double().eval(), theirs.double().eval()
        truth = run_theirs(theirs)
        assert truth.dtype == torch.float64
        assert truth.abs().max() > 0.1
        assert _relative(run_ours(ours), truth) < 1e-12
        ours, theirs = ours.float(), theirs.float()
        y = run_ours(ours)
        assert y.dtype == torch.float32
        bound = 2 * _relative(run_theirs(theirs), truth) + 16 * torch.finfo(torch.float32).eps
        assert _relative(y, truth) < bound
        assert bound < 1e-4


@pytest.fixture
def check_parity():
    return _check_parity


@pytest.fixture
def randomise():
    """Seeded random weights of every tensor; fresh modules have zeros and ones that hide bugs."""

    def fill(module, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            start = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.data = start + noise * fan_in**-0.5
        return module

    return fill
