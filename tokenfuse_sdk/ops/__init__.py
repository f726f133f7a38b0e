"""The kernels as functions on NumPy arrays; `reference` holds each in float64.

Every op takes `isa`: "scalar"; "avx2", "avx512", "avx512_vnni", "avx512_bf16"; "neon",
"neon_dotprod", "neon_i8mm"; or "" for TOKENFUSE_FORCE_ISA or the best.
"""

from tokenfuse_sdk.ops.attention import attention
from tokenfuse_sdk.ops.attention_int16 import attention_int16
from tokenfuse_sdk.ops.conv2d import conv2d
from tokenfuse_sdk.ops.gated_add import gated_add
from tokenfuse_sdk.ops.gelu import gelu
from tokenfuse_sdk.ops.layer_norm import layer_norm
from tokenfuse_sdk.ops.linear import linear
from tokenfuse_sdk.ops.linear_bf16 import linear_bf16
from tokenfuse_sdk.ops.linear_int8 import linear_int8
from tokenfuse_sdk.ops.log_sum_exp import log_sum_exp
from tokenfuse_sdk.ops.merge_attention import merge_attention
from tokenfuse_sdk.ops.quantize import quantize
from tokenfuse_sdk.ops.rms_norm import rms_norm

__all__ = [
    "attention",
    "attention_int16",
    "conv2d",
    "gated_add",
    "gelu",
    "layer_norm",
    "linear",
    "linear_bf16",
    "linear_int8",
    "log_sum_exp",
    "merge_attention",
    "quantize",
    "rms_norm",
]
