"""What a GPU's work costs: counts by hand and by PyTorch, limits by hand, and the plan."""

from __future__ import annotations

import pytest
from gpu_plan import BATCHES, MODELS, PRECISIONS, merge_shapes
from gpu_work import MergeShape, Peaks, Work, least_work, merge_work, model_work
from operations import ANSWER_TOKENS, TEXT_TOKENS

from tokenfuse_sdk.flops import count_flops
from tokenfuse_sdk.sizes import SIZES, named_config

PEAKS = Peaks(copy_bytes_per_s=1e12, flops_per_s={"fp16": 1e14, "bf16": 2e14})
# B 2, S 5 tokens of 16, N 3 latents, H 2 heads of 8.
SHAPE = MergeShape(batch=2, num_latents=3, num_tokens=5, width=16, num_heads=2)


def test_operations_of_the_folded_form_by_hand():
    # 6 rows of queries by 5 tokens, both ways, of 16 columns; then 3 rows of 32 to 16.
    macs = 2 * (6 * 5 * 16 + 6 * 5 * 16 + 3 * 32 * 16)
    # Tokens and results of both; the queries; the matrix.
    numbers = 2 * 5 * 16 + 2 * 3 * 16 + 6 * 16 + 16 * 32
    assert merge_work(SHAPE, "folded") == Work(flops=2 * macs, bytes=2 * numbers)


def test_operations_of_the_projected_form_by_hand():
    # 5 tokens to 16 keys and 16 values, 3 by 5 by 16 both ways, and 3 rows of 16 to 16.
    macs = 2 * (5 * 16 * 32 + 3 * 5 * 16 * 2 + 3 * 16 * 16)
    numbers = 2 * 5 * 16 + 2 * 3 * 16 + 3 * 16 + 32 * 16 + 16 * 16
    assert merge_work(SHAPE, "projected") == Work(flops=2 * macs, bytes=2 * numbers)


@pytest.mark.parametrize("form", ["folded", "projected"])
def test_operations_are_those_that_pytorch_runs(form):
    torch = pytest.importorskip("torch")
    from gpu import DryDevice
    from merge_inputs import MergeInputs
    from merge_torch import folded_form, on_backend, projected_form
    from torch.utils.flop_counter import FlopCounterMode

    inputs = MergeInputs(DryDevice(), SHAPE, "fp16")
    make = {"folded": folded_form, "projected": projected_form}[form]
    run = on_backend(make(inputs), "math")
    # Outside of inference mode, which hides the products from the counter.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(inputs.tokens[0])
    assert counter.get_total_flops() == merge_work(SHAPE, form).flops


def test_the_limit_is_the_longer_of_both():
    work = Work(flops=10**12, bytes=10**9)
    assert work.arithmetic_s(PEAKS, "fp16") == pytest.approx(10e-3)
    assert work.memory_s(PEAKS) == pytest.approx(1e-3)
    assert work.limit_s(PEAKS, "fp16") == pytest.approx(10e-3)
    assert work.limit_s(PEAKS, "bf16") == pytest.approx(5e-3)
    assert work.limited_by(PEAKS, "bf16") == "arithmetic"
    heavy = Work(flops=10**12, bytes=10**11)
    assert heavy.limit_s(PEAKS, "fp16") == pytest.approx(100e-3)
    assert heavy.limited_by(PEAKS, "fp16") == "memory"


def test_every_form_is_held_against_the_cheaper_one():
    few = MergeShape(batch=64, num_latents=4, num_tokens=196, width=384, num_heads=6)
    many = MergeShape(batch=64, num_latents=128, num_tokens=196, width=384, num_heads=6)
    assert least_work(few, PEAKS, "fp16") == merge_work(few, "folded")
    assert least_work(many, PEAKS, "fp16") == merge_work(many, "projected")


@pytest.mark.parametrize("name", SIZES)
def test_a_whole_answer(name):
    config = named_config(name)
    report = count_flops(
        config, num_text_tokens=TEXT_TOKENS, num_answer_tokens=ANSWER_TOKENS, token_budget=None
    )
    one, eight = model_work(config, 1), model_work(config, 8)
    assert one.flops == report.total_flops
    assert eight.flops == 8 * one.flops
    # Weights are read once; a picture is float32, its words' ids and rows come with it.
    each = 4 * 3 * config.vision.image_size**2 + 14 * (4 + 2 * config.text.width)
    assert eight.bytes - one.bytes == 7 * each
    torch = pytest.importorskip("torch")
    from tokenfuse_training.model import JointModel

    with torch.device("meta"):
        model = JointModel(config)
    matrices = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    )
    assert one.bytes - each == 2 * matrices


def test_the_plan_has_the_sizes_and_the_sweep():
    full = merge_shapes("full")
    assert len(set(full)) == len(full)
    for size in SIZES:
        config = named_config(size)
        batches = {
            shape.batch
            for shape in full
            if shape.num_latents == config.fusion.num_latents
            and shape.num_tokens == config.vision.num_tokens
            and shape.width == config.vision.width
            and shape.num_heads == config.fusion.num_heads
        }
        assert {1, 256} <= batches
    for axis, least, most in (
        ("num_latents", 8, 128),
        ("num_tokens", 64, 4096),
        ("width", 128, 1024),
        ("batch", 1, 256),
    ):
        values = {getattr(shape, axis) for shape in full}
        assert (min(values), max(values)) == (least, most)
    assert set(merge_shapes("quick")) < set(full)
    assert set(SIZES) - set(MODELS) == {"nano"}
    assert BATCHES == (1, 8, 64) and PRECISIONS == ("fp16", "bf16")


def test_a_shape_that_no_kernel_has():
    with pytest.raises(ValueError, match="multiple of 8 for 3 heads"):
        MergeShape(batch=1, num_latents=1, num_tokens=1, width=200, num_heads=3)
