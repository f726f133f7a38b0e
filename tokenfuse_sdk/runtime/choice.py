"""Which precision a model runs in, and why: the fastest here that passes the bundle's gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.runtime import native_cpu, tensorrt
from tokenfuse_sdk.runtime.fastest import MAX_SHARE, fastest, linear_times
from tokenfuse_sdk.runtime.graphs.precision import choose_graph_precision
from tokenfuse_sdk.runtime.placement import PRECISIONS, Placement

if TYPE_CHECKING:
    # Reading bundles takes Pillow and the tokenizer library, which a runtime does without.
    from tokenfuse_sdk.bundle import Bundle, PrecisionRecord

__all__ = ["Probe", "choose_precision"]

# Of a config and precisions: seconds by precision.
Probe = Callable[[ModelConfig, Sequence[str]], Mapping[str, float]]


def choose_precision(
    placement: Placement, bundle: Bundle, *, probe: Probe = linear_times
) -> Placement:
    """The placement with its precision chosen, and the reason.

    A precision that was asked for stays. Otherwise it is the fastest on this machine of those
    that answer like the most exact one, by the bundle's record. Nothing is timed where only one
    passes.

    Args:
        placement: of `place`.
        bundle: whose record says which precisions pass.
        probe: times them.

    Raises:
        DeviceError, ConfigError: the engine cannot run here; says why.
        BundleMissingFileError, PrecisionError: the bundle lacks graphs, or those of the precision;
            where it lacks engines for the device, that is a DeviceError.
    """
    if placement.backend == "onnxruntime":
        return choose_graph_precision(placement, bundle)
    if placement.backend == "tensorrt":
        chosen, why = tensorrt.choose_precision(bundle, placement.precision)
        return dataclasses.replace(placement, precision=chosen, precision_reason=why)
    exact, *others = PRECISIONS[placement.device]
    record = bundle.precisions
    if placement.precision is not None:
        reason = "asked for"
        if placement.precision != exact and placement.device == "cpu":
            reason += f"; {_verdict(record, placement.precision, exact)}"
        return dataclasses.replace(placement, precision_reason=reason)
    if placement.device == "cuda":
        # Its 16-bit precisions have the same rate of products.
        return _chosen(placement, exact, [f"{exact} is the most exact that the CUDA engine has"])
    if record is None:
        return _chosen(placement, exact, [f"the bundle records no precisions, so {exact}"])
    said = {name: f"{name} {_verdict(record, name, exact)}" for name in others}
    passing = [name for name in others if _passes(record, name)]
    if not passing:
        return _chosen(placement, exact, [f"{exact} alone passes the gate", *said.values()])
    times = probe(bundle.config, [exact, *passing])
    choice = fastest(times)
    shares = {name: f"{times[name] / times[exact]:.2f} of {exact}'s time here" for name in passing}
    if choice == exact:
        reasons = [f"{exact} is the fastest that passes the gate"]
    else:
        reasons = [f"{said[choice]} and its linears take {shares[choice]}"]
    for name in others:
        if name not in passing:
            reasons.append(said[name])
        elif times[name] > MAX_SHARE * times[exact]:
            reasons.append(f"{name} is too slow: {shares[name]}, where {MAX_SHARE} is asked")
        elif name != choice:
            reasons.append(f"{name} takes {shares[name]}")
    return _chosen(placement, choice, reasons)


def _chosen(placement: Placement, precision: str, reasons: Sequence[str]) -> Placement:
    why = f"auto: {'; '.join(reasons)}"
    return dataclasses.replace(placement, precision=precision, precision_reason=why)


def _measured(record: PrecisionRecord, precision: str) -> bool:
    # With bf16's own instruction activations are rounded too: it is another arithmetic, which a
    # record of other kernels did not see. All others differ in the order of their sums alone.
    rounds = "avx512_bf16"
    return precision in record.counts and (
        precision != "bf16" or record.isa == rounds or native_cpu.chosen_isa() != rounds
    )


def _passes(record: PrecisionRecord, precision: str) -> bool:
    return _measured(record, precision) and record.passes(precision)


def _verdict(record: PrecisionRecord | None, precision: str, exact: str) -> str:
    """What the record says of a precision; continues "int8 ..."."""
    if record is None:
        return f"may answer unlike {exact}: the bundle records no precisions"
    if not _measured(record, precision):
        return f"may answer unlike {exact}: it was not measured with these kernels"
    counts = (
        f"answers like {exact} in {record.least_same(precision):,} of {record.num_questions:,} "
        f"{record.data} questions (needs {record.required_per_mille / 10:g}%)"
    )
    return counts if record.passes(precision) else f"does not pass the gate: it {counts}"
