"""The CUDA kernels as functions: on NumPy arrays, or on device arrays where they lie.

Arrays of one call are all of one kind.

- **NumPy, float32:** rounded to `precision` ("fp16", the default, or "bf16"), copied to the GPU;
  results come back as NumPy float32 arrays. For experiments: every call waits for the GPU.
- **On the GPU:** anything with `__dlpack__` (PyTorch, CuPy, JAX) or `__cuda_array_interface__`,
  used without a copy on `stream`, a raw cudaStream_t (0: the default stream). Nothing is waited
  for. Results go to `out`, or to a new `DeviceArray` of the dtype `result` ("fp32", "fp16",
  "bf16"), which `torch.from_dlpack` takes. Arrays and the stream must live until the GPU is done,
  a stream also as long as results that were made on it.

Rows of 16-bit device arrays are read 16 bytes at a time: addresses are multiples of 16, strides
and the last axis multiples of 8.
"""

from tokenfuse_sdk.ops.cuda.arrays import to_device
from tokenfuse_sdk.ops.cuda.attention import attention
from tokenfuse_sdk.ops.cuda.layer_norm import layer_norm
from tokenfuse_sdk.ops.cuda.linear import linear
from tokenfuse_sdk.ops.cuda.log_sum_exp import log_sum_exp
from tokenfuse_sdk.ops.cuda.merge_attention import merge_attention
from tokenfuse_sdk.ops.cuda.patches import patches
from tokenfuse_sdk.ops.cuda.rms_norm import rms_norm

__all__ = [
    "attention",
    "layer_norm",
    "linear",
    "log_sum_exp",
    "merge_attention",
    "patches",
    "rms_norm",
    "to_device",
]
