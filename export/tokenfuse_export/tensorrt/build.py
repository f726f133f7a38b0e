"""Engines of a bundle, for one or more targets: all of them, or nothing."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence

from tokenfuse_export.card_rows import card_with
from tokenfuse_export.checks import added_to, check_kept_graphs
from tokenfuse_export.output import output_errors, work_beside
from tokenfuse_export.tensorrt.attentions import num_attentions
from tokenfuse_export.tensorrt.builder import BuiltEngine, build_engine
from tokenfuse_export.tensorrt.flavours import TensorRT, find_tensorrt
from tokenfuse_export.tensorrt.plan import BuildPlan, plan_build
from tokenfuse_export.tensorrt.profiles import profiles_of
from tokenfuse_export.tensorrt.proof import NOT_HERE, Proof, prove_engines
from tokenfuse_export.tensorrt.report import BuildReport, EngineReport
from tokenfuse_export.tensorrt.source import Source, graph_hashes, with_graphs
from tokenfuse_export.tensorrt.targets import (
    CURRENT,
    Target,
    check_precision,
    current_target,
    resolve_targets,
)
from tokenfuse_export.tensorrt.timing_cache import read_timings, write_timings
from tokenfuse_sdk.bundle import FileRow, add_groups, check_output, read_bundle
from tokenfuse_sdk.engine_file import ENGINE_FILE, REPORT_FILE, EngineFile, EngineProfile
from tokenfuse_sdk.engine_key import EngineKey, engine_group, this_system
from tokenfuse_sdk.graphs import GRAPHS, text_lengths
from tokenfuse_sdk.shipped import find_bundle

__all__ = ["build_engines"]

# Target, graph, share that is done (0 to 1), what is being done.
Report = Callable[[str, str, float, str], None]


def _say_nothing(target: str, graph: str, share: float, what: str) -> None:
    pass


def build_engines(
    bundle: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    precision: str,
    targets: Sequence[str] = (CURRENT,),
    batches: Sequence[int] = (1,),
    budgets: Sequence[int] | None = None,
    flavour: str | None = None,
    timing_cache: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    report: Report = _say_nothing,
) -> tuple[BuildReport, ...]:
    """Build TensorRT engines of a bundle, and write the bundle with them, in one step.

    Where it has no ONNX graphs in the precision, they are exported and join it too. Before
    anything is written, PyTorch is what the graphs are compared with, where it is installed, and
    then the engines for the GPU of this machine.

    Args:
        bundle: its path, or a shipped model's name.
        output: where the bundle with the engines goes; it may be `bundle`, with `overwrite`.
        precision: fp32, fp16, bf16 or int8 (linears in 8 bits, the rest in 16).
        targets: compute capabilities as "sm_86", or "current" for this machine's GPU.
        batches: pictures or questions of one call: a profile for each. 1 to `MAX_BATCH`.
        budgets: token budgets: a profile for each; None for all of the model's.
        flavour: "tensorrt" or "tensorrt_rtx"; None for the first that is installed.
        timing_cache: a file that TensorRT's timings are read from, and written to at the end.
        overwrite: replace a bundle at `output`.
        report: is called on this thread with the target, the graph, what share of it is done and
            what is being done.

    Returns:
        A report for each target.

    Raises:
        EngineBuildError: TensorRT is missing or too old, or refuses; with its own message.
        ExportError: graphs or engines do not compute what the model computes.
        TargetError, PrecisionError, TokenBudgetError, ConfigError: a wrong argument.
        BundleExistsError: `output` is there, and `overwrite` was not given.
        OutputPathError: it cannot be written, or the disk is full.
        BundleChangedError: another added to the bundle meanwhile.
        BundleError: the bundle is missing or damaged.
    """
    trt = find_tensorrt(flavour)
    resolved = resolve_targets(trt, targets)
    check_precision(trt, resolved, precision)
    check_output(output, overwrite=overwrite, source=find_bundle(bundle))
    read = read_bundle(find_bundle(bundle))
    plan = plan_build(read.config, precision=precision, batches=batches, budgets=budgets)
    # Those that engines are built from are opened, and so hashed, when they are copied.
    check_kept_graphs(read, (plan.graph_precision,))
    cache = None if timing_cache is None else pathlib.Path(timing_cache)
    timings = None if cache is None else read_timings(trt, cache)
    here, _ = current_target()
    path = pathlib.Path(output).absolute()
    with work_beside("the engines", path) as work:
        report(resolved[0].name, "graphs", 0.0, "comparing with PyTorch")
        source = with_graphs(read, plan.graph_precision, work)
        report(resolved[0].name, "graphs", 1.0, "done")
        groups: dict[str, pathlib.Path] = {}
        rows: list[FileRow] = []
        reports = []
        for target in resolved:
            folder = work / f"{target.name}-{plan.precision}"
            with output_errors("the engines", path):
                folder.mkdir()
                done, timings = _build_target(trt, source, plan, target, folder, timings, report)
            group, proof = engine_group(target.name, plan.precision), NOT_HERE
            if target.name == here:
                report(target.name, "verify", 0.0, "comparing with PyTorch")
                proof = prove_engines(source.bundle.path, {group: folder}, work, plan.precision)
                report(target.name, "verify", 1.0, "done")
                done = done.with_warning(proof.doubt)
                with output_errors("the engines", path):
                    (folder / REPORT_FILE).write_bytes(done.to_json())
            reports.append(done)
            groups[group] = folder
            rows += _card_rows(done, group, proof)
        with output_errors("the engines", path):
            card = card_with(source.bundle.card, rows)
            add_groups(
                source.bundle.path,
                path,
                groups,
                card=card,
                based_on=added_to(read, path),
                overwrite=overwrite,
            )
    if cache is not None and timings is not None:
        write_timings(cache, timings)
    return tuple(reports)


def _build_target(
    trt: TensorRT,
    source: Source,
    plan: BuildPlan,
    target: Target,
    folder: pathlib.Path,
    timings: bytes | None,
    report: Report,
) -> tuple[BuildReport, bytes | None]:
    """The files of one group of engines; what they are, and the timing cache behind them."""
    bundle, (system, arch) = source.bundle, this_system()
    config = bundle.config
    key = EngineKey(
        flavour=trt.flavour.name,
        version=trt.version,
        target=target.name,
        os=system,
        arch=arch,
        precision=plan.precision,
        batches=plan.batches,
        budgets=plan.budgets,
        text_lengths=text_lengths(config),
        onnx_sha256=graph_hashes(bundle, plan.graph_precision),
        weights_sha256=bundle.digest,
    )
    profiles: list[EngineProfile] = []
    files, engines = {}, {}
    warnings = [] if source.doubt is None else [source.doubt]
    for graph in GRAPHS:
        mine = profiles_of(config, graph, batches=plan.batches, budgets=plan.budgets)
        built = build_engine(
            trt,
            source.folder / f"{graph}.onnx",
            config=config,
            profiles=mine,
            target=target,
            timings=timings,
            report=lambda share, what, graph=graph: report(target.name, graph, share, what),
        )
        (folder / f"{graph}.engine").write_bytes(built.plan)
        timings = built.timings
        profiles += mine
        size = memoryview(built.plan).nbytes
        files[graph] = size, hashlib.sha256(built.plan).hexdigest()
        engines[graph] = _engine_report(built, num_attentions(config, graph), len(mine))
        warnings += [f"{graph}: {warning}" for warning in built.warnings]
        report(target.name, graph, 1.0, "done")
    done = BuildReport(
        flavour=trt.flavour.name,
        version=trt.version,
        target=target.name,
        precision=plan.precision,
        digest=key.digest,
        warnings=tuple(warnings),
        engines=engines,
    )
    engine_file = EngineFile(key=key, profiles=tuple(profiles), files=files)
    (folder / ENGINE_FILE).write_bytes(engine_file.to_json())
    (folder / REPORT_FILE).write_bytes(done.to_json())
    return done, timings


def _engine_report(built: BuiltEngine, num_attentions: int, num_profiles: int) -> EngineReport:
    return EngineReport(
        num_profiles=num_profiles,
        num_attentions=num_attentions,
        num_fused_attentions=sum(layer.is_attention for layer in built.layers),
        layers=built.layers,
        layers_from=built.layers_from,
        engine_bytes=memoryview(built.plan).nbytes,
        weights_bytes=built.weights_bytes,
        device_memory_bytes=built.device_memory_bytes,
        build_s=built.build_s,
    )


def _card_rows(done: BuildReport, group: str, proof: Proof) -> list[FileRow]:
    return [
        FileRow(
            file=f"{group}/{graph}.engine",
            precision=done.precision,
            num_bytes=engine.engine_bytes,
            parity=proof.parity,
            answers=proof.answers,
        )
        for graph, engine in done.engines.items()
    ]
