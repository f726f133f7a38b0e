"""What this machine could do at most, and how much of it the engine gets.

    python benchmarks/roofline.py

Peaks are loops of nothing but multiply-add instructions on registers, by a small C++ program
that the system's compiler builds in a temporary folder: float32, bf16 and int8, for every
instruction set that the CPU has. Bandwidth is a copy of buffers that fit no cache, bytes read
and written. The share is FLOPs of the plain maths (`tokenfuse flops`) over the time, over the
peak of the precision; the engine folds some products into constants, so it does a few less. All
of it means something only on a machine that does nothing else.

With `--ops`, the same for the linear layers of a model. `tokenfuse_sdk.ops.linear` packs its
weights at every call, which the engine does not: the time is the difference of a call with 3
times the rows and one with the rows, in which packing and the start of threads cancel.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import timing

from tokenfuse_sdk import _native
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.flops import count_flops
from tokenfuse_sdk.runtime import native_cpu, open_runtime, place
from tokenfuse_sdk.sizes import SIZES, named_config
from tokenfuse_sdk.weights import expected_tensors

_TEXT_TOKENS, _ANSWER_TOKENS = 12, 2
_COPY_BYTES = 256 << 20

# Accumulators, a register each, as many as fit beside the two factors: what hides a latency of 8
# cycles on 2 units takes 16. Registers above 15 are AVX-512's, which the compiler does not use
# when it is given no flags.
_REGISTERS = {
    "ymm": [*range(14)],
    "zmm": [*range(14), *range(16, 30)],
    "neon": [*range(28)],
}

# Name: (precision, needed flags of /proc/cpuinfo, multiply-adds, instruction).
# In an instruction, \reg is the accumulator; registers 14 and 15 (x86) or 30 and 31 (Arm) hold
# the factors.
_X86 = {
    "avx2 fma": ("fp32", {"avx2", "fma"}, 8, "vfmadd231ps %%ymm14, %%ymm15, %%ymm\\reg"),
    "avx512 fma": ("fp32", {"avx512f"}, 16, "vfmadd231ps %%zmm14, %%zmm15, %%zmm\\reg"),
    "avx512 bf16": ("bf16", {"avx512_bf16"}, 32, "vdpbf16ps %%zmm14, %%zmm15, %%zmm\\reg"),
    "avx vnni": ("int8", {"avx_vnni"}, 32, "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\reg"),
    "avx512 vnni": ("int8", {"avx512_vnni"}, 64, "vpdpbusd %%zmm14, %%zmm15, %%zmm\\reg"),
}
_ARM = {
    "neon fma": ("fp32", {"asimd"}, 4, "fmla v\\reg\\().4s, v30.4s, v31.4s"),
    "neon bf16 dot": ("bf16", {"bf16"}, 8, "bfdot v\\reg\\().4s, v30.8h, v31.8h"),
    "neon bf16 matrix": ("bf16", {"bf16"}, 16, "bfmmla v\\reg\\().4s, v30.8h, v31.8h"),
    "neon int8 dot": ("int8", {"asimddp"}, 16, "sdot v\\reg\\().4s, v30.16b, v31.16b"),
    "neon int8 matrix": ("int8", {"i8mm"}, 32, "smmla v\\reg\\().4s, v30.16b, v31.16b"),
}

_SOURCE = r"""
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

static double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

// Runs `work(thread)` on all threads at once; from the common start to the last end.
template <typename Work>
static double together(int num_threads, Work work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < num_threads; ++t) {
    threads.emplace_back([&, t] {
      ready.fetch_add(1);
      while (!go.load()) {
      }
      work(t);
    });
  }
  while (ready.load() < num_threads) {
  }
  const auto began = Clock::now();
  go.store(true);
  for (auto& thread : threads) thread.join();
  return seconds_since(began);
}

@LOOPS@

