"""The CPU engine against the PyTorch reference in float64, over models, variants and threads."""

from __future__ import annotations

import copy
import dataclasses
import threading

import numpy as np
import pytest
import torch

from tokenfuse_sdk import _native
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.model import JointModel

# Logits: worst error over the row's norm, relative. 1e-4 is the bar of the project; float32
# sums over some 10 layers of a few hundred terms stay near 2e-6.
_LOGITS_BOUND = 2e-5
# Weights and activations are off by a uniform half step of 1/127 of their largest, some 1% of
# their root mean square; over some 20 layers in a row that adds up to a few percent of all.
_INT8_BOUND = 0.1
# Weights, and for the dot instruction activations, are off by a uniform half step of at most
# 2^-8 of themselves, some 0.2%: over some 20 layers in a row around a percent of all.
_BF16_BOUND = 0.03
_NANO = named_config("nano")


def _with(config: ModelConfig, **parts: dict) -> ModelConfig:
    changed = {
        name: dataclasses.replace(getattr(config, name), **values) for name, values in parts.items()
    }
    return dataclasses.replace(config, **changed)


CONFIGS = {
    "nano": _NANO,
    "class_token": _with(_NANO, vision={"class_token": True, "stem_widths": ()}),
    "distillation_token": _with(_NANO, vision={"class_token": True, "distillation_token": True}),
    "gelu_tanh": _with(
        _NANO, vision={"activation": "gelu_tanh"}, fusion={"activation": "gelu_tanh"}
    ),
    "residual": _with(_NANO, fusion={"combination": "residual"}),
    "none": _with(_NANO, fusion={"combination": "none"}),
    # Many latents and heads: keys and values are projected, not folded.
    "projected": _with(
        _NANO, fusion={"num_heads": 16, "num_latents": 64, "token_budgets": (4, 64)}
    ),
    # Widths that fill no vector, and that differ from one another.
    "odd": _with(
        _NANO,
        vision={"width": 36, "num_heads": 3, "mlp_dim": 50, "stem_widths": (5, 7)},
        text={"width": 30, "num_heads": 3, "head_dim": 7, "mlp_dim": 41, "vocab_size": 61},
        fusion={
            "width": 33,
            "num_heads": 3,
            "mlp_dim": 37,
            "num_latents": 5,
            "token_budgets": (1, 3, 5),
        },
        decoder={"num_heads": 2, "head_dim": 9, "mlp_dim": 29},
    ),
    "shallow": _with(_NANO, vision={"num_layers": 0}, fusion={"num_layers": 0}),
}


def make_reference(config: ModelConfig, seed: int = 0) -> JointModel:
    torch.manual_seed(seed)
    model = JointModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Away from the start values 0 and 1, which hide mistakes; float32 exactly.
            parameter.add_(0.05 * torch.randn_like(parameter))
            parameter.copy_(parameter.float())
    return model


def weights_of(model: JointModel) -> dict[str, np.ndarray]:
    return {name: value.float().numpy() for name, value in model.state_dict().items()}


def make_engine(model: JointModel, **options: object) -> _native.CpuEngine:
    return _native.CpuEngine(model.config.to_dict(), weights_of(model), **options)


def make_inputs(config: ModelConfig, seed: int = 1, num_text: int = 9, num_answer: int = 6):
    rng = np.random.default_rng(seed)
    size = config.vision.image_size
    image = rng.uniform(-1, 1, (size, size, 3)).astype(np.float32)
    text = rng.integers(2, config.text.vocab_size, num_text).astype(np.int32)
    answer = rng.integers(2, config.text.vocab_size, num_answer).astype(np.int32)
    return image, text, answer


