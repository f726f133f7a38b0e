"""Whether the built engine works at all: a small model on the GPU against the CPU engine.

    python benchmarks/cuda/self_check.py [--emulated]

Needs NumPy and the two compiled modules. Graph and single launches must give the same bits, a batch
what each of its members gives alone, and both what the CPU engine gives in float32, but for 16-bit
rounding. Small enough to run under compute-sanitizer.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from our_module import NotHere, emulated_module, gpu_module

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.runtime.native_cpu import NativeCpuRuntime
from tokenfuse_sdk.sizes import named_config
from tokenfuse_sdk.weights import expected_tensors

_BATCH, _MAX_TOKENS = 3, 4
# Of the root mean square: some thirty linears, each with roundings of half a unit in the last
# place, most of which the residuals keep; ten of them are allowed.
_BOUNDS = {"fp16": 10 * 2.0**-11, "bf16": 10 * 2.0**-8}


def _small() -> ModelConfig:
    nano = named_config("nano")
    vision = dataclasses.replace(
        nano.vision, image_size=32, width=64, num_heads=2, num_layers=2, mlp_dim=128
    )
    text = dataclasses.replace(nano.text, width=64, num_heads=2, num_layers=1, mlp_dim=96)
    fusion = dataclasses.replace(
        nano.fusion, width=64, num_heads=2, mlp_dim=128, num_iterations=1, num_layers=2
    )
    decoder = dataclasses.replace(nano.decoder, num_heads=2, num_layers=1, mlp_dim=96)
    return dataclasses.replace(nano, vision=vision, text=text, fusion=fusion, decoder=decoder)


def _weights(config: ModelConfig) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        # Norms and gates of about 1, matrices that keep the scale.
        name: (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float16)
        if len(shape) > 1
        else np.ones(shape, np.float16)
        for name, shape in expected_tensors(config).items()
    }


def _off(got: np.ndarray, want: np.ndarray) -> float:
    error = got.astype(np.float64) - want
    return float(np.sqrt(np.mean(error**2) / np.mean(want.astype(np.float64) ** 2)))


def _check(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"self check failed: {what}")


def main() -> None:
    try:
        module = emulated_module() if "--emulated" in sys.argv[1:] else gpu_module()
    except NotHere as why:
        sys.exit(f"self check: {why}")
    print("self check on", dict(module.device_info()))
    config = _small()
    weights, budget = _weights(config), config.fusion.num_latents
    rng = np.random.default_rng(1)
    side = config.vision.image_size
    images = rng.uniform(-1, 1, (_BATCH, side, side, 3)).astype(np.float32)
    texts = [
        rng.integers(2, config.text.vocab_size, 3 + 4 * i).astype(np.int32) for i in range(_BATCH)
    ]
    cpu = NativeCpuRuntime(config, weights, precision="fp32", num_threads=1)
    f_want = np.stack([cpu.encode_image(image, budget) for image in images])
    answer = np.asarray([5, 6, 7], dtype=np.int32)
    logits_want = cpu.logits(f_want[0], texts[0], answer)
    for precision, bound in _BOUNDS.items():
        by_graphs = []
        for graphs in (True, False):
            engine = module.CudaEngine(
                config.to_dict(), weights, precision=precision, max_batch=_BATCH, graphs=graphs
            )
            # Again: the second time a graph is replayed.
            for _ in range(2):
                f, answers = engine.answer(images, texts, budget, _MAX_TOKENS)
            logits = engine.logits(f[0], texts[0], answer)
            by_graphs.append((f, answers, logits))
            off_f, off_logits = _off(f, f_want), _off(logits, logits_want)
            print(f"  {precision}, graphs {graphs}: f off {off_f:.1e}, logits off {off_logits:.1e}")
            _check(off_f < bound and off_logits < bound, f"{precision} is off by more than {bound}")
            for i in range(_BATCH):
                f_alone, [(ids, _)] = engine.answer(
                    images[i : i + 1], [texts[i]], budget, _MAX_TOKENS
                )
                _check(np.array_equal(f_alone[0], f[i]), "a batch gives other image tokens")
                _check(np.array_equal(ids, answers[i][0]), "a batch gives other answers")
        (f_a, answers_a, logits_a), (f_b, answers_b, logits_b) = by_graphs
        same = np.array_equal(f_a, f_b) and np.array_equal(logits_a, logits_b)
        same_ids = all(
            np.array_equal(a[0], b[0]) for a, b in zip(answers_a, answers_b, strict=True)
        )
        _check(same and same_ids, "graphs and single launches give different bits")
    print("self check passed")


if __name__ == "__main__":
    main()
