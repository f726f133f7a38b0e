// linear_bf16: y_MN = act(x_MK W_NK^T + b_N) + r_MN, W in bfloat16
//
// The weights are rounded to bfloat16 once (to nearest, ties to even; NaN stays NaN, beyond the
// largest lies infinity) and take half the memory and half the time to read. Sums are float32.
// Two forms: weights widened again, exactly, and x as it is; or x rounded to bfloat16 too, for
// the dot instruction of AVX-512 (`kernel.round` is not null). That instruction takes float32
// values below 2^-126 for 0.
//
// Contract, for every variant: that of `linear`, and
//   W: packed once by `linear_bf16_pack` of the same variant.
//   The scratch holds linear_bf16_scratch_bytes(...) bytes, aligned to 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/isa.h"
#include "kernels/linear/linear.h"

namespace tokenfuse {

using LinearBf16Args = DenseArgs<float, std::uint16_t>;

// Neighbours in K that lie together in a panel.
inline constexpr std::int64_t kBf16Group = 2;

// What `run` needs besides its arguments.
struct Bf16Work {
  float* panel;               // panel_width x K floats of this thread, where x is not rounded
  const std::uint16_t* rows;  // x rounded, M rows of K padded to kBf16Group, where it is
};

struct LinearBf16Kernel {
  int panel_width;  // outputs of a panel
  int tile_rows;    // rows of the largest micro-tile: split M at multiples of it
  // Rounds rows of x to bfloat16, zeros behind K; null where x is used as it is.
  void (*round)(const float* x, std::int64_t ldx, std::uint16_t* to, std::int64_t ldt,
                std::int64_t rows, std::int64_t k) noexcept;
  // Computes rows [row_begin, row_end) of panels [panel_begin, panel_end).
  void (*run)(const LinearBf16Args& args, const Bf16Work& work, std::int64_t row_begin,
              std::int64_t row_end, std::int64_t panel_begin, std::int64_t panel_end) noexcept;
};

// The variant of an instruction set; falls back to scalar where it is not compiled in.
const LinearBf16Kernel& linear_bf16_kernel(Isa isa) noexcept;

// To nearest, ties to even. NaN becomes a quiet NaN of its sign.
std::uint16_t float_to_bf16(float value) noexcept;

inline std::int64_t bf16_padded(std::int64_t k) noexcept {
  return (k + kBf16Group - 1) / kBf16Group * kBf16Group;
}

inline std::int64_t linear_bf16_num_panels(const LinearBf16Kernel& kernel,
                                           std::int64_t n) noexcept {
  return (n + kernel.panel_width - 1) / kernel.panel_width;
}

// Elements of two bytes that `linear_bf16_pack` writes.
inline std::size_t linear_bf16_packed_count(const LinearBf16Kernel& kernel, std::int64_t n,
                                            std::int64_t k) noexcept {
  return static_cast<std::size_t>(linear_bf16_num_panels(kernel, n) * kernel.panel_width *
                                  bf16_padded(k));
}

// W (n rows of k floats, stride ldw) to panels: [panel][K / 2][panel_width][2], zeros behind n, k.
void linear_bf16_pack(const LinearBf16Kernel& kernel, const float* w, std::int64_t ldw,
                      std::int64_t n, std::int64_t k, std::uint16_t* packed) noexcept;

// For up to m rows of up to k inputs.
std::size_t linear_bf16_scratch_bytes(const LinearBf16Kernel& kernel, std::int64_t m,
                                      std::int64_t k, int num_threads) noexcept;

// All rows on this thread; `scratch` is that of one thread.
void linear_bf16_rows(const LinearBf16Kernel& kernel, const LinearBf16Args& args,
                      void* scratch) noexcept;

class ThreadPool;

// The whole product, split over the pool.
void linear_bf16(const LinearBf16Kernel& kernel, const LinearBf16Args& args, void* scratch,
                 ThreadPool& pool) noexcept;

}  // namespace tokenfuse
