"""The C++ program that measures peaks: loops of nothing but multiply-adds, and a copy."""

from __future__ import annotations

from collections.abc import Mapping

from isa_loops import REGISTERS, Loop

__all__ = ["source"]

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
      ".arch armv8.2-a+bf16+dotprod+i8mm\n"
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


def source(chosen: Mapping[str, Loop]) -> str:
    """The C++ program for these loops.

    It takes the number of threads, the seconds of a repetition and the bytes to copy, and prints
    a JSON object: rates by name, and "copy".
    """
    loops, table = [], []
    for index, (name, loop) in enumerate(chosen.items()):
        registers, is_wide = REGISTERS[loop.width], loop.width == "zmm"
        parts = {
            "@INDEX@": str(index),
            "@ACCUMULATORS@": ",".join(map(str, registers)),
            # In a C string a backslash is two.
            "@INSTRUCTION@": loop.instruction.replace("\\", "\\\\"),
            "@REG@": f"%%{loop.width}",
            "@BROADCAST@": "vpbroadcastd" if is_wide else "vbroadcastss",
            "@CLEAR@": "vpxord" if is_wide else "vpxor",
        }
        text = _ARM_LOOP if loop.width == "neon" else _X86_LOOP
        for key, value in parts.items():
            text = text.replace(key, value)
        loops.append(text)
        table.append(f'{{"{name}", loop_{index}, {loop.macs * len(registers)}.0}}')
    program = _SOURCE.replace("@LOOPS@", "\n".join(loops))
    return program.replace("@TABLE@", ", ".join(table))