static const struct {
  const char* name;
  void (*loop)(long);
  double macs;
} kLoops[] = {@TABLE@};

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int num_threads = std::atoi(argv[1]);
  const double wanted = std::atof(argv[2]);
  const size_t copy_bytes = std::strtoull(argv[3], nullptr, 10);
  std::printf("{");
  for (const auto& entry : kLoops) {
    // The best of 5 repetitions, the peak and not the mean; longer ones until even the best
    // takes its time.
    long count = 1000;
    double best_seconds = 0;
    for (;; count *= 2) {
      for (int repetition = 0; repetition < 5; ++repetition) {
        const double seconds = together(num_threads, [&](int) { entry.loop(count); });
        if (repetition == 0 || seconds < best_seconds) best_seconds = seconds;
      }
      if (best_seconds >= wanted) break;
    }
    const double best = 2.0 * entry.macs * count * num_threads / best_seconds;
    std::printf("\"%s\": %.6g, ", entry.name, best);
  }
  const size_t part = copy_bytes / num_threads;
  std::vector<char> from(part * num_threads, 1), to(part * num_threads, 2);
  double best = 0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const double seconds = together(num_threads, [&](int t) {
      std::memcpy(to.data() + t * part, from.data() + t * part, part);
    });
    const double rate = 2.0 * part * num_threads / seconds;
    if (rate > best) best = rate;
  }
  std::printf("\"copy\": %.6g}\n", best);
  return to[part - 1] == 1 ? 0 : 1;
}
"""

_X86_LOOP = r"""
static void loop_@INDEX@(long count) {
  // 0.001 as float32, and as two bf16 near it: sums stay finite, no denormals.
  const unsigned factor = 0x3a833a83u;
  asm volatile(
      "@BROADCAST@ %1, @REG@14\n"
      "@BROADCAST@ %1, @REG@15\n"
      ".irp reg, @ACCUMULATORS@\n"
      "@CLEAR@ @REG@\\reg, @REG@\\reg, @REG@\\reg\n"
      ".endr\n"
      ".p2align 5\n"
      "1:\n"
      ".irp reg, @ACCUMULATORS@\n"
      "@INSTRUCTION@\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : "+r"(count)
      : "m"(factor)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
"""

_ARM_LOOP = r"""
static void loop_@INDEX@(long count) {
  const unsigned factor = 0x3a833a83u;
  asm volatile(
      ".arch_extension bf16\n.arch_extension dotprod\n.arch_extension i8mm\n"
      "dup v30.4s, %w1\n"
      "dup v31.4s, %w1\n"
      ".irp reg, @ACCUMULATORS@\n"
      "movi v\\reg\\().4s, #0\n"
      ".endr\n"
      "1:\n"
      ".irp reg, @ACCUMULATORS@\n"
      "@INSTRUCTION@\n"
      ".endr\n"
      "subs %0, %0, #1\n"
      "b.ne 1b\n"
      : "+r"(count)
      : "r"(factor)
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",
        "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
        "v25", "v26", "v27", "v30", "v31");
}
"""


def _cpu_flags() -> set[str]:
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.split(":", 1)[1].split())
    raise SystemExit("/proc/cpuinfo names no instruction sets; this script needs Linux")


def _kernels(flags: set[str]) -> dict[str, tuple[str, set[str], int, str]]:
    table = _X86 if platform.machine() in ("x86_64", "AMD64") else _ARM
    return {name: kernel for name, kernel in table.items() if kernel[1] <= flags}


def source(kernels: dict[str, tuple[str, set[str], int, str]], *, is_x86: bool) -> str:
    """The C++ program for these kernels."""
    loops, table = [], []
    for index, (name, (_, _, macs, instruction)) in enumerate(kernels.items()):
        width = "neon" if not is_x86 else "zmm" if "zmm" in instruction else "ymm"
        registers = _REGISTERS[width]
        parts = {
            "@INDEX@": str(index),
            "@ACCUMULATORS@": ",".join(map(str, registers)),
            # In a C string a backslash is two.
            "@INSTRUCTION@": instruction.replace("\\", "\\\\"),
            "@REG@": f"%%{width}",
            "@BROADCAST@": "vpbroadcastd" if width == "zmm" else "vbroadcastss",
            "@CLEAR@": "vpxord" if width == "zmm" else "vpxor",
        }
        loop = _X86_LOOP if is_x86 else _ARM_LOOP
        for key, value in parts.items():
            loop = loop.replace(key, value)
        loops.append(loop)
        table.append(f'{{"{name}", loop_{index}, {macs * len(registers)}.0}}')
    text = _SOURCE.replace("@LOOPS@", "\n".join(loops))
    return text.replace("@TABLE@", ", ".join(table))


def measure_peaks(num_threads: int, seconds: float) -> dict[str, float]:
    """Operations per second of each kernel (2 per multiply-add), and "copy" in bytes per second.

    Args:
        num_threads: all do the same at once.
        seconds: a repetition takes at least this; there are 5, and the best counts.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise SystemExit("no C++ compiler was found; set CXX")
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    with tempfile.TemporaryDirectory(prefix="tokenfuse-roofline-") as folder:
        path, program = pathlib.Path(folder) / "peaks.cc", pathlib.Path(folder) / "peaks"
        path.write_text(source(_kernels(_cpu_flags()), is_x86=is_x86), encoding="utf-8")
        command = [compiler, "-O2", "-std=c++17", "-pthread", str(path), "-o", str(program)]
        subprocess.run(command, check=True)
        arguments = [str(num_threads), str(seconds), str(_COPY_BYTES)]
        done = subprocess.run([program, *arguments], check=True, capture_output=True, text=True)
    peaks: dict[str, float] = json.loads(done.stdout)
    return peaks


def best_peaks(peaks: dict[str, float]) -> dict[str, float]:
    """The largest peak of each precision."""
    best: dict[str, float] = {}
    for name, kernel in _kernels(_cpu_flags()).items():
        best[kernel[0]] = max(best.get(kernel[0], 0.0), peaks[name])
    return best


def _time_model(config: ModelConfig, precision: str, num_threads: int, rounds: int) -> list[float]:
    """Seconds of whole answers: a picture encoded, a question answered with two tokens."""
    rng = np.random.default_rng(0)
    weights = {
        # Norms and gates of about 1, matrices that keep the scale.
        name: rng.standard_normal(shape, dtype=np.float32) / shape[-1] ** 0.5
        if len(shape) > 1
        else np.ones(shape, np.float32)
        for name, shape in expected_tensors(config).items()
    }
    runtime = open_runtime(config, weights, place("cpu", precision, num_threads))
    side, budget = config.vision.image_size, config.fusion.num_latents
    image = rng.uniform(-1, 1, (side, side, 3)).astype(np.float32)
    text = rng.integers(2, config.text.vocab_size, _TEXT_TOKENS).astype(np.int32)
    seconds = []
    for turn in range(rounds + 2):
        began = time.perf_counter()
        f_ND = runtime.encode_image(image, budget)
        ids, _ = runtime.generate(f_ND, text, _ANSWER_TOKENS)
        if turn >= 2:
            seconds.append(time.perf_counter() - began)
    if len(ids) < _ANSWER_TOKENS:
        print("    the answer ended after one token: its share is too high by a little")
    return seconds


def _linear_shapes(config: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """Name to rows, outputs and inputs of the layers that most of the work is in."""
    vision, fusion, text = config.vision, config.fusion, config.text
    num_tokens, width = vision.num_tokens, vision.width
    latents = fusion.num_latents
    return {
        "image: query, key, value": (num_tokens, 3 * width, width),
        "image: attention output": (num_tokens, width, width),
        "image: MLP up": (num_tokens, vision.mlp_dim, width),
        "image: MLP down": (num_tokens, width, vision.mlp_dim),
        "fusion: MLP up": (latents, fusion.mlp_dim, fusion.width),
        "fusion: MLP down": (latents, fusion.width, fusion.mlp_dim),
        "text: gate and up": (_TEXT_TOKENS, 2 * text.mlp_dim, text.width),
    }


def _time_linear(shape: tuple[int, int, int], num_threads: int, rounds: int) -> float:
    """Seconds of the product alone: see the module's first lines."""
    rows, num_out, num_in = shape
    rng = np.random.default_rng(0)
    w = rng.standard_normal((num_out, num_in), dtype=np.float32)
    few = rng.standard_normal((rows, num_in), dtype=np.float32)
    many = np.concatenate([few] * 3)
    isa = _native.chosen_isa()

    def once(x: np.ndarray) -> float:
        began = time.perf_counter()
        _native.linear(x, w, None, None, "none", isa, num_threads)
        return time.perf_counter() - began

    for x in (few, many):
        once(x)
    pairs = [(once(few), once(many)) for _ in range(5 * rounds)]
    # The least of each: a difference of medians would keep the noise of both.
    return (min(b for _, b in pairs) - min(a for a, _ in pairs)) / 2


def _print_peaks(peaks: dict[str, float], num_threads: int) -> None:
    print(f"\n{num_threads} thread{'s' * (num_threads > 1)}: the machine's limits")
    for name, rate in peaks.items():
        unit = "GB/s, read and written" if name == "copy" else "GOP/s"
        print(f"  {name:<18}{rate / 1e9:>10.1f} {unit}")


def _report_model(
    name: str, peaks: dict[str, float], num_threads: int, rounds: int
) -> list[dict[str, object]]:
    config, best = named_config(name), best_peaks(peaks)
    flops = count_flops(
        config, num_text_tokens=_TEXT_TOKENS, num_answer_tokens=_ANSWER_TOKENS
    ).total_flops
    rows = []
    for precision in native_cpu.PRECISIONS:
        seconds = _time_model(config, precision, num_threads, rounds)
        median = statistics.median(seconds)
        row: dict[str, object] = {
            "model": name,
            "precision": precision,
            "threads": num_threads,
            "gflop": flops / 1e9,
            "median_ms": 1e3 * median,
            "gflops_per_s": flops / median / 1e9,
        }
        line = f"  {name} {precision:<6}{flops / 1e9:>7.2f} GFLOP in {1e3 * median:>8.2f} ms"
        line += f" = {flops / median / 1e9:>7.1f} GOP/s"
        if precision in best:
            row["share_of_peak"] = flops / median / best[precision]
            row["limit_ms"] = 1e3 * flops / best[precision]
            line += f", {100 * flops / median / best[precision]:.0f}% of the peak"
            line += f" (limit {1e3 * flops / best[precision]:.2f} ms)"
        else:
            line += f"; this CPU has no {precision} dot product to compare with"
        print(line)
        rows.append(row)
    return rows


def _report_ops(name: str, peak: float, num_threads: int, rounds: int) -> list[dict[str, object]]:
    rows = []
    print(f"  {name}: linear layers in fp32, packing left out")
    for what, shape in _linear_shapes(named_config(name)).items():
        m, n, k = shape
        seconds = max(_time_linear(shape, num_threads, rounds), 1e-9)
        rate = 2 * m * n * k / seconds
        print(
            f"    {what:<26}({m}, {k}) x ({k}, {n})".ljust(62)
            + f"{1e6 * seconds:>9.1f} us {rate / 1e9:>8.1f} GOP/s {100 * rate / peak:>4.0f}%"
        )
        rows.append(
            {
                "model": name,
                "op": what,
                "rows": m,
                "outputs": n,
                "inputs": k,
                "threads": num_threads,
                "us": 1e6 * seconds,
                "share_of_peak": rate / peak,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["tiny", "small"], choices=SIZES)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="of one repetition of a peak")
    parser.add_argument("--ops", action="store_true", help="linear layers as well")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    stored: dict[str, list] = {"peaks": [], "models": [], "ops": []}
    for num_threads in options.threads:
        peaks = measure_peaks(num_threads, options.seconds)
        _print_peaks(peaks, num_threads)
        stored["peaks"].append({"threads": num_threads} | peaks)
        for name in options.model:
            stored["models"] += _report_model(name, peaks, num_threads, options.rounds)
            if options.ops:
                best = best_peaks(peaks)["fp32"]
                stored["ops"] += _report_ops(name, best, num_threads, options.rounds)
    if options.json:
        from tokenfuse_sdk.atomic import write_file

        facts = {"hardware": timing.hardware(), "commit": timing.commit()}
        write_file(options.json, (json.dumps(facts | stored, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
