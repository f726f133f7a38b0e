"""What the ops do not take, and what they say to it."""

from __future__ import annotations

import numpy as np
import pytest

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import cuda

pytestmark = pytest.mark.usefixtures("cuda_module")


def test_ops_refuse_what_does_not_fit(floats):
    x, w = floats(3, 40), floats(24, 40)
    for call, what in (
        (lambda: cuda.linear(x.astype(np.float64), w), "x is float64; need a float32 array"),
        (lambda: cuda.linear([[1.0]], w), "an array is list; need NumPy arrays"),
        (lambda: cuda.linear(None, w), "None; need both"),
        (lambda: cuda.linear(x[0], w), r"x has shape \[40\]; need \(M, K\)"),
        (lambda: cuda.linear(x[:, :8], w), "K must be the same: x has 8, weight has 40"),
        (lambda: cuda.linear(x, w[:0]), r"weight has shape \[0, 40\]; need 1 to"),
        (lambda: cuda.linear(x, w, floats(23)), "bias has 23 elements; need 24"),
        (lambda: cuda.linear(x, w, residual=x), r"residual has shape \[3, 40\]; need \[3, 24\]"),
        (lambda: cuda.linear(x, w, activation="relu"), "activation='relu'"),
        (lambda: cuda.linear(x, w, activation=3), "a type that it does not take; .*activation int"),
        (lambda: cuda.linear(x, w, precision="int8"), "precision 'int8'; need fp16, bf16"),
        (lambda: cuda.linear(x, w, precision="fp32"), "rounded to fp16 or bf16"),
        (lambda: cuda.linear(x, w, result="fp16"), "result are of device arrays"),
        (lambda: cuda.linear(*map(cuda.to_device, (x, w)), result="int8"), "result 'int8'; need"),
        (lambda: cuda.linear(x, w[:23], gated=True), "pairs of gate and up"),
        (lambda: cuda.linear(x, w, floats(12), gated=True), "a gated linear has none"),
        (lambda: cuda.linear(x, w, norm="batch"), "norm='batch'"),
        (lambda: cuda.linear(x, w, norm="rms"), "norm_weight goes with norm"),
        (lambda: cuda.linear(x, w, norm_weight=floats(40)), "norm_weight goes with norm"),
        (lambda: cuda.linear(cuda.to_device(x), w), "NumPy arrays and device arrays are mixed"),
        (lambda: cuda.linear(*map(cuda.to_device, (x, w)), precision="fp16"), "leave it out"),
        (lambda: cuda.linear(x, w, stream=-1), "stream=-1; need a cudaStream_t"),
        (lambda: cuda.to_device(x, stream=-1), "stream=-1"),
        (lambda: cuda.to_device(x, "int8"), "precision 'int8'"),
        (lambda: cuda.layer_norm(x, floats(39), floats(40)), "weight has 39 elements; need 40"),
        (lambda: cuda.log_sum_exp(x[:, :0]), r"x has shape \[3, 0\]; need 1 to"),
        (lambda: cuda.log_sum_exp(x, given=np.array([0, 40, 0], np.int32)), "given holds 40"),
        (lambda: cuda.log_sum_exp(x, given=np.array([0, 1])), "given is int64; need a int32"),
        (lambda: cuda.patches(floats(4, 4, 3), kernel=5), "with padding 0 need 5 pixels"),
        (lambda: cuda.patches(floats(4, 4, 3), kernel=0), "kernel=0"),
        (lambda: cuda.patches(floats(4, 4), kernel=1), "the batch B may lack"),
        (lambda: cuda.merge_attention(x, w[:, :8]), "D must be the same"),
        (lambda: cuda.merge_attention(floats(2, 1025), floats(3, 1025)), "need 1 to 1024"),
    ):
        with pytest.raises(OpError, match=what):
            call()
    q, k = floats(2, 5, 3, 8), floats(2, 9, 3, 8)
    for given, options, what in (
        ((q, k, k[:, :8]), {}, r"v has shape \[2, 8, 3, 8\]"),
        ((q, k[:1], k[:1]), {}, "k has shape"),
        ((q, k[..., :4], k), {}, "k has shape"),
        ((q, k[:, :0], k[:, :0]), {}, r"k has shape \[2, 0, 3, 8\]; need 1 to"),
        ((q, k, k), {"relative_bias": floats(3, 12)}, r"need \(H, Q \+ K - 1\), .* \[3, 13\]"),
        ((q, k, k), {"key_counts": np.array([1, 10], np.int32)}, "key_counts holds 10; need 1"),
        ((q, k, k), {"key_counts": np.array([1], np.int32)}, "one for each of the batch, 2"),
        ([floats(2, 1, 136)] * 3, {}, "need 1 to 128 at axis 3"),
    ):
        with pytest.raises(OpError, match=what):
            cuda.attention(*given, scale=1.0, **options)
