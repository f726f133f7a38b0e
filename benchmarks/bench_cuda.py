"""The CUDA engine beside PyTorch on one GPU: same weights, same inputs, one run.

    python benchmarks/bench_cuda.py merge_attention --json merge.json
    python benchmarks/bench_cuda.py answer --model tiny --json tiny.json

"merge_attention" is a batch of image tokens to latents, alone: ours folded and projected, PyTorch
with each backend of its attention, and compiled. All are checked against float64 first; what is
timed is the device, over calls recorded as one CUDA graph.

"answer" is the whole model, from prepared pictures in the host's memory to two ids: ours in fp16
and bf16, PyTorch eager, recorded as a CUDA graph, and compiled with max-autotune. All are checked
against the float32 reference first, logits and answers. A call is timed on the host; `device` is
the time between the first and the last work on the device, `launch` the host's time to ask for it.

Contestants take turns in one process (`timing.compare`). Those that do not run are listed with the
reason. `limit` is the share of the least time that this GPU allows: bytes at the bandwidth of a
copy, or operations at the rate of a large product, whichever takes longer; both are measured first.

Without a GPU, `--dry-run` goes through all of it on the host, with the engine on the emulator
(TOKENFUSE_CUDA_EMULATED: the folder of its module); its times say nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from types import ModuleType

_HERE = pathlib.Path(__file__).parent
sys.path += [str(_HERE / folder) for folder in ("cuda", "peers", "roofline")]

import timing  # noqa: E402
from gpu import DryDevice, Gpu  # noqa: E402
from gpu_peaks import measure_peaks  # noqa: E402
from gpu_plan import BATCHES, MODELS, PRECISIONS, merge_shapes  # noqa: E402
from gpu_report import Stored, print_gpu_rows  # noqa: E402
from gpu_work import Peaks  # noqa: E402
from our_module import NotHere, emulated_module, gpu_module  # noqa: E402


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    gpu: Gpu | DryDevice
    module: ModuleType | None
    peaks: Peaks
    stored: Stored
    rounds: int
    turn_seconds: float


def _words(allowed: tuple[str, ...]) -> object:
    def of(text: str) -> list[str]:
        words = text.split(",")
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word!r}: choose of {', '.join(allowed)}")
        return words

    return of


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", choices=("merge_attention", "answer"))
    parser.add_argument("--model", default="tiny", help=f"{', '.join(MODELS)}, or a bundle")
    parser.add_argument("--batch", type=timing.counts, help="of answers; 1,8,64 unless told")
    parser.add_argument("--precision", type=_words(PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, help="turns of each contestant, from 2")
    parser.add_argument(
        "--compile-seconds",
        type=float,
        default=900.0,
        help="most for each compiled contestant; 0 leaves them out",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer shapes and turns, none compiled"
    )
    parser.add_argument("--dry-run", action="store_true", help="on the host, with the emulator")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 2:
        parser.error("need --rounds of 2 or more")
    if options.quick or options.dry_run:
        options.compile_seconds = 0.0
    if options.rounds is None:
        options.rounds = 2 if options.dry_run else 7 if options.quick else 21
    if options.dry_run and options.work == "merge_attention":
        # The emulator takes arrays by an interface that has no bf16.
        options.precision = ["fp16"]
    if options.batch is None:
        options.batch = [1, 2] if options.dry_run else list(BATCHES)
    return options


def _turn_seconds(options: argparse.Namespace) -> float:
    """Of the device alone a short turn is as good: nobody shares it."""
    if options.dry_run:
        return 0.0
    return 5e-3 if options.work == "merge_attention" else 20e-3


def _module(options: argparse.Namespace) -> ModuleType | None:
    try:
        return emulated_module() if options.dry_run else gpu_module()
    except NotHere as why:
        print(f"tokenfuse takes no part: {why}", file=sys.stderr)
        return None


def _merge(run: _Run, options: argparse.Namespace) -> None:
    from merge_contest import merge_rows

    pace = "dry" if options.dry_run else "quick" if options.quick else "full"
    for shape in merge_shapes(pace):
        for precision in options.precision:
            rows, absent = merge_rows(
                run.gpu,
                run.module,
                shape,
                precision,
                run.peaks,
                rounds=run.rounds,
                turn_seconds=run.turn_seconds,
                compile_seconds=options.compile_seconds,
            )
            print_gpu_rows(f"merge_attention {precision}: {shape.name}", rows, absent)
            run.stored.add(rows, absent, shape=shape.name, precision=precision)


def _answers(run: _Run, options: argparse.Namespace) -> None:
    from model_contest import ModelContest
    from model_inputs import prepare_model

    print(f"  preparing {options.model} and the reference's answers", file=sys.stderr, flush=True)
    model = prepare_model(options.model, max(options.batch))
    contest = ModelContest(run.gpu, run.module, model, compile_seconds=options.compile_seconds)
    for batch in options.batch:
        rows, absent = contest.rows(
            batch,
            options.precision,
            run.peaks,
            rounds=run.rounds,
            turn_seconds=run.turn_seconds,
        )
        print_gpu_rows(f"{options.model}: the whole answer, batch {batch}", rows, absent)
        run.stored.add(rows, absent, batch=batch)


def main() -> None:
    options = _options()
    try:
        gpu = DryDevice() if options.dry_run else Gpu()
    except NotHere as why:
        sys.exit(f"nothing was measured: {why}")
    module = _module(options)
    peaks = measure_peaks(gpu)
    print(f"{gpu.facts()['gpu']}: copy {peaks.copy_bytes_per_s / 1e9:.0f} GB/s", end="")
    for precision, rate in peaks.flops_per_s.items():
        print(f", {precision} products {rate / 1e12:.1f} TFLOP/s", end="")
    print(flush=True)
    facts = {
        "hardware": timing.hardware() | gpu.facts(),
        "commit": timing.commit(),
        "model": options.model if options.work == "answer" else options.work,
        "dry_run": options.dry_run,
        "peaks": dataclasses.asdict(peaks),
    }
    run = _Run(
        gpu=gpu,
        module=module,
        peaks=peaks,
        stored=Stored(options.json, facts),
        rounds=options.rounds,
        turn_seconds=_turn_seconds(options),
    )
    (_merge if options.work == "merge_attention" else _answers)(run, options)
    # Without ours nothing was compared.
    if module is None or run.stored.lacks_ours:
        sys.exit("tokenfuse took no part in some of it, for the reasons above")


if __name__ == "__main__":
    main()
