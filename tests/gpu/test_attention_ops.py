"""Attention, plain and merging, from NumPy arrays, against float64 of the rounded inputs."""

from __future__ import annotations

import numpy as np
import pytest
from half_bounds import EPS, softmax_bound

from tokenfuse_sdk.ops import cuda, reference

pytestmark = pytest.mark.usefixtures("cuda_module")


def attention_bound(q, k, v, scale: float, bias, precision: str) -> float:
    magnitude = abs(scale) * np.einsum("qhd,khd->hqk", np.abs(q), np.abs(k)).max()
    if bias is not None:
        magnitude += np.abs(bias[np.isfinite(bias)]).max()
    score_error = (q.shape[2] + 4) * EPS * magnitude
    return softmax_bound(score_error, k.shape[0], np.abs(v).max(), precision)


def expanded(line_HR: np.ndarray, queries: int, keys: int) -> np.ndarray:
    """(H, Q, K) of a line: query i and key j have entry Q - 1 + j - i."""
    place = queries - 1 + np.arange(keys)[None, :] - np.arange(queries)[:, None]
    return line_HR[:, place]


@pytest.fixture
def sizes(is_emulated):
    """Around 16 queries of a tile, 16 or 32 keys of a chunk, 64 of four; a prime; the model's."""
    if is_emulated:
        return (0, 1, 15, 16, 17, 65), (1, 15, 16, 17, 33, 65, 97)
    return (0, 1, 15, 16, 17, 65, 196), (1, 15, 16, 17, 31, 33, 63, 65, 97, 196)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("head_dim", [1, 8, 17, 32, 64, 96, 128])
def test_attention_at_every_size(sizes, floats, rounded, check, precision, head_dim):
    scale = head_dim**-0.5
    for queries in sizes[0]:
        for keys in sizes[1]:
            q, k, v = (floats(n, 2, head_dim) for n in (queries, keys, keys))
            o = cuda.attention(q, k, v, scale=scale, precision=precision)
            if not queries:
                assert o.shape == (0, 2, head_dim)
                continue
            q, k, v = (rounded(one, precision) for one in (q, k, v))
            bound = attention_bound(q, k, v, scale, None, precision)
            check(o, reference.attention(q, k, v, scale=scale), bound)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_biases_of_distances_and_counts_of_keys(floats, rounded, check, precision):
    q, k, v = floats(3, 19, 2, 16), floats(3, 40, 2, 16), floats(3, 40, 2, 16)
    line = floats(2, 58, scale=2.0)
    # Nothing behind the query: a causal mask.
    line[1, 19:] = -np.inf
    counts = np.array([1, 23, 40], np.int32)
    for b, count in enumerate(counts):
        k[b, count:], v[b, count:] = np.nan, np.nan
    o = cuda.attention(
        q, k, v, scale=0.25, relative_bias=line, key_counts=counts, precision=precision
    )
    bias = expanded(line, 19, 40)
    for b, count in enumerate(counts):
        parts = [rounded(one, precision) for one in (q[b], k[b, :count], v[b, :count])]
        some = bias[:, :, :count]
        want = reference.attention(*parts, scale=0.25, bias=some)
        check(o[b], want, attention_bound(*parts, 0.25, some, precision))


def test_a_batch_gives_what_its_members_give_alone(floats):
    q, k, v = (floats(5, 33, 2, 32) for _ in range(3))
    together = cuda.attention(q, k, v, scale=0.2)
    for b in range(5):
        np.testing.assert_array_equal(cuda.attention(q[b], k[b], v[b], scale=0.2), together[b])


def test_large_scores_are_no_nan(floats):
    q = np.full((4, 1, 16), 100.0, np.float32)
    k, v = np.full((50, 1, 16), 100.0, np.float32), floats(50, 1, 16)
    k[13] = 200.0
    o = cuda.attention(q, k, v, scale=1.0)
    np.testing.assert_array_equal(o[2], v[13].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("width", [1, 40, 128, 385])
def test_merge_attention_at_every_size(is_emulated, floats, rounded, check, precision, width):
    rows = (1, 16, 17) if is_emulated else (1, 15, 16, 17, 64, 192)
    tokens = (1, 31, 32, 33, 97) if is_emulated else (1, 31, 32, 33, 65, 97, 196)
    for num_rows in rows:
        for num_tokens in tokens:
            q, x = floats(num_rows, width, scale=width**-0.5), floats(2, num_tokens, width)
            o, lse, weights = cuda.merge_attention(q, x, return_weights=True, precision=precision)
            q, x = rounded(q, precision), rounded(x, precision)
            for b in range(2):
                want, want_lse, want_weights = reference.merge_attention(q, x[b])
                score_error = (width + 4) * EPS * (np.abs(q) @ np.abs(x[b]).T).max()
                largest = np.abs(x[b]).max()
                check(o[b], want, softmax_bound(score_error, num_tokens, largest, precision))
                total = score_error + (2 * num_tokens + 24) * EPS
                check(lse[b], want_lse, total + EPS * np.abs(want_lse))
                check(weights[b], want_weights, 3 * total * want_weights + 1e-30)


def test_merged_batches_are_those_of_single_pictures(floats):
    q, x = floats(17, 64), floats(5, 50, 64)
    together, lse, weights = cuda.merge_attention(q, x, return_weights=True)
    for b in range(5):
        alone = cuda.merge_attention(q, x[b], return_weights=True)
        for one, all_ in zip(alone, (together, lse, weights), strict=True):
            np.testing.assert_array_equal(one, all_[b])
    assert cuda.merge_attention(q, x)[2] is None
