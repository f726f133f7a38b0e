from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import merge_attention, reference
from tokenfuse_training.model.layers import CrossAttention

EPS = np.finfo(np.float32).eps


def score_error(q, x) -> float:
    return (q.shape[1] + 2) * EPS * (np.abs(q) @ np.abs(x).T).max(initial=0.0)


def check_all(check, bounds, got, want, q, x) -> None:
    out, lse, weights = got
    error = score_error(q, x)
    check(out, want[0], bounds.softmax_sum(error, x.shape[0], np.abs(x).max(initial=0.0)))
    seen = np.isfinite(want[1])
    np.testing.assert_array_equal(lse[~seen], want[1][~seen])
    # A sum of exponentials and its logarithm: what the scores are off by, and rounding.
    tolerance = error + (x.shape[0] + 8) * EPS + 4 * EPS * np.abs(want[1][seen]).max(initial=0.0)
    np.testing.assert_allclose(lse[seen], want[1][seen], rtol=0, atol=tolerance)
    if weights is not None:
        np.testing.assert_allclose(weights, want[2], rtol=0, atol=2 * tolerance)


@pytest.mark.parametrize("width", [1, 7, 8, 16, 17, 48, 128])
def test_agrees_with_the_reference_at_every_size(isa, floats, check, bounds, width):
    for rows in (0, 1, 3, 4, 5, 17):
        for tokens in (0, 1, 31, 32, 33, 64, 97):
            q, x = floats(rows, width, scale=width**-0.5), floats(tokens, width)
            got = merge_attention(q, x, return_weights=True, isa=isa)
            check_all(check, bounds, got, reference.merge_attention(q, x), q, x)


def test_masks(isa, floats, check, bounds):
    q, x = floats(9, 24, scale=0.2), floats(70, 24)
    for masked in (slice(0, 40), slice(30, 70), slice(0, 70), slice(5, 70, 3)):
        mask = np.zeros(70, np.float32)
        mask[masked] = -np.inf
        got = merge_attention(q, x, mask=mask, return_weights=True, isa=isa)
        check_all(check, bounds, got, reference.merge_attention(q, x, mask=mask), q, x)
        assert not got[2][:, masked].any()
        if masked == slice(0, 70):
            assert not got[0].any()
            assert np.isneginf(got[1]).all()


def test_a_maximum_that_grows_block_by_block(isa, floats, check, bounds):
    """The streamed softmax rescales at every block, in both directions of growth."""
    x = floats(160, 16)
    for order in (1, -1):
        x[:, 0] = np.linspace(-60, 60, 160)[::order]
        q = np.zeros((5, 16), np.float32)
        q[:, 0] = [0.1, 0.5, 1.0, -1.0, 1.3]
        got = merge_attention(q, x, return_weights=True, isa=isa)
        check_all(check, bounds, got, reference.merge_attention(q, x), q, x)


def test_ties_and_extreme_scores(isa, floats):
    x = np.repeat(floats(1, 16), 65, axis=0)
    q = floats(3, 16, scale=1e6)
    out, _, weights = merge_attention(q, x, return_weights=True, isa=isa)
    np.testing.assert_allclose(out, x[:3], rtol=1e-5)
    # exp of a rounded difference of scores near 1e7.
    assert weights.shape == (3, 65)
    one_hot = np.zeros((40, 16), np.float32)
    one_hot[37, 2] = 1.0
    q = np.zeros((1, 16), np.float32)
    q[0, 2] = 1e30
    np.testing.assert_array_equal(merge_attention(q, one_hot, isa=isa)[0][0], one_hot[37])


def test_nan_stays_in_its_row(isa, floats):
    q, x = floats(6, 16), floats(40, 16)
    q[4, 2] = np.nan
    out, _, _ = merge_attention(q, x, isa=isa)
    assert np.isnan(out[4]).all()
    assert np.isfinite(np.delete(out, 4, axis=0)).all()


def test_strided_tokens(isa, floats):
    wide, q = floats(80, 50), floats(6, 33)
    got = merge_attention(q, wide[::2, 9:42], isa=isa)
    want = merge_attention(q, wide[::2, 9:42].copy(), isa=isa)
    np.testing.assert_array_equal(got[0], want[0])


def test_the_folded_form_is_the_attention_of_the_paper(isa, floats):
    """[eq. 2] f_N = W2 Phi(X_N, v): folding the projections changes rounding and nothing else."""
    torch.manual_seed(0)
    heads, width, num_latents = 4, 64, 12
    phi = CrossAttention(width, heads).double()
    latents, tokens = floats(num_latents, width), floats(50, width)
    with torch.no_grad():
        want = phi(
            torch.from_numpy(latents)[None].double(), torch.from_numpy(tokens)[None].double()
        )
    weights = {name: p.detach().numpy() for name, p in phi.named_parameters()}
    head = width // heads
    q_NHh = (latents @ weights["query.weight"].T + weights["query.bias"]).reshape(-1, heads, head)
    wk_HhD = weights["key.weight"].reshape(heads, head, width)
    folded = np.einsum("nhd,hdc->nhc", q_NHh, wk_HhD) / np.sqrt(head)
    out, _, _ = merge_attention(folded.reshape(-1, width).astype(np.float32), tokens, isa=isa)
    o_NHD = out.reshape(num_latents, heads, width).astype(np.float64)
    wv_HhD = weights["value.weight"].reshape(heads, head, width)
    values = np.einsum("nhc,hdc->nhd", o_NHD, wv_HhD).reshape(num_latents, width)
    values += weights["value.bias"]
    got = values @ weights["output.weight"].T + weights["output.bias"]
    np.testing.assert_allclose(got, want[0].numpy(), atol=1e-5)


def test_what_does_not_fit_is_refused(floats):
    with pytest.raises(OpError, match="D must be the same"):
        merge_attention(floats(3, 4), floats(5, 6))
    with pytest.raises(OpError, match="S must be the same"):
        merge_attention(floats(3, 4), floats(5, 4), mask=floats(4))
    with pytest.raises(OpError, match="tokens is int64"):
        merge_attention(floats(3, 4), np.zeros((5, 4), np.int64))