@torch.no_grad()
def reference_logits(model: JointModel, image, text, answer, budget: int) -> np.ndarray:
    fed = np.concatenate([[0], answer[:-1]]).astype(np.int64)
    logits = model(
        torch.from_numpy(image[None]).double(),
        torch.from_numpy(text[None].astype(np.int64)),
        torch.from_numpy(fed[None]),
        token_budget=budget,
    )
    return logits[0].numpy()


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    scale = np.linalg.norm(want, axis=-1) / np.sqrt(want.shape[-1])
    return float((np.abs(got - want).max(axis=-1) / scale).max())


@pytest.mark.parametrize("isa", _native.available_isas())
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_agree_with_the_reference(name: str, isa: str) -> None:
    config = CONFIGS[name]
    model = make_reference(config)
    engine = make_engine(model, isa=isa, num_threads=2)
    assert engine.isa == isa
    image, text, answer = make_inputs(config)
    for budget in config.fusion.token_budgets:
        f_ND = engine.encode_image(image, budget)
        got = engine.logits(f_ND, text, answer)
        want = reference_logits(model, image, text, answer, budget)
        assert got.shape == want.shape
        assert relative_error(got, want) < _LOGITS_BOUND


@pytest.mark.parametrize("name", ["nano", "projected", "class_token", "distillation_token"])
def test_image_tokens_and_their_map_agree_with_the_reference(name: str) -> None:
    config = CONFIGS[name]
    model = make_reference(config)
    engine = make_engine(model)
    image, _, _ = make_inputs(config)
    with torch.no_grad():
        x_SC = model.encode_patches(torch.from_numpy(image[None]).double())
        v_SD = model.image_projection(x_SC)[0]
        phi = model.fusion.image_resampler
        heads = config.fusion.num_heads
        for budget in config.fusion.token_budgets:
            want_ND = model.merge_image(x_SC, budget)[0].numpy()
            q = phi.attention.query(phi.latents[:budget]).unflatten(-1, (heads, -1))
            k = phi.attention.key(v_SD).unflatten(-1, (heads, -1))
            scores = torch.einsum("nhd,shd->hns", q, k) * q.shape[-1] ** -0.5
            want_NS = scores.softmax(-1).mean(0).numpy()
            f_ND, map_NS = engine.encode_image_with_map(image, budget)
            assert relative_error(f_ND, want_ND) < _LOGITS_BOUND
            np.testing.assert_allclose(map_NS, want_NS, atol=2e-6)
            np.testing.assert_array_equal(f_ND, engine.encode_image(image, budget))


@pytest.mark.parametrize("name", ["nano", "projected", "odd"])
def test_fused_tokens_agree_with_the_reference(name: str) -> None:
    config = CONFIGS[name]
    model = make_reference(config)
    image, text, _ = make_inputs(config)
    bounds = {"fp32": _LOGITS_BOUND, "bf16": _BF16_BOUND, "int8": _INT8_BOUND}
    engines = [make_engine(model, precision=precision) for precision in bounds]
    for budget in config.fusion.token_budgets:
        with torch.no_grad():
            f = model.encode_image(torch.from_numpy(image[None]).double(), budget)
            fused, _ = model.fuse(f, torch.from_numpy(text[None].astype(np.int64)), budget)
        want = fused[0].numpy()
        for engine in engines:
            got = engine.fuse(f[0].float().numpy(), text)
            assert (got.dtype, got.shape) == (np.float32, want.shape)
            if engine.precision == "fp32":
                assert relative_error(got, want) < _LOGITS_BOUND
            else:
                error = np.linalg.norm(got - want) / np.linalg.norm(want)
                assert 1e-4 < error < bounds[engine.precision]


def test_every_length_of_text_and_answer_agrees() -> None:
    model = make_reference(_NANO)
    engine = make_engine(model)
    for length in (1, 2, 31, 63, _NANO.text.max_tokens):
        image, text, answer = make_inputs(_NANO, length, length, min(length, 32))
        got = engine.logits(engine.encode_image(image, 16), text, answer)
        assert relative_error(got, reference_logits(model, image, text, answer, 16)) < _LOGITS_BOUND


