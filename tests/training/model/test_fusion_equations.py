"""The fusion module against the paper's equations, written out in NumPy float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tokenfuse_sdk.config import FusionConfig
from tokenfuse_sdk.ops.reference import attention, gelu, layer_norm, linear
from tokenfuse_training.model.fusion import JointAdaptiveFusion

CONFIG = FusionConfig(
    width=24,
    num_heads=3,
    mlp_dim=40,
    num_latents=6,
    num_iterations=2,
    num_layers=4,
    token_budgets=(2, 6),
)


class Written:
    """The method as `docs/model.md` has it, on a state dict."""

    def __init__(self, fusion: JointAdaptiveFusion, config: FusionConfig) -> None:
        self.w = {name: value.numpy() for name, value in fusion.state_dict().items()}
        self.config = config

    def linear(self, name, x):
        return linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name, x):
        return layer_norm(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps=self.config.eps)

    def phi(self, name, x, source):
        heads = self.config.num_heads
        head = self.config.width // heads
        q, k, v = (
            self.linear(f"{name}.{part}", rows).reshape(len(rows), heads, head)
            for part, rows in (("query", x), ("key", source), ("value", source))
        )
        o = attention(q, k, v, scale=head**-0.5).reshape(len(x), -1)
        return self.linear(f"{name}.output", o)

    def mlp(self, name, x):
        return self.linear(f"{name}.down", gelu(self.linear(f"{name}.up", x)))

    def resample(self, name, v, n):
        if self.config.resampler == "latent":
            return self.phi(f"{name}.attention", self.w[f"{name}.latents"][:n], v)
        s = self.linear(
            f"{name}.down", gelu(self.linear(f"{name}.up", self.norm(f"{name}.norm", v)))
        )
        s = np.exp(s[:, :n] - s[:, :n].max(axis=0))
        return (s / s.sum(axis=0)).T @ v

    def fuse(self, f, text, n):
        original = t = self.resample("text_resampler", text, n)
        for i in range(self.config.num_iterations):
            own = f"iterations.{i}"
            t_norm = self.norm(f"{own}.norm_text", t)
            merged = self.phi(f"{own}.attention", t_norm, self.norm(f"{own}.norm_image", f))
            p = t_norm + np.tanh(self.w[f"{own}.alpha"]) * merged
            fused = p + np.tanh(self.w[f"{own}.beta"]) * self.mlp(f"{own}.mlp", p)
            if self.config.combination == "weighted":
                t = self.w[f"{own}.lambda_"] * fused + self.w[f"{own}.mu"] * original
            elif self.config.combination == "residual":
                t = fused + original
            else:
                t = fused
            for j in range(self.config.num_layers // self.config.num_iterations):
                layer = f"{own}.layers.{j}"
                y = self.norm(f"{layer}.norm1", t)
                t = t + self.phi(f"{layer}.attention", y, y)
                t = t + self.mlp(f"{layer}.mlp", self.norm(f"{layer}.norm2", t))
        return self.norm("norm", t)


@pytest.mark.parametrize("combination", ["weighted", "residual", "none"])
@pytest.mark.parametrize("resampler", ["latent", "spatial"])
def test_the_module_computes_the_equations(combination, resampler):
    config = dataclasses.replace(CONFIG, combination=combination, resampler=resampler)
    torch.manual_seed(1)
    fusion = JointAdaptiveFusion(config).double().eval()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
        written = Written(fusion, config)
        image, text = torch.randn(1, 9, 24).double(), torch.randn(1, 5, 24).double()
        mask = torch.ones(1, 5, dtype=torch.bool)
        for budget in config.token_budgets:
            f = fusion.encode_image(image, budget)
            want_f = written.resample("image_resampler", image[0].numpy(), budget)
            np.testing.assert_allclose(f[0].numpy(), want_f, atol=1e-12)
            got, _ = fusion(f, text, mask, budget)
            want = written.fuse(want_f, text[0].numpy(), budget)
            np.testing.assert_allclose(got[0].numpy(), want, atol=1e-10)


def test_masked_text_has_no_part():
    torch.manual_seed(2)
    fusion = JointAdaptiveFusion(CONFIG).double().eval()
    with torch.no_grad():
        f = fusion.encode_image(torch.randn(1, 9, 24).double(), 6)
        text = torch.randn(1, 8, 24).double()
        mask = torch.arange(8)[None] < 5
        got, _ = fusion(f, text, mask, 6)
        want, _ = fusion(f, text[:, :5], mask[:, :5], 6)
        torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


def test_gates_begin_open():
    """[D] A zero gate is dead from scratch."""
    fusion = JointAdaptiveFusion(CONFIG)
    for iteration in fusion.iterations:
        assert iteration.alpha.item() == iteration.beta.item() == 1.0
        assert iteration.lambda_.item() == iteration.mu.item() == 1.0
