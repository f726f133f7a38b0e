"""What all tests share: a small random bundle, the CPU as the device, and one way to compare."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import shutil
import sys
from collections.abc import Callable

import numpy as np
import pytest

from tokenfuse_sdk.bundle import BudgetCount, PrecisionRecord, write_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.graphs import GRAPHS, METADATA
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.sizes import named_config
from tokenfuse_sdk.weights import expected_tensors


@pytest.fixture(autouse=True)
def _no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is the CPU, also on a machine with a GPU: tests/gpu are for that."""
    if request.path.parent.name != "gpu":
        monkeypatch.setitem(sys.modules, "tokenfuse_sdk._cuda", None)


def small_config() -> ModelConfig:
    nano = named_config("nano")
    return dataclasses.replace(
        nano,
        name="random-small",
        vision=dataclasses.replace(
            nano.vision,
            image_size=32,
            width=32,
            num_heads=2,
            num_layers=1,
            mlp_dim=64,
            stem_widths=(8,),
        ),
        text=dataclasses.replace(
            nano.text, width=32, num_heads=2, head_dim=16, num_layers=1, mlp_dim=48, vocab_size=98
        ),
        fusion=dataclasses.replace(
            nano.fusion,
            width=32,
            num_heads=2,
            mlp_dim=64,
            num_latents=8,
            num_iterations=1,
            num_layers=1,
            token_budgets=(2, 4, 8),
        ),
        decoder=dataclasses.replace(
            nano.decoder, num_heads=2, head_dim=16, num_layers=1, mlp_dim=48
        ),
    )


@pytest.fixture(scope="session")
def bundle_parts() -> dict:
    """Arguments of `write_bundle`; copy before you change."""
    from tokenfuse_training.data.scenes.vocabulary import build_tokenizer

    config = small_config()
    rng = np.random.default_rng(5)
    weights = {
        # Arrays also where there are no axes.
        name: np.asarray(0.2 * rng.standard_normal(shape)).astype(np.float16)
        for name, shape in expected_tensors(config).items()
    }
    return {
        "config": config,
        "preprocess": PreprocessConfig(image_size=config.vision.image_size),
        "tokenizer_json": build_tokenizer().to_str(),
        "weights": weights,
        "card": "---\nlicense: apache-2.0\n---\n# random-small\nRandom weights.\n",
        "golden": {"image_u8": rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)},
    }


@pytest.fixture(scope="session")
def _bundle_once(bundle_parts: dict, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("bundle") / "random-small"
    write_bundle(folder, **bundle_parts)
    return folder


@pytest.fixture
def bundle(_bundle_once: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A bundle of one's own, to be damaged at will."""
    return pathlib.Path(shutil.copytree(_bundle_once, tmp_path / "random-small"))


def _with_graphs(
    source: pathlib.Path, factory: pytest.TempPathFactory, precisions: tuple[str, ...]
) -> pathlib.Path:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    from tokenfuse_export.to_onnx import export_onnx
    from tokenfuse_sdk.bundle import add_groups

    folder = factory.mktemp("graphs")
    export_onnx(source, folder / "onnx", precisions=precisions)
    groups = {f"onnx/{name}": folder / "onnx" / name for name in precisions}
    add_groups(source, folder / "bundle", groups)
    return folder / "bundle"


@pytest.fixture(scope="session")
def exported_small(
    _bundle_once: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The small random bundle with ONNX graphs; copy before you change it."""
    return _with_graphs(_bundle_once, tmp_path_factory, ("fp32", "fp16"))


@pytest.fixture(scope="session")
def exported_nano(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The shipped model with ONNX graphs; copy before you change it."""
    from tokenfuse_sdk.shipped import find_bundle

    return _with_graphs(find_bundle("scenes-nano"), tmp_path_factory, ("fp32",))


@pytest.fixture
def record_of() -> Callable[..., PrecisionRecord]:
    """A record of 2,000 questions for a read bundle; `same` by precision, at the last budget."""

    def make(bundle, *, isa: str = "scalar", **same: int) -> PrecisionRecord:
        budgets = bundle.config.fusion.token_budgets
        return PrecisionRecord(
            weights_sha256=bundle.digest,
            isa=isa,
            data="scenes",
            split="test",
            seed=3,
            num_questions=2_000,
            required_per_mille=995,
            counts={
                name: tuple(
                    BudgetCount(
                        token_budget=n, same=count if n == budgets[-1] else 2_000, right=1_900
                    )
                    for n in budgets
                )
                for name, count in {"fp32": 2_000, **same}.items()
            },
        )

    return make


@pytest.fixture
def make_group(
    tmp_path: pathlib.Path,
) -> Callable[[str, pathlib.Path], pathlib.Path]:
    """A folder of a group's files, for a bundle: the graphs do nothing, the engines are none."""

    def make(group: str, bundle: pathlib.Path) -> pathlib.Path:
        folder = tmp_path / "groups" / group
        folder.mkdir(parents=True)
        kind, _, name = group.partition("/")
        if kind == "engines":
            files = {f"{graph}.engine": f"{graph} of {name}".encode() for graph in GRAPHS}
            files |= {"engine.json": b"{}\n", "report.json": b"{}\n"}
        else:
            weights = hashlib.sha256((bundle / "model.safetensors").read_bytes()).hexdigest()
            facts = {METADATA["precision"]: name, METADATA["weights"]: weights}
            files = {f"{graph}.onnx": _empty_onnx(graph, facts) for graph in GRAPHS}
        for file, data in files.items():
            (folder / file).write_bytes(data)
        return folder

    return make


def _empty_onnx(graph: str, facts: dict[str, str]) -> bytes:
    """A model that gives its input back."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B"]) for n in ("x", "y"))
    node = helper.make_node("Identity", ["x"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], graph, [x], [y]), opset_imports=[helper.make_opsetid("", 20)]
    )
    helper.set_model_props(model, facts)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture
def resident_bytes() -> Callable[[pathlib.Path], int]:
    """Bytes of a file that this process has mapped and in memory, in whole pages."""
    smaps = pathlib.Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("needs Linux's /proc/self/smaps")

    def measure(path: pathlib.Path) -> int:
        own, kilobytes = False, 0
        for line in smaps.read_text().splitlines():
            # A mapping's first line begins with its addresses, those below with a name and a colon.
            if not line.split(maxsplit=1)[0].endswith(":"):
                own = line.endswith(f" {path}")
            elif own and line.startswith("Rss:"):
                kilobytes += int(line.split()[1])
        return 1024 * kilobytes

    return measure


@pytest.fixture(scope="session")
def check() -> Callable[[np.ndarray, np.ndarray, np.ndarray | float], None]:
    """Every element within its bound; the worst one is named."""

    def check(got: np.ndarray, want: np.ndarray, bound: np.ndarray | float) -> None:
        assert got.dtype == np.float32
        assert got.shape == want.shape
        if not want.size:
            return
        assert np.isfinite(got).all()
        share = np.abs(got - want) / np.broadcast_to(bound, want.shape)
        worst = np.unravel_index(np.argmax(share), share.shape)
        assert share[worst] <= 1.0, (
            f"element {worst}: {got[worst]} for {want[worst]}, {share[worst]:.2f} times the bound"
        )

    return check
