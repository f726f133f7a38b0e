"""Everybody that can run a model beside PyTorch in float32."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from tokenfuse_export.choices import RUNTIMES
from tokenfuse_export.reference import open_bundle, reference_of
from tokenfuse_export.verify.bounds import BOUNDS
from tokenfuse_export.verify.compare import compare
from tokenfuse_export.verify.contestants import (
    Contestant,
    NotHereError,
    contestants_of,
    graph_contestants,
)
from tokenfuse_export.verify.inputs import GoldenInputs, inputs_of
from tokenfuse_export.verify.rows import Row, Verification
from tokenfuse_export.verify.trace import Reference
from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.errors import ConfigError, DeviceError, UnsupportedModelError
from tokenfuse_training.model import JointModel

__all__ = ["RUNTIMES", "verify_bundle", "verify_graphs"]

# Told of each row before it runs.
Progress = Callable[[str], None]


def verify_bundle(
    bundle: Bundle | str | os.PathLike[str],
    *,
    against: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare all that can run a bundle here with PyTorch in float32.

    Each is asked the golden inputs, prepared by the SDK, at every budget: image tokens, fused
    tokens, logits under teacher forcing, and greedy answers.

    Args:
        bundle: an open one, its path, or a shipped model's name.
        against: of `RUNTIMES`; None for all. One that is named must run.
        precisions: of `BOUNDS`; None for all. One that is named must run.
        progress: told the title of each row before it runs.

    Raises:
        ConfigError: an unknown runtime or precision.
        BundleError: the bundle, or a graph or engine of it, is damaged or hostile.
    """
    _check_known("against", against, RUNTIMES)
    _check_known("precisions", precisions, tuple(BOUNDS))
    if not isinstance(bundle, Bundle):
        bundle = open_bundle(bundle)
    model = reference_of(bundle)
    contestants = [
        one
        for one in contestants_of(bundle)
        if (against is None or one.runtime in against)
        and (precisions is None or one.precision in (*precisions, ""))
    ]
    return _verification(
        Reference(model, inputs_of(bundle, model)),
        contestants,
        asked=(*(against or ()), *(precisions or ())),
        progress=progress,
    )


def verify_graphs(
    model: JointModel,
    inputs: GoldenInputs,
    folder: str | os.PathLike[str],
    precision: str,
    *,
    reference: Reference | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare the graphs of a folder with their model, by each runtime here that reads them.

    Args:
        model: the float32 reference.
        inputs: of `golden_inputs` or a bundle.
        folder: with `<graph>.onnx`, and nothing but what belongs to them.
        precision: of the graphs.
        reference: of this model and these inputs, where it was computed already.
        progress: as of `verify_bundle`.
    """
    _check_known("precision", (precision,), tuple(BOUNDS))
    contestants = graph_contestants(model.config, pathlib.Path(folder), precision)
    return _verification(reference or Reference(model, inputs), contestants, progress=progress)


def _check_known(name: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    unknown = [one for one in given or () if one not in known]
    if unknown or (given is not None and not given):
        raise ConfigError(f"{name}={list(given or ())}: choose from {', '.join(known)}")


def _verification(
    reference: Reference,
    contestants: Iterable[Contestant],
    *,
    asked: tuple[str, ...] = (),
    progress: Progress | None,
) -> Verification:
    rows = []
    for one in contestants:
        if progress is not None:
            progress(f"{one.runtime} {one.where} {one.precision}")
        rows.append(_row(one, reference))
    return Verification(
        model=reference.config.name,
        num_inputs=reference.num_inputs,
        rows=tuple(rows),
        asked=asked,
    )


def _row(one: Contestant, reference: Reference) -> Row:
    budgets = one.token_budgets or reference.config.fusion.token_budgets
    row = Row(runtime=one.runtime, where=one.where, precision=one.precision, token_budgets=budgets)
    try:
        runtime = one.open()
    except NotHereError as error:
        return dataclasses.replace(row, reason=str(error))
    except (DeviceError, UnsupportedModelError) as error:
        return dataclasses.replace(row, passed=False, reason=str(error))
    try:
        comparison = compare(reference.pairs(runtime, budgets), BOUNDS[one.precision])
    # What a wrong graph makes of the next one's inputs may be an error of any of these.
    except (DeviceError, UnsupportedModelError, ValueError) as error:
        return dataclasses.replace(row, passed=False, reason=str(error))
    faults = comparison.faults
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return dataclasses.replace(
        row,
        comparison=comparison,
        passed=not faults,
        reason=f"{faults[0]}{more}" if faults else "",
    )