def test_generation_with_the_cache_is_the_argmax_of_the_logits_without_it() -> None:
    model = make_reference(_NANO)
    engine = make_engine(model)
    for seed in range(20):
        image, text, _ = make_inputs(_NANO, seed)
        f_ND = engine.encode_image(image, 8)
        ids, log_probs = engine.generate(f_ND, text, 32)
        with torch.no_grad():
            f = model.encode_image(torch.from_numpy(image[None]).double(), 8)
            want = model.generate(f, torch.from_numpy(text[None].astype(np.int64)), 8)[0].numpy()
        np.testing.assert_array_equal(ids, want[: len(ids)])
        logits = reference_logits(model, image, text, ids, 8)
        shifted = logits - logits.max(-1, keepdims=True)
        all_log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        np.testing.assert_allclose(
            log_probs, all_log_probs[np.arange(len(ids)), ids], atol=1e-4, rtol=1e-4
        )
        assert np.count_nonzero(ids == 1) <= 1
        assert len(ids) == 32 or ids[-1] == 1


def test_scores_are_sums_of_log_probabilities() -> None:
    model = make_reference(_NANO)
    engine = make_engine(model)
    image, text, _ = make_inputs(_NANO)
    f_ND = engine.encode_image(image, 16)
    candidates = [np.array(c, np.int32) for c in ([5, 1], [1], [7, 8, 9, 1], [5, 1])]
    got = engine.score(f_ND, text, candidates)
    for candidate, log_prob in zip(candidates, got, strict=True):
        logits = reference_logits(model, image, text, candidate, 16)
        all_log_probs = torch.from_numpy(logits).log_softmax(-1).numpy()
        want = all_log_probs[np.arange(len(candidate)), candidate].sum()
        assert log_prob == pytest.approx(want, rel=1e-4, abs=1e-4)
    assert got[0] == got[3]


def test_half_precision_weights_are_read_exactly() -> None:
    model = make_reference(_NANO)
    half = {name: value.astype(np.float16) for name, value in weights_of(model).items()}
    # Subnormal halves too.
    half["vision.position"][:] = np.float16(6e-8)
    wide = {name: value.astype(np.float32) for name, value in half.items()}
    image, text, answer = make_inputs(_NANO)
    engines = [_native.CpuEngine(_NANO.to_dict(), weights) for weights in (half, wide)]
    results = [e.logits(e.encode_image(image, 16), text, answer) for e in engines]
    np.testing.assert_array_equal(*results)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    model = make_reference(_NANO)
    image, text, answer = make_inputs(_NANO)
    results = []
    for num_threads in (1, 2, 3, 8):
        engine = make_engine(model, num_threads=num_threads)
        assert engine.num_threads == num_threads
        results.append(engine.logits(engine.encode_image(image, 16), text, answer))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_calls_from_many_threads_take_turns() -> None:
    model = make_reference(_NANO)
    engine = make_engine(model, num_threads=2)
    inputs = [make_inputs(_NANO, seed) for seed in range(8)]
    want = [engine.logits(engine.encode_image(i, 16), t, a) for i, t, a in inputs]
    failures: list[int] = []

    def work(index: int) -> None:
        image, text, answer = inputs[index]
        for _ in range(20):
            got = engine.logits(engine.encode_image(image, 16), text, answer)
            if not np.array_equal(got, want[index]):
                failures.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_arguments_that_do_not_fit_are_refused() -> None:
    engine = make_engine(make_reference(_NANO))
    image, text, answer = make_inputs(_NANO)
    f_ND = engine.encode_image(image, 16)
    with pytest.raises(ValueError, match="image_size"):
        engine.encode_image(image[:-1], 16)
    with pytest.raises(ValueError, match="budgets"):
        engine.encode_image(image, 5)
    with pytest.raises(ValueError, match="budgets"):
        engine.generate(f_ND[:3], text, 8)
    with pytest.raises(ValueError, match="need 1 to 64"):
        engine.generate(f_ND, text[:0], 8)
    with pytest.raises(ValueError, match="vocabulary"):
        engine.logits(f_ND, np.array([128], np.int32), answer)
    with pytest.raises(ValueError, match="vocabulary"):
        engine.logits(f_ND, text, np.array([-1], np.int32))
    with pytest.raises(ValueError, match="need 1 to 32"):
        engine.logits(f_ND, text, np.zeros(33, np.int32))
    with pytest.raises(ValueError, match="max_tokens"):
        engine.generate(f_ND, text, 0)


