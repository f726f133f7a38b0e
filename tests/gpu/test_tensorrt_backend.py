"""TensorRT on a GPU: engines built for it, and what they answer beside PyTorch and the CPU.

`pytest -s` prints what TensorRT says of the GPU, also where it refuses.

Shapes: N image tokens kept, A answer ids, V vocabulary.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import tokenfuse_sdk as tf
from tokenfuse_export.errors import EngineBuildError, TargetError
from tokenfuse_export.tensorrt import build_engines
from tokenfuse_export.tensorrt.flavours import find_tensorrt
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.cli.doctor import _run_checks
from tokenfuse_sdk.errors import BundleHashError, TokenBudgetError, UnsupportedModelError
from tokenfuse_sdk.golden import GOLDEN_BOUND, GOLDEN_BOUND_16, golden_error
from tokenfuse_sdk.runtime import choose_precision, open_bundle, place, tensorrt
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.data.scenes import scene_examples
from tokenfuse_training.model import model_from_weights

# Not 4, which the model has too: so that it is refused.
BUDGETS, BATCHES = (2, 8), (1, 4)
PRECISIONS = ("fp32", "fp16")
# Worst logit error over the root mean square of its row. The builder is told to use no TF32.
BOUND = {"fp32": GOLDEN_BOUND, "fp16": 2 * GOLDEN_BOUND_16["fp16"]}


def _device() -> str:
    reason = tensorrt.unavailable_reason()
    if reason is not None:
        pytest.skip(f"needs an NVIDIA GPU and TensorRT: {reason}")
    return tensorrt.device_name(tensorrt.open_device())


def _is_offered(precision: str) -> bool:
    """Whether the installed TensorRT is made for this GPU, and has such products for it."""
    trt, here = find_tensorrt(), tensorrt.device_target(tensorrt.open_device())
    if not trt.flavour.chooses_target:
        return True  # It builds for the GPU of its own machine, whatever that is.
    offered = here.replace("sm_", "SM") in trt.module.ComputeCapability.__members__
    return offered and (here, precision) != ("sm_75", "fp32")


def _built(source, output, precision: str, **options):
    """The path of a bundle with engines for this GPU; skips where TensorRT offers none for it."""
    device = _device()
    what = f"{', '.join(tensorrt.installed_versions())} on {device}"
    try:
        (report,) = build_engines(
            source, output, precision=precision, targets=["current"], **options
        )
    except (EngineBuildError, TargetError) as error:
        print(f"TensorRT says of {what}, {precision}: {error}")
        if isinstance(error, EngineBuildError) and _is_offered(precision):
            raise
        pytest.skip(f"needs a GPU that {what} builds for: {error}")
    sizes = {graph: engine.engine_bytes for graph, engine in report.engines.items()}
    print(f"TensorRT says of {what}, {precision}: built for {report.target}, {sizes}")
    return output


@pytest.fixture(scope="module", params=PRECISIONS)
def built(request, tmp_path_factory):
    """The small random bundle with engines in a precision, and the precision."""
    _device()
    source = request.getfixturevalue("exported_small")
    output = tmp_path_factory.mktemp(request.param) / "bundle"
    options = {"batches": BATCHES, "budgets": BUDGETS}
    return _built(source, output, request.param, **options), request.param


@pytest.fixture(scope="module")
def runtime(built):
    path, precision = built
    bundle = read_bundle(path)
    return open_bundle(
        bundle, choose_precision(place("cuda", precision, backend="tensorrt"), bundle)
    )


@pytest.fixture(scope="module")
def reference(built):
    """PyTorch in float64."""
    bundle = read_bundle(built[0])
    return model_from_weights(bundle.config, dict(bundle.weights)).double()


def _inputs(config, seed: int = 3):
    """A picture, a question, an answer."""
    rng = np.random.default_rng(seed)
    side, vocab = config.vision.image_size, config.text.vocab_size
    image_HW3 = rng.uniform(-1, 1, (side, side, 3)).astype(np.float32)
    text, answer = (rng.integers(2, vocab, n, dtype=np.int32) for n in (5 + 12 * seed, 6))
    return image_HW3, text, answer


@torch.no_grad()
def _torch_logits(model, image_HW3, text, answer, budget: int) -> np.ndarray:
    f_1ND = model.encode_image(torch.from_numpy(image_HW3)[None].double(), budget)
    ids = torch.from_numpy(text.astype(np.int64))[None]
    fused, mask = model.fuse(f_1ND, ids, budget)
    fed = torch.from_numpy(np.concatenate([[0], answer[:-1]]).astype(np.int64))[None]
    return model.decode(fed, fused, mask)[0].numpy()


def _relative(got_AV: np.ndarray, want_AV: np.ndarray) -> float:
    error_A = np.abs(got_AV.astype(np.float64) - want_AV).max(axis=1)
    return float((error_A / np.sqrt(np.mean(want_AV**2, axis=1))).max())


@pytest.mark.parametrize("budget", BUDGETS)
def test_logits_are_those_of_pytorch(built, runtime, reference, budget):
    for seed in (0, 1, 2, 4):
        image_HW3, text, answer = _inputs(reference.config, seed)
        want_AV = _torch_logits(reference, image_HW3, text, answer, budget)
        f_ND = runtime.encode_image(image_HW3, budget)
        error = _relative(runtime.logits(f_ND, text, answer), want_AV)
        print(f"{built[1]}, budget {budget}: {error}")
        assert error < BOUND[built[1]]


def test_steps_are_the_whole_answer_at_once(built, runtime, reference):
    """The cache, the profile of steps and that of scoring: the log-probabilities agree."""
    image_HW3, text, _ = _inputs(reference.config)
    f_ND = runtime.encode_image(image_HW3, 8)
    ids, log_probs = runtime.generate(f_ND, text, reference.config.decoder.max_tokens)
    (score,) = runtime.score(f_ND, text, [ids])
    assert score == pytest.approx(log_probs.sum(), abs=len(ids) * BOUND[built[1]])


def test_members_of_a_batch(built, runtime, reference):
    some = [_inputs(reference.config, seed) for seed in range(4)]
    images_BHW3 = np.stack([image for image, _, _ in some])
    f_BND = runtime.encode_images(images_BHW3, 8)
    for f_ND, image_HW3 in zip(f_BND, images_BHW3, strict=True):
        np.testing.assert_allclose(f_ND, runtime.encode_image(image_HW3, 8), rtol=0.1, atol=0.02)
    for count in (1, 2, 4):
        texts = [text for _, text, _ in some[:count]]
        together = runtime.generate_many(f_BND[:count].copy(), texts, 1)
        for f_ND, text, (_, log_probs) in zip(f_BND, texts, together, strict=False):
            # Of the first word: a tie may fall otherwise, its probability does not.
            want = runtime.generate(f_ND, text, 1)[1]
            np.testing.assert_allclose(log_probs, want, atol=4 * BOUND[built[1]])


def test_threads_have_contexts_of_their_own(runtime, reference):
    image_HW3, text, _ = _inputs(reference.config)
    f_ND = runtime.encode_image(image_HW3, 8)
    want = runtime.generate(f_ND, text, 16)

    def ask(_: int) -> None:
        for _ in range(10):
            ids, log_probs = runtime.generate(f_ND, text, 16)
            np.testing.assert_array_equal(ids, want[0])
            np.testing.assert_array_equal(log_probs, want[1])

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(ask, range(3)))


def test_a_tensor_on_the_gpu_is_used_where_it_lies(runtime, reference):
    if not torch.cuda.is_available():
        pytest.skip("needs a PyTorch that sees the GPU")
    image_HW3, _, _ = _inputs(reference.config)
    want_ND = runtime.encode_image(image_HW3, 8)
    executor = runtime._executor
    with torch.cuda.stream(torch.cuda.Stream()):
        # On a stream of its own, and after work that takes a while.
        busy = torch.rand(2048, 2048, device="cuda")
        for _ in range(50):
            busy = busy @ busy / busy.norm()
        tensor = torch.from_numpy(image_HW3).cuda(non_blocking=True)[None] + 0 * busy[0, 0]
        value = executor.put(tensor)
        assert value.address == tensor.data_ptr()
        f_BND = executor.run("image_encoder", {"image_BHW3": value}, ["f_BND"])["f_BND"]
        np.testing.assert_array_equal(executor.get(f_BND)[0], want_ND)


def test_memory_stays_what_it_is(runtime, reference):
    def all_calls() -> None:
        for budget in BUDGETS:
            image_HW3, text, answer = _inputs(reference.config)
            f_ND = runtime.encode_image(image_HW3, budget)
            runtime.generate(f_ND, text, reference.config.decoder.max_tokens)
            runtime.logits(f_ND, text, answer)

    all_calls()
    report = runtime.memory_report()
    assert min(report.values()) > 0
    for _ in range(20):
        all_calls()
    assert runtime.memory_report() == report


def test_what_no_engine_was_built_for(runtime, reference):
    image_HW3, text, _ = _inputs(reference.config)
    f_ND = runtime.encode_image(image_HW3, 8)
    with pytest.raises(TokenBudgetError, match="built for 2, 8"):
        runtime.generate(f_ND[:4].copy(), text, 3)
    with pytest.raises(UnsupportedModelError, match="weights_BNS"):
        runtime.encode_image_with_map(image_HW3, 8)


def test_doctor_and_a_damaged_engine(built, tmp_path):
    path, precision = built
    target = tensorrt.device_target(tensorrt.open_device())
    name = f"{target}-{precision}"
    assert _run_checks(str(path))[f"engines of {path}"] == {"ok": True, "what": f"{name} fits"}
    copy = shutil.copytree(path, tmp_path / "copy")
    engine = copy / "engines" / name / "decoder.engine"
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    with pytest.raises(BundleHashError, match=r"decoder\.engine"):
        tf.load(copy, backend="tensorrt")


def test_the_shipped_model_answers_as_on_the_cpu(tmp_path):
    """Pictures, questions, follow-ups and batches through the front door."""
    path = _built(find_bundle("scenes-nano"), tmp_path / "nano", "fp16", batches=(1, 8))
    bundle = read_bundle(path)
    placement = choose_precision(place("cuda", backend="tensorrt"), bundle)
    assert golden_error(bundle, open_bundle(bundle, placement)) < GOLDEN_BOUND_16["fp16"]
    same = total = 0
    with (
        tf.load(path, backend="tensorrt") as gpu,
        tf.load(path, device="cpu", precision="fp32") as cpu,
    ):
        assert (gpu.backend, gpu.device, gpu.precision) == ("tensorrt", "cuda", "fp16")
        for index in range(40):
            scene = scene_examples("test", index, seed=78, num_questions=16)
            texts = [question.text for question in scene.questions]
            tokens = cpu.encode_image(scene.image_HWC)
            many = gpu.answer_many(scene.image_HWC, texts)
            for text, answer in zip(texts, many, strict=True):
                same += answer.text == cpu.answer(tokens, text).text
                total += 1
            # A follow-up on kept tokens, which are of the same weights whoever made them.
            assert gpu.answer(gpu.encode_image(scene.image_HWC), texts[0]).text == many[0].text
            assert gpu.answer(tokens, texts[0]).text == many[0].text
    # A tie of two logits may fall otherwise, as with the CPU's bf16 and int8.
    assert same / total >= 0.995
