"""The whole model by PyTorch on a GPU, in the best settings for it that we know.

Attention is `scaled_dot_product_attention`, where the reference writes it out (for training); all
weights are 16-bit; position buckets are made once, on the device, where the reference makes them
in every call on the CPU, which would also keep a graph from being recorded. Pictures come from
pinned memory. The two greedy steps are unrolled: no id goes to the host in between.

"eager": as it is. "graph": the same kernels recorded as one CUDA graph. "compile": the whole
answer as one function, `max-autotune`, which has CUDA graphs of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpu import DryDevice, Gpu
from gpu_peaks import DTYPES
from model_inputs import ModelInputs
from our_module import NotHere
from with_torch import fused_attend, narrow
from work import ANSWER_TOKENS, Floats, Ids, Inputs, forced, until_end

from tokenfuse_training.model import JointModel, layers, t5

__all__ = ["WAYS", "TorchModel", "TorchWay"]

WAYS = ("eager", "graph", "compile")


class _Buckets:
    """`relative_buckets` from a table on the device, filled by the first call of a shape."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._made: dict[tuple[Any, ...], torch.Tensor] = {}
        self._make = t5.relative_buckets

    def __call__(
        self,
        num_queries: int,
        num_keys: int,
        *,
        bidirectional: bool,
        num_buckets: int,
        max_distance: int,
    ) -> torch.Tensor:
        key = (num_queries, num_keys, bidirectional, num_buckets, max_distance)
        if key not in self._made:
            made = self._make(
                num_queries,
                num_keys,
                bidirectional=bidirectional,
                num_buckets=num_buckets,
                max_distance=max_distance,
            )
            self._made[key] = made.to(self._device)
        return self._made[key]


class TorchModel:
    """The reference's modules in one precision, on the device; its ways share them.

    Replaces `attend` and `relative_buckets` in the reference's modules, for all of this process:
    the float32 reference must have been asked before.
    """

    def __init__(self, gpu: Gpu | DryDevice, model: ModelInputs, precision: str) -> None:
        layers.attend = t5.attend = fused_attend
        if not isinstance(t5.relative_buckets, _Buckets):
            t5.relative_buckets = _Buckets(gpu.device)
        self.gpu, self.dtype = gpu, DTYPES[precision]
        self.config = model.config
        self._model = JointModel(model.config).eval()
        tensors = {name: torch.from_numpy(array) for name, array in model.weights.items()}
        self._model.load_state_dict(tensors)
        narrow(self._model, self.dtype)
        self._model.to(gpu.device)

    def answer(self, image_BHW3: torch.Tensor, text_BL: torch.Tensor) -> torch.Tensor:
        """Prepared pictures and questions to ids (B, 2), all on the device."""
        f_BND = self._model.encode_image(image_BHW3)
        fused, _ = self._model.fuse(f_BND, text_BL)
        start = self.config.start_id
        ids = torch.full((len(text_BL), 1), start, dtype=torch.long, device=text_BL.device)
        for _ in range(ANSWER_TOKENS):
            best = self._model.decode(ids, fused, None)[:, -1].argmax(-1)
            ids = torch.cat([ids, best[:, None]], dim=1)
        return ids[:, 1:]

    def logits(self, inputs: Inputs) -> Floats:
        """(B, 2, V), for the reference's ids."""
        with torch.inference_mode():
            image, text, given = (
                torch.from_numpy(np.ascontiguousarray(rows)).to(self.gpu.device)
                for rows in (
                    inputs.image_BHW3,
                    inputs.text_BL.astype(np.int64),
                    forced(inputs.answer_BA, self.config.start_id).astype(np.int64),
                )
            )
            fused, _ = self._model.fuse(self._model.encode_image(image.to(self.dtype)), text)
            logits: Floats = self._model.decode(given, fused, None).float().cpu().numpy()
        return logits


class TorchWay:
    """One of `WAYS` at one batch: buffers in place, from arrays of the host to ids.

    Raises:
        NotHere: there is no such way here.
    """

    def __init__(self, model: TorchModel, way: str, inputs: Inputs) -> None:
        assert way in WAYS, way
        gpu = model.gpu
        if way == "compile" and gpu.is_dry:
            raise NotHere("a dry run compiles nothing")
        self._gpu, self._end_id = gpu, int(inputs.end_id)
        with torch.inference_mode():
            image = torch.from_numpy(np.ascontiguousarray(inputs.image_BHW3))
            text = torch.from_numpy(inputs.text_BL.astype(np.int64))
            self._staged = [gpu.pinned(image), gpu.pinned(text)]
            self._given = [torch.empty_like(x, device=gpu.device) for x in (image, text)]
            self._ids = gpu.pinned(torch.empty((len(text), ANSWER_TOKENS), dtype=torch.long))
            self._run = self._opened(model, way)

    def _opened(self, model: TorchModel, way: str) -> Callable[[], torch.Tensor]:
        def whole(image_BHW3: torch.Tensor, text_BL: torch.Tensor) -> torch.Tensor:
            return model.answer(image_BHW3.to(model.dtype), text_BL)

        self._stage()
        # Fills the table of buckets too, which must be there before anything is recorded.
        whole(*self._given)
        if way == "compile":
            import torch._dynamo

            for buffer in self._given:
                # At one address: the graph reads it there, without a copy.
                torch._dynamo.mark_static_address(buffer)
            ready = torch.compile(whole, mode="max-autotune", dynamic=False, fullgraph=True)
            return lambda: ready(*self._given)

        def run() -> torch.Tensor:
            return whole(*self._given)

        if way == "eager":
            return run
        kept: list[torch.Tensor] = []
        replay = self._gpu.recorded([lambda: kept.append(run())])

        def replayed() -> torch.Tensor:
            replay()
            return kept[-1]

        return replayed

    def _stage(self) -> None:
        for there, here in zip(self._given, self._staged, strict=True):
            there.copy_(here, non_blocking=True)

    def _ask(self) -> None:
        self._stage()
        self._ids.copy_(self._run(), non_blocking=True)

    def answer(self, inputs: Inputs) -> Ids:
        """Ids (B, 2), 0 after the end."""
        with torch.inference_mode():
            self._staged[0].copy_(torch.from_numpy(inputs.image_BHW3))
            self._staged[1].copy_(torch.from_numpy(inputs.text_BL))
            self._ask()
            self._gpu.wait()
            return until_end(self._ids.numpy(), self._end_id)

    def times(self, inputs: Inputs) -> tuple[float, float]:
        """Seconds of one call on the device, and of asking for its work."""
        with torch.inference_mode():
            return self._gpu.seconds(self._ask)
