"""What this machine could do at most, and how much of it the engine gets.

    python benchmarks/roofline.py --model tiny --precision int8

Peaks are loops of nothing but multiply-add instructions on registers, by a small C++ program
that the system's compiler builds in a temporary folder: float32, bf16 and int8, for every
instruction set that the CPU has. Bandwidth is a copy of buffers that fit no cache, bytes read
and written.

The least time of a model is that of its operations, each at the peak of the type that computes
it: linear layers, the patch embedding among them, in the engine's precision, the stem's
convolutions in float32, attention in float32 or, below fp32, in 16 bits; or that of reading its
weights once, where that is longer. Its share is the least time over the measured median: all of a
model, not its products alone. It means something only on a machine that does nothing else.

With `--ops`, the same for the linear layers of a model, in float32.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

sys.path.append(str(pathlib.Path(__file__).with_name("roofline")))

import timing
from dense import DenseRow, dense_rows
from peaks import best_peaks, measure_peaks
from whole_model import ModelRow, model_rows, open_model

from tokenfuse_sdk.atomic import write_file
from tokenfuse_sdk.errors import TokenfuseError
from tokenfuse_sdk.runtime import native_cpu


def _print_peaks(peaks: Mapping[str, float], num_threads: int) -> None:
    print(f"\n{num_threads} thread{'s' * (num_threads > 1)}: the machine's limits")
    for name, rate in peaks.items():
        unit = "GB/s, read and written" if name == "copy" else "GOP/s"
        print(f"  {name:<18}{rate / 1e9:>10.1f} {unit}")


def _print_model(rows: Sequence[ModelRow]) -> None:
    for row in rows:
        low, high = row.quartiles_ms
        line = (
            f"  {f'{row.model} {row.precision}, {row.stage}':<32}{row.gflop:>7.2f} GFLOP in"
            f"{row.median_ms:>9.2f} ms [{low:.2f}, {high:.2f}]"
        )
        if row.share is None:
            line += f"; this CPU has no {row.precision} multiply-add to compare with"
        else:
            line += (
                f"; at least {row.arithmetic_ms:.2f} ms of arithmetic, {row.memory_ms:.2f} of"
                f" weights: {100 * row.share:.0f}% of the limit"
            )
        print(line)


def _print_dense(rows: Sequence[DenseRow]) -> None:
    print(f"  {rows[0].model}: linear layers in fp32, packing left out")
    for row in rows:
        shape = f"({row.rows}, {row.inputs}) x ({row.inputs}, {row.outputs})"
        print(
            f"    {row.op:<26}{shape:<32}{row.us:>9.1f} us {row.gflops_per_s:>8.1f} GOP/s"
            f"{100 * row.share_of_peak:>5.0f}%"
        )


def _options() -> argparse.Namespace:
    has = native_cpu.PRECISIONS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", nargs="+", default=["tiny", "small"], help="nano, tiny, small, base, or a bundle"
    )
    parser.add_argument("--precision", nargs="+", default=list(has), choices=has)
    parser.add_argument("--threads", type=timing.counts, default=[1, 2], help="for example 1,2")
    parser.add_argument("--rounds", type=int, default=15, help="from 2")
    parser.add_argument("--seconds", type=float, default=0.2, help="of one repetition of a peak")
    parser.add_argument("--ops", action="store_true", help="linear layers as well")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.rounds < 2 or not options.seconds > 0:
        parser.error("need --rounds of 2 or more and --seconds above 0")
    return options


def main() -> None:
    options = _options()
    stored: dict[str, list] = {"peaks": [], "models": [], "ops": []}
    try:
        opened = {name: open_model(name) for name in options.model}
        for num_threads in options.threads:
            peaks = measure_peaks(num_threads, options.seconds)
            best = best_peaks(peaks)
            _print_peaks(peaks, num_threads)
            stored["peaks"].append({"threads": num_threads} | peaks)
            common = {"num_threads": num_threads, "rounds": options.rounds}
            for name, (config, weights) in opened.items():
                for precision in options.precision:
                    how = {"precision": precision, "best": best, "copy": peaks["copy"]} | common
                    rows = model_rows(name, config, weights, **how)
                    _print_model(rows)
                    stored["models"] += map(dataclasses.asdict, rows)
                if options.ops:
                    layers = dense_rows(name, config, peak=best["fp32"], **common)
                    _print_dense(layers)
                    stored["ops"] += map(dataclasses.asdict, layers)
    except TokenfuseError as error:
        sys.exit(str(error))
    if options.json:
        facts = {"hardware": timing.hardware(), "commit": timing.commit()}
        write_file(options.json, (json.dumps(facts | stored, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
