"""PyTorch: the reference itself, eager or compiled, in its best setting for latency.

Attention goes through `scaled_dot_product_attention`, the framework's fused kernel; the
reference writes it out for the sake of training. bf16 holds all weights in bf16, as an
autocast would convert them at every call; norms compute in float32, as in the reference.
Compiled means frozen weights, packed for the kernels that are called, fixed shapes, and C++ as
the code between the kernels: 7% faster than Python there on the tiny model. Tried and left out:
`max_autotune` with C++ templates for products adds minutes of compiling and nothing more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from work import Floats, Ids, Task, forced, greedy

PACKAGES = ("torch", "safetensors", "tokenfuse_training")
QUANTISERS = ()
GRAPHS_NEEDED = False


def settings(variant: str, precision: str) -> str:
    """What it runs with, in a line."""
    how = "inference_mode, scaled_dot_product_attention"
    if variant == "compile":
        how += ", inductor with freezing and cpp_wrapper, static shapes, fullgraph"
    return how + (", all weights in bfloat16" if precision == "bf16" else "")


def prepare(task: Task) -> None:
    """Nothing: a compiled model lives in its process."""


def fused_attend(q: Any, k: Any, v: Any, num_heads: int, scale: float, bias: Any) -> Any:
    """In place of the reference's `attend`."""
    from torch.nn.functional import scaled_dot_product_attention

    def heads(y: Any) -> Any:
        return y.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    mask = None if bias is None else bias.to(q.dtype)
    y = scaled_dot_product_attention(heads(q), heads(k), heads(v), attn_mask=mask, scale=scale)
    return y.transpose(1, 2).flatten(2)


def _narrow_norm(module: Any, inputs: Any, output: Any) -> Any:
    return output.to(module.weight.dtype)


def narrow(model: Any, dtype: Any) -> None:
    """All weights in a 16-bit dtype, and norms that hand it on."""
    from tokenfuse_training.model.t5 import RMSNorm

    model.to(dtype)
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.register_forward_hook(_narrow_norm)


class _Torch:
    def __init__(self, task: Task) -> None:
        import torch
        from safetensors.torch import load_file

        from tokenfuse_sdk.config import ModelConfig
        from tokenfuse_training.model import JointModel, layers, t5

        torch.set_num_threads(task.num_threads)
        layers.attend = t5.attend = fused_attend
        self._torch = torch
        config = ModelConfig.from_dict(task.config())
        model = JointModel(config).eval()
        model.load_state_dict(load_file(task.weights_path))
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[task.precision]
        if task.precision == "bf16":
            narrow(model, torch.bfloat16)
        self._start, self._batch_size = config.start_id, task.batch_size
        self._encode, self._fuse, self._decode = model.encode_image, model.fuse, model.decode
        self._is_compiled = task.variant == "compile"
        if self._is_compiled:
            import torch._inductor.config as inductor

            inductor.freezing = inductor.cpp_wrapper = True
            self._encode, self._fuse, self._decode = (
                torch.compile(call, dynamic=False, fullgraph=True)
                for call in (self._encode, self._fuse, self._decode)
            )

    def encode(self, image_BHW3: Floats) -> Any:
        with self._torch.inference_mode():
            return self._encode(self._torch.from_numpy(image_BHW3).to(self._dtype))

    def answer(self, f: Any, text_BL: Ids) -> Ids:
        torch = self._torch
        with torch.inference_mode():
            fused, _ = self._fuse(f, torch.from_numpy(text_BL))
            if self._is_compiled:
                return greedy(lambda ids: self._step(ids, fused), self._batch_size, self._start)
            ids = torch.full((self._batch_size, 1), self._start)
            for _ in range(2):
                best = self._decode(ids, fused, None)[:, -1].argmax(-1)
                ids = torch.cat([ids, best[:, None]], dim=1)
            return ids[:, 1:].numpy().astype(np.int32)

    def _step(self, ids_BA: Ids, fused: Any) -> Floats:
        logits = self._decode(self._torch.from_numpy(ids_BA), fused, None)
        return logits.float().numpy()

    def logits(self, f: Any, text_BL: Ids, answer_BA: Ids) -> Floats:
        with self._torch.inference_mode():
            fused, _ = self._fuse(f, self._torch.from_numpy(text_BL))
            return self._step(forced(answer_BA, self._start), fused)


def open_contestant(task: Task) -> _Torch:
    return _Torch(task)