def test_models_and_tensors_that_do_not_fit_are_refused() -> None:
    model = make_reference(_NANO)
    weights = weights_of(model)
    spatial = _with(_NANO, fusion={"resampler": "spatial"})
    with pytest.raises(ValueError, match="spatial"):
        _native.CpuEngine(spatial.to_dict(), weights)
    concat = _with(_NANO, fusion={"kind": "concat"})
    with pytest.raises(ValueError, match="concat"):
        _native.CpuEngine(concat.to_dict(), weights)
    for change, match in (
        (weights["vision.norm.weight"][:-1], "another shape"),
        (weights["vision.norm.weight"].astype(np.float64), "float64"),
    ):
        with pytest.raises(ValueError, match=match):
            _native.CpuEngine(_NANO.to_dict(), weights | {"vision.norm.weight": change})
    missing = {name: value for name, value in weights.items() if name != "vision.norm.weight"}
    with pytest.raises(ValueError, match="missing"):
        _native.CpuEngine(_NANO.to_dict(), missing)
    with pytest.raises(ValueError, match="instruction set 'sse9'"):
        _native.CpuEngine(_NANO.to_dict(), weights, isa="sse9")


def test_memory_is_reported_and_near_what_the_weights_need() -> None:
    model = make_reference(_NANO)
    report = make_engine(model).memory_report()
    plain = sum(value.nbytes for value in weights_of(model).values())
    assert 0.9 * plain < report["weights_bytes"] < 1.3 * plain
    assert 0 < report["workspace_bytes"] < 4_000_000


@pytest.mark.parametrize("name", CONFIGS)
def test_int8_logits_are_near_those_of_fp32(name: str) -> None:
    config = CONFIGS[name]
    model = make_reference(config)
    image, text, answer = make_inputs(config)
    full = make_engine(model)
    want = full.logits(full.encode_image(image, config.fusion.num_latents), text, answer)
    first = None
    for isa in _native.available_isas():
        engine = make_engine(model, precision="int8", isa=isa, num_threads=2)
        assert (engine.precision, engine.isa) == ("int8", isa)
        got = engine.logits(engine.encode_image(image, config.fusion.num_latents), text, answer)
        assert 1e-4 < np.linalg.norm(got - want) / np.linalg.norm(want) < _INT8_BOUND
        first = got if first is None else first
        # The products are exact; what is rounded between them may tip a value to the next step.
        assert np.linalg.norm(got - first) / np.linalg.norm(want) < _INT8_BOUND / 3


@pytest.mark.parametrize("isa", _native.available_isas())
@pytest.mark.parametrize("name", CONFIGS)
def test_bf16_is_as_near_to_float64_as_torch_in_bf16(name: str, isa: str) -> None:
    config = CONFIGS[name]
    model = make_reference(config)
    image, text, answer = make_inputs(config)
    budget = config.fusion.num_latents
    want = reference_logits(model, image, text, answer, budget)
    engine = make_engine(model, precision="bf16", isa=isa, num_threads=2)
    assert (engine.precision, engine.isa) == ("bf16", isa)
    got = engine.logits(engine.encode_image(image, budget), text, answer)
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    fed = np.concatenate([[0], answer[:-1]]).astype(np.int64)
    # Autocast: linears in bfloat16, norms and softmax in float32, as here.
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = copy.deepcopy(model).float()(
            torch.from_numpy(image[None]),
            torch.from_numpy(text[None].astype(np.int64)),
            torch.from_numpy(fed[None]),
            token_budget=budget,
        )[0]
    torch_error = np.linalg.norm(theirs.double().numpy() - want) / np.linalg.norm(want)
    assert 1e-4 < error < _BF16_BOUND
    assert error < 2 * torch_error


