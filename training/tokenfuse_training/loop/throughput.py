"""How much of the device a run uses: FLOPs of what was really seen, beside its peak.

A step costs three times its forward pass (the backward pass has two products for each), by
`tokenfuse_sdk.flops`: pictures once each, texts and targets at their own lengths, without padding.
Of parts that stand still the forward pass alone counts. Heads of training, what activation
checkpointing computes again and the pass that measures loss drops are not counted: so the share
is of useful work.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time

import torch

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.flops import FlopRow, count_flops
from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.batch import Batch

__all__ = ["TIMED", "Meter", "Peak", "StepCost", "find_peak"]

# Values of the log that two runs of one config do not share.
TIMED = ("seconds", "pictures_per_second", "tflops", "peak_tflops", "flops_share")

# Dense bfloat16 products with float32 sums, in TFLOP/s, of NVIDIA's data sheets, by whole words of
# a device's name. A longer name stands before one that it begins with.
_KNOWN = (
    ("B200", 2250.0),
    ("GB200", 2500.0),
    ("GH200", 989.4),
    ("H200", 989.4),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.4),
    ("H800", 989.4),
    ("A100", 311.9),
    ("A800", 311.9),
    ("L40S", 362.1),
    ("L40", 181.1),
    ("L4", 121.0),
    ("A40", 149.7),
    ("A30", 165.0),
    ("A10G", 70.0),
    ("A10", 125.0),
    ("RTX 5090", 209.5),
    ("RTX 4090", 165.2),
    ("RTX 3090", 71.0),
)

_IMAGE_SIDE = ("vision.", "image_projection", "fusion.image_resampler")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What a device can do at most.

    Args:
        tflops: TFLOP/s.
        source: `settings`, `data sheet` or `measured`.
    """

    tflops: float
    source: str


def find_peak(run: RunSettings, device: torch.device, *, bf16: bool) -> Peak:
    """The peak of one device: what the settings say, a data sheet, or one large product."""
    if run.peak_tflops:
        return Peak(tflops=run.peak_tflops, source="settings")
    if device.type == "cuda" and bf16:
        name = torch.cuda.get_device_name(device)
        for known, tflops in _KNOWN:
            if re.search(rf"\b{known}\b", name):
                return Peak(tflops=tflops, source="data sheet")
    return Peak(tflops=_measured(device, bf16=bf16), source="measured")


def _measured(device: torch.device, *, bf16: bool) -> float:
    """The best of the square products of a third of a second: others may use the device too."""
    size = 4096 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if bf16 else torch.float32
    matrix = torch.ones((size, size), device=device, dtype=dtype)
    best = float("inf")
    ends = time.perf_counter() + 0.3
    while time.perf_counter() < ends:
        began = time.perf_counter()
        product = matrix @ matrix
        # Waits for the device.
        float(product[0, 0])
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best / 1e12


class StepCost:
    """FLOPs of a stage's batches.

    Args:
        config: of the model.
        stage: which parts stand still.
        reads_texts: False where only the image encoder runs, whatever texts come along.
    """

    def __init__(
        self, config: ModelConfig, stage: StageSettings, *, reads_texts: bool = True
    ) -> None:
        self._config = config
        self._reads_texts = reads_texts
        self._frozen: tuple[str, ...] = ()
        if "image" in stage.freeze:
            self._frozen += _IMAGE_SIDE
        if "text" in stage.freeze:
            self._frozen += ("text.",)
        self._rows = functools.lru_cache(maxsize=4096)(self._rows_of)

    def _flops(self, row: FlopRow) -> int:
        return row.flops * (1 if row.name.startswith(self._frozen or ("\0",)) else 3)

    def _rows_of(self, num_text: int, num_target: int, budget: int) -> tuple[int, int, int, int]:
        """FLOPs of encoding a picture, of merging it, of a text, and of one of its targets."""
        report = count_flops(
            self._config,
            num_text_tokens=num_text,
            num_answer_tokens=num_target,
            token_budget=budget,
        )
        encode = merge = text = target = 0
        for row in report.rows:
            if row.name.startswith("decoder."):
                target += self._flops(row)
            elif row.stage == "question":
                text += self._flops(row)
            elif row.name.startswith("vision."):
                encode += self._flops(row)
            else:
                merge += self._flops(row)
        return encode, merge, text, target

    def of(self, batch: Batch, budget: int) -> int:
        """FLOPs of one update with this batch, forward and backward."""
        encode, merge, _, _ = self._rows(1, 1, budget)
        if not self._reads_texts:
            return batch.image_u8_BHW3.shape[0] * encode
        num_text_Q = (batch.text_QL != 0).sum(dim=1).tolist()
        num_target_R = (batch.target_RA != 0).sum(dim=1).tolist()
        total = batch.image_u8_BHW3.shape[0] * (encode + (merge if num_text_Q else 0))
        total += sum(self._rows(length, 1, budget)[2] for length in num_text_Q)
        for text, length in zip(batch.text_index_R.tolist(), num_target_R, strict=True):
            total += self._rows(num_text_Q[text], length, budget)[3]
        return total


class Meter:
    """Speed since the last line of the log.

    Args:
        peak: of one device.
        num_devices: that share the work evenly; this rank's part is measured.
    """

    def __init__(self, peak: Peak, num_devices: int) -> None:
        self._peak, self._num_devices = peak, num_devices
        self._pictures, self._flops, self._began = 0, 0, time.monotonic()

    def add(self, num_pictures: int, flops: int) -> None:
        """Of one update on this rank."""
        self._pictures += num_pictures
        self._flops += flops

    def values(self) -> dict[str, float]:
        """Rates of all devices together, the share of their peak, and a new start."""
        now = time.monotonic()
        seconds = max(now - self._began, 1e-9)
        tflops = self._flops / seconds / 1e12
        values = {
            "pictures_per_second": self._num_devices * self._pictures / seconds,
            "tflops": self._num_devices * tflops,
            "peak_tflops": self._num_devices * self._peak.tflops,
            "flops_share": tflops / self._peak.tflops,
        }
        self._pictures, self._flops, self._began = 0, 0, now
        return values
