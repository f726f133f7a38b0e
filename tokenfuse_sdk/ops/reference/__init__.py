"""Each op in NumPy, float64, obviously right: the oracle of the compiled kernels."""

from tokenfuse_sdk.ops.reference.attention import attention
from tokenfuse_sdk.ops.reference.attention_int16 import attention_int16
from tokenfuse_sdk.ops.reference.conv2d import conv2d
from tokenfuse_sdk.ops.reference.gated_add import gated_add
from tokenfuse_sdk.ops.reference.gelu import gelu
from tokenfuse_sdk.ops.reference.layer_norm import layer_norm
from tokenfuse_sdk.ops.reference.linear import linear
from tokenfuse_sdk.ops.reference.linear_bf16 import linear_bf16
from tokenfuse_sdk.ops.reference.linear_int8 import linear_int8
from tokenfuse_sdk.ops.reference.log_sum_exp import log_sum_exp
from tokenfuse_sdk.ops.reference.merge_attention import merge_attention
from tokenfuse_sdk.ops.reference.quantize import quantize
from tokenfuse_sdk.ops.reference.rms_norm import rms_norm

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