@pytest.mark.parametrize("isa", ["", *_native.available_isas()])
def test_the_number_of_threads_does_not_change_a_bit_of_bf16(isa: str) -> None:
    config = CONFIGS["nano"]
    model = make_reference(config)
    image, text, answer = make_inputs(config)
    results = []
    for num_threads in (1, 2, 5):
        engine = make_engine(model, precision="bf16", num_threads=num_threads, isa=isa)
        results.append(engine.logits(engine.encode_image(image, 16), text, answer))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_bf16_weights_take_little_more_than_half() -> None:
    model = make_reference(CONFIGS["nano"])
    full, half = (make_engine(model, precision=p).memory_report() for p in ("fp32", "bf16"))
    assert half["weights_bytes"] < 0.56 * full["weights_bytes"]


def test_a_forced_dot_product_is_what_runs(monkeypatch) -> None:
    """It rounds activations, so its logits differ; nothing else chooses it on Intel."""
    config = CONFIGS["nano"]
    model = make_reference(config)
    image, _, _ = make_inputs(config)
    if "avx512_bf16" not in _native.available_isas():
        pytest.skip("this CPU has no AVX512_BF16")
    plain = make_engine(model, precision="bf16", isa="avx512_vnni").encode_image(image, 16)
    monkeypatch.setenv("TOKENFUSE_FORCE_ISA", "avx512_bf16")
    forced = make_engine(model, precision="bf16")
    assert forced.isa == "avx512_bf16"
    difference = np.abs(forced.encode_image(image, 16) - plain).max()
    assert 1e-4 < difference / np.abs(plain).max() < _BF16_BOUND


def test_the_number_of_threads_does_not_change_a_bit_of_int8() -> None:
    config = CONFIGS["nano"]
    model = make_reference(config)
    image, text, answer = make_inputs(config)
    results = []
    for num_threads in (1, 2, 5):
        engine = make_engine(model, precision="int8", num_threads=num_threads)
        results.append(engine.logits(engine.encode_image(image, 16), text, answer))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_int8_weights_take_less_than_a_third() -> None:
    model = make_reference(CONFIGS["nano"])
    full, small = (make_engine(model, precision=p).memory_report() for p in ("fp32", "int8"))
    assert small["weights_bytes"] < full["weights_bytes"] / 3


def test_a_weight_that_is_no_array_is_refused() -> None:
    """A number of NumPy's own: an array made of it would be gone when the engine reads it."""
    model = make_reference(_NANO)
    (name,) = (name for name in weights_of(model) if name.endswith("iterations.0.alpha"))
    weights = weights_of(model) | {name: np.float32(1)}
    with pytest.raises(ValueError, match=f"the tensor {name} is a float32; need an array"):
        _native.CpuEngine(_NANO.to_dict(), weights)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of fp32, bf16, int8"):
        make_engine(make_reference(CONFIGS["nano"]), precision="int4")


def test_other_python_threads_run_on_during_a_call() -> None:
    """The GIL is released: with it held, the main thread stood still until the call is over."""
    config = CONFIGS["nano"]
    engine = make_engine(make_reference(config), num_threads=1)
    image, text, answer = make_inputs(config)
    f_ND = engine.encode_image(image, config.fusion.num_latents)
    finished = threading.Event()

    def one_long_call() -> None:
        engine.score(f_ND, text, [answer] * 2_000)
        finished.set()

    thread = threading.Thread(target=one_long_call)
    thread.start()
    steps = 0
    while not finished.wait(0.001):
        steps += 1
    thread.join()
    # Some 0.3 ms a candidate. A thread that waits for the GIL would count one or two.
    assert steps > 20
